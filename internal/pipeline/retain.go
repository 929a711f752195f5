package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"

	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// workflowAge is how long the steps of a run's workflow stay after its end. Nothing reads them any more; the
// run's history is in the ledger.
const workflowAge = 24 * time.Hour

// Tidy removes what nothing needs any more and what is not at the provider: checkouts and archives, folders
// of old runs, workflows of runs that have ended. Concluding is a run that is still at work and needs none
// of it, "" for none.
func (e *Engine) Tidy(ctx context.Context, concluding string) error {
	return errors.Join(e.tidyProducts(ctx, concluding), e.tidyRecords(ctx), e.tidyWorkflows(ctx))
}

// retain is Tidy, and prunes images, where no run does that at its end.
func (e *Engine) retain(ctx context.Context) error {
	open, err := e.Ledger.Runs(ctx, ledger.RunFilter{States: []ledger.RunState{ledger.Queued, ledger.Working, ledger.Cancelling}, Limit: 1})
	if err != nil || len(open) > 0 {
		return err
	}
	return errors.Join(prune(ctx, e.Parts, ""), e.Tidy(ctx, ""))
}

func (e *Engine) tidyProducts(ctx context.Context, concluding string) error {
	open, err := e.Ledger.Runs(ctx, ledger.RunFilter{States: []ledger.RunState{ledger.Queued, ledger.Working, ledger.Cancelling}})
	if err != nil {
		return err
	}
	needed := map[string]bool{}
	for _, r := range open {
		if r.ID != concluding && r.State != ledger.Queued { // it may use commits of other branches, too
			return nil
		}
		if r.ID != concluding {
			needed[r.Commit] = true
		}
	}
	living, err := e.Ledger.Environments(ctx, ledger.EnvironmentFilter{})
	if err != nil {
		return err
	}
	for _, env := range living {
		commits, err := environment.CommitsOf(env)
		if err != nil {
			return err
		}
		for _, c := range commits {
			needed[c] = true
		}
	}
	return e.products.tidy(e.Config.Keep.Checkouts, needed)
}

// tidyRecords removes the folders of runs that ended long ago. Of one that the ledger does not know, the
// folder stays.
func (e *Engine) tidyRecords(ctx context.Context) error {
	dir := filepath.Dir(e.Config.RecordsDir("run"))
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || e.Config.Keep.Records == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("tidy records of runs: %w", err)
	}
	var failed error
	for _, entry := range entries {
		over, err := e.over(ctx, entry.Name(), time.Duration(e.Config.Keep.Records))
		if err == nil && over {
			err = os.RemoveAll(filepath.Join(dir, entry.Name()))
		}
		if !errors.Is(err, ledger.ErrNotFound) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// tidyWorkflows removes the workflows of runs that have ended, and of those that a lost ledger does not know:
// nothing will resume them.
func (e *Engine) tidyWorkflows(ctx context.Context) error {
	all, err := dbos.ListWorkflows(e.dbos, dbos.WithFilterHasParent(false), dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
	if err != nil {
		return fmt.Errorf("list workflows: %w", err)
	}
	for _, w := range all {
		over, err := e.over(ctx, w.ID, workflowAge)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return err
		}
		if over || err != nil {
			if err := dbos.DeleteWorkflows(e.dbos, []string{w.ID}, dbos.WithDeleteChildren()); err != nil {
				return fmt.Errorf("remove the workflow of run %s: %w", w.ID, err)
			}
		}
	}
	return nil
}

// over reports whether a run ended so long ago.
func (e *Engine) over(ctx context.Context, id string, age time.Duration) (bool, error) {
	run, err := e.Ledger.Run(ctx, id)
	ended := run.State == ledger.Finished || run.State == ledger.Cancelled
	return err == nil && ended && e.Now().Sub(run.Finished) > age, err
}
