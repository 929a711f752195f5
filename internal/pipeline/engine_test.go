package pipeline_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// A run whose workflow breaks down ends inconclusive, and the next one gets its turn.
func TestWorkflowThatPanics(t *testing.T) {
	t.Parallel()
	g := young(t)
	g.ensure = func() error { panic("out of luck") }
	d := g.daemon()
	first, second := d.start(pipeline.Request{}), d.start(pipeline.Request{})
	for _, run := range []ledger.Run{d.await(first.ID), d.await(second.ID)} {
		if run.Verdict != verdict.Inconclusive || !strings.Contains(run.Reason, "out of luck") {
			t.Errorf("run is %s: %s", run.Verdict, run.Reason)
		}
	}
	d.unmoved()
	d.nothingLeft()
}

// One run after another: the second begins when the first is over.
func TestRunsTakeTurns(t *testing.T) {
	t.Parallel()
	g := young(t)
	m := newMoment()
	calls(m, cloud.VerbCapture, "-web")(g)
	d := g.daemon()
	first, second := d.start(pipeline.Request{}), d.start(pipeline.Request{})
	<-m.come
	waits, err := d.parts.Ledger.Run(t.Context(), second.ID)
	if err != nil || waits.State != ledger.Queued {
		t.Errorf("the second is %s, %v", waits.State, err)
	}
	close(m.over)
	first, second = d.await(first.ID), d.await(second.ID)
	if first.Verdict != verdict.Passed || second.Verdict != verdict.Passed || second.Started.Before(first.Finished) {
		t.Errorf("first %+v\nsecond %+v\n%s", first, second, d.tree())
	}
	if c := d.channel("development"); c.Set != second.ID || c.Version != 2 {
		t.Errorf("development is at %+v", c)
	}
	d.nothingLeft()
}

// A process that was asked for one run leaves the other queued ones alone, also in the moment after its
// own run has ended.
func TestOneRunOnly(t *testing.T) {
	t.Parallel()
	g := young(t)
	d := g.one("none of these")
	first := d.start(pipeline.Request{})
	second := d.start(pipeline.Request{})
	d.stop()
	d = g.one(second.ID)
	if second = d.await(second.ID); second.Verdict != verdict.Passed {
		t.Fatalf("run is %s\n%s", second.Verdict, d.tree())
	}
	if err := d.engine.TakeQueued(t.Context()); err != nil {
		t.Error(err)
	}
	if waits, err := d.parts.Ledger.Run(t.Context(), first.ID); err != nil || waits.State != ledger.Queued {
		t.Errorf("the first is %s, %v", waits.State, err)
	}
	d.stop()
	d = g.daemon()
	if first = d.await(first.ID); first.Verdict != verdict.Passed {
		t.Errorf("run is %s\n%s", first.Verdict, d.tree())
	}
	d.nothingLeft()
}

// A person cancels while no daemon is there: the next one cleans up what the last one left.
func TestCancelledWhileNobodyWorks(t *testing.T) {
	t.Parallel()
	g := young(t)
	m := newMoment()
	asks(m, "web-1", "validate build/web")(g)
	d := g.daemon()
	run := d.start(pipeline.Request{})
	<-m.come
	d.kill(m)
	book, err := ledger.Open(t.Context(), g.cfg.LedgerFile(), ledger.WithClock(g.clock.Now))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := book.RequestCancel(t.Context(), run.ID, "grace"); err != nil {
		t.Error(err)
	}
	if err := book.Close(); err != nil {
		t.Error(err)
	}
	d = g.daemon()
	if run = d.await(run.ID); run.State != ledger.Cancelled || !strings.Contains(run.Reason, "grace") {
		t.Errorf("run is %s, %s: %s\n%s", run.State, run.Verdict, run.Reason, d.tree())
	}
	if n := g.calls(cloud.VerbReboot); n > 0 {
		t.Errorf("%d servers were rebooted of a run that was cancelled before", n)
	}
	d.unmoved()
	d.nothingLeft()
}

// A request to cancel that comes when only gate and promotion are left, which take no time, counts too.
func TestCancelledAtTheLastMoment(t *testing.T) {
	t.Parallel()
	g := young(t)
	g.onCall(func(_ context.Context, d *daemon, call cloud.Call) {
		// The neighbour goes last, when all servers of both lanes were rebooted.
		if call.Verb != cloud.VerbDelete || !strings.HasSuffix(call.Subject, benchServer) || g.calls(cloud.VerbReboot) < 6 {
			return
		}
		ctx := context.WithoutCancel(t.Context())
		runs, err := d.parts.Ledger.Runs(ctx, ledger.RunFilter{})
		if err == nil {
			_, err = d.parts.Ledger.RequestCancel(ctx, runs[0].ID, "grace")
		}
		if err != nil {
			t.Error(err)
		}
	})
	d, run := g.pass(pipeline.Request{})
	if run.State != ledger.Cancelled || !strings.Contains(run.Reason, "grace") {
		t.Errorf("run is %s, %s: %s\n%s", run.State, run.Verdict, run.Reason, d.tree())
	}
	d.unmoved()
	d.nothingLeft()
}

