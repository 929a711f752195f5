package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/hallmark-ci/hallmark/internal/host"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

func newSession(t *testing.T, change func(*behaviour)) (*sshd, Session) {
	t.Helper()
	key := newSigner(t)
	web := startSSHD(t, "testadmin", key.PublicKey())
	if change != nil {
		web.set(change)
	}
	s, err := Direct(t.Context(), web.server("web-1", "testadmin", key), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return web, s
}

func TestRun(t *testing.T) {
	_, s := newSession(t, nil)
	big := bytes.Repeat([]byte("0123456789abcdef"), 200<<10)
	for _, test := range []struct {
		name string
		cmd  Command
		want Result
	}{
		{"streams and exit code", Command{Line: "echo out; echo err >&2; exit 3"}, Result{Exit: 3, Stdout: []byte("out\n"), Stderr: []byte("err\n")}},
		{"quotes", Command{Line: `x='a  "b"'; echo "it's $x \$y" '$z'`}, Result{Stdout: []byte("it's a  \"b\" $y $z\n")}},
		{"several lines", Command{Line: "cat <<E\none\ntwo\nE\n"}, Result{Stdout: []byte("one\ntwo\n")}},
		{"not root", Command{Line: "echo [$AS_ROOT]"}, Result{Stdout: []byte("[]\n")}},
		{"root", Command{Line: "echo [$AS_ROOT]", Sudo: true}, Result{Stdout: []byte("[yes]\n")}},
		{"no input", Command{Line: "cat; echo end"}, Result{Stdout: []byte("end\n")}},
		{"input", Command{Line: "tr a-z A-Z", Stdin: strings.NewReader("hello\n0\n5\n")}, Result{Stdout: []byte("HELLO\n0\n5\n")}},
		{"input in bits", Command{Line: "cat", Stdin: iotest.OneByteReader(strings.NewReader("a\x00b\n"))}, Result{Stdout: []byte("a\x00b\n")}},
		{"much input", Command{Line: "wc -c", Stdin: bytes.NewReader(big)}, Result{Stdout: fmt.Appendf(nil, "%d\n", len(big))}},
		{"input that nobody reads", Command{Line: "exec <&-; echo end", Stdin: bytes.NewReader(big)}, Result{Stdout: []byte("end\n")}},
		{"the last bytes are kept", Command{Line: "seq 1 1000; echo e >&2", Bound: 10}, Result{Stdout: []byte("\n999\n1000\n"), Stderr: []byte("e\n"), Truncated: true}},
		{"killed by a signal", Command{Line: "kill -9 $$"}, Result{Exit: 137}},
		{"interrupts are not ignored", Command{Line: "kill -INT $$; echo survived"}, Result{Exit: 130}},
		{"no such command", Command{Line: "nonesuch 2>/dev/null"}, Result{Exit: 127}},
		{"nothing of ours is inherited", Command{Line: "cd /proc/self/fd; for n in 3 4 5 6 7 8 9 10; do [ ! -e $n ] || [ ! -p $n ] || echo $n; done"}, Result{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var streamed bytes.Buffer
			test.cmd.Output = &streamed
			test.cmd.Timeout = time.Minute
			r, err := s.Run(t.Context(), test.cmd)
			if err != nil {
				t.Fatal(err)
			}
			if r.Exit != test.want.Exit || !bytes.Equal(r.Stdout, test.want.Stdout) || !bytes.Equal(r.Stderr, test.want.Stderr) || r.Truncated != test.want.Truncated {
				t.Errorf("exit %d, stdout %q, stderr %q, truncated %v\nwant %d, %q, %q, %v", r.Exit, r.Stdout, r.Stderr, r.Truncated,
					test.want.Exit, test.want.Stdout, test.want.Stderr, test.want.Truncated)
			}
			if !r.Truncated && streamed.Len() != len(r.Stdout)+len(r.Stderr) {
				t.Errorf("streamed %q", streamed.Bytes())
			}
		})
	}
}

// Output comes while the command runs: it goes on only when its first words were heard.
func TestOutputComesAsItIsSaid(t *testing.T) {
	_, s := newSession(t, nil)
	in, answer := io.Pipe()
	heard := writerFunc(func(p []byte) {
		if strings.Contains(string(p), "ready?") {
			go func() { _, _ = answer.Write([]byte("yes\n")); answer.Close() }()
		}
	})
	r, err := s.Run(t.Context(), Command{Line: "echo ready?; read x; echo got $x", Stdin: in, Output: heard, Timeout: time.Minute})
	if err != nil || string(r.Stdout) != "ready?\ngot yes\n" {
		t.Errorf("%q, %v", r.Stdout, err)
	}
}

// stubborn is a command with a child, both of which take no notice of SIGTERM. It says so, and their
// process group.
const stubborn = "trap '' TERM; sleep 1000 & echo $$; wait"

// group reads the process group from a command's output and tells once it is known.
type group struct {
	known chan int
	once  sync.Once
}

func (g *group) Write(p []byte) (int, error) {
	var id int
	if n, _ := fmt.Sscan(string(p), &id); n == 1 {
		g.once.Do(func() { g.known <- id })
	}
	return len(p), nil
}

// wait is for a command that has ended.
func (g *group) wait(t *testing.T) int {
	t.Helper()
	select {
	case id := <-g.known:
		return id
	default:
		t.Fatal("the command never came to say its process group")
		return 0
	}
}

// running reports whether a process of the group still runs. Zombies don't: they wait for init.
func running(id int) bool {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		stat, _ := os.ReadFile(file)
		_, after, _ := strings.Cut(string(stat), ") ")
		var state string
		var parent, of int
		if n, _ := fmt.Sscan(after, &state, &parent, &of); n == 3 && of == id && state != "Z" {
			return true
		}
	}
	return false
}

