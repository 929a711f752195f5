package product

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/config"
)

// hostile commits the hostile product as a repository of nobody's, and gives a checkout of it.
func hostile(t *testing.T) (dir, commit string) {
	t.Helper()
	s := &scratch{t: t, dir: filepath.Join(place(t), "product")}
	if err := os.CopyFS(s.dir, os.DirFS("testdata/hostile")); err != nil {
		t.Fatal(err)
	}
	s.git("init", "-q", "-b", "main")
	s.git("add", "-A")
	s.git("add", "--chmod=+x", "tests/run", "tests/forks", "tests/prints", "tests/fills", "tests/eats")
	s.git("commit", "-q", "-m", "hostile")
	commit = s.git("rev-parse", "HEAD")
	give(t, s.dir, nobody)
	r, err := Open(t.Context(), config.Product{Repository: s.dir}, filepath.Join(t.TempDir(), "mirror"))
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), commit)
	if err := r.Checkout(t.Context(), commit, dir); err != nil {
		t.Fatal(err)
	}
	return dir, commit
}

// A hostile commit goes through the whole check stage, by way of the mirror and the checkout: every attempt is
// refused, its verdict is that of its tests, nothing of it runs any more, and its checkout is as it was.
func TestHostileProduct(t *testing.T) {
	needPuppet(t)
	dir, commit := hostile(t)
	before := manifest(t, dir)
	t.Setenv("HALLMARK_SECRET", "s3cret")
	secret := filepath.Join(place(t), "ledger.db") // readable for all, and yet not there
	if err := os.WriteFile(secret, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	mark := strconv.Itoa(6_000_000 + os.Getpid())
	p, err := Load(dir, commit)
	if err != nil {
		t.Fatal(err)
	}
	p.UnitTests.Command = "SEEK_PORT=" + port + " SEEK_MARK=" + mark + " tests/run"
	var out bytes.Buffer
	problems, err := Check(t.Context(), p, &out)
	wantProblems(t, problems, err)
	script, err := os.ReadFile("testdata/hostile/tests/run")
	if err != nil {
		t.Fatal(err)
	}
	attempts := bytes.Count(script, []byte("\ntry '"))
	if refused := strings.Count(out.String(), "refused  "); refused != attempts || attempts < 30 || strings.Contains(out.String(), "DONE") {
		t.Errorf("%d of %d attempts were refused:\n%s", refused, attempts, out.String())
	}
	if text, err := exec.CommandContext(t.Context(), "pgrep", "-f", "^sleep "+mark).Output(); err == nil {
		t.Errorf("a process of it still runs: %s", text)
	}
	if after := manifest(t, dir); after != before {
		t.Errorf("the checkout was\n%s\nand is\n%s", before, after)
	}
}

// manifest lists the files of a folder with what they hold.
func manifest(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		all.WriteString(name + " " + info.Mode().String())
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			all.Write(text)
		}
		all.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// Programs that take all they can get are the product's failure, told as what it is, in bounded time and text.
func TestHostilePrograms(t *testing.T) {
	dir, commit := hostile(t)
	for program, want := range map[string]string{
		"tests/forks": "did not end within ", "tests/prints": "printed more than 16 MiB", "tests/fills": "", "tests/eats": "used more than 2048 MiB of memory",
	} {
		timeout := time.Minute
		if program == "tests/forks" {
			timeout = 5 * time.Second
		}
		var out counter64
		c := checker{product: &Product{Dir: dir, Commit: commit, UnitTests: UnitTests{Command: program, Timeout: timeout}}, out: &out}
		err := c.unitTests(t.Context())
		switch {
		case err != nil:
			t.Errorf("%s: %v", program, err)
		case want == "" && len(c.problems) > 0, want != "" && (len(c.problems) != 1 || !strings.Contains(c.problems[0].Message, "`"+program+"` "+want)):
			t.Errorf("%s: %.500v", program, c.problems)
		}
		if out > 17<<20 {
			t.Errorf("%s: %d bytes came out", program, out)
		}
		if len(c.problems) == 1 && (len(c.problems[0].Message) > mostHead+mostTail+500 || strings.ContainsAny(c.problems[0].Message, "\x1b\x00")) {
			t.Errorf("%s: its text is %.100q", program, c.problems[0].Message)
		}
		if text, err := exec.CommandContext(t.Context(), "pgrep", "-f", program).Output(); err == nil {
			t.Errorf("%s: a process of it still runs: %s", program, text)
		}
	}
}

// counter64 counts what is written to it.
type counter64 int64

func (c *counter64) Write(p []byte) (int, error) {
	*c += counter64(len(p))
	return len(p), nil
}

// What the files of a commit say about git, and where its links lead, is told as wrong and followed by nobody.
func TestHostileFiles(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		".gitattributes":         {"* filter=x\nhallmark.yaml export-ignore\n", ".gitattributes:1: filter: would need a filter"},
		".gitmodules":            {"[submodule \"x\"]\n\tpath = x\n\turl = ext::sh -c id\n", ".gitmodules:2: submodule x is not fetched"},
		"puppet/data/big.bin":    {"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "puppet/data/big.bin: is a pointer of Git LFS"},
		"puppet/link":            {"-> /etc/shadow", "puppet/link: links to /etc/shadow, which is not in the repository"},
		"suites/build/web.yaml":  {"-> ../../../../../../etc/shadow", "links to ../../../../../../etc/shadow"},
		"release/procedure.yaml": {"-> /etc/shadow", "release/procedure.yaml: links to /etc/shadow"},
		"puppet/hiera.yaml":      {"a: &a [*a]\n", "puppet/hiera.yaml"},
	} {
		s := newScratch(t)
		if err := os.CopyFS(s.dir, os.DirFS("testdata/hostile")); err != nil {
			t.Fatal(err)
		}
		commit := s.commit("one", tree{name: c.text})
		dir := filepath.Join(t.TempDir(), commit)
		if err := s.open().Checkout(t.Context(), commit, dir); err != nil {
			t.Fatal(err)
		}
		p, err := Load(dir, commit)
		if err == nil {
			k := checker{product: p, out: &bytes.Buffer{}}
			if err = k.hiera(t.Context()); err == nil && len(k.problems) > 0 {
				err = errors.New(k.problems[0].String())
			}
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
