package pipeline

import (
	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// Kinds of runs.
const (
	Nightly = "nightly"
	Release = "release"
)

// ProductionChannel is the one that a release manager promotes to.
const ProductionChannel = ledger.Production

// channelOf is where the policy sends a good set of this run, "" for nowhere.
func channelOf(c config.Config, run ledger.Run) string {
	return c.Policy[run.Kind].ChannelFor(run.Branch)
}

// ScenarioVerify launches the run's own commit.
const ScenarioVerify = "verify"

// ScenarioUpgrade launches production's code of a branch and upgrades it, server after server, to the
// run's commit.
func ScenarioUpgrade(branch string) string { return "upgrade from " + branch + " by rolling" }

// PlanStage is the stage that tells, for a branch, which commit and whose images a run upgrades from.
const PlanStage = "plan/upgrade from "

// NothingStage is the stage that tells why a run upgrades from nothing.
const NothingStage = "plan/nothing to upgrade from"