// slow is a host on which everything takes twice as long.
type slow struct{}

func (slow) Given(since, until time.Time) time.Duration { return until.Sub(since) / 2 }
func (slow) Since(time.Time) host.Strain                { return host.Strain{} }
func (slow) Stretch() float64                           { return 2 }

func TestATimeoutEndsAllProcesses(t *testing.T) {
	for _, sudo := range []bool{false, true} {
		_, s := newSession(t, nil)
		g := &group{known: make(chan int, 1)}
		ctx, least := t.Context(), time.Second
		if sudo { // it makes no difference to how a command ends
			ctx, least = host.WithPace(ctx, slow{}), 2*time.Second
		}
		began := time.Now()
		r, err := s.Run(ctx, Command{Line: stubborn, Sudo: sudo, Output: g, Timeout: time.Second})
		wantCause(t, err, verdict.TestTimeout)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "was ended: its time of 1s was over") {
			t.Errorf("error %v", err)
		}
		if took := time.Since(began); took < least {
			t.Errorf("it had %s, want %s", took, least)
		}
		id := g.wait(t)
		if running(id) || string(r.Stdout) != fmt.Sprintln(id) {
			t.Errorf("group %d still runs; stdout %q", id, r.Stdout)
		}
		if r, err := s.Run(t.Context(), Command{Line: "echo fine"}); err != nil || string(r.Stdout) != "fine\n" {
			t.Errorf("the session went with the command: %v", err)
		}
	}
}

// The guard itself hangs then: it has input to deliver before it sees the end.
func TestATimeoutEndsACommandThatDoesNotReadItsInput(t *testing.T) {
	if testing.Short() {
		t.Skip("waits 8 s for the guard first")
	}
	_, s := newSession(t, nil)
	g := &group{known: make(chan int, 1)}
	_, err := s.Run(t.Context(), Command{
		Line: "echo $$; sleep 1000", Output: g, Timeout: time.Second,
		Stdin: bytes.NewReader(make([]byte, 8<<20)),
	})
	wantCause(t, err, verdict.TestTimeout)
	if id := g.wait(t); running(id) || !strings.Contains(err.Error(), "was ended") {
		t.Errorf("group %d still runs, or so it says: %v", id, err)
	}
}

