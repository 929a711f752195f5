package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// What Config.Upgrade may say of the upgrades that policies require.
const (
	UpgradeRequired = "required" // a run that finds nothing to upgrade from is not promoted
	UpgradeNoneYet  = "none-yet" // the product has no release yet; an error once a live release branch exists
)

// Policy is what the gate requires of one kind of run before it promotes. It lives here and not in
// the product, so a commit can't switch off its own gate.
type Policy struct {
	Channel string        `key:"channel" json:"channel"` // "" : never promotes; {branch} stands for the branch, see ChannelOf
	Require []Requirement `key:"require" json:"require"`
	Budgets Budgets       `key:"budgets" json:"budgets"`
}

// Requirement is a block of the matrix: every combination of its origins, phases and tiers. The
// scenario "upgrade" means the upgrade from each live release branch.
type Requirement struct {
	Scenario string   `key:"scenario,required" json:"scenario"`
	Origins  []string `key:"origins" json:"origins"`
	Phases   []string `key:"phases,required" json:"phases"`
	Tiers    []string `key:"tiers,required" json:"tiers"`
}

// Budgets are how many results of a kind a promotion may carry.
type Budgets struct {
	Waived  int `key:"waived" json:"waived"`
	Flaky   int `key:"flaky" json:"flaky"`
	Skipped int `key:"skipped" json:"skipped"`
}

// Default asks for both origins.
func (r *Requirement) Default() { r.Origins = []string{"base", "prebuilt"} }

func defaultPolicies() map[string]Policy {
	require := func() []Requirement {
		both := []string{"base", "prebuilt"}
		return []Requirement{
			{Scenario: "verify", Origins: both, Phases: []string{"launched", "rebooted"}, Tiers: []string{"smoke", "build"}},
			{Scenario: "upgrade", Origins: both, Phases: []string{"upgraded"}, Tiers: []string{"smoke", "build"}},
		}
	}
	return map[string]Policy{
		"nightly": {Channel: "development", Require: require()},
		"release": {Channel: "{branch}", Require: require()},
	}
}

// The words of the design page that a policy may use.
var (
	scenarios = []string{"verify", "upgrade"}
	origins   = []string{"base", "prebuilt"}
	phases    = []string{"launched", "rebooted", "relaunched", "upgraded"}
	tiers     = []string{"smoke", "build", "functional", "application"}
)

// tested lists what runs test today: scenario, phase, tiers. A policy that requires more could never be met.
var tested = map[string]map[string][]string{
	"verify":  {"launched": {"smoke", "build"}, "rebooted": {"smoke", "build"}},
	"upgrade": {"launched": {"smoke"}, "upgraded": {"smoke", "build"}},
}

var channelPattern = regexp.MustCompile(`^([a-z0-9._-]|\{branch\})*$`)

// Check wants a policy that promotes only what it has asked about.
func (p *Policy) Check(at Place) {
	if !channelPattern.MatchString(p.Channel) {
		at.Problem("channel", fmt.Sprintf("%q is no name of a channel", p.Channel), "use lower-case letters, digits, dots and dashes, or {branch} for the branch's own channel")
	}
	switch {
	case p.Channel == "" || !at.sound("require"):
	case len(p.Require) == 0:
		at.Problem("require", "is empty, so nothing would ever be promoted", "say what a promotion requires, or set channel to \"\"")
	case !slices.ContainsFunc(p.Require, Requirement.launchesImages):
		at.Problem("require", fmt.Sprintf("channel %q would get images from which no server was ever launched", p.Channel),
			"require scenario verify with origin prebuilt, in phase launched or rebooted")
	}
	at.AtLeast("budgets.waived", p.Budgets.Waived, 0)
	at.AtLeast("budgets.flaky", p.Budgets.Flaky, 0)
	at.AtLeast("budgets.skipped", p.Budgets.Skipped, 0)
}

// launchesImages reports whether servers launched from the run's own images are asked for. An upgrade
// launches those of a release.
func (r Requirement) launchesImages() bool {
	return r.Scenario == "verify" && slices.Contains(r.Origins, "prebuilt")
}

// Check knows the words of the matrix, and which of its places runs test.
func (r *Requirement) Check(at Place) {
	at.OneOf("scenario", r.Scenario, scenarios...)
	words(at, "origins", r.Origins, origins)
	words(at, "phases", r.Phases, phases)
	words(at, "tiers", r.Tiers, tiers)
	if !at.sound("") {
		return
	}
	by := tested[r.Scenario]
	untested := map[int]bool{} // tiers that were reported
	for i, phase := range r.Phases {
		if by[phase] == nil {
			at.Problem(fmt.Sprintf("phases[%d]", i), fmt.Sprintf("no run has the phase %s in scenario %s, so the policy could never be met", phase, r.Scenario),
				"use "+strings.Join(slices.Sorted(maps.Keys(by)), " or "))
			continue
		}
		for j, tier := range r.Tiers {
			if !untested[j] && !slices.Contains(by[phase], tier) {
				untested[j] = true
				at.Problem(fmt.Sprintf("tiers[%d]", j), fmt.Sprintf("no run tests the tier %s in phase %s of scenario %s, so the policy could never be met", tier, phase, r.Scenario),
					"use "+strings.Join(by[phase], " or "))
			}
		}
	}
}

func words(at Place, key string, given, allowed []string) {
	if len(given) == 0 {
		at.Problem(key, "is empty", "name at least one of: "+strings.Join(allowed, ", "))
	}
	for i, word := range given {
		at.OneOf(fmt.Sprintf("%s[%d]", key, i), word, allowed...)
	}
}
