package pipeline

import (
	"strings"
	"testing"
	"time"

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
	waiver := Waiver{Test: "nginx runs", Ticket: "ACME-7", Expires: now.Add(time.Hour), Reason: "known"}
	for _, tc := range []struct {
		name     string
		required []Cell
		budget   Budget
		waivers  []Waiver
		ends     []LaneEnd
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
		{name: "skipped with a reason", required: []Cell{cell}, results: []ledger.Result{result(1, ledger.Skipped, "no IPv6 here")}, want: verdict.Passed},
		{name: "skipped without one", required: []Cell{cell}, results: []ledger.Result{result(1, ledger.Skipped, "")}, want: verdict.Inconclusive, reason: "without a reason"},
		{name: "a fresh environment cures", required: []Cell{cell}, results: []ledger.Result{environment(1), result(2, ledger.Passed, "")}, want: verdict.Passed},
		{name: "passed after failing is flaky, over budget", required: []Cell{cell}, results: []ledger.Result{result(1, ledger.Failed, "x"), result(2, ledger.Passed, "")}, want: verdict.Failed, reason: "1 tests flaky"},
		{name: "flaky within budget", required: []Cell{cell}, budget: Budget{Flaky: 1}, results: []ledger.Result{result(1, ledger.Failed, "x"), result(2, ledger.Passed, "")}, want: verdict.Passed},
		{name: "a failure is not forgotten by a lost retry", required: []Cell{cell}, results: []ledger.Result{result(1, ledger.Failed, "x"), result(2, ledger.Inconclusive, "")}, want: verdict.Failed},
		{name: "good results of a lane that was cut short", required: []Cell{cell}, ends: []LaneEnd{{Scenario: "verify", Origin: "base", Detail: "no room"}},
			results: []ledger.Result{result(1, ledger.Passed, "")}, want: verdict.Inconclusive, reason: "cut short: no room"},
		{name: "another lane was cut short", required: []Cell{cell}, ends: []LaneEnd{{Scenario: "verify", Origin: "prebuilt"}, {Scenario: "verify", Origin: "base", Verdict: verdict.Passed}},
			results: []ledger.Result{result(1, ledger.Passed, "")}, want: verdict.Passed},
		{name: "waived within budget", required: []Cell{cell}, budget: Budget{Waived: 1}, waivers: []Waiver{waiver}, results: []ledger.Result{result(1, ledger.Failed, "x")}, want: verdict.Passed},
		{name: "waived over budget", required: []Cell{cell}, waivers: []Waiver{waiver}, results: []ledger.Result{result(1, ledger.Failed, "x")}, want: verdict.Failed, reason: "1 tests waived"},
		{name: "an expired waiver", required: []Cell{cell}, budget: Budget{Waived: 1}, waivers: []Waiver{{Test: "nginx runs", Expires: now}}, results: []ledger.Result{result(1, ledger.Failed, "x")}, want: verdict.Failed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := Decide(tc.required, tc.budget, tc.waivers, tc.ends, tc.results, now)
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
