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
	Latest  *Run            `json:"latest,omitempty"` // the newest finished run, inconclusive or not
}

// BranchStatus reads a branch's finished runs of one kind ("" for all). Inconclusive runs neither
// make nor break a series, for they say nothing about the product.
func (l *Ledger) BranchStatus(ctx context.Context, branch, kind string) (BranchStatus, error) {
	s := BranchStatus{Branch: branch}
	runs, err := l.Runs(ctx, RunFilter{Branch: branch, Kind: kind, States: []RunState{Finished}})
	if err != nil {
		return s, fmt.Errorf("status of branch %s: %w", branch, err)
	}
	for i := range runs {
		r := &runs[i]
		if s.Latest == nil {
			s.Latest = r
		}
		switch {
		case r.Verdict == verdict.Inconclusive:
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

// LastPromoted gives the newest run of a branch that promoted its image set, or ErrNotFound. A set
// that was revoked since does not count.
func (l *Ledger) LastPromoted(ctx context.Context, branch string) (Run, error) {
	r, err := one(ctx, l.db, readRun, `SELECT `+runColumns+` FROM runs WHERE branch = $1 AND EXISTS (
			SELECT 1 FROM moves JOIN image_sets ON image_sets.id = moves.to_set
			WHERE moves.kind = 'promote' AND image_sets.run = runs.id AND image_sets.revoked = ''
		) ORDER BY created DESC, id DESC LIMIT 1`, branch)
	if err != nil {
		return Run{}, fmt.Errorf("last promoted run of %s: %w", branch, err)
	}
	return r, nil
}
