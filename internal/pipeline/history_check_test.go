package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// check compares what the ledger, the cloud and the reports say with what Hallmark promises.
func (h *history) check() {
	ctx := h.t.Context()
	channels, err := h.d.parts.Ledger.Channels(ctx)
	h.must(err)
	there := h.there()
	for _, c := range channels {
		h.linear(c)
		if c.Set != "" {
			h.proved(c, there)
		}
		previous, err := h.d.parts.Ledger.PreviousSet(ctx, c.Name)
		if err == nil {
			h.exists("rollback of "+c.Name+" offers", previous, there)
		} else if !errors.Is(err, ledger.ErrNotFound) {
			h.must(err)
		}
	}
	for id := range h.images {
		if !there[id] {
			h.t.Errorf("image %s was in use when the ledger was lost, and was deleted", id)
		}
	}
	h.told()
}

// there are the images that the cloud has.
func (h *history) there() map[string]bool {
	images, err := h.sim.Images(h.t.Context(), cloud.Filter{Owner: owner})
	h.must(err)
	there := map[string]bool{}
	for _, i := range images {
		there[string(i.ID)] = true
	}
	return there
}

// linear: every move of a channel starts where the one before it ended.
func (h *history) linear(c ledger.Channel) {
	moves, err := h.d.parts.Ledger.Moves(h.t.Context(), c.Name, 0)
	h.must(err)
	at := ledger.Channel{Name: c.Name}
	for _, m := range slices.Backward(moves) {
		if m.Version != at.Version+1 || m.From != at.Set {
			h.t.Errorf("channel %s: move %d from %q follows version %d at %q", c.Name, m.Version, m.From, at.Version, at.Set)
		}
		if at.Version, at.Set = m.Version, m.To; m.Version > h.seen[c.Name] && m.Kind == ledger.Promote {
			h.mayBe(m)
		}
	}
	h.seen[c.Name] = at.Version
	if at.Version != c.Version || at.Set != c.Set {
		h.t.Errorf("channel %s is at %d, %q, its moves end at %d, %q", c.Name, c.Version, c.Set, at.Version, at.Set)
	}
}

// mayBe: a promotion that has just been made goes to a commit that its branch holds now, not to an older one
// than the channel held of that branch, and in production to a set whose upgrade from the one before passed.
func (h *history) mayBe(m ledger.Move) {
	ctx := h.t.Context()
	set, err := h.d.parts.Ledger.Set(ctx, m.To)
	h.must(err)
	if on, err := h.d.parts.Product.OnBranch(ctx, set.Commit, set.Branch); err != nil || !on {
		h.t.Errorf("channel %s was promoted to set %s, whose commit is not on branch %s: %v", m.Channel, set.ID, set.Branch, err)
	}
	if m.From == "" || m.From == m.To {
		return
	}
	from, err := h.d.parts.Ledger.Set(ctx, m.From)
	h.must(err)
	if from.Branch == set.Branch && from.Commit != set.Commit {
		older, err := h.d.parts.Product.Contains(ctx, from.Commit, set.Commit)
		h.must(err)
		if older {
			h.t.Errorf("channel %s was promoted from commit %s to the older %s", m.Channel, from.Commit, set.Commit)
		}
	}
	if m.Channel != pipeline.ProductionChannel {
		return
	}
	evidence, err := h.d.parts.Ledger.Evidence(ctx, set.ID)
	h.must(err)
	if !slices.ContainsFunc(evidence, func(e ledger.Evidence) bool { return slices.Contains(e.UpgradedFrom, m.From) }) {
		h.t.Errorf("production was promoted from set %s to %s, an upgrade that was not tested", m.From, set.ID)
	}
}

// exists: every image of a set is known, not given up, and in the cloud.
func (h *history) exists(why string, set ledger.ImageSet, there map[string]bool) {
	if len(set.Images) == 0 {
		h.t.Errorf("%s set %s, which has no images", why, set.ID)
	}
	for role, id := range set.Images {
		image, err := h.d.parts.Ledger.Image(h.t.Context(), id)
		h.must(err)
		if !image.Deleted.IsZero() || !there[image.ProviderID] {
			h.t.Errorf("%s set %s, whose image for %s is gone", why, set.ID, role)
		}
	}
}

// proved: a channel holds a set of a commit that its branch holds or held, not revoked, each of whose images
// was launched, and whose run passed every required cell with a test of the product's own for every role.
func (h *history) proved(c ledger.Channel, there map[string]bool) {
	set, err := h.d.parts.Ledger.Set(h.t.Context(), c.Set)
	h.must(err)
	if !h.was[set.Branch][set.Commit] {
		h.t.Errorf("channel %s holds set %s of commit %s, which was never on branch %s", c.Name, set.ID, set.Commit, set.Branch)
	}
	if set.Revoked != "" {
		h.t.Errorf("channel %s holds set %s, which was revoked: %s", c.Name, set.ID, set.Revoked)
	}
	h.exists("channel "+c.Name+" holds", set, there)
	h.mu.Lock()
	launched := map[cloud.ImageID]bool{}
	for _, s := range h.specs {
		launched[s.Image] = true
	}
	h.mu.Unlock()
	for role, id := range set.Images {
		image, err := h.d.parts.Ledger.Image(h.t.Context(), id)
		h.must(err)
		if !launched[cloud.ImageID(image.ProviderID)] {
			h.t.Errorf("channel %s holds set %s, whose image for %s was never launched", c.Name, set.ID, role)
		}
	}
	h.passed(c, set)
}

