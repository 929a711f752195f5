package pipeline_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// provisioned counts how often servers of each name provisioned themselves: each once for every
// lane, and once more for every upgrade; the bench once for every image.
func (g *ground) provisioned() string {
	return fmt.Sprintf("bastion %d, db-1 %d, web-1 %d, bench %d",
		g.world.Provisioned("bastion"), g.world.Provisioned("db-1"), g.world.Provisioned("web-1"), g.world.Provisioned("bench"))
}

// The bench's seventh is the neighbour, which is not provisioned.
const provisionedOnce = "bastion 6, db-1 6, web-1 6, bench 6"

// asks gives a Before that stays at a question.
func asks(m *moment, server, question string) func(*ground) {
	return func(g *ground) {
		g.answers.Before = func(s environmenttest.Server, q string) {
			if s.Name == server && q == question {
				m.stay()
			}
		}
	}
}

// calls gives a hook that stays before a call to the cloud.
func calls(m *moment, verb cloud.Verb, subject string) func(*ground) {
	return func(g *ground) {
		g.onCall(func(_ context.Context, _ *daemon, call cloud.Call) {
			if call.Verb == verb && strings.HasSuffix(call.Subject, subject) {
				m.stay()
			}
		})
	}
}

// ends are the two ways in which a daemon ends with a run at work.
var ends = map[string]func(*daemon, *moment){"killed": (*daemon).kill, "stopped": (*daemon).end}

func TestResumed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		at   func(*moment) func(*ground)
		both bool // also ended by SIGTERM, which may still do something
	}{
		{"while images are provisioned", func(m *moment) func(*ground) { return asks(m, "bench", "packages") }, false},
		{"while images are sealed", func(m *moment) func(*ground) { return asks(m, "bench", "seal") }, false},
		{"while an image is captured", func(m *moment) func(*ground) { return calls(m, cloud.VerbCapture, "-web") }, true},
		{"while servers are launched", func(m *moment) func(*ground) { return calls(m, cloud.VerbLaunch, "web-1") }, false},
		{"while tests run", func(m *moment) func(*ground) { return asks(m, "web-1", "validate build/web") }, true},
		{"while servers reboot", func(m *moment) func(*ground) { return calls(m, cloud.VerbReboot, "") }, false},
		{"while an upgrade rolls", func(m *moment) func(*ground) { return asks(m, "web-1", "run tidy") }, true},
		{"while its set is published", func(m *moment) func(*ground) { return calls(m, cloud.VerbPublish, "") }, true},
		{"before its channel names it", func(m *moment) func(*ground) { return calls(m, cloud.VerbPoint, "/web") }, true},
		{"while environments are destroyed", func(m *moment) func(*ground) { return calls(m, cloud.VerbDelete, "web-1") }, false},
	} {
		for how, end := range ends {
			if how != "killed" && !c.both || testing.Short() && !c.both { // -short is for the race detector, which finds no more in more rows
				continue
			}
			t.Run(how+" "+c.name, func(t *testing.T) {
				t.Parallel()
				g := newGround(t)
				m := newMoment()
				c.at(m)(g)
				d := g.daemon()
				run := d.start(pipeline.Request{})
				select {
				case <-m.come:
				case <-t.Context().Done():
				}
				end(d, m)
				before := len(g.prebuilt())

				g.onCall(nil)
				d = g.daemon()
				run = d.await(run.ID)
				if run.State != ledger.Finished || run.Verdict != verdict.Passed {
					t.Fatalf("run is %s, %s\n%s", run.State, run.Verdict, d.tree())
				}
				if got := outcomes(d.results(run)); len(got) > 0 {
					t.Errorf("outcomes %v", got)
				}
				want := provisionedOnce
				if strings.Contains(c.name, "image") {
					want = strings.TrimSuffix(want, "6") // a server that was being sealed is no use any more
				}
				if got := g.provisioned(); !strings.HasPrefix(got, want) {
					t.Errorf("provisioned %s, want %s", got, want)
				}
				if got := len(g.prebuilt()); got != 6 || got < before {
					t.Errorf("%d images, %d before the end", got, before)
				}
				moves, err := d.parts.Ledger.Moves(t.Context(), "development", 0)
				if err != nil || len(moves) != 1 {
					t.Errorf("development moved %v, %v", moves, err)
				}
				d.nothingLeft()
				d.told()
				d.spent(run)
				stages, err := d.parts.Ledger.Stages(t.Context(), run.ID)
				if err != nil {
					t.Fatal(err)
				}
				if i := slices.IndexFunc(stages, func(s ledger.Stage) bool { return s.State != "done" || s.Verdict != verdict.Passed }); i >= 0 {
					t.Errorf("stage %+v", stages[i])
				}
			})
		}
	}
}
