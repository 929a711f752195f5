package pipeline_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/fault"
	"github.com/hallmark-ci/hallmark/internal/cloud/limit"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// While the provider is down a stage says that it waits; afterwards the run tells how long it did.
func TestWaitingLaunchesAreTold(t *testing.T) {
	t.Parallel()
	for server, path := range map[string]string{"web-1": "/launch/launch web-1 waited", benchServer: "build/"} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			// More calls than fit in the patience with one.
			g := young(t, fault.Fault{Call: cloud.VerbLaunch, Subject: server, Do: fault.Down, Times: 200})
			g.outage = &limit.Outage{Look: 300 * time.Millisecond}
			d := g.daemon()
			run := d.start(pipeline.Request{})
			stages := func() []ledger.Stage {
				all, err := d.parts.Ledger.Stages(t.Context(), run.ID)
				if err != nil {
					t.Fatal(err)
				}
				return all
			}
			d.until("a stage to say that it waits", func() bool {
				for _, s := range stages() {
					if s.State == "running" && strings.HasPrefix(s.Detail, "launch "+server+": waits, the provider does not answer since ") && strings.Contains(s.Detail, "scripted fault") {
						return true
					}
				}
				return false
			})
			if run = d.await(run.ID); run.Verdict != verdict.Passed {
				t.Errorf("run is %s, %s\n%s", run.State, run.Verdict, d.tree())
			}
			waited := false
			for _, s := range stages() {
				if strings.Contains(s.Path, path) && strings.HasSuffix(s.Path, "/launch "+server+" waited") {
					waited = s.State == "done" && s.Finished.After(s.Started) && strings.Contains(s.Detail, "does not answer")
				}
				if strings.Contains(s.Path, "attempt") {
					t.Errorf("an environment was given up: %+v", s)
				}
			}
			if !waited {
				t.Errorf("nothing tells of the wait\n%s", d.tree())
			}
			d.nothingLeft()
		})
	}
}

// attempt gives the highest attempt that any result of a run names.
func (d *daemon) attempt(run ledger.Run) (most int) {
	for _, r := range d.results(run) {
		most = max(most, r.Attempt)
	}
	return most
}

// An outage costs waiting, not attempts, however often the provider goes away, and whatever was asked of it.
func TestOutagesCostNoAttempt(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]fault.Fault{
		"a lane's network":  {Call: cloud.VerbCreateNetwork, Nth: 5, Do: fault.Down, Times: 400}, // after the images' and the neighbour's
		"an image's server": {Call: cloud.VerbLaunch, Subject: benchServer, Do: fault.Down, Times: 400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := young(t, f)
			d, run := g.pass(pipeline.Request{})
			if run.Verdict != verdict.Passed {
				t.Fatalf("run is %s, %s\n%s", run.State, run.Verdict, d.tree())
			}
			if most := d.attempt(run); most <= g.cfg.Limits.Attempts {
				t.Errorf("%d attempts: the outage was shorter than the attempts allow, so this proves nothing", most)
			}
			for _, r := range d.results(run) {
				if r.Outcome == ledger.Failed {
					t.Errorf("a product failure: %+v", r)
				}
			}
			d.nothingLeft()
		})
	}
}

// What the provider refuses twice in the same words is not tried again: nothing has changed.
func TestTheSameRefusalTwiceIsEnough(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"web-1", benchServer} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			g := young(t, fault.Fault{Call: cloud.VerbLaunch, Subject: server, Do: fault.Refuse, Times: -1})
			g.cfg.Limits.Attempts = 6
			d, run := g.pass(pipeline.Request{})
			if run.Verdict != verdict.Inconclusive {
				t.Fatalf("run is %s, %s\n%s", run.State, run.Verdict, d.tree())
			}
			if most := d.attempt(run); most != 2 {
				t.Errorf("%d attempts, want 2\n%s", most, d.tree())
			}
			d.nothingLeft()
		})
	}
}

// A fresh attempt does not begin before the provider answers.
func TestAFreshAttemptWaitsForTheProvider(t *testing.T) {
	t.Parallel()
	g := young(t, fault.Fault{Call: cloud.VerbLaunch, Subject: "web-1", Do: fault.Refuse})
	var mu sync.Mutex
	silent, asked, tooEarly := false, 0, false
	g.onCall(func(_ context.Context, _ *daemon, call cloud.Call) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case call.Verb == cloud.VerbLaunch && call.Subject == "web-1" && !silent:
			silent = true // from the refusal on
		case call.Verb == cloud.VerbServers && silent && asked < 3:
			asked++
		case call.Verb == cloud.VerbLaunch && call.Subject == "web-1" && asked < 1:
			tooEarly = true
		}
	})
	d, run := g.pass(pipeline.Request{})
	if run.Verdict != verdict.Passed || tooEarly {
		t.Errorf("run is %s; a fresh attempt came before the provider was asked: %v\n%s", run.Verdict, tooEarly, d.tree())
	}
}
