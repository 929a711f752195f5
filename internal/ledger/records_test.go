package ledger

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/verdict"
)

func TestStages(t *testing.T) {
	l := fresh(t)
	ctx := t.Context()
	must(t, l.CreateRun(ctx, Run{ID: "r"}))
	must(t, l.RecordStage(ctx, Stage{Run: "r", Path: "verify", State: "running", Started: noon.Add(time.Minute)}))
	must(t, l.RecordStage(ctx, Stage{Run: "r", Path: "build", State: "running", Started: noon}))
	must(t, l.RecordStage(ctx, Stage{Run: "r", Path: "build", State: "done", Verdict: verdict.Passed, Detail: "3 images", Finished: noon.Add(time.Hour)}))
	want := []Stage{
		{Run: "r", Path: "build", State: "done", Verdict: verdict.Passed, Detail: "3 images", Started: noon, Finished: noon.Add(time.Hour)},
		{Run: "r", Path: "verify", State: "running", Started: noon.Add(time.Minute)},
	}
	if got := get[[]Stage](t)(l.Stages(ctx, "r")); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if err := l.RecordStage(ctx, Stage{Run: "nobody", Path: "x"}); err == nil {
		t.Error("a stage of an unknown run was recorded")
	}
}

func TestResultsReplaceByKey(t *testing.T) {
	l := fresh(t)
	ctx := t.Context()
	must(t, l.CreateRun(ctx, Run{ID: "r"}))
	key := ResultKey{Run: "r", Scenario: "verify", Origin: "base", Phase: "launched", Tier: "build", Suite: "web", Test: "nginx runs", Server: "web-1", Attempt: 1}
	failed := Result{ResultKey: key, Outcome: Failed, Cause: verdict.TestFailed, Message: "no", Lines: "a\nb", Ticket: "T-1", Duration: 3 * time.Second, Recorded: noon}
	second := failed
	second.Attempt, second.Outcome = 2, Passed
	must(t, l.RecordResults(ctx, failed, second))
	failed.Message = "still no"
	must(t, l.RecordResults(ctx, failed))
	if got, want := get[[]Result](t)(l.Results(ctx, "r")), []Result{failed, second}; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// A step that a crash repeats may find that a test which failed passes now.
func TestAFailureIsNotForgotten(t *testing.T) {
	l := fresh(t)
	ctx := t.Context()
	must(t, l.CreateRun(ctx, Run{ID: "r"}))
	result := func(outcome Outcome, message string) Result {
		return Result{ResultKey: ResultKey{Run: "r", Test: "nginx runs"}, Outcome: outcome, Message: message, Lines: "of " + message}
	}
	for _, step := range []struct {
		now  Result
		want Result
	}{
		{result(Failed, "no"), result(Failed, "no")},
		{result(Passed, ""), Result{Outcome: Flaky, Message: "failed before: no", Lines: "of no"}},
		{result(Passed, ""), Result{Outcome: Flaky, Message: "failed before: no", Lines: "of no"}},
		{result(Failed, "again"), result(Failed, "again")},
		{result(Inconclusive, "lost"), result(Failed, "again")},
		{result(Failing, "and again"), result(Failed, "again")},
		{result(Skipped, "not today"), result(Failed, "again")},
	} {
		must(t, l.RecordResults(ctx, step.now))
		got := get[[]Result](t)(l.Results(ctx, "r"))
		if len(got) != 1 || got[0].Outcome != step.want.Outcome || got[0].Message != step.want.Message || got[0].Lines != step.want.Lines {
			t.Errorf("after %s: %+v, want %+v", step.now.Outcome, got, step.want)
		}
	}
}

// A failure that its audit takes back is forgotten; one whose audit never ended is not.
func TestAFailureThatWasNotJudged(t *testing.T) {
	for _, c := range []struct {
		then, want Outcome
		message    string
	}{
		{Inconclusive, Inconclusive, "then"},
		{Failed, Failed, "then"},
		{Passed, Flaky, "failed before: no"},
	} {
		l := fresh(t)
		must(t, l.CreateRun(t.Context(), Run{ID: "r"}))
		key := ResultKey{Run: "r", Test: "nginx runs"}
		must(t, l.RecordResults(t.Context(), Result{ResultKey: key, Outcome: Failing, Message: "no"}))
		must(t, l.RecordResults(t.Context(), Result{ResultKey: key, Outcome: c.then, Message: "then"}))
		if got := get[[]Result](t)(l.Results(t.Context(), "r")); len(got) != 1 || got[0].Outcome != c.want || got[0].Message != c.message {
			t.Errorf("failing, then %s: %+v, want %s", c.then, got, c.want)
		}
	}
}

func TestResultsAreOneTransaction(t *testing.T) {
	l := fresh(t)
	ctx := t.Context()
	must(t, l.CreateRun(ctx, Run{ID: "r"}))
	good, bad := Result{ResultKey: ResultKey{Run: "r", Test: "a"}}, Result{ResultKey: ResultKey{Run: "nobody", Test: "b"}}
	if err := l.RecordResults(ctx, good, bad); err == nil {
		t.Fatal("a result of an unknown run was recorded")
	}
	if got := get[[]Result](t)(l.Results(ctx, "r")); got != nil {
		t.Errorf("half of a failed write stayed: %+v", got)
	}
}

func TestDurations(t *testing.T) {
	l := fresh(t)
	ctx := t.Context()
	must(t, l.CreateRun(ctx, Run{ID: "r"}))
	for i := range 5 {
		key := ResultKey{Run: "r", Tier: "smoke", Suite: "s", Test: "slow", Attempt: i}
		must(t, l.RecordResults(ctx, Result{ResultKey: key, Outcome: Passed, Duration: time.Duration(i) * time.Second, Recorded: noon.Add(time.Duration(i) * time.Hour)}))
	}
	must(t, l.RecordResults(ctx, Result{ResultKey: ResultKey{Run: "r", Tier: "smoke", Suite: "s", Test: "off"}, Outcome: NotRun}))
	want := map[string][]time.Duration{"slow": {4 * time.Second, 3 * time.Second, 2 * time.Second}}
	if got := get[map[string][]time.Duration](t)(l.Durations(ctx, "smoke", "s", 3)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestImages(t *testing.T) {
	l := fresh(t)
	ctx := t.Context()
	must(t, l.CreateRun(ctx, Run{ID: "r"}))
	want := Image{ID: "r-web", Run: "r", Role: "web", Branch: "main", Commit: "c", BaseDigest: "b", Provider: "sim", ProviderID: "i-1",
		Digest: "d", SizeBytes: 1 << 33, Packages: map[string]string{"nginx": "1.22"}, PuppetReport: "{}",
		Timings: map[string]string{"provision": "12s"}, Created: noon,
		Seal: &Seal{Files: 3, Bytes: 9, Kept: []KeptPath{{"/srv/k", "a key", "why"}}, Idle: []SealRule{{"/srv/x", "why not"}}}}
	without := want
	without.ID, without.Seal = "r-old", nil
	must(t, l.RecordImage(ctx, without))
	if got := get[Image](t)(l.Image(ctx, "r-old")); got.Seal != nil {
		t.Errorf("a seal that nobody proved: %+v", got.Seal)
	}
	must(t, l.RecordImage(ctx, want))
	if got := get[Image](t)(l.Image(ctx, "r-web")); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	must(t, l.RetireImage(ctx, "r-web", noon.Add(time.Hour)))
	must(t, l.RetireImage(ctx, "r-web", noon.Add(2*time.Hour)))
	wantError(t, l.RetireImage(ctx, "nobody", noon), ErrNotFound)
	if got := get[[]Image](t)(l.Images(ctx, ImageFilter{Role: "web"})); len(got) != 1 || got[0].ID != "r-old" {
		t.Errorf("a deleted image is listed: %+v", got)
	}
	all := get[[]Image](t)(l.Images(ctx, ImageFilter{Run: "r", Deleted: true}))
	if len(all) != 2 || all[0].ID != "r-old" || !all[1].Deleted.Equal(noon.Add(time.Hour)) {
		t.Errorf("images are %+v", all)
	}
}

func TestEnvironmentSecretsAreSealed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger.db")
	l := open(t, path)
	ctx := t.Context()
	secret := []byte("correct horse battery staple")
	want := Environment{ID: "e1", Run: "r", Name: "base/1", State: Up, Keep: true, Lease: noon, Deadline: noon.Add(time.Hour), Created: noon, Body: []byte(`{"x":1}`), Sealed: secret}
	must(t, l.SaveEnvironment(ctx, want))
	if got := get[Environment](t)(l.Environment(ctx, "e1")); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if list := get[[]Environment](t)(l.Environments(ctx, EnvironmentFilter{Run: "r"})); len(list) != 1 || list[0].Sealed != nil {
		t.Errorf("list is %+v", list)
	}
	for _, name := range []string{"ledger.db", "ledger.db-wal", "secrets.key"} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		if bytes.Contains(raw, secret) {
			t.Errorf("%s holds the secret in the clear", name)
		}
	}

	// Another row's secrets do not open in this one's place.
	must(t, l.SaveEnvironment(ctx, Environment{ID: "e2", State: Up, Sealed: []byte("other")}))
	_, err := l.db.ExecContext(ctx, `UPDATE environments SET sealed = (SELECT sealed FROM environments WHERE id = 'e1') WHERE id = 'e2'`)
	must(t, err)
	if _, err := l.Environment(ctx, "e2"); err == nil {
		t.Error("a sealed column opened in another row")
	}

	must(t, os.Remove(filepath.Join(dir, "secrets.key")))
	if _, err := l.Environment(ctx, "e1"); err == nil {
		t.Error("a sealed column opened without its key")
	}
}

func TestDestroyedEnvironmentForgetsItsSecrets(t *testing.T) {
	l := fresh(t)
	ctx := t.Context()
	must(t, l.SaveEnvironment(ctx, Environment{ID: "e", State: Up, Sealed: []byte("s")}))
	e := get[Environment](t)(l.UpdateEnvironment(ctx, "e", func(e *Environment) { e.State = Destroyed }))
	if e.Ended.IsZero() {
		t.Error("when it ended is not noted")
	}
	if again := get[Environment](t)(l.UpdateEnvironment(ctx, "e", func(*Environment) {})); !again.Ended.Equal(e.Ended) {
		t.Errorf("it ended at %v, and again at %v", e.Ended, again.Ended)
	}
	if len(e.Sealed) != 0 {
		t.Errorf("secrets are still there: %q", e.Sealed)
	}
	if list := get[[]Environment](t)(l.Environments(ctx, EnvironmentFilter{})); len(list) != 0 {
		t.Errorf("destroyed environment is listed: %+v", list)
	}
	if list := get[[]Environment](t)(l.Environments(ctx, EnvironmentFilter{Destroyed: true})); len(list) != 1 {
		t.Errorf("list is %+v", list)
	}
	_, err := l.UpdateEnvironment(ctx, "nobody", func(*Environment) {})
	wantError(t, err, ErrNotFound)
}

func TestExpired(t *testing.T) {
	for name, c := range map[string]struct {
		e    Environment
		want bool
	}{
		"no lease":                 {Environment{}, false},
		"lease over":               {Environment{Lease: noon}, true},
		"kept up to its lease":     {Environment{Lease: noon.Add(1), Deadline: noon.Add(2), Keep: true}, false},
		"kept past its lease":      {Environment{Lease: noon, Deadline: noon.Add(1), Keep: true}, true},
		"kept past its deadline":   {Environment{Lease: noon.Add(1), Deadline: noon, Keep: true}, true},
		"lease and deadline ahead": {Environment{Lease: noon.Add(1), Deadline: noon.Add(1)}, false},
	} {
		if got := c.e.Expired(noon); got != c.want {
			t.Errorf("%s: expired is %v, want %v", name, got, c.want)
		}
	}
}

func TestTicks(t *testing.T) {
	l := fresh(t)
	ctx := t.Context()
	n := 0
	fire := func(was Tick, at time.Time, done bool, branches ...string) (fired []string) {
		t.Helper()
		var firings []Firing
		for _, branch := range branches {
			n++
			firings = append(firings, Firing{Branch: branch, Run: &Run{ID: fmt.Sprintf("run-%d", n), Kind: "nightly", Branch: branch}})
		}
		for _, r := range get[[]Run](t)(l.FireTick(ctx, was, at, firings, done)) {
			if stored := get[Run](t)(l.Run(ctx, r.ID)); stored.State != Queued {
				t.Errorf("run %s is %s", r.ID, stored.State)
			}
			fired = append(fired, r.Branch)
		}
		return fired
	}
	tick := func() Tick { return get[Tick](t)(l.Tick(ctx, "nightly")) }
	if tick() != (Tick{Schedule: "nightly"}) {
		t.Errorf("tick is %+v", tick())
	}
	first := tick()
	if got := fire(first, noon, true, "main"); len(got) != 1 || !tick().Last.Equal(noon) {
		t.Errorf("fired %v, then %+v", got, tick())
	}
	if got := fire(first, noon, true, "main"); got != nil {
		t.Errorf("another process fired %v again", got)
	}
	// Two branches, one of which cannot be resolved at first.
	was, one := tick(), noon.Add(time.Minute)
	if got := fire(was, one, false, "a"); len(got) != 1 || tick() != was {
		t.Errorf("fired %v, then %+v", got, tick())
	}
	if got := fire(was, one, true, "a", "b"); !slices.Equal(got, []string{"b"}) || !tick().Last.Equal(one) {
		t.Errorf("fired %v, then %+v", got, tick())
	}
	if got := get[map[string]string](t)(l.Fired(ctx, "nightly", one)); len(got) != 2 || got["a"] == "" {
		t.Errorf("the tick did %v", got)
	}
	// The clock was wrong: the tick is noted as not yet acted on, and was.
	if !get[bool](t)(l.PassTick(ctx, tick(), noon.Add(-time.Hour))) || fire(tick(), one, true, "a", "b") != nil {
		t.Error("a tick was acted on twice")
	}
	must(t, l.PauseSchedule(ctx, "nightly", true))
	if got := fire(tick(), noon.Add(time.Hour), true, "main"); got != nil {
		t.Errorf("a paused schedule fired %v", got)
	}
	if was := tick(); !get[bool](t)(l.PassTick(ctx, was, noon)) || get[bool](t)(l.PassTick(ctx, was, noon)) {
		t.Error("a tick did not pass exactly once")
	}
	must(t, l.PauseSchedule(ctx, "nightly", false))
	if last := tick().Last; !last.After(noon) { // the tick that passed; the clock is beyond
		t.Errorf("a schedule goes on from %v, and would catch up what was in the pause", last)
	}
	// What ticks did is kept for some of them only.
	for i := range firedKept + 10 {
		fire(tick(), noon.Add(time.Duration(i+2)*time.Hour), true, "main")
	}
	var kept int
	must(t, l.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM fired`).Scan(&kept))
	if kept != firedKept {
		t.Errorf("%d ticks are kept, want %d", kept, firedKept)
	}
	if all := get[[]Tick](t)(l.Ticks(ctx)); len(all) != 1 || all[0].Paused {
		t.Errorf("ticks are %+v", all)
	}
}
