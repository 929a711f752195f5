package pipeline_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// calendar is a daemon whose clock a test moves by hand and whose runs only check the product: they
// fail, as soon as let lets them.
type calendar struct {
	*daemon
	hand *clock.Manual
	gate chan struct{} // runs wait until it is closed, and fail then
}

func newCalendar(t *testing.T, schedules ...config.Schedule) *calendar {
	t.Helper()
	g := newGround(t)
	c := &calendar{hand: clock.NewManual(time.Date(2026, 11, 23, 2, 30, 0, 0, time.UTC)), gate: make(chan struct{})}
	g.now = c.hand.Now
	for i := range schedules {
		s := schedules[i]
		schedules[i].Default()
		schedules[i].Name, schedules[i].Kind, schedules[i].Branch, schedules[i].Cron = s.Name, s.Kind, s.Branch, s.Cron
		if s.Overlap != "" {
			schedules[i].Overlap = s.Overlap
		}
		schedules[i].CatchUp = s.CatchUp
	}
	g.cfg.Schedules = schedules
	g.ensure = func() error {
		<-c.gate
		return verdict.Errorf(verdict.CheckFailed, "", "the calendar lets no run pass")
	}
	t.Cleanup(c.open)
	c.daemon = g.daemon()
	c.tick()
	return c
}

// let ends the runs at work, and all that come.
func (c *calendar) let() {
	c.t.Helper()
	c.open()
	for _, r := range c.runs() {
		c.await(r.ID)
	}
}

func (c *calendar) open() {
	select {
	case <-c.gate:
	default:
		close(c.gate)
	}
}

func (c *calendar) tick() {
	c.t.Helper()
	if err := c.engine.Tick(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
}

// at moves the clock to a time of this or the next day and ticks twice there.
func (c *calendar) at(hour, minute int) {
	c.t.Helper()
	now := c.hand.Now()
	then := time.Date(now.Year(), now.Month(), now.Day(), hour, minute, 1, 0, time.UTC)
	if !then.After(now) {
		then = then.Add(24 * time.Hour)
	}
	c.hand.Advance(then.Sub(now))
	c.tick()
	c.tick()
}

// runs lists all runs, oldest first.
func (c *calendar) runs() []ledger.Run {
	c.t.Helper()
	runs, err := c.parts.Ledger.Runs(c.t.Context(), ledger.RunFilter{})
	if err != nil {
		c.t.Fatal(err)
	}
	slices.Reverse(runs)
	return runs
}

func (c *calendar) expect(when string, want ...string) {
	c.t.Helper()
	var got []string
	for _, r := range c.runs() {
		got = append(got, r.Kind+" "+r.Branch)
		if r.Actor != "schedule "+r.Trigger {
			c.t.Errorf("actor %q of trigger %q", r.Actor, r.Trigger)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		c.t.Errorf("%s: runs %q, want %q", when, got, want)
	}
}

func nightly(overlap string) config.Schedule {
	return config.Schedule{Name: "night", Kind: pipeline.Nightly, Cron: "0 3 * * *", Overlap: overlap}
}

func TestScheduleFiresOnce(t *testing.T) {
	t.Parallel()
	c := newCalendar(t, nightly(""))
	c.at(2, 59)
	c.expect("before its time")
	c.at(3, 0)
	c.expect("at its time", "nightly main")
	c.at(3, 1)
	c.expect("after its time", "nightly main")
	c.let()
	c.at(3, 0)
	c.expect("the next day", "nightly main", "nightly main")
	c.let()
}

func TestScheduleOverlap(t *testing.T) {
	t.Parallel()
	for overlap, want := range map[string][]string{"skip": {"nightly main"}, "queue": {"nightly main", "nightly main"}} {
		t.Run(overlap, func(t *testing.T) {
			t.Parallel()
			c := newCalendar(t, nightly(overlap))
			c.at(3, 0)
			c.until("the run to begin", func() bool { return c.runs()[0].State == ledger.Working })
			c.at(3, 0)
			c.expect("while the first works", want...)
			if runs := c.runs(); len(runs) == 2 && runs[1].State != ledger.Queued {
				t.Errorf("the second is %s", runs[1].State)
			}
			c.let()
		})
	}
}

func TestScheduleCatchUp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		late config.CatchUp
		want []string
	}{{0, nil}, {config.CatchUp(time.Hour), nil}, {config.CatchUp(6 * time.Hour), []string{"nightly main"}}} {
		t.Run(time.Duration(c.late).String(), func(t *testing.T) {
			t.Parallel()
			s := nightly("")
			s.CatchUp = c.late
			cal := newCalendar(t, s)
			cal.hand.Advance(3 * 24 * time.Hour) // the daemon was down for days: three ticks are missed
			cal.at(7, 0)
			cal.expect("after days", c.want...)
			cal.let()
		})
	}
}

