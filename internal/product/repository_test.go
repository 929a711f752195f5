package product

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/config"
)

// scratch is a git repository to write to.
type scratch struct {
	t     *testing.T
	dir   string
	hours int
}

func newScratch(t *testing.T) *scratch {
	t.Helper()
	s := &scratch{t: t, dir: filepath.Join(t.TempDir(), "product")}
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.git("init", "-q", "-b", "main")
	return s
}

func (s *scratch) git(args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "git", args...)
	cmd.Dir = s.dir
	at := time.Date(2026, 11, 23, s.hours, 0, 0, 0, time.UTC).Format(time.RFC3339)
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.org", "GIT_AUTHOR_DATE="+at,
		"GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.org", "GIT_COMMITTER_DATE="+at,
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit writes files and commits them; it gives the commit.
func (s *scratch) commit(message string, files tree) string {
	s.t.Helper()
	files.write(s.t, s.dir)
	s.hours++
	s.git("add", "-A")
	s.git("commit", "-q", "--allow-empty", "-m", message)
	return s.git("rev-parse", "HEAD")
}

func (s *scratch) open() *Repository {
	s.t.Helper()
	r, err := Open(s.t.Context(), config.Product{Repository: s.dir}, filepath.Join(s.t.TempDir(), "state", "mirror"))
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func wantWrong(t *testing.T, err error, dir, want string) {
	t.Helper()
	var problem *config.Error
	if !errors.As(err, &problem) {
		t.Fatalf("error is %v, want a config.Error", err)
	}
	if got := strings.ReplaceAll(err.Error(), dir, "REPO"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestOpenWrongDirectory(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(t.Context(), config.Product{Repository: dir}, filepath.Join(t.TempDir(), "mirror"))
	wantWrong(t, err, dir, "REPO: is no git repository; give the directory of one, or make it one with `git init` and a commit")
	_, err = Open(t.Context(), config.Product{Repository: dir + "/none"}, filepath.Join(t.TempDir(), "mirror"))
	wantWrong(t, err, dir, "REPO/none: cannot be read: no such file or directory; give the directory of a git repository")
}

func TestHead(t *testing.T) {
	s := newScratch(t)
	r := s.open()
	_, err := r.Head(t.Context(), "main")
	wantWrong(t, err, s.dir, "REPO: branch main: has no commits; commit the product to it first")

	first := s.commit("first", goodTree())
	s.git("branch", "release/1.0")
	second := s.commit("second", tree{"x": "2"})
	for branch, want := range map[string]string{"main": second, "release/1.0": first} {
		if got, err := r.Head(t.Context(), branch); err != nil || got != want {
			t.Errorf("head of %s is %s, %v, want %s", branch, got, err, want)
		}
	}
	_, err = r.Head(t.Context(), "mian")
	wantWrong(t, err, s.dir, "REPO: branch mian: does not exist; did you mean main?")
	_, err = r.Head(t.Context(), "--help")
	wantWrong(t, err, s.dir, "REPO: branch --help: does not exist; use one of: main, release/1.0")
	if got, err := r.Commit(t.Context(), first[:8]); err != nil || got != first {
		t.Errorf("commit is %s, %v", got, err)
	}
	_, err = r.Commit(t.Context(), "deadbeef")
	wantWrong(t, err, s.dir, "REPO: commit deadbeef: does not exist; give a branch, a tag or a commit's id")
	if got, err := r.Branches(t.Context()); err != nil || !reflect.DeepEqual(got, []string{"main", "release/1.0"}) {
		t.Errorf("branches are %q, %v", got, err)
	}
}

// A branch is named by its name. What git would also understand is another commit, recorded under a branch
// that there is not.
func TestHeadKnowsBranchesOnly(t *testing.T) {
	s := newScratch(t)
	first := s.commit("first", goodTree())
	s.git("branch", "release/1.0")
	s.commit("second", tree{"x": "2"})
	s.git("tag", "v1")
	for _, name := range []string{"main~1", "main^", "main@{0}", "heads/main", "refs/heads/main", "v1", first, "release", "release/*", "../heads/main", "-x", "", "main\n", "ma in"} {
		if got, err := s.open().Head(t.Context(), name); err == nil {
			t.Errorf("branch %q has head %s", name, got)
		}
	}
}

// However a commit is named, what comes of it is its full id; what names none, or several, is refused.
func TestCommitIsAFullID(t *testing.T) {
	s := newScratch(t)
	first := s.commit("first", goodTree())
	s.git("branch", "release/1.0")
	s.git("tag", "-a", "-m", "one", "v1")
	second := s.commit("second", tree{"x": "2"})
	r := s.open()
	for name, want := range map[string]string{
		"main": second, "main~1": first, "release/1.0": first, "v1": first, first[:7]: first, strings.ToUpper(first): first, second: second,
	} {
		if got, err := r.Commit(t.Context(), name); err != nil || got != want || !IsCommitID(got) {
			t.Errorf("%q is %s, %v, want %s", name, got, err, want)
		}
	}
	for _, name := range []string{"", "-x", "--all", "../../etc", "main..release/1.0", "main:hallmark.yaml", "ma in", first[:2]} {
		if got, err := r.Commit(t.Context(), name); err == nil {
			t.Errorf("%q is %s", name, got)
		}
	}
	for _, text := range []string{first[:39], first + "0", "main", "", strings.ToUpper(first), first + "\n", "../" + first[3:]} {
		if IsCommitID(text) {
			t.Errorf("%q is taken for a full id", text)
		}
	}
}

func TestContainsAndOnBranch(t *testing.T) {
	s := newScratch(t)
	first := s.commit("first", goodTree())
	s.git("checkout", "-q", "-b", "release/1.0")
	fix := s.commit("fix", tree{"x": "fix"})
	s.git("checkout", "-q", "main")
	second := s.commit("second", tree{"x": "2"})
	r := s.open()
	gone := strings.Repeat("0", 40)
	for _, c := range []struct {
		newer, older string
		want         bool
	}{{second, first, true}, {first, first, true}, {first, second, false}, {second, fix, false}, {second, gone, false}, {gone, first, false}} {
		if got, err := r.Contains(t.Context(), c.newer, c.older); err != nil || got != c.want {
			t.Errorf("%s contains %s: %v, %v", c.newer, c.older, got, err)
		}
	}
	for branch, want := range map[string]bool{"main": false, "release/1.0": true} {
		if got, err := r.OnBranch(t.Context(), fix, branch); err != nil || got != want {
			t.Errorf("the fix is on %s: %v, %v", branch, got, err)
		}
	}
	if _, err := r.OnBranch(t.Context(), fix, "none"); err == nil {
		t.Error("a branch that does not exist has commits")
	}
}

func TestLiveReleases(t *testing.T) {
	s := newScratch(t)
	s.commit("first", goodTree())
	for _, b := range []string{"release/1.10", "release/1.9", "release/0.9", "release/2/x", "feature"} {
		s.git("branch", b)
	}
	got, err := s.open().LiveReleases(t.Context(), "release/*", []string{"release/0.9"})
	if want := []string{"release/1.9", "release/1.10"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("live are %q, %v, want %q", got, err, want)
	}
}

func TestLog(t *testing.T) {
	s := newScratch(t)
	first := s.commit("first", goodTree())
	s.commit("web: more workers; \x1b[31mred", tree{"x": "2"})
	third := s.commit("third", tree{"x": "3"})
	r := s.open()
	changes, err := r.Log(t.Context(), first, third, 10)
	if err != nil {
		t.Fatal(err)
	}
	if len(changes) != 2 || changes[0].Commit != third || changes[0].Author != "Ann" || changes[0].At.Hour() != 3 {
		t.Errorf("changes are %+v", changes)
	}
	if all, err := r.Log(t.Context(), "", third, 2); err != nil || len(all) != 2 {
		t.Errorf("history is %+v, %v", all, err)
	}
	if none, err := r.Log(t.Context(), third, third, 2); err != nil || none != nil {
		t.Errorf("nothing changed, but %+v, %v", none, err)
	}
}

func TestCheckout(t *testing.T) {
	s := newScratch(t)
	files := goodTree()
	files["tests/run"] = "#!/bin/sh\ntrue\n"
	commit := s.commit("first", files)
	if err := os.Symlink("run", filepath.Join(s.dir, "tests/link")); err != nil {
		t.Fatal(err)
	}
	linked := s.commit("link", nil)
	(tree{"hallmark.yaml": "not committed"}).write(t, s.dir)
	r := s.open()
	t.Setenv("GIT_DIR", "/nowhere") // as inside a hook

	dir := filepath.Join(t.TempDir(), "products", linked)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := r.Checkout(t.Context(), linked, dir); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if p, err := Load(dir, linked); err != nil || p.Name != "acme" {
		t.Errorf("loaded %+v, %v", p, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "tests/link")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the executable is %v, %v", info, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "hallmark.yaml")); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("a file is %v, %v", info, err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(dir), ".new-*")); err != nil || left != nil {
		t.Errorf("left over: %q, %v", left, err)
	}
	if err := r.Checkout(t.Context(), "v9", filepath.Join(t.TempDir(), "x")); err == nil {
		t.Error("an unknown commit was checked out")
	}

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	other := filepath.Join(t.TempDir(), "y")
	if err := r.Checkout(cancelled, commit, other); err == nil || present(other) {
		t.Errorf("cancelled, but: %v", err)
	}
}

func TestArchiveIsDeterministic(t *testing.T) {
	s := newScratch(t)
	commit := s.commit("first", goodTree())
	r := s.open()
	var sums [2][32]byte
	for i := range sums {
		file := filepath.Join(t.TempDir(), "a", "p.tar.gz")
		if err := r.Archive(t.Context(), commit, file); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sums[i] = sha256.Sum256(data)
		out, err := exec.CommandContext(t.Context(), "tar", "-tzf", file).Output()
		if err != nil || !strings.Contains("\n"+string(out), "\nhallmark.yaml\n") {
			t.Errorf("archive holds %q, %v", out, err)
		}
	}
	if sums[0] != sums[1] {
		t.Errorf("the archive differs: %x, %x", sums[0], sums[1])
	}
	if err := r.Archive(t.Context(), "main", "/dev/null/x"); err == nil {
		t.Error("an archive was written to nowhere")
	}
}
