package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"

	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/host"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// errStopped says that this process is ending: the workflow must return at once and do nothing
// more, it will be resumed where it stood by the next process. It is a cancellation, for DBOS keeps any
// other error of a workflow whose context ends at that moment as the workflow's outcome: then no process
// would resume it.
var errStopped = fmt.Errorf("stopped: the run is resumed by the next process: %w", context.Canceled)

// step makes fn durable: once it has returned, it is not done again after a crash. fn must be
// idempotent, for a crash inside it does it again. Its context ends when the run is cancelled.
func step[R any](ctx dbos.Context, e *Engine, run, name string, fn func(context.Context) (R, error)) (R, error) {
	r, err := dbos.RunAsStep(ctx, watched(e, run, name, fn), dbos.WithStepName(name))
	return r, stopped(ctx, err)
}

// watched ends fn's context when its run is cancelled.
func watched[R any](e *Engine, run, name string, fn func(context.Context) (R, error)) dbos.Step[R] {
	return func(ctx context.Context) (R, error) {
		ctx, release := e.watch(ctx, run)
		defer release()
		if e.Host != nil {
			ctx = host.WithPace(ctx, e.Host)
		}
		if err := ctx.Err(); err != nil {
			var nothing R
			return nothing, cancelled(ctx, name, err)
		}
		r, err := fn(ctx)
		return r, cancelled(ctx, name, err)
	}
}

// piece is one of several steps that are done at the same time.
type piece[R any] struct {
	name string
	do   func(context.Context) (R, error)
}

// together makes each piece durable, does them at the same time, waits for all, also if the process is
// ending, and gives what came of each, in their order.
func together[R any](ctx dbos.Context, e *Engine, run string, pieces []piece[R]) (results []R, errs []error) {
	results, errs = make([]R, len(pieces)), make([]error, len(pieces))
	outcomes := make([]<-chan dbos.StepOutcome[R], len(pieces))
	for i, p := range pieces {
		outcomes[i], errs[i] = dbos.Go(ctx, watched(e, run, p.name, p.do), dbos.WithStepName(p.name))
	}
	for i, outcome := range outcomes {
		if errs[i] == nil {
			o := <-outcome
			results[i], errs[i] = o.Result, o.Err
		}
		errs[i] = stopped(ctx, errs[i])
	}
	return results, errs
}

// cancelled says of an error under watch that it came of the run's being cancelled, if it did.
func cancelled(ctx context.Context, name string, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errCancelled) {
		return verdict.Errorf(verdict.Cancelled, "", "%s: %w", name, err)
	}
	return err
}

// cleanup is a step that a cancelled run still does.
func cleanup(ctx dbos.Context, name string, fn func(context.Context) error) error {
	_, err := dbos.RunAsStep(ctx, func(ctx context.Context) (bool, error) {
		return true, fn(ctx)
	}, dbos.WithStepName(name))
	return stopped(ctx, err)
}

// stopped turns any error of a workflow whose process is ending into errStopped: what went wrong by
// then is of no interest, it is done again.
func stopped(ctx context.Context, err error) error {
	if err != nil && (ctx.Err() != nil || errors.Is(err, dbos.ErrWorkflowCancelled)) {
		return errStopped
	}
	return err
}

// look is how often a workflow that waits for another one looks whether its process is ending, and
// pause how often it asks for the result.
const (
	look  = time.Second
	pause = look / 5
)

// result waits for another workflow to end. DBOS's own wait outlives the process's end.
func result[R any](ctx dbos.Context, handle dbos.WorkflowHandle[R]) (R, error) {
	for {
		r, err := handle.GetResult(dbos.WithHandleTimeout(look), dbos.WithHandlePollingInterval(pause))
		if err := stopped(ctx, err); errors.Is(err, errStopped) || !errors.Is(err, dbos.ErrTimeout) {
			return r, err
		}
	}
}

// do makes each of a stage's list of steps durable and stops at the first error.
func do(ctx dbos.Context, e *Engine, run, stage, prefix string, steps []environment.Step, note func(string)) error {
	for _, s := range steps {
		name := prefix + ": " + s.Name
		note(s.Name)
		if _, err := step(ctx, e, run, name, func(ctx context.Context) (bool, error) {
			return true, s.Do(e.patient(ctx, run, stage, note))
		}); err != nil {
			if errors.Is(err, errStopped) {
				return err
			}
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	return nil
}