func TestSchedulePaused(t *testing.T) {
	t.Parallel()
	c := newCalendar(t, nightly(""))
	pause := func(paused bool) {
		if err := c.parts.Ledger.PauseSchedule(t.Context(), "night", paused); err != nil {
			t.Fatal(err)
		}
	}
	pause(true)
	c.at(3, 0)
	c.expect("while it is paused")
	c.at(4, 0)
	pause(false)
	c.at(4, 1)
	c.expect("after the pause")
	c.at(3, 0)
	c.expect("the next day", "nightly main")
	c.let()
}

// A release schedule without a branch is for each live one.
func TestScheduleOfReleases(t *testing.T) {
	t.Parallel()
	c := newCalendar(t, config.Schedule{Name: "releases", Kind: pipeline.Release, Cron: "0 4 * * *"})
	c.git("-C", "product", "branch", "release/0.9", "release/1.0")
	c.git("-C", "product", "branch", "release/1.1", "main")
	c.at(4, 0)
	c.expect("at its time", "release release/0.9", "release release/1.0", "release release/1.1")
	c.let()
	for _, r := range c.runs() {
		if head := c.git("-C", "product", "rev-parse", r.Branch); r.Commit != head {
			t.Errorf("run of %s is about %s, want %s", r.Branch, r.Commit, head)
		}
		if !strings.Contains(r.ID, "-release-") {
			t.Errorf("run id %s", r.ID)
		}
	}
}

// away hides the product's repository until the function that it gives is called.
func (g *ground) away() (back func()) {
	g.t.Helper()
	move := func(from, to string) {
		if err := os.Rename(from, to); err != nil {
			g.t.Fatal(err)
		}
	}
	at := g.cfg.Product.Repository
	move(at, at+".away")
	return func() { move(at+".away", at) }
}

// patient is a nightly schedule that catches up for six hours.
func patient() config.Schedule {
	s := nightly("")
	s.CatchUp = config.CatchUp(6 * time.Hour)
	return s
}

// later moves the clock on and ticks there.
func (c *calendar) later(d time.Duration) error {
	c.hand.Advance(d)
	return c.engine.Tick(c.t.Context())
}

// A tick that cannot be acted on is not lost: it is tried again, less and less often, as long as the
// catch-up allows, and then once.
func TestTickWaitsForTheRepository(t *testing.T) {
	t.Parallel()
	c := newCalendar(t, patient())
	back := c.away()
	tried := 0
	for err := c.later(30*time.Minute + time.Second); ; err = c.later(time.Second) { // 3:00:01
		if err != nil {
			tried++
		}
		if c.hand.Now().Hour() == 4 {
			break
		}
	}
	if tried < 30 || tried > 70 {
		t.Errorf("tried %d times in an hour", tried)
	}
	back()
	for range 120 {
		if err := c.later(time.Second); err != nil {
			t.Error(err)
		}
	}
	c.expect("when the repository is back", "nightly main")
	c.let()
}

