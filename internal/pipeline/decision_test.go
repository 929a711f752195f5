package pipeline_test

import (
	"database/sql"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/report"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

func (d *daemon) report(run ledger.Run) report.Data {
	d.t.Helper()
	data, err := pipeline.Report(d.t.Context(), d.parts, run)
	if err != nil {
		d.t.Fatal(err)
	}
	return data
}

// A policy that requires upgrades is not met by a run that found nothing to upgrade from.
func TestNothingToUpgradeFrom(t *testing.T) {
	t.Parallel()
	t.Run("a glob that matches no branch", func(t *testing.T) {
		t.Parallel()
		g := newGround(t)
		g.cfg.Product.Releases = "releases/*"
		d, run := g.pass(pipeline.Request{})
		if run.Verdict != verdict.Inconclusive || !strings.Contains(run.Reason, `no live release branch matches "releases/*" (product.releases)`) {
			t.Errorf("run is %s: %s", run.Verdict, run.Reason)
		}
		if reasons := d.report(run).Gate.Reasons; len(reasons) != 4 { // 2 origins, 2 tiers
			t.Errorf("the report names %q", reasons)
		}
		d.unmoved()
	})
	t.Run("a product without a release says so", func(t *testing.T) {
		t.Parallel()
		g := young(t)
		d, run := g.pass(pipeline.Request{})
		if run.Verdict != verdict.Passed || d.channel("development").Set != run.Set {
			t.Fatalf("run is %s: %s\n%s", run.Verdict, run.Reason, d.tree())
		}
		if notes := d.report(run).Notes; len(notes) != 1 || !strings.Contains(notes[0], "upgrade: none-yet") {
			t.Errorf("the report notes %q", notes)
		}
	})
	t.Run("a product with a release may not say so", func(t *testing.T) {
		t.Parallel()
		g := newGround(t)
		g.cfg.Upgrade, g.cfg.File = config.UpgradeNoneYet, "hallmark.yaml"
		d, run := g.pass(pipeline.Request{})
		const says = "hallmark.yaml: upgrade: says none-yet, but there is a live release: release/1.0; remove the key"
		if run.Verdict != verdict.Inconclusive || !strings.Contains(run.Reason, says) {
			t.Errorf("run is %s: %s", run.Verdict, run.Reason)
		}
		err := pipeline.Preflight(t.Context(), d.parts, &pipeline.Request{Kind: pipeline.Nightly})
		if _, ok := errors.AsType[*config.Error](err); !ok || !strings.Contains(err.Error(), says) {
			t.Errorf("asked for by hand: %v", err)
		}
		if n := g.calls(cloud.VerbLaunch); n > 0 {
			t.Errorf("%d servers were launched", n)
		}
		d.unmoved()
	})
	t.Run("the first release", func(t *testing.T) {
		t.Parallel()
		g := newGround(t)
		d, run := g.pass(pipeline.Request{Kind: pipeline.Release, Branch: "release/1.0"})
		if run.Verdict != verdict.Passed || d.channel("release-1.0").Set != run.Set {
			t.Fatalf("run is %s: %s\n%s", run.Verdict, run.Reason, d.tree())
		}
		if notes := d.report(run).Notes; len(notes) != 1 || !strings.Contains(notes[0], "the channel production holds nothing yet") {
			t.Errorf("the report notes %q", notes)
		}
	})
}

// What the configuration accepts as a policy, a run can meet: each place of its matrix is tested.
func TestEveryPlaceThatAPolicyMayRequireIsTested(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	both := []string{"base", "prebuilt"}
	g.allow(func(p *config.Policy) {
		p.Require = []config.Requirement{
			{Scenario: "verify", Origins: both, Phases: []string{"launched", "rebooted"}, Tiers: []string{"smoke", "build"}},
			{Scenario: "upgrade", Origins: both, Phases: []string{"launched"}, Tiers: []string{"smoke"}},
			{Scenario: "upgrade", Origins: both, Phases: []string{"upgraded"}, Tiers: []string{"smoke", "build"}},
		}
	})
	d, run := g.pass(pipeline.Request{})
	if run.Verdict != verdict.Passed {
		t.Errorf("run is %s: %s\n%s", run.Verdict, run.Reason, d.tree())
	}
}

// A role of which nothing is tested is found before anything is launched, and named with the remedy.
func TestARoleWithoutTests(t *testing.T) {
	t.Parallel()
	g := young(t)
	g.git("-C", "product", "rm", "-q", "suites/build/all.yaml", "suites/build/db.yaml")
	g.commit("fewer tests", map[string]string{"suites/build/bastion.yaml": "service: {ssh: {running: true}}\n"})
	d, run := g.pass(pipeline.Request{})
	if run.Verdict != verdict.Failed || !strings.Contains(run.Reason, "suites/build: no test for role db") || !strings.Contains(run.Reason, "db.yaml") {
		t.Errorf("run is %s: %s", run.Verdict, run.Reason)
	}
	if n := g.calls(cloud.VerbLaunch); n > 0 {
		t.Errorf("%d servers were launched", n)
	}
	d.unmoved()
}

// History is not retold: a report shows the decision that was taken, with what it went by.
func TestReportsTellTheDecisionThatWasTaken(t *testing.T) {
	t.Parallel()
	g := young(t)
	g.answers.Fail("web-1", "port:tcp:80:holds", "nothing listens")
	d, run := g.pass(pipeline.Request{})
	before := d.report(run)
	if before.Gate == nil || before.Gate.Verdict != verdict.Failed || !strings.Contains(run.Reason, before.Gate.Reasons[0]) {
		t.Fatalf("run is %s: %s; the gate said %+v", run.Verdict, run.Reason, before.Gate)
	}
	// Another configuration, in which the run would have passed, required less and gone elsewhere.
	d.parts.Config.Waivers = []config.Waiver{{Test: "port:tcp:80:holds", Ticket: "T-1", Reason: "known", Expires: g.clock.Now().Add(10000 * time.Hour)}}
	d.parts.Config.Upgrade = config.UpgradeRequired
	d.parts.Config.Policy = map[string]config.Policy{pipeline.Nightly: {
		Channel: "elsewhere", Budgets: config.Budgets{Waived: 100},
		Require: []config.Requirement{{Scenario: "verify", Origins: []string{"prebuilt"}, Phases: []string{"launched"}, Tiers: []string{"smoke"}}},
	}}
	after := d.report(run)
	for what, pair := range map[string][2]any{
		"gate": {before.Gate, after.Gate}, "results": {before.Results, after.Results}, "required": {before.Required, after.Required},
		"notes": {before.Notes, after.Notes}, "channel": {before.Channel, after.Channel},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: told as %+v, and under another configuration as %+v", what, pair[0], pair[1])
		}
	}
}

