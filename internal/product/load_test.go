package product

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// tree is the files of a product: path → content. What starts with #! is executable, "-> target" is a
// link; a path that ends in / is an empty directory.
type tree map[string]string

func goodTree() tree {
	return tree{
		"hallmark.yaml":            good,
		"puppet/manifests/site.pp": "include \"role::${facts['hallmark_role']}\"\n",
		"suites/smoke/all.yaml":    "service: {ssh: {running: true}}\n",
		"suites/build/web.yaml":    "port: {\"tcp:80\": {listening: true}}\n",
	}
}

func (f tree) write(t *testing.T, dir string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(f)) {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(file, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if target, ok := strings.CutPrefix(f[name], "-> "); ok {
			if err := os.Symlink(target, file); err != nil {
				t.Fatal(err)
			}
			continue
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(f[name], "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(file, []byte(f[name]), mode); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	goodTree().write(t, dir)
	p, err := Load(dir, "c1")
	if err != nil {
		t.Fatal(err)
	}
	if p.Dir != dir || p.Commit != "c1" {
		t.Errorf("read from %s at %s", p.Dir, p.Commit)
	}
	var roles []string
	for _, s := range p.Procedure.Steps {
		roles = append(roles, s.Role)
		if s.Batch != 1 {
			t.Errorf("without a procedure, %d servers of %s are upgraded at once", s.Batch, s.Role)
		}
	}
	if want := []string{"bastion", "db", "web"}; !reflect.DeepEqual(roles, want) {
		t.Errorf("without a procedure, the order is %q, want %q", roles, want)
	}
}

func TestReferenceProductLoads(t *testing.T) {
	p, err := Load("../../configs/acme", "")
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Servers(); len(got) != 4 || got[0].Name != "bastion" {
		t.Errorf("servers are %+v", got)
	}
}

func TestProcedure(t *testing.T) {
	files := goodTree()
	files[ProcedureFile] = `version: 1
steps:
  - role: web
    batch: all
    health: {command: curl localhost, within: 10s}
  - {role: db, batch: 7}
  - role: bastion
tasks:
  - {name: tidy, role: db, once: true, command: tidy --now}
notes: |
  Nothing to see.
`
	dir := t.TempDir()
	files.write(t, dir)
	p, err := Load(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	want := Procedure{
		Steps: []Step{
			{Role: "web", Batch: 0, Health: &Health{Command: "curl localhost", Within: 10 * time.Second}},
			{Role: "db", Batch: 7, Health: &Health{Command: "true", Within: 30 * time.Second}},
			{Role: "bastion", Batch: 1},
		},
		Tasks: []Task{{Name: "tidy", Role: "db", Once: true, Command: "tidy --now", Timeout: 5 * time.Minute}},
		Notes: "Nothing to see.\n",
	}
	if !reflect.DeepEqual(p.Procedure, want) {
		t.Errorf("got  %+v\nwant %+v", p.Procedure, want)
	}
}

// Every way in which the files beside hallmark.yaml may be wrong, and what the user is told. The
// text of the messages is in testdata/bad-files.txt.
func TestBadFiles(t *testing.T) {
	cases := []struct {
		name   string
		change func(tree)
	}{
		{"no product file", func(f tree) { delete(f, "hallmark.yaml") }},
		{"no site manifest", func(f tree) { delete(f, siteManifest) }},
		{"no suites", func(f tree) { delete(f, "suites/smoke/all.yaml"); delete(f, "suites/build/web.yaml") }},
		{"suite without tests", func(f tree) { delete(f, "suites/build/web.yaml"); f["suites/build/README.md"] = "soon" }},
		{"empty suite", func(f tree) { delete(f, "suites/build/web.yaml"); f["suites/build/"] = "" }},
		{"unknown tier", func(f tree) { f["suites/smoky/all.yaml"] = "file: {/x: {exists: true}}" }},
		{"suite for an unknown role", func(f tree) { f["suites/build/wbe.yaml"] = "file: {/x: {exists: true}}" }},
		{"goss file too deep", func(f tree) { f["suites/build/web/more.yaml"] = "file: {/x: {exists: true}}" }},
		{"goss file called yml", func(f tree) { f["suites/build/db.yml"] = "file: {/x: {exists: true}}" }},
		{"empty goss file", func(f tree) { f["suites/build/web.yaml"] = "# to do\n" }},
		{"goss file without a check", func(f tree) { f["suites/build/web.yaml"] = "service: {nginx: {running: true}}\nport:\n" }},
		{"goss file with empty braces", func(f tree) { f["suites/build/web.yaml"] = "{}\n" }},
		{"goss file with an unknown check", func(f tree) {
			f["suites/build/web.yaml"] = "service: {x: {running: true}}\nprot: {\"tcp:80\": {listening: true}}\n"
		}},
		{"goss file that is a list", func(f tree) { f["suites/build/web.yaml"] = "- service\n" }},
		{"goss file that is no YAML", func(f tree) { f["suites/build/web.yaml"] = "service: {\n" }},
		{"procedure", func(f tree) {
			f[ProcedureFile] = "version: 2\nsteps:\n- {role: web, batch: 0}\n- {role: wbe}\n- {role: web, rolling: true}\ntask: []\n"
		}},
		{"procedure for other roles", func(f tree) {
			f[ProcedureFile] = "version: 1\nsteps:\n- {role: web}\n- {role: wbe}\n- {role: web}\ntasks:\n- {name: t, role: dbs, command: x}\n- {name: t, role: db, command: \" \", timeout: 0s}\n"
		}},
		{"empty procedure", func(f tree) { f[ProcedureFile] = "" }},
		{"several files at once", func(f tree) {
			delete(f, siteManifest)
			f["suites/build/web.yaml"] = ""
			f[ProcedureFile] = "version: 1\nsteps: [{role: web}]\n"
		}},
	}
	var said strings.Builder
	for _, c := range cases {
		files := goodTree()
		c.change(files)
		dir := t.TempDir()
		files.write(t, dir)
		_, err := Load(dir, "")
		if err == nil {
			t.Errorf("%s: accepted", c.name)
			continue
		}
		said.WriteString("# " + c.name + "\n" + err.Error() + "\n\n")
	}
	golden(t, "bad-files.txt", said.String())
}

func TestTemplatedGossFile(t *testing.T) {
	files := goodTree()
	files["suites/build/web.yaml"] = "{{if .Vars.hallmark_role}}\nservice: {nginx: {running: true}}\n{{end}}\n"
	dir := t.TempDir()
	files.write(t, dir)
	if _, err := Load(dir, ""); err != nil {
		t.Error(err)
	}
}

func FuzzGoss(f *testing.F) {
	f.Add([]byte("service: {nginx: {running: true}}\n"))
	f.Add([]byte("{{if}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, p := range gossProblems(data) {
			if p.problem == "" || p.remedy == "" || p.line < 0 {
				t.Errorf("%+v", p)
			}
		}
	})
}
