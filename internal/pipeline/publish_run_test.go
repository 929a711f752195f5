package pipeline_test

import (
	"context"
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/fault"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// A night publishes its set, then moves the channel, then has it named; the night before goes, and what of
// it cannot be removed is left for the reaper.
func TestRunPublishes(t *testing.T) {
	t.Parallel()
	g := young(t, fault.Fault{Call: cloud.VerbDeleteImage, Do: fault.Refuse})
	g.onCall(func(_ context.Context, d *daemon, call cloud.Call) {
		if want, ok := map[cloud.Verb]int64{cloud.VerbPublish: 0, cloud.VerbPoint: 1}[call.Verb]; ok {
			if got := d.channel("development").Version; got != want {
				t.Errorf("%s: the channel is at version %d, want %d", call, got, want)
			}
		}
	})
	d, first := g.pass(pipeline.Request{})
	if first.Verdict != verdict.Passed {
		t.Fatal(d.tree())
	}
	d.told()
	g.onCall(nil)
	for range 2 {
		if run := d.await(d.start(pipeline.Request{}).ID); run.Verdict != verdict.Passed {
			t.Fatal(d.tree())
		}
		d.told()
	}
	if n := strings.Count(strings.Join(g.prebuilt(), " "), first.ID+"-"); n != 1 {
		t.Errorf("%d images of the first night are left, want the one whose removal was refused", n)
	}
	if _, err := pipeline.Reap(t.Context(), d.parts, false); err != nil {
		t.Error(err)
	}
	if n := strings.Count(strings.Join(g.prebuilt(), " "), first.ID+"-"); n != 0 {
		t.Errorf("%d images of the first night are left after reaping", n)
	}
}

// What cannot be published is nobody's fault: the run is inconclusive, and the channel stays.
func TestRunCannotPublish(t *testing.T) {
	t.Parallel()
	g := young(t, fault.Fault{Call: cloud.VerbPublish, Nth: 2, Do: fault.Refuse})
	d, run := g.pass(pipeline.Request{})
	if run.Verdict != verdict.Inconclusive || !strings.Contains(run.Reason, "could not be published, so channel development stays") {
		t.Errorf("run is %s: %s", run.Verdict, run.Reason)
	}
	d.unmoved()
	if err := pipeline.Align(t.Context(), d.parts); err != nil {
		t.Error(err)
	}
	d.told()
	if _, err := pipeline.Move(t.Context(), d.parts, ledger.Move{Channel: "development", To: run.Set, Kind: ledger.Promote}, 0); err != nil {
		t.Error(err)
	}
}

// A channel that moved is promoted, even if nobody is told yet.
func TestRunCannotPoint(t *testing.T) {
	t.Parallel()
	g := young(t, fault.Fault{Call: cloud.VerbPoint, Do: fault.Refuse})
	d, run := g.pass(pipeline.Request{})
	if run.Verdict != verdict.Passed || !strings.Contains(run.Reason, "promoted to development, which the provider does not tell yet: ") {
		t.Errorf("run is %s: %s", run.Verdict, run.Reason)
	}
	if err := pipeline.AlignUnlessBusy(t.Context(), d.parts); err != nil {
		t.Error(err)
	}
	d.told()
}
