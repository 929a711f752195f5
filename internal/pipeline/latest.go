package pipeline

import (
	"cmp"
	"slices"
	"time"

	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// Latest reduces the attempts at each test to one result, as ledger.Kept has it: the last attempt that said
// anything, flaky if it passed after failing; waived if a waiver that has not expired covers its failure.
// The result is sorted.
func Latest(results []ledger.Result, waivers []Waiver, now time.Time) []ledger.Result {
	byTest := map[ledger.ResultKey][]ledger.Result{}
	for _, r := range results {
		if r.Outcome == ledger.Failing {
			r.Outcome, r.Message = ledger.Inconclusive, "failed, and nothing has judged whose fault it is: "+r.Message
		}
		key := r.ResultKey
		key.Attempt = 0
		byTest[key] = append(byTest[key], r)
	}
	var latest []ledger.Result
	for _, attempts := range byTest {
		slices.SortFunc(attempts, func(a, b ledger.Result) int { return cmp.Compare(a.Attempt, b.Attempt) })
		r := attempts[0]
		for _, next := range attempts[1:] {
			r = ledger.Kept(r, next)
		}
		latest = append(latest, waive(r, waivers, now))
	}
	slices.SortFunc(latest, func(a, b ledger.Result) int {
		return cmp.Or(cmp.Compare(a.Scenario, b.Scenario), cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Phase, b.Phase),
			cmp.Compare(a.Tier, b.Tier), cmp.Compare(a.Server, b.Server), cmp.Compare(a.Suite, b.Suite), cmp.Compare(a.Test, b.Test))
	})
	return superseded(latest)
}

// superseded drops an inconclusive result of an environment that was given up, once a later attempt
// at the same cell has results of its own.
func superseded(latest []ledger.Result) []ledger.Result {
	newest := map[Cell]int{}
	lane := map[[2]string]int{}
	for _, r := range latest {
		cell := Cell{r.Scenario, r.Origin, r.Phase, r.Tier}
		newest[cell] = max(newest[cell], r.Attempt)
		key := [2]string{r.Scenario, r.Origin}
		lane[key] = max(lane[key], r.Attempt)
	}
	return slices.DeleteFunc(latest, func(r ledger.Result) bool {
		cell := Cell{r.Scenario, r.Origin, r.Phase, r.Tier}
		gone := r.Outcome == ledger.Inconclusive || r.Outcome == ledger.NotRun
		return gone && (r.Attempt < newest[cell] || r.Suite == EnvironmentSuite && r.Attempt < lane[[2]string{r.Scenario, r.Origin}])
	})
}

func waive(r ledger.Result, waivers []Waiver, now time.Time) ledger.Result {
	if r.Outcome != ledger.Failed {
		return r
	}
	for _, w := range waivers {
		if w.Test == r.Test && now.Before(w.Expires) {
			r.Outcome, r.Ticket = ledger.Waived, w.Ticket
			r.Message = w.Reason + " (" + w.Ticket + "): " + r.Message
		}
	}
	return r
}
