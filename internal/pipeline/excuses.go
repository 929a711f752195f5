package pipeline

import (
	"context"
	"errors"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/report"
)

// knownExcuses adds the rules for log lines that were there before: those of the run that the channel's
// set came from, else those of the last run of the branch that looked at logs.
func knownExcuses(ctx context.Context, l *ledger.Ledger, d *report.Data) error {
	var candidates []string
	if d.PreviousSet != "" {
		set, err := l.Set(ctx, d.PreviousSet)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return err
		}
		candidates = append(candidates, set.Run)
	}
	const enough = 20
	runs, err := l.Runs(ctx, ledger.RunFilter{Branch: d.Run.Branch, States: []ledger.RunState{ledger.Finished}, Limit: enough})
	if err != nil {
		return err
	}
	for _, r := range runs {
		if r.Created.Before(d.Run.Created) {
			candidates = append(candidates, r.ID)
		}
	}
	for _, id := range candidates {
		if id == "" || id == d.Run.ID {
			continue
		}
		results, err := l.Results(ctx, id)
		if err != nil {
			return err
		}
		looked := false
		for _, r := range results {
			looked = looked || r.Suite == "system" && r.Test == "clean logs" && r.Outcome != ledger.NotRun
			d.KnownExcuses = append(d.KnownExcuses, r.Excuses...)
		}
		if looked {
			run, err := l.Run(ctx, id)
			d.KnownSince = "run " + id + " at " + run.Commit[:min(12, len(run.Commit))]
			return err
		}
	}
	return nil
}
