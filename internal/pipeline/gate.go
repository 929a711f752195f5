package pipeline

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Cell is one place of the matrix that a run's policy may require.
type Cell struct {
	Scenario string `json:"scenario"`
	Origin   string `json:"origin"`
	Phase    string `json:"phase"`
	Tier     string `json:"tier"`
}

// String is "scenario, origin, phase, tier".
func (c Cell) String() string {
	return strings.Join([]string{c.Scenario, c.Origin, c.Phase, c.Tier}, ", ")
}

// Waiver excuses one known failure until it expires.
type Waiver struct {
	Test    string    // name of the test, as in the report
	Ticket  string    // where the failure is dealt with
	Expires time.Time // after it the failure counts again
	Reason  string
}

// Budget is how many results of a kind a promotion may carry.
type Budget struct {
	Waived int
	Flaky  int
}

// LaneEnd is what a lane came to. One that ended inconclusive was cut short: however good the results
// that it recorded, others are missing, and nobody else knows that.
type LaneEnd struct {
	Scenario, Origin string
	Verdict          verdict.Verdict
	Detail           string
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

// Decision is what the gate says and why. Reasons are for people, the deciding ones first.
type Decision struct {
	Verdict verdict.Verdict `json:"verdict"`
	Reasons []string        `json:"reasons"`
	Counts  map[string]int  `json:"counts"` // outcome → number of tests
}

// Decide is the gate: it judges a run's results against what the policy requires. Every required
// cell needs a lane that came to its end, and at least one result, all of them good. A failure
// anywhere, required or not, is a failure of the run; what was not run or stayed inconclusive blocks
// only where it is required.
func Decide(required []Cell, budget Budget, waivers []Waiver, ends []LaneEnd, results []ledger.Result, now time.Time) Decision {
	latest := Latest(results, waivers, now)
	d := Decision{Verdict: verdict.Passed, Counts: map[string]int{}}
	cells := map[Cell][]ledger.Result{}
	var failed, open []string
	for _, r := range latest {
		d.Counts[string(r.Outcome)]++
		cell := Cell{r.Scenario, r.Origin, r.Phase, r.Tier}
		cells[cell] = append(cells[cell], r)
		if r.Outcome == ledger.Failed {
			failed = append(failed, fmt.Sprintf("%s: %s on %s failed: %s", cell, r.Test, r.Server, r.Message))
		}
	}
	for _, cell := range required {
		for _, end := range ends {
			if end.Scenario == cell.Scenario && end.Origin == cell.Origin && end.Verdict == verdict.Inconclusive {
				open = append(open, fmt.Sprintf("%s: cut short: %s", cell, end.Detail))
			}
		}
		if len(cells[cell]) == 0 {
			open = append(open, fmt.Sprintf("%s: required, but no result", cell))
		}
		for _, r := range cells[cell] {
			if why := blocks(r); why != "" {
				open = append(open, fmt.Sprintf("%s: %s on %s: %s", cell, r.Test, r.Server, why))
			}
		}
	}
	for _, b := range []struct {
		outcome ledger.Outcome
		allowed int
	}{{ledger.Waived, budget.Waived}, {ledger.Flaky, budget.Flaky}} {
		if n := d.Counts[string(b.outcome)]; n > b.allowed {
			failed = append(failed, fmt.Sprintf("%d tests %s, the policy allows %d", n, b.outcome, b.allowed))
		}
	}
	switch {
	case len(failed) > 0:
		d.Verdict = verdict.Failed
	case len(open) > 0 || len(required) == 0:
		d.Verdict = verdict.Inconclusive
	}
	if len(required) == 0 {
		open = append(open, "the policy requires nothing of this kind of run, so nothing is promoted: add `require` to it")
	}
	d.Reasons = append(failed, open...)
	return d
}

func blocks(r ledger.Result) string {
	switch r.Outcome {
	case ledger.Passed, ledger.Waived, ledger.Flaky, ledger.Failed:
		return ""
	case ledger.Skipped:
		if r.Message != "" {
			return ""
		}
		return "skipped without a reason"
	case ledger.NotRun:
		return "not run: " + r.Message
	}
	return "inconclusive: " + r.Message
}

// Latest reduces the attempts at each test to one result: the last attempt that said anything, flaky if an
// earlier attempt failed and the last passed, waived if a waiver that has not expired covers its failure.
// The result is sorted.
func Latest(results []ledger.Result, waivers []Waiver, now time.Time) []ledger.Result {
	byTest := map[ledger.ResultKey][]ledger.Result{}
	for _, r := range results {
		key := r.ResultKey
		key.Attempt = 0
		byTest[key] = append(byTest[key], r)
	}
	var latest []ledger.Result
	for _, attempts := range byTest {
		slices.SortFunc(attempts, func(a, b ledger.Result) int { return cmp.Compare(a.Attempt, b.Attempt) })
		r := attempts[len(attempts)-1]
		for _, earlier := range attempts[:len(attempts)-1] {
			if earlier.Outcome == ledger.Failed && r.Outcome != ledger.Failed {
				if r.Outcome == ledger.Passed {
					r.Outcome, r.Message = ledger.Flaky, "failed before: "+earlier.Message
				} else {
					r = earlier
				}
			}
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

// Summary is the decision in one sentence.
func (d Decision) Summary() string {
	var counts []string
	for _, outcome := range slices.Sorted(maps.Keys(d.Counts)) {
		counts = append(counts, fmt.Sprintf("%d %s", d.Counts[outcome], outcome))
	}
	text := strings.Join(counts, ", ")
	if text == "" {
		text = "no test ran"
	}
	if len(d.Reasons) == 0 {
		return text
	}
	more := ""
	if n := len(d.Reasons) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more)", n)
	}
	return text + "; " + d.Reasons[0] + more
}
