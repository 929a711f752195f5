package product

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What lies outside the repository is not read, whichever file leads there: its text is in no message.
func TestLinksOutAreNotFollowed(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "host-secret")
	if err := os.WriteFile(secret, []byte("root:$6$HASHHASH:1:2\nkey: SECRETVALUE\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "SECRETNAME"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"hallmark.yaml": secret, "release/procedure.yaml": secret, "puppet/manifests/site.pp": secret, "puppet/hiera.yaml": secret,
		"suites/build/web.yaml": secret, "suites/build/all.yaml": "../../up", "suites": folder, "puppet/modules/role": folder,
		".gitattributes": secret, ".gitmodules": secret, "goss.yaml": secret, "puppet/environment.conf": secret, "puppet/data/common.yaml": secret,
	} {
		files := goodTree()
		if target == folder {
			for file := range files {
				if strings.HasPrefix(file, name+"/") {
					delete(files, file)
				}
			}
		}
		delete(files, name)
		files[name] = "-> " + target
		files["up"] = "-> ../" + filepath.Base(filepath.Dir(secret)) + "/host-secret"
		dir := t.TempDir()
		files.write(t, dir)
		_, err := Load(dir, "c")
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "out of the repository") && !strings.Contains(err.Error(), "not in the repository") {
			t.Errorf("%s as a link: %v", name, err)
		}
		if err != nil && (strings.Contains(err.Error(), "SECRET") && !strings.Contains(secret+folder, "SECRET") || strings.Contains(err.Error(), "HASHHASH")) {
			t.Errorf("%s as a link is read: %v", name, err)
		}
		if p := (&Product{Dir: dir}); target == secret {
			if data, err := p.Text(name); err == nil {
				t.Errorf("%s is %q", name, data)
			}
		}
	}
}

// A pipe is not waited for, and what no person wrote is not read.
func TestTextIsBounded(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "hallmark.yaml"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir, "c"); err == nil || !strings.Contains(err.Error(), "hallmark.yaml: is no file") {
		t.Error(err)
	}
	files := goodTree()
	files["puppet/hiera.yaml"] = "version: 5\n"
	files["puppet/data/common.yaml"] = "a: " + strings.Repeat("x", mostText) + "\n"
	dir = t.TempDir()
	files.write(t, dir)
	c := checker{product: &Product{Dir: dir}, out: &strings.Builder{}}
	err := c.hiera(t.Context())
	wantProblems(t, c.problems, err, "puppet/data/common.yaml: is larger than 4 MiB, and is not read; split it, or keep data elsewhere (hiera)")
}

// Documents that stand for more than they say, without end or without measure, are refused as soon as they are read.
func TestAliasBombs(t *testing.T) {
	bomb := "a0: &a0 {exec: x}\n"
	for i := 1; i < 40; i++ {
		bomb += fmt.Sprintf("a%d: &a%d {<<: *a%d, x: {<<: *a%d}, <<: *a%d}\n", i, i, i-1, i-1, i-1)
	}
	for name, text := range map[string]string{
		"a billion laughs": bomb, "an anchor in itself": "service: &a {ssh: {<<: *a}, <<: *a}\n", "in a list": "command: &a\n  x: {exec: [*a, *a]}\n",
		"deep": strings.Repeat("[", 50_000), "deep maps": strings.Repeat("{a: ", 50_000),
	} {
		for _, file := range []string{"suites/build/web.yaml", "puppet/hiera.yaml", "other/goss.yaml", "hallmark.yaml", "release/procedure.yaml", "puppet/data/common.yaml"} {
			files := goodTree()
			files["puppet/hiera.yaml"] = "version: 5\n"
			files[file] = text
			dir := t.TempDir()
			files.write(t, dir)
			begin := time.Now()
			p, err := Load(dir, "c")
			if err == nil { // told by the check of Hiera's syntax
				c := checker{product: p, out: &strings.Builder{}}
				if err := c.hiera(t.Context()); err != nil || len(c.problems) == 0 || c.problems[0].File != file {
					t.Errorf("%s as %s: %v, %v", name, file, c.problems, err)
				}
			}
			if took := time.Since(begin); took > 30*time.Second {
				t.Errorf("%s as %s took %v", name, file, took)
			}
		}
	}
	for _, text := range []string{"a: &a {b: 1}\nc: {<<: *a}\nd: [*a, *a]\n", "", "a: &x 1\nb: &x 2\nc: *x\n"} {
		if _, err := parse([]byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A level with many interpolations stands for many files; not for more than there is memory.
func TestInterpolationBomb(t *testing.T) {
	h := hierarchy{product: &Product{Roles: map[string]Role{"a": {}, "b": {}, "c": {}, "d": {}}}}
	patterns, known := h.expand("data/" + strings.Repeat("%{facts.hallmark_role}/", 30) + "x.yaml")
	if len(patterns) > mostFiles || known {
		t.Errorf("%d patterns", len(patterns))
	}
	if !matches(patterns, "data/"+strings.Repeat("a/", 30)+"x.yaml") {
		t.Error("they match no file any more")
	}
}
