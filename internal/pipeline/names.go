package pipeline

import (
	"strings"

	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// Kinds of runs.
const (
	Nightly = "nightly"
	Release = "release"
)

// ProductionChannel is the one that a release manager promotes to.
const ProductionChannel = "production"

// channelOf is where the policy sends a good set of this run, "" for nowhere.
func channelOf(c config.Config, run ledger.Run) string {
	return strings.ReplaceAll(c.Policy[run.Kind].Channel, "{branch}", config.ChannelOf(run.Branch))
}

// ScenarioVerify launches the run's own commit.
const ScenarioVerify = "verify"

// ScenarioUpgrade launches production's code of a release branch and upgrades it, server after
// server, to the run's commit.
func ScenarioUpgrade(branch string) string { return "upgrade from " + branch + " by rolling" }

// PlanStage is the stage that tells, for a release branch, which commit and whose images a run
// upgrades from.
const PlanStage = "plan/upgrade from "