func TestACancelledCommandIsEnded(t *testing.T) {
	_, s := newSession(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	g := &group{known: make(chan int, 1)}
	ids := make(chan int, 1)
	go func() {
		id := <-g.known
		ids <- id
		cancel()
	}()
	_, err := s.Run(ctx, Command{Line: "echo $$; sleep 1000", Output: g})
	wantCause(t, err, verdict.Cancelled)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if id := <-ids; running(id) {
		t.Errorf("group %d still runs", id)
	}
}

func TestABrokenConnectionEndsTheCommand(t *testing.T) {
	web, s := newSession(t, nil)
	g := &group{known: make(chan int, 1)}
	ids := make(chan int, 1)
	go func() {
		ids <- <-g.known
		web.drop()
	}()
	_, err := s.Run(t.Context(), Command{Line: "echo $$; cat >/dev/null; sleep 1000", Output: g})
	wantCause(t, err, verdict.Transport)
	id := <-ids
	web.stop() // which waits for its commands
	if running(id) {
		t.Errorf("group %d still runs", id)
	}
}

func TestAnOrphanDoesNotHoldACommand(t *testing.T) {
	_, s := newSession(t, nil)
	started := time.Now()
	r, err := s.Run(t.Context(), Command{Line: "sleep 6 & echo bye"})
	if err != nil || string(r.Stdout) != "bye\n" {
		t.Errorf("%q, %v", r.Stdout, err)
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("waited %v for an orphan", took)
	}
}

func TestSudoThatRefuses(t *testing.T) {
	_, s := newSession(t, func(b *behaviour) {
		b.path = fakeSudo(t, "echo 'sudo: a password is required' >&2; exit 1")
	})
	secret := strings.NewReader("secret")
	_, err := s.Run(t.Context(), Command{Line: "id", Sudo: true, Stdin: secret})
	wantCause(t, err, verdict.ServerSudo)
	wantLeg(t, err, verdict.LegSudo)
	if !strings.Contains(err.Error(), "sudo: a password is required") {
		t.Errorf("error %v", err)
	}
	if secret.Len() != 6 {
		t.Error("input was sent though nothing was there to take it")
	}
	// What looks like a refusal, but is the command's own, is a result.
	r, err := s.Run(t.Context(), Command{Line: "sudo id"})
	if err != nil || r.Exit != 1 {
		t.Errorf("exit %d, %v", r.Exit, err)
	}
}

// sudo writes its arguments to the server's log, where an admin reads them: they are the command, and
// nothing of what ends it with its connection.
func TestSudoIsGivenTheCommandAlone(t *testing.T) {
	record := filepath.Join(t.TempDir(), "record")
	_, s := newSession(t, func(b *behaviour) {
		b.path = fakeSudo(t, "printf '%s\\n' \"$*\" >>"+record+"\nshift 2; exec \"$@\"")
	})
	if r, err := s.Run(t.Context(), Command{Line: "systemctl is-active nginx || true", Sudo: true}); err != nil || r.Exit != 0 {
		t.Fatalf("exit %d, %v", r.Exit, err)
	}
	got, err := os.ReadFile(record)
	if want := "-n -- bash -s -- systemctl is-active nginx || true\n"; err != nil || string(got) != want {
		t.Errorf("sudo was given %q, %v; want %q", got, err, want)
	}
}

func TestAServerThatRunsNothing(t *testing.T) {
	_, s := newSession(t, func(b *behaviour) { b.noExec = true })
	_, err := s.Run(t.Context(), Command{Line: "id"})
	wantCause(t, err, verdict.ServerLogin)
	wantLeg(t, err, verdict.LegShell)
}

func TestAShellThatIsNone(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"bash"} {
		script := "#!/bin/sh\necho This account is currently not available.; exit 1\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	_, s := newSession(t, func(b *behaviour) { b.path = dir + ":" + os.Getenv("PATH") })
	_, err := s.Run(t.Context(), Command{Line: "id"})
	wantCause(t, err, verdict.ServerLogin)
	wantLeg(t, err, verdict.LegShell)
	if !strings.Contains(err.Error(), "not available") {
		t.Errorf("error %v", err)
	}
}

func TestCommandsThatCannotBeSent(t *testing.T) {
	_, s := newSession(t, nil)
	for _, line := range []string{"echo a\x00b", strings.Repeat("x", maxLine+1)} {
		_, err := s.Run(t.Context(), Command{Line: line})
		wantCause(t, err, verdict.Unexplained)
	}
	r, err := s.Run(t.Context(), Command{Line: "echo " + strings.Repeat("'", 20<<10) + " | wc -c"})
	if err != nil || r.Exit != 0 {
		t.Errorf("a long line full of quotes: exit %d, %v", r.Exit, err)
	}
}

func TestCommandsTakeTurns(t *testing.T) {
	web, s := newSession(t, nil)
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			if r, err := s.Run(t.Context(), Command{Line: "sleep 0.01"}); err != nil || r.Exit != 0 {
				t.Errorf("exit %d, %v", r.Exit, err)
			}
		})
	}
	wg.Wait()
	if web.most > 2*maxSessions {
		t.Errorf("%d sessions at a time", web.most)
	}
}

func TestInputThatFails(t *testing.T) {
	_, s := newSession(t, nil)
	g := &group{known: make(chan int, 1)}
	var id int
	_, err := s.Run(t.Context(), Command{
		Line: "echo $$; cat; sleep 1000", Output: g,
		Stdin: io.MultiReader(strings.NewReader("some"), readerFunc(func() error {
			id = <-g.known
			return io.ErrUnexpectedEOF
		})),
	})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
	if running(id) {
		t.Errorf("group %d still runs", id)
	}
}

func FuzzQuote(f *testing.F) {
	f.Add("it's")
	f.Add("$(echo no) `no` \"\\ \n*")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsRune(text, 0) {
			t.Skip("no argument has a NUL in it")
		}
		out, err := exec.Command("sh", "-c", "printf %s "+Quote(text)).Output()
		if err != nil || string(out) != text {
			t.Errorf("%q came out as %q, %v", text, out, err)
		}
	})
}
