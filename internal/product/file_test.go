package product

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write what is said now into the golden files")

// golden compares text with testdata/<name> and tells the first line that differs.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(got+"\n(end)", "\n"), strings.Split(string(text)+"\n(end)", "\n")
	for i := range min(len(gotLines), len(wantLines)) {
		if gotLines[i] != wantLines[i] {
			t.Fatalf("%s:%d: got\n%s\nwant\n%s", file, i+1, gotLines[i], wantLines[i])
		}
	}
}

const good = `version: 1
name: acme
roles:
  bastion: {bastion: true}
  web: {health: {command: "true"}, cpus: 2, memory: 512MiB, disk: 4GiB, processes: 700}
  db: {health: {command: "true", within: 30s}}
topology:
  - {role: web, count: 2, after: [db]}
  - {role: db, volumes: [{name: data, size: 1GiB}]}
  - {role: bastion}
`

func TestTopology(t *testing.T) {
	p, err := decode([]byte(good), false)
	if err != nil {
		t.Fatal(err)
	}
	names := func(servers []Server) (all []string) {
		for _, s := range servers {
			all = append(all, s.Name)
		}
		return all
	}
	if got, want := names(p.Servers()), []string{"bastion", "db-1", "web-1", "web-2"}; !reflect.DeepEqual(got, want) {
		t.Errorf("servers are %q, want %q", got, want)
	}
	var levels [][]string
	for _, level := range p.Levels() {
		levels = append(levels, names(level))
	}
	if want := [][]string{{"bastion"}, {"db-1"}, {"web-1", "web-2"}}; !reflect.DeepEqual(levels, want) {
		t.Errorf("levels are %q, want %q", levels, want)
	}
	if got := p.ServersOf("db")[0].Volumes; !reflect.DeepEqual(got, []Volume{{Name: "data", SizeMiB: 1024}}) {
		t.Errorf("volumes of db-1 are %v", got)
	}
	if r := p.Roles["web"]; r.Name != "web" || r.CPUs != 2 || r.MemoryMiB != 512 || r.DiskMiB != 4096 || r.Processes != 700 || r.Health.Within != time.Minute {
		t.Errorf("role web is %+v with health %+v", r, r.Health)
	}
	if p.Admin != "testadmin" || !reflect.DeepEqual(p.Puppet.Packages, []string{"puppet-agent"}) {
		t.Errorf("defaults are %q and %q", p.Admin, p.Puppet.Packages)
	}
}