// A cap that has no room for one environment is said at once, and not waited for.
func TestTooFewSlots(t *testing.T) {
	t.Parallel()
	g := young(t)
	g.cfg.Limits.Servers = 3
	d, run := g.pass(pipeline.Request{})
	if run.Verdict != verdict.Inconclusive || !strings.Contains(run.Reason, "limits.servers") {
		t.Fatalf("run is %s: %s\n%s", run.Verdict, run.Reason, d.tree())
	}
	if n := g.calls(cloud.VerbLaunch); n > 0 {
		t.Errorf("%d launches", n)
	}
}

// Good results of a lane that cannot be taken to its end prove nothing.
func TestCutShort(t *testing.T) {
	t.Parallel()
	g := young(t)
	g.cfg.Limits.Lanes = 1
	m := newMoment()
	g.answers.Before = func(s environmenttest.Server, q string) {
		if s.Name == "web-1" && q == "validate build/web" && g.calls(cloud.VerbReboot) == 6 { // both lanes' servers
			m.stay()
		}
	}
	d := g.daemon()
	run := d.start(pipeline.Request{})
	<-m.come
	d.kill(m)
	g.cfg.Limits.Servers = 2
	d = g.daemon()
	run = d.await(run.ID)
	if run.Verdict != verdict.Inconclusive || !strings.Contains(run.Reason, "cut short") {
		t.Errorf("run is %s: %s\n%s", run.Verdict, run.Reason, d.tree())
	}
	d.unmoved()
}

// A process that dies in a second attempt leaves servers; going once more through the first, which is
// over, must not wait for room beside them.
func TestResumedIntoASecondAttempt(t *testing.T) {
	t.Parallel()
	g := young(t)
	g.cfg.Limits.Servers, g.cfg.Limits.Lanes = 4, 1
	m := newMoment()
	lose := sync.OnceFunc(func() { g.lose("web-1") })
	g.onCall(func(_ context.Context, _ *daemon, call cloud.Call) {
		if call.Verb == cloud.VerbReboot {
			lose()
		}
	})
	g.answers.Before = func(s environmenttest.Server, q string) {
		if s.Name == "web-1" && q == "validate build/web" && g.world.Provisioned("web-1") == 2 {
			m.stay()
		}
	}
	d := g.daemon()
	run := d.start(pipeline.Request{})
	<-m.come
	d.kill(m)
	g.onCall(nil)
	d = g.daemon()
	if run = d.await(run.ID); run.Verdict != verdict.Passed {
		t.Errorf("run is %s: %s\n%s", run.Verdict, run.Reason, d.tree())
	}
	d.nothingLeft()
}

// failing reports whether any run has a failure on record that is not judged yet.
func (d *daemon) failing(ctx context.Context) bool {
	runs, _ := d.parts.Ledger.Runs(ctx, ledger.RunFilter{})
	return slices.ContainsFunc(runs, func(r ledger.Run) bool {
		results, _ := d.parts.Ledger.Results(ctx, r.ID)
		return slices.ContainsFunc(results, func(r ledger.Result) bool { return r.Outcome == ledger.Failing })
	})
}

// A process dies between a failure and the audit that was to judge it. That the test passes when the
// next one repeats it does not undo the failure.
func TestAFailureOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	g := young(t)
	m := newMoment()
	g.answers.Fail("web-1", "port:tcp:80:holds", "nothing listens")
	d := g.daemon()
	g.onCall(func(ctx context.Context, d *daemon, call cloud.Call) {
		if call.Verb == cloud.VerbServers && d.failing(ctx) { // other servers are looked at all the time
			m.stay()
		}
	})
	run := d.start(pipeline.Request{})
	<-m.come
	d.kill(m)
	g.onCall(nil)
	g.answers.Fail("web-1", "port:tcp:80:holds", "")
	d = g.daemon()
	run = d.await(run.ID)
	if run.Verdict != verdict.Failed || !strings.Contains(run.Reason, "flaky") {
		t.Errorf("run is %s: %s\n%s", run.Verdict, run.Reason, d.tree())
	}
	d.unmoved()
	d.nothingLeft()
}

// More environments than servers are allowed at once wait for each other, and all get their turn.
func TestFewSlots(t *testing.T) {
	t.Parallel()
	g := young(t)
	g.cfg.Limits.Servers = 4 // one environment and the neighbour
	d, run := g.pass(pipeline.Request{})
	if run.Verdict != verdict.Passed {
		t.Fatalf("run is %s\n%s", run.Verdict, d.tree())
	}
	d.nothingLeft()
}
