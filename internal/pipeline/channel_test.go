package pipeline_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// planned is what a run's tree says about the release that it upgrades from.
func (d *daemon) planned(run ledger.Run) string {
	d.t.Helper()
	stages, err := d.parts.Ledger.Stages(d.t.Context(), run.ID)
	if err != nil {
		d.t.Fatal(err)
	}
	i := slices.IndexFunc(stages, func(s ledger.Stage) bool { return s.Path == pipeline.PlanStage+"release/1.0" })
	if i < 0 {
		return ""
	}
	return stages[i].Detail
}

// A release goes into a channel of its own, a person promotes it, and from then on nights upgrade
// from what production has, not from the branch's head.
func TestReleaseToProduction(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	d := g.daemon()
	release := d.await(d.start(pipeline.Request{Kind: pipeline.Release, Branch: "release/1.0"}).ID)
	if release.Verdict != verdict.Passed || d.channel("release-1.0").Set != release.Set {
		t.Fatalf("release is %s, channel %+v\n%s", release.Verdict, d.channel("release-1.0"), d.tree())
	}
	if c := d.channel("production"); c.Set != "" {
		t.Errorf("a run moved production: %+v", c)
	}

	night := d.await(d.start(pipeline.Request{}).ID)
	if want := release.Commit + " channel release-1.0"; d.planned(night) != want || night.Verdict != verdict.Passed {
		t.Fatalf("night is %s, upgrades from %s, want %s\n%s", night.Verdict, d.planned(night), want, d.tree())
	}
	if n := g.calls(cloud.VerbCapture); n != 6 {
		t.Errorf("%d images were captured, want 6: none of the release twice", n)
	}

	_, err := d.parts.Ledger.MoveChannel(t.Context(), ledger.Move{Channel: pipeline.ProductionChannel, To: release.Set, Kind: ledger.Promote, Actor: "grace"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	g.git("-C", "product", "checkout", "-q", "release/1.0")
	newer := g.commit("1.0.1", map[string]string{"app/VERSION": "1.0.1\n"})
	second := d.await(d.start(pipeline.Request{Kind: pipeline.Release, Branch: "release/1.0"}).ID)
	if second.Verdict != verdict.Passed || second.Commit != newer || d.channel("release-1.0").Set != second.Set {
		t.Fatalf("second release is %s of %s\n%s", second.Verdict, second.Commit, d.tree())
	}
	night = d.await(d.start(pipeline.Request{}).ID)
	if want := release.Commit + " channel production"; d.planned(night) != want || night.Verdict != verdict.Passed {
		t.Fatalf("night is %s, upgrades from %s, want %s\n%s", night.Verdict, d.planned(night), want, d.tree())
	}
	if d.channel("development").Set != night.Set || d.channel("development").Version != 2 {
		t.Errorf("development is at %+v", d.channel("development"))
	}
	images := strings.Join(g.prebuilt(), " ")
	for _, set := range []string{release.ID, second.ID, night.ID} {
		if n := strings.Count(images, set+"-"); n != 3 {
			t.Errorf("%d images of %s are left, want 3: %s", n, set, images)
		}
	}
	d.nothingLeft()
}

// Somebody moves the channel while the run works: its set is good, but it does not take the channel.
func TestChannelMovedMeanwhile(t *testing.T) {
	t.Parallel()
	g := young(t)
	first, run := g.pass(pipeline.Request{})
	if run.Verdict != verdict.Passed {
		t.Fatal(first.tree())
	}
	m := newMoment()
	calls(m, cloud.VerbReboot, "")(g)
	night := first.start(pipeline.Request{})
	<-m.come
	before := first.channel("development")
	if _, err := first.parts.Ledger.RevokeSet(t.Context(), run.Set, "grace", "it has a hole"); err != nil {
		t.Fatal(err)
	}
	close(m.over)
	night = first.await(night.ID)
	if night.Verdict != verdict.Passed || !strings.Contains(night.Reason, "not promoted to development: it was moved since the run began") || !strings.Contains(night.Reason, "hallmark promote") {
		t.Errorf("run is %s: %s", night.Verdict, night.Reason)
	}
	if c := first.channel("development"); c.Set != "" || c.Version != before.Version+1 {
		t.Errorf("development is at %+v", c)
	}
}

func TestNoPromote(t *testing.T) {
	t.Parallel()
	g := young(t)
	d, run := g.pass(pipeline.Request{Options: ledger.RunOptions{NoPromote: true}})
	if run.Verdict != verdict.Passed || !strings.Contains(run.Reason, "not promoted") {
		t.Errorf("run is %s: %s", run.Verdict, run.Reason)
	}
	d.unmoved()
}

// A release branch that was just cut is the commit that the night builds anyway: its images serve both.
func TestReleaseJustCut(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	g.git("-C", "product", "branch", "-f", "release/1.0", "main")
	d, night := g.pass(pipeline.Request{})
	if night.Verdict != verdict.Passed || d.channel("development").Set != night.Set {
		t.Fatalf("night is %s: %s\n%s", night.Verdict, night.Reason, d.tree())
	}
	if n := g.calls(cloud.VerbCapture); n != 3 {
		t.Errorf("%d images were captured, want one for each of 3 roles", n)
	}
	if d.planned(night) == "" {
		t.Error("the upgrade from the new release was not planned")
	}
	d.nothingLeft()
}