// The record of a decision holds the demand: policy, budgets, waivers, notes.
func TestADecisionHoldsWhatItWentBy(t *testing.T) {
	t.Parallel()
	g := young(t)
	expires := g.clock.Now().Add(1000 * time.Hour).UTC().Truncate(time.Second)
	g.cfg.Waivers = []config.Waiver{{Test: "port:tcp:81:holds", Ticket: "T-1", Reason: "known", Expires: expires}}
	g.allow(func(p *config.Policy) { p.Budgets = config.Budgets{Flaky: 1, Skipped: 2} })
	d, run := g.pass(pipeline.Request{})
	made, err := pipeline.DecisionOn(t.Context(), d.parts.Ledger, run.ID)
	if err != nil {
		t.Fatal(err)
	}
	if made.Verdict != verdict.Passed || made.Demand.Channel != "development" || len(made.Demand.Cells) != 8 || len(made.Demand.Notes) != 1 ||
		made.Demand.Budgets != (config.Budgets{Flaky: 1, Skipped: 2}) || made.At.IsZero() ||
		!slices.Equal(made.Demand.Waivers, []pipeline.Waiver{{Test: "port:tcp:81:holds", Ticket: "T-1", Reason: "known", Expires: expires}}) {
		t.Errorf("the decision is %+v", made)
	}
	gate := d.report(run).Gate
	if gate.Allowed["skipped"] != 2 || len(gate.Waivers) != 1 || !gate.At.Equal(made.At) || !reflect.DeepEqual(gate.Counts, made.Counts) {
		t.Errorf("the report tells %+v of it", gate)
	}
}

