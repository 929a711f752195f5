package pipeline

import (
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

func TestDecide(t *testing.T) {
	cell := Cell{"verify", "base", "launched", "smoke"}
	now := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	result := func(attempt int, outcome ledger.Outcome, message string) ledger.Result {
		return ledger.Result{
			ResultKey: ledger.ResultKey{Scenario: "verify", Origin: "base", Phase: "launched", Tier: "smoke", Suite: "all", Test: "nginx runs", Server: "web-1", Attempt: attempt},
			Outcome:   outcome, Message: message,
		}
	}
	environment := func(attempt int) ledger.Result {
		r := result(attempt, ledger.Inconclusive, "launch refused")
		r.Suite, r.Test = EnvironmentSuite, "launch web-1"
		return r
	}
	on := func(server string, r ledger.Result) ledger.Result { r.Server = server; return r }
	of := func(suite string, r ledger.Result) ledger.Result { r.Suite = suite; return r }
	in := func(c Cell, r ledger.Result) ledger.Result { r.Tier = c.Tier; return r }
	other := func(outcome ledger.Outcome) ledger.Result {
		r := result(1, outcome, "")
		r.Test = "nginx answers"
		return r
	}
	application := Cell{"verify", "base", "launched", "application"}
	roles := func(Cell) map[string]string { return map[string]string{"db-1": "db", "web-1": "web", "web-2": "web"} }
	waiver := Waiver{Test: "nginx runs", Ticket: "ACME-7", Expires: now.Add(time.Hour), Reason: "known"}
	for _, tc := range []struct {
		name     string
		required []Cell
		budget   config.Budgets
		waivers  []Waiver
		ends     []LaneEnd
		holes    []string
		roles    func(Cell) map[string]string
		results  []ledger.Result
		want     verdict.Verdict
		reason   string
	}{
		{name: "passed", required: []Cell{cell}, results: []ledger.Result{result(1, ledger.Passed, "")}, want: verdict.Passed},
		{name: "nothing required promotes nothing", results: []ledger.Result{result(1, ledger.Passed, "")}, want: verdict.Inconclusive, reason: "requires nothing"},
		{name: "no result", required: []Cell{cell}, want: verdict.Inconclusive, reason: "no result"},
		{name: "failed", required: []Cell{cell}, results: []ledger.Result{result(1, ledger.Failed, "exit 3")}, want: verdict.Failed, reason: "nginx runs on web-1 failed: exit 3"},
		{name: "a failure that is not required still fails", required: nil, results: []ledger.Result{result(1, ledger.Failed, "")}, want: verdict.Failed},
		{name: "inconclusive", required: []Cell{cell}, results: []ledger.Result{result(1, ledger.Inconclusive, "lost")}, want: verdict.Inconclusive, reason: "lost"},
		{name: "an unknown outcome is inconclusive", required: []Cell{cell}, results: []ledger.Result{result(1, "", "")}, want: verdict.Inconclusive},
		{name: "not run", required: []Cell{cell}, results: []ledger.Result{result(1, ledger.NotRun, "stopped")}, want: verdict.Inconclusive, reason: "not run"},
		{name: "skipped with a reason", required: []Cell{cell}, results: []ledger.Result{result(1, ledger.Skipped, "no IPv6 here"), other(ledger.Passed)}, want: verdict.Failed, reason: "1 tests skipped, the policy allows 0"},
		{name: "skipped within budget", required: []Cell{cell}, budget: config.Budgets{Skipped: 1}, results: []ledger.Result{result(1, ledger.Skipped, "no IPv6 here"), other(ledger.Passed)}, want: verdict.Passed},
		{name: "everything skipped", required: []Cell{cell}, budget: config.Budgets{Skipped: 2}, results: []ledger.Result{result(1, ledger.Skipped, "TODO"), on("db-1", result(1, ledger.Skipped, "TODO"))}, want: verdict.Inconclusive, reason: "no test of the product's own has passed"},
		{name: "tests of Hallmark's own only", required: []Cell{cell}, results: []ledger.Result{of("system", result(1, ledger.Passed, "")), of("access", result(1, ledger.Passed, ""))}, want: verdict.Inconclusive, reason: "no test of the product's own has passed, so nothing is proved: add one under suites/smoke"},
		{name: "a role without a test", required: []Cell{cell}, roles: roles, results: []ledger.Result{result(1, ledger.Passed, ""), on("db-1", of("system", result(1, ledger.Passed, "")))}, want: verdict.Inconclusive, reason: "has passed for role db"},
		{name: "every role with a test", required: []Cell{cell}, roles: roles, results: []ledger.Result{result(1, ledger.Passed, ""), on("db-1", result(1, ledger.Passed, ""))}, want: verdict.Passed},
		{name: "one server of a role is enough", required: []Cell{cell}, roles: roles, results: []ledger.Result{on("web-2", result(1, ledger.Passed, "")), on("db-1", result(1, ledger.Passed, ""))}, want: verdict.Passed},
		{name: "a tier that drives several servers", required: []Cell{application}, roles: roles, results: []ledger.Result{in(application, result(1, ledger.Passed, ""))}, want: verdict.Passed},
		{name: "a failure that is not judged", required: []Cell{cell}, results: []ledger.Result{result(1, ledger.Failing, "exit 3"), other(ledger.Passed)}, want: verdict.Inconclusive, reason: "nothing has judged whose fault it is: exit 3"},
		{name: "required, and nothing to test it on", required: []Cell{cell}, holes: []string{"upgrade: no live release branch"}, results: []ledger.Result{result(1, ledger.Passed, "")}, want: verdict.Inconclusive, reason: "no live release branch"},
		{name: "skipped without one", required: []Cell{cell}, budget: config.Budgets{Skipped: 1}, results: []ledger.Result{result(1, ledger.Skipped, "")}, want: verdict.Inconclusive, reason: "without a reason"},
		{name: "a fresh environment cures", required: []Cell{cell}, results: []ledger.Result{environment(1), result(2, ledger.Passed, "")}, want: verdict.Passed},
		{name: "passed after failing is flaky, over budget", required: []Cell{cell}, results: []ledger.Result{result(1, ledger.Failed, "x"), result(2, ledger.Passed, "")}, want: verdict.Failed, reason: "1 tests flaky"},
		{name: "flaky in an environment that was lost", required: []Cell{cell}, results: []ledger.Result{result(1, ledger.Flaky, "failed before: x"), result(2, ledger.Passed, "")}, want: verdict.Failed, reason: "1 tests flaky"},
		{name: "flaky, then skipped", required: []Cell{cell}, budget: config.Budgets{Skipped: 1}, results: []ledger.Result{result(1, ledger.Flaky, "failed before: x"), result(2, ledger.Skipped, "no")}, want: verdict.Failed, reason: "1 tests flaky"},
		{name: "flaky within budget", required: []Cell{cell}, budget: config.Budgets{Flaky: 1}, results: []ledger.Result{result(1, ledger.Failed, "x"), result(2, ledger.Passed, "")}, want: verdict.Passed},
		{name: "a failure is not forgotten by a lost retry", required: []Cell{cell}, results: []ledger.Result{result(1, ledger.Failed, "x"), result(2, ledger.Inconclusive, "")}, want: verdict.Failed},
		{name: "good results of a lane that was cut short", required: []Cell{cell}, ends: []LaneEnd{{Scenario: "verify", Origin: "base", Detail: "no room"}},
			results: []ledger.Result{result(1, ledger.Passed, "")}, want: verdict.Inconclusive, reason: "cut short: no room"},
		{name: "another lane was cut short", required: []Cell{cell}, ends: []LaneEnd{{Scenario: "verify", Origin: "prebuilt"}, {Scenario: "verify", Origin: "base", Verdict: verdict.Passed}},
			results: []ledger.Result{result(1, ledger.Passed, "")}, want: verdict.Passed},
		{name: "waived within budget", required: []Cell{cell}, budget: config.Budgets{Waived: 1}, waivers: []Waiver{waiver}, results: []ledger.Result{result(1, ledger.Failed, "x"), other(ledger.Passed)}, want: verdict.Passed},
		{name: "nothing but what is waived", required: []Cell{cell}, budget: config.Budgets{Waived: 1}, waivers: []Waiver{waiver}, results: []ledger.Result{result(1, ledger.Failed, "x")}, want: verdict.Inconclusive, reason: "no test of the product's own has passed"},
		{name: "waived over budget", required: []Cell{cell}, waivers: []Waiver{waiver}, results: []ledger.Result{result(1, ledger.Failed, "x")}, want: verdict.Failed, reason: "1 tests waived"},
		{name: "an expired waiver", required: []Cell{cell}, budget: config.Budgets{Waived: 1}, waivers: []Waiver{{Test: "nginx runs", Expires: now}}, results: []ledger.Result{result(1, ledger.Failed, "x")}, want: verdict.Failed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := Demand{Cells: tc.required, Budgets: tc.budget, Waivers: tc.waivers, Holes: tc.holes, Roles: tc.roles}.Decide(tc.ends, tc.results, now)
			if d.Verdict != tc.want {
				t.Errorf("verdict %v, want %v; reasons %q", d.Verdict, tc.want, d.Reasons)
			}
			if !strings.Contains(strings.Join(d.Reasons, "\n"), tc.reason) {
				t.Errorf("reasons %q do not say %q", d.Reasons, tc.reason)
			}
			if d.Summary() == "" {
				t.Error("no summary")
			}
		})
	}
}

