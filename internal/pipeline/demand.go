package pipeline

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/product"
)

// scenarioUpgrade is what a policy calls the upgrades from all that a run upgrades from.
const scenarioUpgrade = "upgrade"

// demandOf spells out what the policy requires of one run. An upgrade that is required while the run has
// nothing to upgrade from is a hole, unless there cannot be anything yet.
func demandOf(ctx context.Context, parts Parts, run ledger.Run, plan runPlan) (Demand, error) {
	policy := parts.Config.Policy[run.Kind]
	d := Demand{Channel: channelOf(parts.Config, run), Budgets: policy.Budgets, Waivers: waivers(parts.Config)}
	var upgrades []string
	for _, lane := range plan.lanes(run, "") {
		if lane.From != nil && !slices.Contains(upgrades, lane.Scenario) {
			upgrades = append(upgrades, lane.Scenario)
		}
	}
	for _, r := range policy.Require {
		scenarios := []string{r.Scenario}
		if r.Scenario == scenarioUpgrade {
			scenarios = upgrades
		}
		for _, scenario := range scenarios {
			d.Cells = append(d.Cells, cellsOf(r, scenario)...)
		}
		if len(scenarios) > 0 {
			continue
		}
		why, excused, err := nothingToUpgradeFrom(ctx, parts, run)
		if err != nil {
			return d, err
		}
		if excused {
			d.Notes = append(d.Notes, "No upgrade was tested: "+why+".")
			continue
		}
		for _, c := range cellsOf(r, scenarioUpgrade) {
			d.Holes = append(d.Holes, fmt.Sprintf("%s: required, but %s", c, why))
		}
	}
	d.Notes = slices.Compact(d.Notes)
	return d, nil
}

// waivers are the configuration's known failures.
func waivers(c config.Config) []Waiver {
	var all []Waiver
	for _, w := range c.Waivers {
		all = append(all, Waiver{Test: w.Test, Ticket: w.Ticket, Expires: w.Expires, Reason: w.Reason})
	}
	return all
}

func cellsOf(r config.Requirement, scenario string) []Cell {
	var cells []Cell
	for _, origin := range r.Origins {
		for _, phase := range r.Phases {
			for _, tier := range r.Tiers {
				cells = append(cells, Cell{scenario, origin, phase, tier})
			}
		}
	}
	return cells
}

// nothingToUpgradeFrom says why a run upgrades from nothing, and whether that is as it should be.
func nothingToUpgradeFrom(ctx context.Context, parts Parts, run ledger.Run) (why string, excused bool, err error) {
	if parts.Config.Upgrade == config.UpgradeNoneYet {
		return "the configuration says that there is no release yet (upgrade: none-yet)", true, nil
	}
	if run.Kind == Release {
		production, err := parts.Ledger.Channel(ctx, ProductionChannel)
		if err != nil {
			return "", false, err
		}
		if production.Set == "" {
			return "the channel " + ProductionChannel + " holds nothing yet that could be upgraded", true, nil
		}
		return "the channel " + ProductionChannel + " held nothing when the run began", true, nil
	}
	glob := parts.Config.Product.Releases
	return fmt.Sprintf("no live release branch matches %q (product.releases): correct it, or set `upgrade: none-yet` if the product has no release yet", glob), false, nil
}

// noneYet says that the configuration denies a release which exists; nil if that is not so.
func noneYet(ctx context.Context, parts Parts) error {
	if parts.Config.Upgrade != config.UpgradeNoneYet {
		return nil
	}
	live, err := parts.Product.LiveReleases(ctx, parts.Config.Product.Releases, parts.Config.Product.Retired)
	if err != nil || len(live) == 0 {
		return err
	}
	return &config.Error{
		File: parts.Config.File, Key: "upgrade", Problem: fmt.Sprintf("says %s, but there is a live release: %s", config.UpgradeNoneYet, strings.Join(live, ", ")),
		Remedy: "remove the key, so that upgrades are required, or list the branch under product.retired",
	}
}

// tested gives for a cell of a run the servers that its tests ran on, with their roles.
func (e *Engine) tested(ctx context.Context, plan runPlan) (func(Cell) map[string]string, error) {
	own, err := e.products.get(ctx, plan.Own.Commit)
	if err != nil {
		return nil, err
	}
	now, before := rolesOf(own.Product), map[string]map[string]string{} // before: by scenario
	for _, lane := range plan.lanes(ledger.Run{}, "") {
		if lane.From == nil {
			continue
		}
		from, err := e.products.get(ctx, lane.From.Commit)
		if err != nil {
			return nil, err
		}
		before[lane.Scenario] = rolesOf(from.Product)
	}
	return func(c Cell) map[string]string {
		if roles, ok := before[c.Scenario]; ok && c.Phase == "launched" {
			return roles
		}
		return now
	}, nil
}

func rolesOf(p *product.Product) map[string]string {
	roles := map[string]string{}
	for _, s := range p.Servers() {
		roles[s.Name] = s.Role
	}
	return roles
}

// laneEnds reads from a run's stages what each lane came to; one whose end is not recorded had none.
func laneEnds(plan runPlan, stages []ledger.Stage) []LaneEnd {
	var ends []LaneEnd
	for _, lane := range plan.lanes(ledger.Run{}, "") {
		end := LaneEnd{Scenario: lane.Scenario, Origin: lane.Origin, Detail: "its end is not recorded"}
		for _, s := range stages {
			if s.Path == lane.Name && s.State == stageDone {
				end.Verdict, end.Detail = s.Verdict, s.Detail
			}
		}
		ends = append(ends, end)
	}
	return ends
}
