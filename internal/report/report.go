package report

import (
	"fmt"
	"io"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cost"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/printable"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Status is a word for how something stands, and the name of its colour.
type Status string

// Statuses, beside those of the ledger's outcomes that mean the same.
const (
	Good    Status = "passed"
	Bad     Status = "failed"
	Unsure  Status = "inconclusive"
	Missing Status = "missing" // required, but no result
	Going   Status = "running" // or waiting for its turn
	Ended   Status = "cancelled"
	None    Status = "none" // not part of this run
)

// Report is the told story of a run. Its JSON is what `runs report -o json` gives; durations in it are
// nanoseconds, as in the ledger.
type Report struct {
	Run       ledger.Run `json:"run"`
	Status    Status     `json:"status"`
	Headline  string     `json:"headline"`
	Took      Duration   `json:"took_ns"`
	Generated time.Time  `json:"generated"`

	Branch    Branch                 `json:"branch"`
	Counts    map[ledger.Outcome]int `json:"counts"`
	Scenarios []Scenario             `json:"scenarios"`
	Failures  []Failure              `json:"failures"`
	Shown     []Shown                `json:"shown,omitempty"`
	Tolerated []Tolerated            `json:"tolerated,omitempty"`
	Retries   []Retry                `json:"retries,omitempty"`
	Excuses   Excuses                `json:"excuses,omitzero"`
	Timeline  Timeline               `json:"timeline"`
	Cost      *cost.Estimate         `json:"cost,omitempty"`

	Set      ledger.ImageSet `json:"set"`
	Images   []Image         `json:"images"`
	Packages Packages        `json:"packages"`
	Upgrades []Upgrade       `json:"upgrades,omitempty"`

	Gate     *Gate         `json:"gate,omitempty"`
	Notes    []string      `json:"notes,omitempty"` // what the policy requires and was not to be had yet
	Channel  string        `json:"channel,omitempty"`
	Moves    []ledger.Move `json:"moves,omitempty"`
	Evidence *Evidence     `json:"evidence,omitempty"`

	results []ledger.Result // for the full list of the page
}

// Evidence is what was signed off, without its whole text.
type Evidence struct {
	Subject string    `json:"subject"` // digest of the set's manifest
	Created time.Time `json:"created"`
	Bytes   int       `json:"bytes"`
}

// New tells the story of a run from its records. Their texts are as they were written: Text and HTML take out of them
// what steers, JSON spells it as escapes.
func New(d Data) Report {
	r := Report{
		Run: d.Run, Status: statusOf(d.Run), Generated: d.Now, Set: d.Set, Gate: newGate(d.Gate), Notes: d.Notes, Channel: d.Channel, Moves: d.Moves,
		Counts: map[ledger.Outcome]int{}, Shown: d.Shown, Cost: d.Cost, results: d.Results,
	}
	if !d.Run.Started.IsZero() {
		end := d.Run.Finished
		if end.IsZero() {
			end = d.Now
		}
		r.Took = Duration(end.Sub(d.Run.Started))
	}
	for _, result := range d.Results {
		r.Counts[result.Outcome]++
	}
	r.Branch = newBranch(d)
	r.Scenarios = newScenarios(d)
	r.Failures = newFailures(d)
	r.Tolerated = newTolerated(d.Results)
	r.Retries = newRetries(d)
	r.Excuses = newExcuses(d)
	r.Timeline = newTimeline(d)
	r.Images = newImages(d.Images)
	r.Packages = newPackages(d)
	r.Upgrades = newUpgrades(d, r.Scenarios)
	if d.Evidence != nil {
		r.Evidence = &Evidence{Subject: d.Set.Digest, Created: d.Evidence.Created, Bytes: len(d.Evidence.Statement)}
	}
	r.Run.Reason = Plain(d.Run.Reason)
	r.Headline = r.headline()
	return r
}

// JSON writes the report for programs.
func JSON(w io.Writer, r Report) error {
	return printable.JSON(w, r)
}

// printable gives the report as people may see it.
func (r Report) printable() Report {
	results := printable.Of(r.results)
	r = printable.Of(r)
	r.results = results
	return r
}

func newGate(g *Gate) *Gate {
	if g == nil {
		return nil
	}
	told := *g
	told.Reasons = nil
	for _, reason := range g.Reasons {
		told.Reasons = append(told.Reasons, Plain(reason))
	}
	return &told
}

// Allowance says how many results of a kind the policy let pass, "" if none.
func (g Gate) Allowance() string {
	var words []string
	for _, o := range []ledger.Outcome{ledger.Flaky, ledger.Waived, ledger.Skipped} {
		if n := g.Allowed[string(o)]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, o))
		}
	}
	if len(words) == 0 {
		return ""
	}
	return "The policy allowed " + list(words) + "."
}

func statusOf(run ledger.Run) Status {
	switch run.State {
	case ledger.Finished:
		return statusOfVerdict(run.Verdict)
	case ledger.Cancelled:
		return Ended
	}
	return Going
}

func statusOfVerdict(v verdict.Verdict) Status {
	switch v {
	case verdict.Passed:
		return Good
	case verdict.Failed:
		return Bad
	}
	return Unsure
}

// headline is the answer in one sentence.
func (r Report) headline() string {
	failing := 0
	for _, f := range r.Failures {
		if f.Status == Bad {
			failing++
		}
	}
	switch r.Status {
	case Going:
		if r.Run.State == ledger.Queued {
			return "Waiting for its turn"
		}
		return fmt.Sprintf("At work for %s", r.Took)
	case Ended:
		return "Cancelled"
	case Good:
		for _, m := range r.Moves {
			if m.Run == r.Run.ID && m.Kind == ledger.Promote {
				return "Passed and promoted to " + m.Channel
			}
		}
		return "Passed, not promoted"
	case Bad:
		switch failing {
		case 0:
			return "Failed"
		case 1:
			return "Failed: " + r.Failures[0].Test + r.blame()
		}
		return "Failed: " + plural(failing, "problem") + r.blame()
	}
	for _, f := range r.Failures {
		if f.Cause == verdict.StoppedItself {
			return "Inconclusive: a server stops in every fresh environment: " + f.Test
		}
	}
	return "Inconclusive: nothing is said about the product"
}

// blame says where the defects live, if all of them live in one place.
func (r Report) blame() string {
	side := Side("")
	for _, f := range r.Failures {
		if f.Status != Bad {
			continue
		}
		if side != "" && side != f.Diagnosis.Side {
			return ""
		}
		side = f.Diagnosis.Side
	}
	switch side {
	case OnlyBase:
		return ", only from the base"
	case OnlyPrebuilt:
		return ", only in the prebuilt image"
	case BothOrigins:
		return ", from both origins"
	}
	return ""
}