// Only images from which verified servers were launched are promoted: not those of another set, not an
// upgrade's, not those that were planned and never recorded as launched.
func TestUnlaunched(t *testing.T) {
	images := []ledger.Image{{ID: "r-db", Role: "db", ProviderID: "i-db"}, {ID: "r-web", Role: "web", ProviderID: "i-web"}}
	launched := func(scenario, origin, db, web string) ledger.LaunchedFrom {
		return ledger.LaunchedFrom{Scenario: scenario, Origin: origin, Images: map[string]string{"db": db, "web": web}}
	}
	for name, c := range map[string]struct {
		launches []ledger.LaunchedFrom
		want     string
	}{
		"both":                {[]ledger.LaunchedFrom{launched("verify", "prebuilt", "i-db", "i-web")}, ""},
		"none":                {nil, "r-db r-web"},
		"from the base":       {[]ledger.LaunchedFrom{launched("verify", "base", "i-db", "i-web")}, "r-db r-web"},
		"in an upgrade":       {[]ledger.LaunchedFrom{launched("upgrade from release/1.0 by rolling", "prebuilt", "i-db", "i-web")}, "r-db r-web"},
		"one of another set":  {[]ledger.LaunchedFrom{launched("verify", "prebuilt", "i-db", "other")}, "r-web"},
		"one in each attempt": {[]ledger.LaunchedFrom{launched("verify", "prebuilt", "i-db", ""), launched("verify", "prebuilt", "", "i-web")}, ""},
		"roles swapped":       {[]ledger.LaunchedFrom{launched("verify", "prebuilt", "i-web", "i-db")}, "r-db r-web"},
	} {
		t.Run(name, func(t *testing.T) {
			var named []string
			for _, reason := range unlaunched(images, c.launches) {
				named = append(named, strings.Fields(reason)[1])
			}
			if got := strings.Join(named, " "); got != c.want {
				t.Errorf("unlaunched: %q, want %q", got, c.want)
			}
			d := Decision{Verdict: verdict.Passed}
			d.refuse(unlaunched(images, c.launches))
			if (d.Verdict == verdict.Passed) != (c.want == "") {
				t.Errorf("the decision is %s: %q", d.Verdict, d.Reasons)
			}
		})
	}
}
