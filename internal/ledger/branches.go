package ledger

import (
	"context"
	"fmt"

	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// BranchStatus answers: is the branch green, since when, and after what.
type BranchStatus struct {
	Branch  string          `json:"branch"`
	Verdict verdict.Verdict `json:"verdict"`          // of the last run that taught something; inconclusive: none did
	Last    *Run            `json:"last,omitempty"`   // that run
	Since   *Run            `json:"since,omitempty"`  // the first run of the unbroken series with this verdict
	Before  *Run            `json:"before,omitempty"` // the run before the series, with the other verdict: what changed is between the two
	Latest  *Run            `json:"latest,omitempty"` // the newest run that came to its end or ran out of time
}

// BranchStatus reads a branch's runs of one kind ("" for all), without those that do not speak for it (see
// Run.SpeaksForBranch). Inconclusive runs neither make nor break a series, for they say nothing about the
// product; a run that timeouts.run ended is one of them.
func (l *Ledger) BranchStatus(ctx context.Context, branch, kind string) (BranchStatus, error) {
	s := BranchStatus{Branch: branch}
	runs, err := l.Runs(ctx, RunFilter{Branch: branch, Kind: kind, States: []RunState{Finished, Cancelled}})
	if err != nil {
		return s, fmt.Errorf("status of branch %s: %w", branch, err)
	}
	for i := range runs {
		r := &runs[i]
		if !r.SpeaksForBranch() {
			continue
		}
		if s.Latest == nil {
			s.Latest = r
		}
		switch {
		case r.Verdict == verdict.Inconclusive, r.State == Cancelled:
		case s.Last == nil:
			s.Verdict, s.Last, s.Since = r.Verdict, r, r
		case r.Verdict == s.Verdict:
			s.Since = r
		default:
			s.Before = r
			return s, nil
		}
	}
	return s, nil
}

// SpeaksForBranch reports whether what a run came to is news of its branch. A run that was not to promote,
// or of another commit than the branch's head at that time, is a question that a person asked, and one that
// a person cancelled was not answered.
func (r Run) SpeaksForBranch() bool {
	return !r.Options.NoPromote && !r.Options.NotHead && (r.State != Cancelled || r.TimedOut())
}

// TimedOut reports whether a run was ended because it took too long.
func (r Run) TimedOut() bool { return r.State == Cancelled && r.Reason == cancelledBy(ByTimeout) }

// ByTimeout is the actor of a cancellation because a run takes too long (see RequestCancel): the limit's key in the
// daemon's configuration.
const ByTimeout = "timeouts.run"

func cancelledBy(actor string) string { return "cancelled by " + actor }

// LastPromoted gives the newest run of a branch that promoted its image set, or ErrNotFound. A set
// that was revoked since does not count.
func (l *Ledger) LastPromoted(ctx context.Context, branch string) (Run, error) {
	r, err := one(ctx, l.db, readRun, `SELECT `+runAsTold+` FROM runs WHERE branch = $1 AND EXISTS (
			SELECT 1 FROM moves JOIN image_sets ON image_sets.id = moves.to_set
			WHERE moves.kind = 'promote' AND image_sets.run = runs.id AND image_sets.revoked = ''
		) ORDER BY created DESC, id DESC LIMIT 1`, branch)
	if err != nil {
		return Run{}, fmt.Errorf("last promoted run of %s: %w", branch, err)
	}
	return r, nil
}
