package report

import (
	"fmt"
	"time"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Branch answers: is the branch green, since when, what changed.
type Branch struct {
	Name    string    `json:"name"`
	Status  Status    `json:"status"`
	Since   time.Time `json:"since"`
	Answer  string    `json:"answer"` // one sentence
	Changed string    `json:"changed,omitempty"`
	Span    string    `json:"span,omitempty"` // what Commits are, as in "since the last run"
	Commits []Commit  `json:"commits,omitempty"`
}

func newBranch(d Data) Branch {
	s := d.Branch
	b := Branch{Name: d.Run.Branch, Status: None, Span: "since the run before", Commits: d.Commits}
	if s.Branch == "" {
		return b
	}
	if s.Last == nil {
		b.Status = Unsure
		b.Answer = fmt.Sprintf("No run of %s has reached a verdict yet.", s.Branch) + aside(d.Run)
		return b
	}
	b.Status, b.Since = statusOfVerdict(s.Verdict), s.Since.Created
	colour := "green"
	if s.Verdict == verdict.Failed {
		colour = "red"
	}
	b.Answer = fmt.Sprintf("%s is %s since %s", s.Branch, colour, day(s.Since.Created))
	switch {
	case s.Since.ID == d.Run.ID && s.Before != nil:
		b.Answer += ", with this run."
	case s.Since.ID == d.Run.ID:
		b.Answer += ", its first run that said anything."
	default:
		b.Answer += fmt.Sprintf(" (run %s).", s.Since.ID)
	}
	if s.Latest != nil && s.Latest.ID != s.Last.ID {
		b.Answer += fmt.Sprintf(" The latest run, %s, was inconclusive.", s.Latest.ID)
	}
	b.Answer += aside(d.Run)
	if s.Before != nil && s.Since.ID == d.Run.ID {
		b.Span = "since it was " + map[bool]string{true: "green", false: "red"}[s.Verdict == verdict.Failed]
		b.Changed = changedBetween(*s.Before, *s.Since, colour)
	}
	return b
}

// aside says why a run is no news of its branch, if a person asked for it in such a way.
func aside(run ledger.Run) string {
	switch {
	case run.Options.NoPromote:
		return " This run does not speak for the branch: it was not to promote."
	case run.Options.NotHead:
		return " This run does not speak for the branch: its commit was not the head."
	}
	return ""
}

// changedBetween names what can have turned the branch.
func changedBetween(before, since ledger.Run, colour string) string {
	var what []string
	if before.Commit != since.Commit {
		what = append(what, fmt.Sprintf("the commit (%s → %s)", short(before.Commit), short(since.Commit)))
	}
	if before.Base != since.Base && before.Base != "" && since.Base != "" {
		what = append(what, fmt.Sprintf("the base (%s → %s)", short(before.Base), short(since.Base)))
	}
	if len(what) == 0 {
		what = []string{"neither the commit nor the base: look at package versions and at the tests themselves"}
	}
	return fmt.Sprintf("What changed as it turned %s: %s.", colour, list(what))
}