// passed: the run of a set has, for every origin, phase and tier that the policy requires of a verification and
// of each upgrade, a passed test of the product's own for every role, and in none of them a result that is not
// good. A nightly run has an upgrade: there is always a live release branch.
func (h *history) passed(c ledger.Channel, set ledger.ImageSet) {
	run, err := h.d.parts.Ledger.Run(h.t.Context(), set.Run)
	h.must(err)
	results, err := h.d.parts.Ledger.Results(h.t.Context(), set.Run)
	h.must(err)
	phases := map[string][]string{pipeline.ScenarioVerify: {"launched", "rebooted"}}
	for _, r := range results {
		if strings.HasPrefix(r.Scenario, "upgrade from ") {
			phases[r.Scenario] = []string{"upgraded"}
		}
	}
	if run.Kind == pipeline.Nightly && len(phases) == 1 {
		h.t.Errorf("channel %s holds set %s: no upgrade to it was tested", c.Name, set.ID)
	}
	for scenario, phases := range phases {
		for _, origin := range []string{"base", "prebuilt"} {
			for _, phase := range phases {
				for _, tier := range []string{"smoke", "build"} {
					h.passedCell(c, set, pipeline.Cell{Scenario: scenario, Origin: origin, Phase: phase, Tier: tier}, results)
				}
			}
		}
	}
}

func (h *history) passedCell(c ledger.Channel, set ledger.ImageSet, cell pipeline.Cell, all []ledger.Result) {
	var results []ledger.Result
	last := 0
	for _, r := range all {
		if (pipeline.Cell{Scenario: r.Scenario, Origin: r.Origin, Phase: r.Phase, Tier: r.Tier}) == cell {
			results, last = append(results, r), max(last, r.Attempt)
		}
	}
	own := map[string]bool{}
	for _, r := range results {
		if r.Attempt != last {
			continue
		}
		if r.Outcome != ledger.Passed {
			h.t.Errorf("channel %s holds set %s: %s: %s/%s on %s is %s", c.Name, set.ID, cell, r.Suite, r.Test, r.Server, r.Outcome)
		}
		if r.Suite != "system" && r.Suite != "access" {
			own[r.Server] = true
		}
	}
	for _, server := range []string{"bastion", "web-1"} {
		if !own[server] {
			h.t.Errorf("channel %s holds set %s: %s: no test of the product passed on %s", c.Name, set.ID, cell, server)
		}
	}
}

// told: a run that moved a channel passed, and every look at a decision shows the same one.
func (h *history) told() {
	ctx := h.t.Context()
	runs, err := h.d.parts.Ledger.Runs(ctx, ledger.RunFilter{States: []ledger.RunState{ledger.Finished}})
	h.must(err)
	promoted := map[string]bool{}
	channels, err := h.d.parts.Ledger.Channels(ctx)
	h.must(err)
	for _, c := range channels {
		moves, err := h.d.parts.Ledger.Moves(ctx, c.Name, 0)
		h.must(err)
		for _, m := range moves {
			promoted[m.Run] = promoted[m.Run] || m.Kind == ledger.Promote
		}
	}
	for _, run := range runs {
		if promoted[run.ID] && run.Verdict != verdict.Passed {
			h.t.Errorf("run %s promoted, and is told as %s: %s", run.ID, run.Verdict, run.Reason)
		}
		data, err := pipeline.Report(ctx, h.d.parts, run)
		h.must(err)
		if data.Gate == nil {
			continue
		}
		shown := fmt.Sprint(data.Gate.Verdict, data.Gate.Reasons, data.Gate.Counts)
		if first, ok := h.decided[run.ID]; ok && first != shown {
			h.t.Errorf("run %s: the decision was shown as %s, and now as %s", run.ID, first, shown)
		}
		h.decided[run.ID] = shown
		if run.Verdict == verdict.Passed && data.Gate.Verdict != verdict.Passed {
			h.t.Errorf("run %s passed, and its gate is shown as %s", run.ID, data.Gate.Verdict)
		}
	}
}

// remember notes, before a ledger is lost or replaced, which images its channels hold or could go back to.
func (h *history) remember() {
	book, err := ledger.Open(context.WithoutCancel(h.t.Context()), h.cfg.LedgerFile())
	h.must(err)
	defer book.Close()
	channels, err := book.Channels(h.t.Context())
	h.must(err)
	for _, c := range channels {
		for _, find := range []func() (ledger.ImageSet, error){
			func() (ledger.ImageSet, error) { return book.Set(h.t.Context(), c.Set) },
			func() (ledger.ImageSet, error) { return book.PreviousSet(h.t.Context(), c.Name) },
		} {
			set, err := find()
			if errors.Is(err, ledger.ErrNotFound) {
				continue
			}
			h.must(err)
			for _, id := range set.Images {
				image, err := book.Image(h.t.Context(), id)
				h.must(err)
				h.images[image.ProviderID] = true
			}
		}
	}
}
