package pipeline_test

import (
	"strings"
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
