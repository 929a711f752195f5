package pipeline_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/notify"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// crier is a daemon that tells people of events by a program that writes them to a file, or does what the
// test puts in its place. Its clock is moved by hand.
type crier struct {
	*daemon
	hand *clock.Manual
	file string
	n    int
}

func newCrier(t *testing.T, change func(*config.Config)) *crier {
	t.Helper()
	g := newGround(t)
	c := &crier{hand: clock.NewManual(time.Date(2026, 11, 23, 2, 30, 0, 0, time.UTC)), file: filepath.Join(g.dir, "told")}
	g.now = c.hand.Now
	g.cfg.Notify = config.Notify{Command: []string{filepath.Join(g.dir, "tell"), "an argument; with $signs"}, Events: notify.Names(), Timeout: 20 * time.Second}
	if change != nil {
		change(&g.cfg)
	}
	c.daemon = &daemon{ground: g}
	c.program("cat >> " + c.file)
	c.daemon = g.daemon()
	return c
}

// program is what the command does.
func (c *crier) program(script string) {
	c.t.Helper()
	c.ground.file("tell", "#!/bin/sh\n"+script+"\n")
	if err := os.Chmod(filepath.Join(c.dir, "tell"), 0o755); err != nil {
		c.t.Fatal(err)
	}
}

// ran records a nightly run of main that came to this, an hour after the last one.
func (c *crier) ran(v verdict.Verdict, options ledger.RunOptions) {
	c.t.Helper()
	c.hand.Advance(time.Hour)
	c.n++
	now := c.hand.Now()
	r := ledger.Run{
		ID: fmt.Sprintf("run-%d", c.n), Kind: "nightly", Branch: "main", Commit: "c", State: ledger.Finished, Verdict: v,
		Reason: strings.Repeat("long ", 2000), Options: options, Created: now, Finished: now,
	}
	if err := c.parts.Ledger.CreateRun(c.t.Context(), r); err != nil {
		c.t.Fatal(err)
	}
}

// look watches and delivers, some times as a daemon does, and gives how many tries were made.
func (c *crier) look() (tried int) {
	c.t.Helper()
	for range 3 {
		if err := c.engine.Watch(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
		n, err := c.engine.Deliver(c.t.Context())
		if err != nil {
			c.t.Fatal(err)
		}
		tried += n
	}
	return tried
}

// heard gives the events that the program got since the last call.
func (c *crier) heard() (events []notify.Event) {
	c.t.Helper()
	text, err := os.ReadFile(c.file)
	if err != nil && !os.IsNotExist(err) {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var e notify.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			c.t.Fatalf("%v: %s", err, line)
		}
		if e.Version != 1 || e.Owner != owner || e.ID == "" || e.Summary == "" || e.At.IsZero() || len(line) > 20000 {
			c.t.Errorf("event %+v", e)
		}
		events = append(events, e)
	}
	_ = os.Remove(c.file)
	return events
}

func (c *crier) expect(when string, want ...string) []notify.Event {
	c.t.Helper()
	events := c.heard()
	var got []string
	for _, e := range events {
		got = append(got, e.Event)
	}
	if !slices.Equal(got, want) {
		c.t.Errorf("%s: told of %v, want %v", when, got, want)
	}
	return events
}

// A branch that turns red, or green again, is told of once; what does not speak for it is not.
func TestToldOfRedAndGreen(t *testing.T) {
	t.Parallel()
	c := newCrier(t, nil)
	c.ran(verdict.Passed, ledger.RunOptions{})
	c.look()
	c.expect("green from the beginning")
	c.ran(verdict.Failed, ledger.RunOptions{NoPromote: true})
	c.look()
	c.expect("a question that a person asked")
	c.ran(verdict.Failed, ledger.RunOptions{})
	c.look()
	if red := c.expect("red", notify.Red); len(red) == 1 && (red[0].Run == nil || red[0].Run.ID != "run-3" || red[0].Branch != "main" || red[0].Kind != "nightly" || len(red[0].Text) > 2100) {
		t.Errorf("event %+v", red[0])
	}
	c.ran(verdict.Failed, ledger.RunOptions{})
	c.ran(verdict.Inconclusive, ledger.RunOptions{})
	c.look()
	c.expect("still red")
	c.ran(verdict.Passed, ledger.RunOptions{})
	c.look()
	c.expect("green again", notify.Green)
	c.stop()
	c.daemon = c.ground.daemon()
	c.look()
	c.expect("after a restart")
	c.ran(verdict.Failed, ledger.RunOptions{})
	c.look()
	c.expect("red again", notify.Red)
}

// Two inconclusive runs in a row are told of, once for the whole series.
func TestToldOfInconclusive(t *testing.T) {
	t.Parallel()
	c := newCrier(t, nil)
	c.ran(verdict.Passed, ledger.RunOptions{})
	c.ran(verdict.Inconclusive, ledger.RunOptions{})
	c.look()
	c.expect("once")
	for range 3 {
		c.ran(verdict.Inconclusive, ledger.RunOptions{})
		c.look()
	}
	c.expect("four times", notify.Inconclusive)
	c.ran(verdict.Passed, ledger.RunOptions{})
	c.ran(verdict.Inconclusive, ledger.RunOptions{})
	c.ran(verdict.Inconclusive, ledger.RunOptions{})
	c.look()
	c.expect("another series", notify.Inconclusive)
}