// A run promotes its set, and then its end cannot be written.
func TestAPromotedRunWhoseEndCannotBeWritten(t *testing.T) {
	t.Parallel()
	g := young(t)
	d := g.daemon()
	db, err := sql.Open("sqlite", "file:"+g.cfg.LedgerFile()+"?_pragma=busy_timeout(20000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.Exec(`CREATE TRIGGER full BEFORE UPDATE ON runs WHEN NEW.state = 'finished' AND NEW.verdict = 'passed'
		BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END`)
	if err != nil {
		t.Fatal(err)
	}
	run := d.await(d.start(pipeline.Request{}).ID)
	if d.channel("development").Set != run.ID {
		t.Fatalf("development is at %+v\n%s", d.channel("development"), d.tree())
	}
	if run.State != ledger.Finished || run.Verdict != verdict.Passed || !strings.HasPrefix(run.Reason, "promoted to development; afterwards: ") || !strings.Contains(run.Reason, "disk is full") {
		t.Errorf("run is %s, %s: %s", run.State, run.Verdict, run.Reason)
	}
	if told := report.New(d.report(run)); told.Status != report.Good || told.Headline != "Passed and promoted to development" {
		t.Errorf("told as %s: %s", told.Status, told.Headline)
	}
}

// A night that runs into timeouts.run says nothing about the product, and that is said of its branch.
func TestARunThatTakesTooLong(t *testing.T) {
	t.Parallel()
	g := young(t)
	m := newMoment()
	g.answers.Before = func(s environmenttest.Server, question string) {
		if s.Name == "web-1" && question == "validate build/web" {
			m.stay()
		}
	}
	g.cfg.Timeouts.Run = time.Nanosecond
	d := g.daemon()
	run := d.start(pipeline.Request{})
	d.until("the run to be ended", func() bool {
		r, err := d.parts.Ledger.Run(t.Context(), run.ID)
		return err == nil && r.State != ledger.Queued && r.State != ledger.Working
	})
	close(m.over)
	run = d.await(run.ID)
	if run.State != ledger.Finished || run.Verdict != verdict.Inconclusive || !strings.Contains(run.Reason, "timeouts.run") {
		t.Errorf("run is %s, %s: %s", run.State, run.Verdict, run.Reason)
	}
	s, err := d.parts.Ledger.BranchStatus(t.Context(), "main", pipeline.Nightly)
	if err != nil || s.Latest == nil || s.Latest.ID != run.ID {
		t.Errorf("the branch's latest run is %+v, %v", s.Latest, err)
	}
}

// A report knows what failed in earlier runs of its commit, and only in those.
func TestReportsKnowEarlierFailuresOfTheCommit(t *testing.T) {
	t.Parallel()
	g := young(t)
	g.answers.Fail("web-1", "port:tcp:80:holds", "nothing listens")
	d := g.daemon()
	first := d.await(d.start(pipeline.Request{}).ID)
	second := d.await(d.start(pipeline.Request{}).ID)
	g.commit("another", map[string]string{"app/VERSION": "2\n"})
	other := d.await(d.start(pipeline.Request{}).ID)
	for run, want := range map[string]int{first.ID: 0, second.ID: 4, other.ID: 0} {
		r, err := d.parts.Ledger.Run(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		if earlier := d.report(r).Earlier; len(earlier) != want {
			t.Errorf("run %s knows %d earlier failures, want %d: %+v", run, len(earlier), want, earlier)
		}
	}
}

// A unit test that says two megabytes in one line fails its run, and fills no list with them.
func TestLongOutputIsBounded(t *testing.T) {
	t.Parallel()
	g := young(t)
	g.commit("noise", map[string]string{"hallmark.yaml": productFiles()["hallmark.yaml"] + "unit-tests: {command: \"head -c 1900000 /dev/zero | tr '\\\\0' x; echo; echo no luck; false\"}\n"})
	d, run := g.pass(pipeline.Request{})
	stages, err := d.parts.Ledger.Stages(t.Context(), run.ID)
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{"reason": run.Reason, "stage": stages[0].Detail} {
		if run.Verdict != verdict.Failed || len(text) > 1<<16 || !strings.Contains(text, "unit tests") || !strings.HasSuffix(text, "no luck") {
			t.Errorf("run is %s; its %s has %d bytes: %.200s", run.Verdict, what, len(text), text)
		}
	}
}

// A person looks for the commit that broke something: that is no news of the branch.
func TestARunOfAnotherCommitThanTheHeadIsNoNewsOfTheBranch(t *testing.T) {
	t.Parallel()
	g := young(t)
	d := g.daemon()
	old := g.git("-C", "product", "rev-parse", "main")
	head := g.commit("mended", map[string]string{"app/VERSION": "2\n"})
	for commit, want := range map[string]bool{"": false, head: false, "main": false, old: true} {
		r := pipeline.Request{Kind: pipeline.Nightly, Branch: "main", Commit: commit, Options: ledger.RunOptions{NoPromote: true}}
		if err := pipeline.Preflight(t.Context(), d.parts, &r); err != nil {
			t.Fatal(err)
		}
		if r.Options.NotHead != want {
			t.Errorf("asked for %q: not of the head: %v, want %v", commit, r.Options.NotHead, want)
		}
	}
	// The branch moves between the two looks at a request: it was asked for as the head.
	r := pipeline.Request{Kind: pipeline.Nightly}
	if err := pipeline.Preflight(t.Context(), d.parts, &r); err != nil {
		t.Fatal(err)
	}
	g.commit("newer", map[string]string{"app/VERSION": "3\n"})
	if run := d.start(r); run.Commit != head || run.Options.NotHead {
		t.Errorf("the run is of %s, not of the head: %v", run.Commit, run.Options.NotHead)
	}
}
