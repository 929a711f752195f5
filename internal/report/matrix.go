package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// Scenario is one matrix: phase and tier down, origin across, so that both origins stand side by side.
type Scenario struct {
	Name    string   `json:"name"`
	Status  Status   `json:"status"`
	Origins []string `json:"origins"`
	Rows    []Row    `json:"rows"`
}

// Row is one phase and tier. Its cells stand in the order of Scenario.Origins.
type Row struct {
	Phase string `json:"phase"`
	Tier  string `json:"tier"`
	Cells []Cell `json:"cells"`
}

// Cell is what the tests of one place came to.
type Cell struct {
	Status   Status                 `json:"status"`
	Required bool                   `json:"required"`
	Total    int                    `json:"total"`
	Counts   map[ledger.Outcome]int `json:"counts,omitempty"`
	Took     Duration               `json:"took_ns"`
	Broken   bool                   `json:"broken,omitempty"` // the environment itself failed, not a test in it
}

// String says it in few words: "118 passed", "2 of 118 failed".
func (c Cell) String() string {
	switch c.Status {
	case None:
		return "–"
	case Missing:
		return "no result"
	case Going:
		return "waiting"
	case Bad:
		if c.Broken {
			return "environment failed"
		}
		return fmt.Sprintf("%d of %d failed", c.Counts[ledger.Failed], c.Total) + c.note()
	case Unsure:
		n := c.Counts[ledger.Inconclusive] + c.Counts[ledger.NotRun]
		return fmt.Sprintf("%d of %d inconclusive", n, c.Total) + c.note()
	}
	return fmt.Sprintf("%d passed", c.Counts[ledger.Passed]) + c.note()
}

func (c Cell) note() string {
	var notes []string
	for _, o := range []ledger.Outcome{ledger.Flaky, ledger.Waived, ledger.Skipped} {
		if n := c.Counts[o]; n > 0 {
			notes = append(notes, fmt.Sprintf(", %d %s", n, o))
		}
	}
	return strings.Join(notes, "")
}

func (c *Cell) add(r ledger.Result) {
	if c.Counts == nil {
		c.Counts = map[ledger.Outcome]int{}
	}
	c.Counts[r.Outcome]++
	c.Total++
	c.Took += Duration(r.Duration)
	c.Broken = c.Broken || r.Suite == environmentSuite && r.Outcome == ledger.Failed
}

// judge settles the cell's status once all its results are in.
func (c *Cell) judge(working bool) {
	switch {
	case c.Counts[ledger.Failed] > 0:
		c.Status = Bad
	case c.Counts[ledger.Inconclusive]+c.Counts[ledger.NotRun] > 0:
		c.Status = Unsure
	case c.Total > 0:
		c.Status = Good
	case c.Required && working:
		c.Status = Going
	case c.Required:
		c.Status = Missing
	default:
		c.Status = None
	}
}

// newScenarios lays out results and what the policy requires.
func newScenarios(d Data) []Scenario {
	cells := map[Place]*Cell{}
	at := func(p Place) *Cell {
		if cells[p] == nil {
			cells[p] = &Cell{}
		}
		return cells[p]
	}
	for _, p := range d.Required {
		at(p).Required = true
	}
	for _, r := range d.Results {
		at(placeOf(r)).add(r)
	}
	origins, rows := map[string][]string{}, map[string][]Row{}
	var names []string
	for p, cell := range cells {
		cell.judge(statusOf(d.Run) == Going)
		names = addOnce(names, p.Scenario)
		origins[p.Scenario] = addOnce(origins[p.Scenario], p.Origin)
		if !slices.ContainsFunc(rows[p.Scenario], func(r Row) bool { return r.Phase == p.Phase && r.Tier == p.Tier }) {
			rows[p.Scenario] = append(rows[p.Scenario], Row{Phase: p.Phase, Tier: p.Tier})
		}
	}
	var scenarios []Scenario
	for _, name := range names {
		s := Scenario{Name: name, Origins: origins[name], Rows: rows[name]}
		slices.SortFunc(s.Rows, func(a, b Row) int {
			return cmp.Or(compareWords(a.Phase, b.Phase), compareWords(a.Tier, b.Tier))
		})
		for i := range s.Rows {
			for _, origin := range s.Origins {
				cell := Cell{Status: None}
				if c := cells[Place{name, origin, s.Rows[i].Phase, s.Rows[i].Tier}]; c != nil {
					cell = *c
				}
				s.Rows[i].Cells = append(s.Rows[i].Cells, cell)
			}
		}
		s.Status = s.worst("")
		scenarios = append(scenarios, s)
	}
	return scenarios
}

func placeOf(r ledger.Result) Place { return Place{r.Scenario, r.Origin, r.Phase, r.Tier} }

// worst is the status of the scenario, or of one of its origins.
func (s Scenario) worst(origin string) Status {
	rank := []Status{Bad, Unsure, Missing, Going, Good}
	at := len(rank)
	for _, row := range s.Rows {
		for i, c := range row.Cells {
			if origin != "" && s.Origins[i] != origin {
				continue
			}
			if n := slices.Index(rank, c.Status); n >= 0 {
				at = min(at, n)
			}
		}
	}
	if at == len(rank) {
		return None
	}
	return rank[at]
}