// A tick that passes without a run is told of.
func TestToldOfMissedTicks(t *testing.T) {
	t.Parallel()
	c := newCrier(t, func(cfg *config.Config) {
		s := patient()
		s.Timezone = "UTC"
		cfg.Schedules = []config.Schedule{s}
	})
	tick := func(after time.Duration) {
		c.hand.Advance(after)
		_ = c.engine.Tick(t.Context()) // that the repository is away
	}
	tick(0)
	tick(48 * time.Hour) // the daemon was down; it is 2:30
	c.look()
	missed := c.expect("after two days", notify.Missed)
	if len(missed) == 1 && (missed[0].Schedule != "night" || missed[0].Ticks != 2 || missed[0].Tick == nil || missed[0].Tick.Day() != 24) {
		t.Errorf("event %+v", missed[0])
	}
	back := c.away()
	defer back()
	tick(30*time.Minute + time.Second)
	c.look()
	c.expect("at the tick")
	for range 90 {
		tick(time.Minute)
	}
	c.look()
	if missed := c.expect("an hour later", notify.Missed); len(missed) == 1 && !strings.Contains(missed[0].Text, "git") {
		t.Errorf("event %+v", missed[0])
	}
	tick(5 * time.Hour) // now it is too late, which is the same event
	c.look()
	c.expect("when the catch-up is over")
}

// A channel whose images are older than its objective is told of, once for each set.
func TestToldOfStaleChannels(t *testing.T) {
	t.Parallel()
	c := newCrier(t, func(cfg *config.Config) {
		cfg.Freshness = map[string]config.Age{"development": config.Age(36 * time.Hour)}
	})
	l := c.parts.Ledger
	promote := func(id string, version int64) {
		t.Helper()
		c.ran(verdict.Passed, ledger.RunOptions{})
		err := l.RecordSet(t.Context(), ledger.ImageSet{ID: id, Run: fmt.Sprintf("run-%d", c.n), Created: c.hand.Now()})
		if err == nil {
			err = l.RecordEvidence(t.Context(), ledger.Evidence{Set: id, Run: fmt.Sprintf("run-%d", c.n), Statement: []byte("{}")})
		}
		if err == nil {
			_, err = l.MoveChannel(t.Context(), ledger.Move{Channel: "development", To: id, Kind: ledger.Promote, Actor: "ada", At: c.hand.Now()}, version)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	after := func(d time.Duration, want ...string) []notify.Event {
		t.Helper()
		c.hand.Advance(d)
		c.look()
		return c.expect("after "+d.String(), want...)
	}
	after(35 * time.Hour)
	after(2*time.Hour, notify.Stale) // it never held anything
	promote("a", 0)
	after(35 * time.Hour)
	if stale := after(2*time.Hour, notify.Stale); len(stale) == 1 && (stale[0].Channel != "development" || stale[0].Set != "a" || stale[0].Objective != "36h0m0s" || stale[0].Built == nil) {
		t.Errorf("event %+v", stale[0])
	}
	after(100 * time.Hour)
	promote("b", 1)
	after(time.Hour)
	after(100*time.Hour, notify.Stale)
}

// A command that fails is tried a few times with growing pauses, and given up: no storm.
func TestNoticesThatCannotBeDelivered(t *testing.T) {
	t.Parallel()
	c := newCrier(t, nil)
	c.program("cat > /dev/null; yes 'a very long complaint' | head -c 100000 >&2; echo no more >&2; exit 3")
	c.ran(verdict.Failed, ledger.RunOptions{})
	tries := 0
	for range 24 * 60 {
		n, err := 0, c.engine.Watch(t.Context())
		if err == nil {
			n, err = c.engine.Deliver(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		tries += n
		c.hand.Advance(time.Minute)
	}
	all, err := c.parts.Ledger.Notices(t.Context(), 0)
	if err != nil || len(all) != 1 || tries != 4 {
		t.Fatalf("tried %d times: %+v, %v", tries, all, err)
	}
	if n := all[0]; n.State != ledger.NoticeFailed || n.Tries != 4 || !strings.HasSuffix(n.Error, "no more") || len(n.Error) > 2000 || !strings.Contains(n.Error, "exit status 3") {
		t.Errorf("notice %+v", n)
	}
}

// A command that hangs is ended with its children, and nothing that it does is awaited for longer.
func TestNoticeThatHangs(t *testing.T) {
	t.Parallel()
	c := newCrier(t, func(cfg *config.Config) { cfg.Notify.Timeout = time.Second })
	c.program("sleep 3600 & echo $! > " + c.file + ".child; wait")
	c.ran(verdict.Failed, ledger.RunOptions{})
	c.look()
	all, err := c.parts.Ledger.Notices(t.Context(), 0)
	if err != nil || len(all) != 1 || all[0].State != ledger.NoticePending || !strings.Contains(all[0].Error, "longer than 1s") {
		t.Fatalf("%+v, %v", all, err)
	}
	c.program("cat >> " + c.file)
	c.hand.Advance(2 * time.Minute)
	c.look()
	c.expect("when it works", notify.Red)
	child, err := os.ReadFile(c.file + ".child")
	if err != nil {
		t.Fatal(err)
	}
	c.until("the child to be gone", func() bool {
		state, err := os.ReadFile("/proc/" + strings.TrimSpace(string(child)) + "/stat")
		return err != nil || strings.Contains(string(state), ") Z ")
	})
}

// Without a command, and of what the configuration leaves out, nothing is recorded.
func TestNobodyIsTold(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*config.Config){
		"no command": func(cfg *config.Config) { cfg.Notify.Command = nil },
		"not of red": func(cfg *config.Config) { cfg.Notify.Events = []string{notify.Green} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCrier(t, change)
			c.ran(verdict.Failed, ledger.RunOptions{})
			c.look()
			if all, err := c.parts.Ledger.Notices(t.Context(), 0); err != nil || len(all) > 0 {
				t.Errorf("%+v, %v", all, err)
			}
		})
	}
}
