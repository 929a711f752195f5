package product

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/host"
)

// unitTested runs a command as the unit tests of a product with these files.
func unitTested(t *testing.T, files tree, command string, kernel ...memory) (dir string, c *checker, err error) {
	t.Helper()
	dir = t.TempDir()
	files.write(t, dir)
	c = &checker{product: &Product{Dir: dir, Commit: "c1", UnitTests: UnitTests{Command: command, Timeout: time.Minute}}, out: &bytes.Buffer{}}
	if len(kernel) > 0 {
		c.memory = func() memory {
			now := kernel[0]
			if len(kernel) > 1 {
				kernel = kernel[1:]
			}
			return now
		}
	}
	return dir, c, c.unitTests(t.Context())
}

// What unit tests change, add and remove stays in a copy: it is neither tested on servers nor found by the
// next run.
func TestUnitTestsWorkOnACopy(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	files := tree{"hallmark.yaml": "a", "app/site.php": "b", "tests/run": "#!/bin/sh\ntrue\n", ".git/HEAD": "ref"}
	dir, c, err := unitTested(t, files, `set -e
echo changed >hallmark.yaml; rm -r app; mkdir new; touch new/file; chmod 0 new
test -x tests/run; test "$(readlink link)" = tests/run; test ! -e .git
echo kept >$HOME/state; mktemp >&2`)
	wantProblems(t, c.problems, err, "unit tests: `"+c.product.UnitTests.Command+"` failed with exit status 1:\n")
	if err := os.Symlink("tests/run", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	c.problems = nil
	err = c.unitTests(t.Context())
	wantProblems(t, c.problems, err)
	for name, content := range files {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != content {
			t.Errorf("%s holds %q, %v", name, got, err)
		}
	}
	if present(filepath.Join(dir, "new")) {
		t.Error("a folder that unit tests made lies in the checkout")
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestUnitTestsOutputIsBounded(t *testing.T) {
	_, c, err := unitTested(t, nil, `echo first; head -c 1900000 /dev/zero | tr '\0' x; printf '\a\xff\nlast\n'; exit 1`)
	if err != nil || len(c.problems) != 1 {
		t.Fatal(err, c.problems)
	}
	said := c.problems[0].Message
	if len(said) > mostHead+mostTail+500 {
		t.Errorf("%d bytes go into the run's reason", len(said))
	}
	for _, want := range []string{":\nfirst\nxxx", "\n… 1891", " bytes left out …\n", "x\uFFFD\nlast"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in %.80s … %s", want, said, said[max(0, len(said)-80):])
		}
	}
}

func TestExcerpt(t *testing.T) {
	long := strings.Repeat("0123456789", 3000)
	for name, c := range map[string]struct {
		text, want string
	}{
		"short":    {"one\ntwo\n", "one\ntwo"},
		"as it is": {long[:mostHead+mostTail], long[:mostHead+mostTail]},
		"long":     {long, long[:mostHead] + "\n… 21808 bytes left out …\n" + long[len(long)-mostTail:]},
	} {
		var at1, atOnce excerpt
		for b := range strings.SplitSeq(c.text, "") {
			if n, err := at1.Write([]byte(b)); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}
		if _, err := atOnce.Write([]byte(c.text)); err != nil {
			t.Fatal(err)
		}
		if at1.String() != c.want || atOnce.String() != c.want {
			t.Errorf("%s: byte by byte %d bytes, at once %d, want %d", name, len(at1.String()), len(atOnce.String()), len(c.want))
		}
	}
}

// A command that something else ended says nothing about the product: an out-of-memory killer, by the kernel's
// own count, or a person. Its own faults are the product's.
func TestUnitTestsThatAreEnded(t *testing.T) {
	calm := []memory{{own: 3, host: 9}, {own: 3, host: 9}}
	for _, c := range []struct {
		name, command string
		kernel        []memory
		ours          string // in the error: nothing is said about the product
		theirs        string // in the problem
	}{
		{"killed for want of memory", "kill -KILL $$", []memory{{own: 3}, {own: 4}}, "out-of-memory killer ended a process of it", ""},
		{"a child killed for want of memory", "(kill -KILL $BASHPID); exit 1", []memory{{own: 3}, {own: 4}}, "out-of-memory killer ended a process of it", ""},
		{"killed, by the host's count", "kill -KILL $$", []memory{{host: 9}, {host: 10}}, "while the kernel's out-of-memory killer was at work", ""},
		{"a child killed, by the host's count", "(kill -KILL $BASHPID)", []memory{{host: 9}, {host: 10}}, "while the kernel's out-of-memory killer was at work", ""},
		{"killed on a starving host", "kill -KILL $$", []memory{{}, {stalled: time.Hour}}, "stood still for want of memory", ""},
		{"ends itself", "kill -TERM $$", calm, "", "failed with exit status 143"},
		{"kills itself", "kill -KILL $$", calm, "", "failed with exit status 137"},
		{"a child kills itself", "(kill -KILL $BASHPID)", calm, "", "failed with exit status 137"},
		{"a fault", "kill -SEGV $$", calm, "", "failed with exit status 139"},
		{"fails while others are killed", "exit 1", []memory{{host: 9}, {host: 10}}, "", "failed with exit status 1"},
		{"passes while a process of ours is killed", "true", []memory{{own: 3}, {own: 4}}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, checked, err := unitTested(t, nil, c.command, c.kernel...)
			switch {
			case c.ours != "":
				if err == nil || !strings.Contains(err.Error(), c.ours) || checked.problems != nil {
					t.Errorf("error is %v, problems %v", err, checked.problems)
				}
			case err != nil:
				t.Error(err)
			case c.theirs == "" && checked.problems != nil:
				t.Errorf("problems %v", checked.problems)
			case c.theirs != "" && (len(checked.problems) != 1 || !strings.Contains(checked.problems[0].Message, c.theirs)):
				t.Errorf("problems %v, want %q", checked.problems, c.theirs)
			}
		})
	}
}

func TestKernelCounters(t *testing.T) {
	file := filepath.Join(t.TempDir(), "memory.events")
	if err := os.WriteFile(file, []byte("low 1\noom 7\noom_kill 5\noom_group_kill 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := counter(file, "oom_kill"); n != 5 {
		t.Errorf("%d kills", n)
	}
	if n := counter(file+".none", "oom_kill"); n != 0 {
		t.Errorf("%d kills of no file", n)
	}
}

// On a host that gives work half of its time, unit tests have twice as long.
func TestUnitTestsHaveTheTimeThatTheHostGives(t *testing.T) {
	pace := &slow{}
	c := checker{product: &Product{Dir: t.TempDir(), UnitTests: UnitTests{Command: "sleep 1000", Timeout: 50 * time.Millisecond}}, out: &bytes.Buffer{}}
	err := c.unitTests(host.WithPace(t.Context(), pace))
	if err != nil || len(c.problems) != 1 || !strings.Contains(c.problems[0].Message, "did not end within 50ms") {
		t.Errorf("problems %v, %v", c.problems, err)
	}
	if pace.gave < 2 {
		t.Errorf("time was looked at %d times", pace.gave)
	}
}

// slow is a host that gives nothing until it is asked a second time.
type slow struct{ gave int }

func (s *slow) Given(since, until time.Time) time.Duration {
	if s.gave++; s.gave < 2 {
		return 0
	}
	return until.Sub(since)
}

func (s *slow) Stretch() float64 { return 2 }

func (s *slow) Since(time.Time) host.Strain { return host.Strain{} }
