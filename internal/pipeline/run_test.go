package pipeline_test

import (
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

const upgradeScenario = "upgrade from release/1.0 by rolling"

// A first night: no image, no channel, one live release branch of which nothing was ever built.
func TestNightlyFromEmptyToPromotion(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	d, run := g.pass(pipeline.Request{})
	if run.State != ledger.Finished || run.Verdict != verdict.Passed {
		t.Fatalf("run is %s, %s\n%s", run.State, run.Verdict, d.tree())
	}
	want := map[pipeline.Cell]bool{}
	for _, origin := range []string{"base", "prebuilt"} {
		for _, tier := range []string{"smoke", "build"} {
			for _, phase := range []string{"launched", "rebooted"} {
				want[pipeline.Cell{Scenario: "verify", Origin: origin, Phase: phase, Tier: tier}] = true
			}
			want[pipeline.Cell{Scenario: upgradeScenario, Origin: origin, Phase: "upgraded", Tier: tier}] = true
		}
		want[pipeline.Cell{Scenario: upgradeScenario, Origin: origin, Phase: "launched", Tier: "smoke"}] = true
	}
	want[pipeline.Cell{Scenario: pipeline.ScenarioImage, Origin: "base", Phase: "baked", Tier: "build"}] = true
	got := map[pipeline.Cell]int{}
	for _, r := range d.results(run) {
		got[pipeline.Cell{Scenario: r.Scenario, Origin: r.Origin, Phase: r.Phase, Tier: r.Tier}]++
		if r.Outcome != ledger.Passed || r.Attempt != 1 {
			t.Errorf("%+v", r)
		}
	}
	for cell := range want {
		if got[cell] == 0 {
			t.Errorf("%s: no result", cell)
		}
	}
	for cell := range got {
		if !want[cell] {
			t.Errorf("%s: results that nobody asked for", cell)
		}
	}

	set, err := d.parts.Ledger.Set(t.Context(), run.Set)
	if err != nil || len(set.Images) != 3 {
		t.Fatalf("image set %+v, %v", set, err)
	}
	moves, err := d.parts.Ledger.Moves(t.Context(), "development", 0)
	if err != nil || len(moves) != 1 || moves[0].To != run.Set || moves[0].Actor != "ada" || moves[0].Run != run.ID {
		t.Errorf("development moved: %+v, %v", moves, err)
	}
	evidence, err := d.parts.Ledger.Evidence(t.Context(), run.Set)
	if err != nil || len(evidence) != 1 || !strings.Contains(string(evidence[0].Statement), strings.TrimPrefix(set.Digest, "sha256:")) {
		t.Errorf("evidence %s, %v", evidence, err)
	}
	// The release branch's images stay too: it is live.
	if got, want := len(g.prebuilt()), 6; got != want {
		t.Errorf("%d images, want %d: %v", got, want, g.prebuilt())
	}
	stages, err := d.parts.Ledger.Stages(t.Context(), run.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stages {
		if s.State != "done" || s.Verdict != verdict.Passed || s.Finished.Before(s.Started) {
			t.Errorf("stage %+v", s)
		}
	}
	d.nothingLeft()
	if n := d.parts.Slots.Live(); n != 0 {
		t.Errorf("%d slots are taken", n)
	}
}
