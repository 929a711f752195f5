package pipeline_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// The retry of an old run builds and tests it, and moves nothing: development holds a newer commit.
func TestChannelDoesNotGoBackToAnOlderCommit(t *testing.T) {
	t.Parallel()
	g := young(t)
	d := g.daemon()
	old := d.await(d.start(pipeline.Request{}).ID)
	g.commit("newer", map[string]string{"app/VERSION": "2\n"})
	newer := d.await(d.start(pipeline.Request{}).ID)
	retry := pipeline.Request{Kind: old.Kind, Branch: old.Branch, Commit: old.Commit, Options: ledger.RunOptions{RetryOf: old.ID}}

	asked := retry
	if err := pipeline.Preflight(t.Context(), d.parts, &asked); err == nil || !strings.Contains(err.Error(), "is older than "+newer.Commit) || !strings.Contains(err.Error(), "--no-promote") {
		t.Errorf("the person's request gives %v", err)
	}
	again := d.await(d.start(retry).ID)
	if again.Verdict != verdict.Passed || !strings.Contains(again.Reason, "not promoted to development: commit "+old.Commit+" is older than "+newer.Commit) {
		t.Errorf("the retry is %s: %s\n%s", again.Verdict, again.Reason, d.tree())
	}
	if c := d.channel("development"); c.Set != newer.Set || c.Version != 2 {
		t.Fatalf("development is at %+v", c)
	}

	// A person may, for a reason that is recorded.
	var refused *pipeline.Refusal
	if err := d.promote(again.Set, "development"); !errors.As(err, &refused) || !strings.Contains(refused.Remedy, "--force --reason") {
		t.Errorf("promoted by hand: %v", err)
	}
	back := ledger.Move{Channel: "development", To: again.Set, Kind: ledger.Promote, Actor: "grace", Forced: true, Reason: " "}
	if _, err := pipeline.Move(t.Context(), d.parts, back, 2); err == nil || !strings.Contains(err.Error(), "reason") {
		t.Errorf("forced without a reason: %v", err)
	}
	back.Reason = "2 loses orders"
	if _, err := pipeline.Move(t.Context(), d.parts, back, 2); err != nil {
		t.Fatal(err)
	}
	moves, err := d.parts.Ledger.Moves(t.Context(), "development", 1)
	if err != nil || !moves[0].Forced || moves[0].Reason != "2 loses orders" || moves[0].To != again.Set {
		t.Errorf("recorded is %+v, %v", moves, err)
	}
}

// The branch is rewritten while the run works: what is no longer on it does not move its channel.
func TestBranchRewrittenWhileTheRunWorks(t *testing.T) {
	t.Parallel()
	g := young(t)
	m := newMoment()
	calls(m, cloud.VerbReboot, "")(g)
	d := g.daemon()
	run := d.start(pipeline.Request{})
	<-m.come
	g.git("-C", "product", "reset", "-q", "--hard", "HEAD~1")
	g.commit("another 1.1", map[string]string{"app/VERSION": "1.1b\n"})
	close(m.over)
	run = d.await(run.ID)
	if run.Verdict != verdict.Passed || !strings.Contains(run.Reason, "not promoted to development: commit "+run.Commit+" is no longer on branch main") {
		t.Errorf("run is %s: %s\n%s", run.Verdict, run.Reason, d.tree())
	}
	d.unmoved()
	g.git("-C", "product", "checkout", "-q", "--detach")
	g.git("-C", "product", "branch", "-q", "-m", "main", "trunk")
	if err := d.promote(run.Set, "development"); err == nil || !strings.Contains(err.Error(), "branch main is no longer in the repository") {
		t.Errorf("promoted a set of a branch that is gone: %v", err)
	}
}

// What a channel holds was rewritten away. The branch's new history moves the channel on, but not to what
// both histories have, which is older.
func TestChannelFollowsARewrittenBranch(t *testing.T) {
	t.Parallel()
	g := young(t)
	d := g.daemon()
	first := d.await(d.start(pipeline.Request{}).ID)
	g.git("-C", "product", "reset", "-q", "--hard", "HEAD~1")
	older := d.await(d.start(pipeline.Request{}).ID)
	if c := d.channel("development"); c.Set != first.Set || !strings.Contains(older.Reason, "is older than "+first.Commit) {
		t.Errorf("development is at %+v after a run that ended %s: %s", c, older.Verdict, older.Reason)
	}
	g.commit("another 1.1", map[string]string{"app/VERSION": "1.1b\n"})
	next := d.await(d.start(pipeline.Request{}).ID)
	if c := d.channel("development"); c.Set != next.ID || next.Verdict != verdict.Passed {
		t.Errorf("development is at %+v after a run that ended %s: %s", c, next.Verdict, next.Reason)
	}
	if err := d.promote(first.Set, "development"); err == nil || !strings.Contains(err.Error(), "is no longer on branch main") {
		t.Errorf("promoted what was rewritten away: %v", err)
	}
}

// Each release branch's own channel takes that branch's sets only, and development takes none of a release.
func TestChannelTakesItsOwnBranchOnly(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	g.git("-C", "product", "branch", "release/1.1", "main")
	d := g.daemon()
	run := d.await(d.start(pipeline.Request{Kind: pipeline.Release, Branch: "release/1.0"}).ID)
	if run.Verdict != verdict.Passed {
		t.Fatal(d.tree())
	}
	for _, channel := range []string{"release-1.1", "development", "prodution"} {
		err := d.promote(run.Set, channel)
		if err == nil || !strings.Contains(err.Error(), "it takes no sets of branch release/1.0; this one can go to release-1.0 or production") {
			t.Errorf("promoted to %s: %v", channel, err)
		}
		if c := d.channel(channel); c.Set != "" {
			t.Errorf("%+v", c)
		}
	}
}
