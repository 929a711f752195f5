package pipeline_test

import (
	"context"
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// A run whose workflow breaks down ends inconclusive, and the next one gets its turn.
func TestWorkflowThatPanics(t *testing.T) {
	t.Parallel()
	g := young(t)
	g.ensure = func() { panic("out of luck") }
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
	// Whatever it begins before it has seen the request waits for it.
	g.onCall(func(ctx context.Context, _ *daemon, call cloud.Call) {
		if call.Verb == cloud.VerbReboot {
			<-ctx.Done()
		}
	})
	d = g.daemon()
	if run = d.await(run.ID); run.State != ledger.Cancelled || !strings.Contains(run.Reason, "grace") {
		t.Errorf("run is %s, %s: %s\n%s", run.State, run.Verdict, run.Reason, d.tree())
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
