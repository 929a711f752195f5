package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("LEDGER_TEST_CHILD"); path != "" {
		os.Exit(child(path))
	}
	goleak.VerifyTestMain(m)
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// clock goes on by one second at every look.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) look() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Second)
	return c.now
}

func open(t *testing.T, path string) *Ledger {
	t.Helper()
	l, err := Open(t.Context(), path, WithClock((&clock{now: noon}).look))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func fresh(t *testing.T) *Ledger {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "state", "ledger.db"))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func get[T any](t *testing.T) func(v T, err error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		must(t, err)
		return v
	}
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func TestFilesAreOursAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a dir with ? and %20 in it")
	l := open(t, filepath.Join(dir, "ledger.db"))
	must(t, l.SaveEnvironment(t.Context(), Environment{ID: "e", State: Up, Sealed: []byte("s3cret")}))
	files, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
		info, err := f.Info()
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", f.Name(), info.Mode())
		}
	}
	for _, want := range []string{"ledger.db", "ledger.db-wal", "secrets.key"} {
		if !strings.Contains(strings.Join(names, " ")+" ", want+" ") {
			t.Errorf("no %s among %v", want, names)
		}
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	l := open(t, path)
	_, err := l.db.ExecContext(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)`)
	must(t, err)
	_, err = Open(t.Context(), path)
	if err == nil || !strings.Contains(err.Error(), "newer Hallmark") {
		t.Fatalf("error is %v, want one that names a newer Hallmark", err)
	}
}

func TestNoDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	must(t, os.WriteFile(path, bytes.Repeat([]byte("this is not a database. "), 100), 0o600))
	if _, err := Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("error is %v, want one that names %s", err, path)
	}
}

func TestStampsSortAsText(t *testing.T) {
	times := []time.Time{{}, noon, noon.Add(1), noon.Add(100 * time.Millisecond), noon.Add(time.Second), noon.In(time.FixedZone("x", -3600)).Add(time.Hour)}
	last := "-"
	for i, at := range times {
		v, err := stamp(at).Value()
		must(t, err)
		text := fmt.Sprint(v)
		if i > 1 && text <= last {
			t.Errorf("%s does not sort after %s", text, last)
		}
		last = text
		var back stamp
		must(t, back.Scan(v))
		if !time.Time(back).Equal(at) {
			t.Errorf("%v came back as %v", at, time.Time(back))
		}
	}
}

// Several processes share the file: daemon and command line. Each of them claims the same tick and
// moves the same channel once; exactly one of each may succeed, and every move must be counted.
func TestSeveralProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	const processes = 4
	outputs := make([]string, processes)
	var wg sync.WaitGroup
	for i := range processes {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), "LEDGER_TEST_CHILD="+path)
			out, err := cmd.CombinedOutput()
			outputs[i] = string(out)
			if err != nil {
				t.Errorf("child %d: %v\n%s", i, err, out)
			}
		})
	}
	wg.Wait()
	all := strings.Join(outputs, "")
	if n := strings.Count(all, "tick\n"); n != 1 {
		t.Errorf("the tick was claimed %d times, want once\n%s", n, all)
	}
	c := get[Channel](t)(open(t, path).Channel(t.Context(), "development"))
	if c.Version != processes*10 {
		t.Errorf("the channel is at version %d, want %d", c.Version, processes*10)
	}
}

func child(path string) int {
	ctx := context.Background()
	err := func() error {
		l, err := Open(ctx, path)
		if err != nil {
			return err
		}
		run := Run{ID: fmt.Sprintf("run-%d", os.Getpid()), Kind: "nightly", Branch: "main"}
		fired, err := l.FireTick(ctx, Tick{Schedule: "nightly"}, noon, []Firing{{Branch: "main", Run: &run}}, true)
		if err != nil {
			return err
		}
		if len(fired) > 0 {
			fmt.Println("tick")
		}
		for range 10 {
			for {
				c, err := l.Channel(ctx, "development")
				if err != nil {
					return err
				}
				_, err = l.MoveChannel(ctx, Move{Channel: "development", Kind: Rollback}, c.Version)
				if err == nil {
					break
				}
				if !errors.Is(err, ErrMoved) {
					return err
				}
			}
		}
		return l.Close()
	}()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}
