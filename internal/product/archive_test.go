package product

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Servers get the files of a commit as git keeps them: attributes of the commit, of the repository and of the
// machine neither leave files out nor change them.
func TestArchiveHoldsEveryFile(t *testing.T) {
	s := newScratch(t)
	files := tree{
		".gitattributes": "tests export-ignore\nversion export-subst\n*.txt text eol=crlf ident\n",
		"tests/run":      "#!/bin/sh\necho tested\n", "version": "$Format:%H$\n", "a.txt": "$Id$\n", "secret": "as it is\n",
		"link": "-> tests/run", "with a space/\u00fcml\u00e4ut\n": "x", "empty": "",
		"big": strings.Repeat("0123456789", 20000),
	}
	commit := s.commit("first", files)
	if err := os.WriteFile(filepath.Join(s.dir, ".git/info/attributes"), []byte("secret export-ignore\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), commit)
	if err := s.open().Checkout(t.Context(), commit, dir); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		target, isLink := strings.CutPrefix(content, "-> ")
		if isLink {
			if got, err := os.Readlink(filepath.Join(dir, name)); err != nil || got != target {
				t.Errorf("%s links to %q, %v", name, got, err)
			}
			continue
		}
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != content {
			t.Errorf("%q holds %.80q, %v", name, got, err)
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && (info.Mode()&0o111 != 0) != strings.HasPrefix(content, "#!") {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	archive, err := os.Open(dir + ".tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "gunzip | git get-tar-commit-id")
	cmd.Stdin = archive
	if out, err := cmd.Output(); err != nil || strings.TrimSpace(string(out)) != commit {
		t.Errorf("the archive says that it is of commit %q, %v", out, err)
	}
}

// A submodule is an empty folder on servers, and told as what it is, also without a .gitmodules.
func TestSubmoduleIsTold(t *testing.T) {
	s := newScratch(t)
	first := s.commit("first", goodTree())
	s.git("update-index", "--add", "--cacheinfo", "160000,"+first+",puppet/modules/ntp")
	s.git("commit", "-q", "-m", "a submodule")
	commit := s.git("rev-parse", "HEAD")
	dir := filepath.Join(t.TempDir(), commit)
	if err := s.open().Checkout(t.Context(), commit, dir); err != nil {
		t.Fatal(err)
	}
	want := "puppet/modules/ntp: is a git repository of its own, so servers would get an empty folder; commit its files instead"
	if _, err := Load(dir, commit); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// What a crash, a full disk or a hand left of a checkout or an archive is found when it is read, and made anew.
func TestDamagedCheckoutIsMadeAnew(t *testing.T) {
	s := newScratch(t)
	files := goodTree()
	files["tests/run"], files["link"] = "#!/bin/sh\ntrue\n", "-> tests/run"
	commit := s.commit("first", files)
	r := s.open()
	dir := filepath.Join(t.TempDir(), commit)
	archive := dir + ".tar.gz"
	if err := r.Checkout(t.Context(), commit, dir); err != nil {
		t.Fatal(err)
	}
	sound, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, content []byte) func() error {
		return func() error { return os.WriteFile(name, content, 0o644) }
	}
	other := s.commit("second", tree{"x": "2"})
	ofOther := filepath.Join(t.TempDir(), "other.tar.gz")
	if err := r.Archive(t.Context(), other, ofOther); err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(ofOther)
	if err != nil {
		t.Fatal(err)
	}
	turned := bytes.Clone(sound)
	turned[len(turned)/2] ^= 1
	for name, damage := range map[string]func() error{
		"a file is gone":       func() error { return os.Remove(in("suites/build/web.yaml")) },
		"a folder is gone":     func() error { return os.RemoveAll(in("suites")) },
		"a file is cut":        write(in("suites/build/web.yaml"), nil),
		"a file is changed":    write(in("suites/smoke/all.yaml"), []byte("service: {ssh: {running: tru3}}\n")),
		"a file is more":       write(in("suites/build/db.yaml"), []byte("{}")),
		"a folder is more":     func() error { return os.Mkdir(in("new"), 0o755) },
		"a program is none":    func() error { return os.Chmod(in("tests/run"), 0o644) },
		"a link leads away":    func() error { return os.Remove(in("link")) },
		"a file for a link":    func() error { _ = os.Remove(in("link")); return os.WriteFile(in("link"), nil, 0o644) },
		"a file for a folder":  func() error { _ = os.RemoveAll(dir); return os.WriteFile(dir, nil, 0o644) },
		"no archive":           func() error { return os.Remove(archive) },
		"an empty archive":     write(archive, nil),
		"half an archive":      write(archive, sound[:len(sound)/2]),
		"an archive's end":     write(archive, sound[:len(sound)-3]),
		"a bit of an archive":  write(archive, turned),
		"another's archive":    write(archive, foreign),
		"nothing":              func() error { return nil },
		"neither of both":      func() error { _ = os.Remove(archive); return os.RemoveAll(dir) },
		"a changed file, both": func() error { _ = os.Remove(archive); return os.WriteFile(in("hallmark.yaml"), nil, 0o644) },
	} {
		if err := damage(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := r.Checkout(t.Context(), commit, dir); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if ok, err := unchanged(dir, archive); !ok || err != nil {
			t.Errorf("%s: the checkout is unchanged: %v, %v", name, ok, err)
		}
		if _, err := Load(dir, commit); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if now, err := os.ReadFile(archive); err != nil || !bytes.Equal(now, sound) {
			t.Errorf("%s: the archive is another one, %v", name, err)
		}
	}
	left, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(left) != 2 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// Code that git has no more, such as of a branch that was pushed anew, is still there.
func TestCheckoutOutlivesItsCommit(t *testing.T) {
	s := newScratch(t)
	commit := s.commit("first", goodTree())
	r := s.open()
	dir := filepath.Join(t.TempDir(), commit)
	if err := r.Checkout(t.Context(), commit, dir); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "hallmark.yaml"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.Checkout(t.Context(), commit, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir, commit); err != nil {
		t.Error(err)
	}
}
