package pipeline_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/fault"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// A product that locks admins out fails, told with server and leg, and no second environment is spent on it.
func TestLockoutFailsTheRun(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		server string
		closed environmenttest.Trouble
		cause  verdict.Cause
	}{
		{"bastion", environmenttest.Trouble{Closed: verdict.LegFactor}, verdict.ServerLogin},
		{"bastion", environmenttest.Trouble{Closed: verdict.LegBastionPort, Silent: true}, verdict.ServerPort},
		{"bastion", environmenttest.Trouble{Closed: verdict.LegForwarding}, verdict.ServerPort},
		{"web-1", environmenttest.Trouble{Closed: verdict.LegSudo}, verdict.ServerSudo},
		{"web-1", environmenttest.Trouble{Closed: verdict.LegServerPort}, verdict.ServerPort},
	} {
		t.Run(c.server+" "+string(c.closed.Closed), func(t *testing.T) {
			t.Parallel()
			g := young(t)
			g.world.Trouble(c.server, c.closed)
			d, run := g.pass(pipeline.Request{})
			if run.Verdict != verdict.Failed {
				t.Fatalf("run is %s: %s\n%s", run.Verdict, run.Reason, d.tree())
			}
			for _, word := range []string{c.server, `leg "` + string(c.closed.Closed) + `"`} {
				if !strings.Contains(run.Reason, word) {
					t.Errorf("the reason does not say %s: %s", word, run.Reason)
				}
			}
			for _, r := range d.results(run) {
				if r.Suite != pipeline.EnvironmentSuite {
					continue
				}
				if r.Attempt > 1 || r.Outcome == ledger.Failed && r.Cause != c.cause {
					t.Errorf("%+v", r)
				}
			}
			d.unmoved()
			d.nothingLeft()
		})
	}
}

// A bastion whose second factor lets in what it must not fails the run, by the test that looks for that.
func TestWeakFactorFailsTheRun(t *testing.T) {
	t.Parallel()
	const foreign, old, used = "a code of another seed is refused", "an old code is refused", "a used code is refused"
	for lets, want := range map[remote.Code][]string{
		remote.UsedCode:    {used},
		remote.OldCode:     {old},
		remote.ForeignCode: {foreign, used, old},
	} {
		t.Run(string(lets), func(t *testing.T) {
			t.Parallel()
			g := young(t)
			g.world.Trouble("bastion", environmenttest.Trouble{LetsIn: lets})
			d, run := g.pass(pipeline.Request{})
			if run.Verdict != verdict.Failed {
				t.Fatalf("run is %s: %s\n%s", run.Verdict, run.Reason, d.tree())
			}
			found := map[string]bool{}
			for _, r := range d.results(run) {
				if r.Outcome == ledger.Passed {
					continue
				}
				found[r.Test] = true
				if r.Outcome != ledger.Failed || r.Cause != verdict.TestFailed || !slices.Contains(want, r.Test) || !strings.Contains(r.Message, "accepted, expected: second factor refused") {
					t.Errorf("%+v", r)
				}
			}
			if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, want) {
				t.Errorf("found by %q, want %q", got, want)
			}
			d.unmoved()
			d.nothingLeft()
		})
	}
}

// Package sources matter to what installs packages: that they do not answer excuses no failing test.
func TestClosedSourcesExcuseNoFailingTest(t *testing.T) {
	t.Parallel()
	g := young(t)
	g.answers.Fail("web-1", "port:tcp:80:holds", "nothing listens")
	g.world.CloseSources(true)
	d, run := g.pass(pipeline.Request{})
	if run.Verdict != verdict.Failed || !strings.Contains(run.Reason, "nothing listens") {
		t.Errorf("run is %s: %s\n%s", run.Verdict, run.Reason, d.tree())
	}
	d.nothingLeft()
}

// A server that stops once is bad luck; one that stops in the same phase of each fresh environment does so
// itself. Neither is a pass of that environment, nor a failure of the product.
func TestServerThatStops(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, question string
		times          int64
		want           verdict.Verdict
		cause          verdict.Cause
	}{
		{"once, during a test", "validate build/web", 1, verdict.Passed, verdict.ServerStopped},
		{"each time, during a test", "validate build/web", 100, verdict.Inconclusive, verdict.StoppedItself},
		{"once, during a step", "packages", 1, verdict.Passed, verdict.ServerStopped},
		{"each time, during a step", "packages", 100, verdict.Inconclusive, verdict.StoppedItself},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := young(t)
			var stops atomic.Int64
			g.answers.Before = func(s environmenttest.Server, question string) {
				if s.Name == "web-1" && question == c.question && stops.Add(1) <= c.times {
					if err := g.sim.Stop(context.WithoutCancel(t.Context()), s.ID, true); err != nil {
						t.Error(err)
					}
				}
			}
			d, run := g.pass(pipeline.Request{})
			if run.Verdict != c.want {
				t.Fatalf("run is %s: %s\n%s", run.Verdict, run.Reason, d.tree())
			}
			results := d.results(run)
			at := slices.IndexFunc(results, func(r ledger.Result) bool { return r.Cause == c.cause })
			if at < 0 {
				t.Fatalf("no result with cause %s: %v", c.cause, outcomes(results))
			}
			for _, r := range results {
				if r.Outcome == ledger.Failed || r.Cause == verdict.StoppedItself && c.cause != r.Cause {
					t.Errorf("%+v", r)
				}
			}
			if c.cause == verdict.StoppedItself {
				for _, word := range []string{"web-1 powers itself off or crashes", "launched", "attempt 1: ", "attempt 2: "} {
					if !strings.Contains(results[at].Message, word) {
						t.Errorf("the message does not say %q: %s", word, results[at].Message)
					}
				}
				if !strings.Contains(run.Reason, "powers itself off") {
					t.Errorf("the reason does not tell of it: %s", run.Reason)
				}
			}
			d.nothingLeft()
		})
	}
}

// A stop after an attempt that came to nothing for another reason was seen once only.
func TestServerThatStopsInOneOfTwoAttempts(t *testing.T) {
	t.Parallel()
	g := young(t, fault.Fault{Call: cloud.VerbLaunch, Subject: "web-1", Do: fault.Refuse})
	g.answers.Before = func(s environmenttest.Server, question string) {
		if s.Name == "web-1" && question == "validate build/web" {
			if err := g.sim.Stop(context.WithoutCancel(t.Context()), s.ID, true); err != nil {
				t.Error(err)
			}
		}
	}
	d, run := g.pass(pipeline.Request{})
	if run.Verdict != verdict.Inconclusive {
		t.Fatalf("run is %s: %s\n%s", run.Verdict, run.Reason, d.tree())
	}
	results := d.results(run)
	refused := slices.IndexFunc(results, func(r ledger.Result) bool { return r.Cause == verdict.CloudRefused })
	if refused < 0 {
		t.Fatalf("no launch was refused: %v", outcomes(results))
	}
	stopped := 0
	for _, r := range results {
		if r.Origin != results[refused].Origin {
			continue
		}
		switch r.Cause {
		case verdict.ServerStopped:
			stopped++
		case verdict.StoppedItself:
			t.Errorf("told after one stop: %+v", r)
		}
	}
	if stopped == 0 {
		t.Errorf("no stop was told: %v", outcomes(results))
	}
}