// Every way to write hallmark.yaml wrongly, and what the user is told. The text of the messages is in
// testdata/bad-file.txt.
func TestBadFile(t *testing.T) {
	replace := func(old, replacement string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q to replace", old)
		}
		return strings.Replace(good, old, replacement, 1)
	}
	cases := []struct{ name, text string }{
		{"empty", ""},
		{"only a comment", "# nothing\n"},
		{"not YAML", "version: 1\n\tname: x\n"},
		{"a list", "- version: 1\n"},
		{"two documents", good + "---\nversion: 1\n"},
		{"unknown key", replace("topology:", "topolgy:")},
		{"unknown key in a role", replace("cpus: 2", "cpu: 2")},
		{"key given twice", good + "name: other\n"},
		{"number for text", replace("name: acme", "name: 12")},
		{"text for a number", replace("count: 2", "count: two")},
		{"list for text", replace("name: acme", "name: [acme]")},
		{"no value", replace("name: acme", "name:")},
		{"required keys missing", "name: acme\n"},
		{"other version", replace("version: 1", "version: 2")},
		{"duration without a unit", replace("within: 30s", "within: 30")},
		{"size without a unit", replace("size: 1GiB", "size: 1024")},
		{"volume too small", replace("size: 1GiB", "size: 1MiB")},
		{"servers without room", replace("memory: 512MiB, disk: 4GiB, processes: 700", "memory: 64MiB, disk: 512MiB, processes: 9")},
		{"missing role", replace("role: web,", "role: wed,")},
		{"missing role in after", replace("after: [db]", "after: [dbs]")},
		{"role not in the topology", replace("  - {role: web, count: 2, after: [db]}\n", "")},
		{"role without health", replace(`web: {health: {command: "true"}, cpus: 2, memory: 512MiB, disk: 4GiB, processes: 700}`, "web: {cpus: 2}")},
		{"roles called like Hallmark's suites", replace("  web: {", "  system: {health: {command: x}}\n  access: {health: {command: x}}\n  environment: {health: {command: x}}\n  web: {") + "  - {role: system}\n  - {role: access}\n  - {role: environment}\n"},
		{"cycle", replace("{role: db,", "{role: db, after: [web],")},
		{"depends on itself", replace("after: [db]", "after: [web]")},
		{"bastion waits for others", replace("{role: bastion}", "{role: bastion, after: [db]}")},
		{"no bastion", replace("bastion: {bastion: true}", `bastion: {health: {command: "true"}}`)},
		{"two bastions", replace("db: {health", "db: {bastion: true, health")},
		{"several bastions of a role", replace("{role: bastion}", "{role: bastion, count: 2}")},
		{"role twice in the topology", good + "  - {role: web}\n"},
		{"secret twice", good + "secrets: [{name: a, roles: [db]}, {name: b, roles: [db]}, {name: a, roles: [web]}]\n"},
		{"reserved secret", good + "secrets: [{name: totp_seed, roles: [bastion]}]\n"},
		{"secret that Puppet cannot look up", good + "secrets: [{name: Site-Key, length: 4, roles: [db]}]\n"},
		{"secrets without roles", good + "secrets: [{name: a}, {name: b, roles: []}]\n"},
		{"secrets of strange roles", good + "secrets:\n- name: a\n  roles: [db, dbs]\n- {name: b, roles: [db, db]}\n"},
		{"egress", good + "egress: [example.org:443, \"192.0.2.1\", 192.0.2.0/24:0, 192.0.2.1/24:443, 0.0.0.0/0:443]\n"},
		{"log rule", good + "logs: [{match: \"(\", reason: x}, {match: \".*\", reason: x}, {match: a, reason: \" \"}, {match: a, reason: b, role: we}]\n"},
		{"seal rule", good + "seal: [{path: srv/key, reason: x}, {path: \"/etc/*\", reason: x}, {path: \"/*/key\", reason: x}, {path: \"/srv/**/key\", reason: x}, {path: \"/srv/[\", reason: x}, {path: /srv/../key, reason: x}, {path: /srv/key, reason: \" \"}, {path: /srv/key, reason: x, role: we}, {path: /srv/b, reason: x}, {path: /srv/b, reason: y}]\n"},
		{"root as admin", good + "admin: root\n"},
		{"package name", good + "puppet: {packages: [Puppet_Agent], timeout: 0s}\n"},
		{"unit tests without a command", good + "unit-tests: {timeout: 5m}\n"},
		{"anchor", replace("after: [db]", "after: &x [db]")},
		{"several at once", "version: 1\nname: Acme\nadmin: root\ntoplogy: []\nroles:\n  web: {healt: x}\n"},
	}
	var said strings.Builder
	for _, c := range cases {
		_, err := decode([]byte(c.text), false)
		if err == nil {
			t.Errorf("%s: accepted", c.name)
			continue
		}
		said.WriteString("# " + c.name + "\n" + err.Error() + "\n\n")
	}
	golden(t, "bad-file.txt", said.String())
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("version: 1\nname: x\nroles: {a: {bastion: true}}\ntopology: [{role: a}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := decode(data, false)
		if err != nil {
			return
		}
		if len(p.Servers()) == 0 || p.Servers()[0].Name != "bastion" {
			t.Errorf("accepted, but the bastion is not first: %+v", p.Servers())
		}
	})
}

func FuzzProcedure(f *testing.F) {
	f.Add([]byte("version: 1\nsteps: [{role: bastion}, {role: db, batch: all}, {role: web}]\n"))
	p, err := decode([]byte(good), false)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		procedure, err := decodeProcedure(data, p)
		if err == nil && len(procedure.Steps) != len(p.Roles) {
			t.Errorf("accepted, but not every role is upgraded: %+v", procedure.Steps)
		}
	})
}

// Whatever stands in a manifest or template, what is left of it has its lines where they were.
func FuzzCertain(f *testing.F) {
	f.Add("class a (Boolean $x) {\n  if $x { $y = lookup('secret::z') } elsif b() { } else { }\n  # '{\n  $d = $x ? { true => \"${x}\\\"\", default => '#' }\n}\n")
	f.Add("<%= lookup('secret::z') %>\n<%# if %>\xff\xfe'\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, source := range []string{text, tagged(text)} {
			rest, words := certain(source)
			for _, got := range []string{source, rest, words} {
				if len(got) != len(text) || strings.Count(got, "\n") != strings.Count(text, "\n") {
					t.Fatalf("%q became %q", text, got)
				}
			}
			readsIn(rest)
		}
	})
}

func FuzzParserProblems(f *testing.F) {
	f.Add([]byte("Error: Could not parse for environment production: Syntax error at '}' (file: /x/a.pp, line: 3, column: 1)\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		for _, p := range parserProblems("puppet parser", "/x", said) {
			if p.Line < 0 {
				t.Errorf("line %d", p.Line)
			}
		}
	})
}