// The tick is missed, and said to be, when the repository stays away for longer.
func TestTickMissedAndToldWhy(t *testing.T) {
	t.Parallel()
	c := newCalendar(t, patient())
	back := c.away()
	if err := c.later(30*time.Minute + time.Second); err == nil {
		t.Error("a tick without a repository gives no error")
	}
	if err := c.later(7 * time.Hour); err != nil {
		t.Error(err)
	}
	back()
	c.tick()
	c.expect("after the catch-up")
	if said := c.said(); strings.Count(said, "tick missed") != 1 || !strings.Contains(said, "why=\""+c.cfg.Product.Repository+": cannot be read: no such file or directory") {
		t.Errorf("the log says\n%s", said)
	}
	c.at(3, 0)
	c.expect("the next day", "nightly main")
	c.let()
}

func (d *daemon) said() string {
	d.t.Helper()
	said, err := os.ReadFile(d.log.Name())
	if err != nil {
		d.t.Fatal(err)
	}
	return string(said)
}

// A ledger that cannot be written for a moment costs no tick: claim and run are one transaction.
func TestTickWaitsForTheLedger(t *testing.T) {
	t.Parallel()
	c := newCalendar(t, patient())
	db, err := sql.Open("sqlite", "file:"+c.cfg.LedgerFile()+"?_pragma=busy_timeout(20000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, write := range []string{"INSERT ON runs", "UPDATE ON ticks"} {
		if _, err := db.Exec(`CREATE TRIGGER full BEFORE ` + write + ` BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END`); err != nil {
			t.Fatal(err)
		}
		before := len(c.runs())
		c.hand.Advance(24*time.Hour - 60*time.Minute)
		for range 100 {
			c.hand.Advance(time.Minute)
			_ = c.engine.Tick(t.Context()) // most say that the disk is full
		}
		if now := len(c.runs()); now != before {
			t.Errorf("%s: %d runs while the ledger is full, before %d", write, now, before)
		}
		if _, err := db.Exec(`DROP TRIGGER full`); err != nil {
			t.Fatal(err)
		}
		c.hand.Advance(time.Minute)
		c.tick()
		c.tick()
		if now := len(c.runs()); now != before+1 {
			t.Errorf("%s: %d runs when it is written again, before %d", write, now, before)
		}
		c.let()
	}
}

// One release branch that cannot be resolved costs the others nothing, and no branch is run twice.
func TestTickOfReleasesIsWhole(t *testing.T) {
	t.Parallel()
	s := config.Schedule{Name: "releases", Kind: pipeline.Release, Cron: "0 4 * * *", CatchUp: config.CatchUp(6 * time.Hour)}
	c := newCalendar(t, s)
	c.git("-C", "product", "branch", "release/1.1", "main")
	head := c.git("-C", "product", "rev-parse", "release/1.1")
	ref := filepath.Join(c.cfg.Product.Repository, ".git", "refs", "heads", "release", "1.1")
	point := func(commit string) {
		if err := os.WriteFile(ref, []byte(commit+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	point(strings.Repeat("0", 39) + "1") // an object that is not there yet: a mirror is being fetched
	if err := c.later(90*time.Minute + time.Second); err == nil {
		t.Error("a branch without its commit gives no error")
	}
	for range 10 {
		_ = c.later(time.Minute)
	}
	c.expect("while one branch is broken", "release release/1.0")
	point(head)
	for range 10 {
		if err := c.later(time.Minute); err != nil {
			t.Error(err)
		}
	}
	c.expect("when it is whole", "release release/1.0", "release release/1.1")
	c.let()
}

// A clock that was wrong once silences no schedule, and doubles no run.
func TestClockThatWasWrong(t *testing.T) {
	t.Parallel()
	c := newCalendar(t, patient())
	c.at(3, 0)
	c.expect("at its time", "nightly main")
	c.let()
	memory, err := c.parts.Ledger.Tick(t.Context(), "night")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.parts.Ledger.PassTick(t.Context(), memory, c.hand.Now().AddDate(5, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if err := c.later(30 * time.Second); err != nil { // the tick is within grace, and was acted on
		t.Error(err)
	}
	c.expect("when the clock is right again", "nightly main")
	if said := c.said(); strings.Count(said, "the clock was wrong") != 1 {
		t.Errorf("the log says\n%s", said)
	}
	c.at(3, 0)
	c.expect("the next day", "nightly main", "nightly main")
	c.let()
}
