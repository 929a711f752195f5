package pipeline

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
	"github.com/hallmark-ci/hallmark/verifier"
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

// LaneEnd is what a lane came to. One that ended inconclusive was cut short: results are
// missing, and the results that it recorded do not show that.
type LaneEnd struct {
	Scenario, Origin string
	Verdict          verdict.Verdict
	Detail           string
}

// Waiver excuses one known failure until it expires.
type Waiver struct {
	Test    string    `json:"test"`    // name of the test, as in the report
	Ticket  string    `json:"ticket"`  // where the failure is dealt with
	Expires time.Time `json:"expires"` // after it the failure counts again
	Reason  string    `json:"reason"`
}

// Demand is what the gate judges a run by.
type Demand struct {
	Channel string         `json:"channel,omitempty"` // where a good set goes
	Cells   []Cell         `json:"required"`
	Holes   []string       `json:"holes,omitempty"` // required, and this run had nothing to test it on: each blocks
	Notes   []string       `json:"notes,omitempty"` // required, and not to be had yet, with the reason: every report says so
	Budgets config.Budgets `json:"budgets"`
	Waivers []Waiver       `json:"waivers,omitempty"`
	// Roles gives the servers that are tested in a cell and the role of each. Nil: it is not known, and one
	// test of the product's own in a cell is enough.
	Roles func(Cell) map[string]string `json:"-"`
}

// Decision is what the gate says and why, with the demand that it went by. Reasons are for people, the
// deciding ones first.
type Decision struct {
	Verdict verdict.Verdict `json:"verdict"`
	Reasons []string        `json:"reasons"`
	Counts  map[string]int  `json:"counts"` // outcome → number of tests
	Demand  Demand          `json:"demand"`
	At      time.Time       `json:"at"`
}

// Decide is the gate: it judges a run's results against what is demanded. Every required cell needs a lane
// that came to its end, and for every role a passed test of the product's own, and nothing in it that
// blocks. A failure anywhere, required or not, is a failure of the run; what was not run or stayed
// inconclusive blocks only where it is required.
func (d Demand) Decide(ends []LaneEnd, results []ledger.Result, now time.Time) Decision {
	latest := Latest(results, d.Waivers, now)
	made := Decision{Verdict: verdict.Passed, Counts: map[string]int{}, Demand: d, At: now}
	cells := map[Cell][]ledger.Result{}
	var failed []string
	for _, r := range latest {
		made.Counts[string(r.Outcome)]++
		cell := Cell{r.Scenario, r.Origin, r.Phase, r.Tier}
		cells[cell] = append(cells[cell], r)
		if r.Outcome == ledger.Failed {
			failed = append(failed, fmt.Sprintf("%s: %s on %s failed: %s", cell, r.Test, r.Server, r.Message))
		}
	}
	open := slices.Clone(d.Holes)
	for _, cell := range d.Cells {
		open = append(open, d.missing(cell, ends, cells[cell])...)
	}
	for _, b := range []struct {
		outcome ledger.Outcome
		allowed int
	}{{ledger.Waived, d.Budgets.Waived}, {ledger.Flaky, d.Budgets.Flaky}, {ledger.Skipped, d.Budgets.Skipped}} {
		if n := made.Counts[string(b.outcome)]; n > b.allowed {
			failed = append(failed, fmt.Sprintf("%d tests %s, the policy allows %d", n, b.outcome, b.allowed))
		}
	}
	if len(d.Cells)+len(d.Holes) == 0 {
		open = append(open, "the policy requires nothing of this kind of run, so nothing is promoted: add `require` to it")
	}
	switch {
	case len(failed) > 0:
		made.Verdict = verdict.Failed
	case len(open) > 0:
		made.Verdict = verdict.Inconclusive
	}
	made.Reasons = append(failed, open...)
	return made
}

// missing tells what keeps a required cell from being proved.
func (d Demand) missing(cell Cell, ends []LaneEnd, results []ledger.Result) []string {
	var open []string
	for _, end := range ends {
		if end.Scenario == cell.Scenario && end.Origin == cell.Origin && end.Verdict == verdict.Inconclusive {
			open = append(open, fmt.Sprintf("%s: cut short: %s", cell, end.Detail))
		}
	}
	if len(results) == 0 {
		return append(open, fmt.Sprintf("%s: required, but no result", cell))
	}
	bad := false
	for _, r := range results {
		why := blocks(r)
		bad = bad || why != "" || r.Outcome == ledger.Failed
		if why != "" {
			open = append(open, fmt.Sprintf("%s: %s on %s: %s", cell, r.Test, r.Server, why))
		}
	}
	if bad { // that is what people have to look at
		return open
	}
	for _, who := range d.unproved(cell, results) {
		open = append(open, fmt.Sprintf("%s: no test of the product's own has passed%s, so nothing is proved: add one under suites/%s", cell, who, cell.Tier))
	}
	return open
}

// unproved names the roles (as " for role db") of which no test of the product's own has passed in a cell.
// In the tiers that drive several servers at once one test a cell is enough.
func (d Demand) unproved(cell Cell, results []ledger.Result) []string {
	var roles map[string]string
	if d.Roles != nil && (cell.Tier == verifier.Smoke || cell.Tier == verifier.Build) {
		roles = d.Roles(cell)
	}
	proved := map[string]bool{}
	for _, r := range results {
		if verifier.Own(r.Suite) && (r.Outcome == ledger.Passed || r.Outcome == ledger.Flaky) {
			proved[roles[r.Server]] = true
		}
	}
	var open []string
	if len(roles) == 0 && len(proved) == 0 {
		open = append(open, "")
	}
	for _, role := range slices.Compact(slices.Sorted(maps.Values(roles))) {
		if !proved[role] {
			open = append(open, " for role "+role)
		}
	}
	return open
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
