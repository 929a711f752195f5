package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
	_ "github.com/dbos-inc/dbos-transact-golang/dbos/driver/sqlite" // the embedded default keeps workflows in SQLite

	"github.com/hallmark-ci/hallmark/imager"
	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/limit"
	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/host"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/verdict"
	"github.com/hallmark-ci/hallmark/verifier"
)

// workflowSchema is the version of the workflows' steps, not of the build: runs started under one
// are not resumed under another. Raise it when the order or the meaning of steps changes.
const workflowSchema = "2"

// errCancelled is the cause of a step's context when a person cancelled its run.
var errCancelled = verdict.Errorf(verdict.Cancelled, "", "cancelled")

// Parts are what the engine works with; the command line wires them.
type Parts struct {
	Config   config.Config
	Ledger   *ledger.Ledger
	Cloud    cloud.Provider
	Slots    *limit.Slots
	Site     *environment.Site
	Product  *product.Repository
	Verifier verifier.Verifier
	Journal  imager.Journal
	// EnsureBase gives the reference base, building it if there is none that is fresh enough.
	EnsureBase func(ctx context.Context, out io.Writer) (cloud.Image, error)
	Room       func(context.Context) error // says that there is too little disk for a run; nil: there is always enough
	Host       *host.Gauge                 // what this machine gives to work; nil: all of the time
	ReadHost   func() (host.Sample, error) // feeds Host while the engine works
	Settle     time.Duration               // least time between the failure of an attempt and a fresh one; 0: 15 s
	Log        *slog.Logger
	Now        func() time.Time
}

// Engine works on runs. One process has it at a time (the caller holds the state directory's lock).
type Engine struct {
	Parts
	only   string // the one run that this process works on; "": every run
	dbos   dbos.Context
	images dbos.Queue
	lanes  dbos.Queue

	mu       sync.Mutex
	watched  map[string]map[*context.CancelCauseFunc]struct{} // steps in flight, by run
	troubles map[string]trouble                               // of ticks, by schedule
	products *shelf

	stop context.CancelFunc
	done sync.WaitGroup
}

// Start resumes what an earlier process left, then takes queued runs until Stop.
func Start(ctx context.Context, parts Parts, database string) (*Engine, error) {
	return start(ctx, parts, database, "")
}

// StartOne works on a single run until Stop: it begins the run, or resumes it if an earlier process
// left it. Other queued runs stay queued. Steps of another run that is at work would be resumed with
// it, so the caller makes sure that there is none (see Unfinished).
func StartOne(ctx context.Context, parts Parts, database, run string) (*Engine, error) {
	return start(ctx, parts, database, run)
}

// Unfinished lists the runs at work, newest first. To a caller that holds the state directory's lock they
// are runs that a process left when it ended.
func Unfinished(ctx context.Context, l *ledger.Ledger) ([]ledger.Run, error) {
	return l.Runs(ctx, ledger.RunFilter{States: []ledger.RunState{ledger.Working, ledger.Cancelling}})
}

func start(ctx context.Context, parts Parts, database, only string) (*Engine, error) {
	if err := Recognise(ctx, parts); err != nil { // before anything is recorded in it
		return nil, err
	}
	d, err := dbos.NewContext(ctx, dbos.Config{
		AppName: "hallmark", DatabaseURL: "sqlite:" + database,
		ApplicationVersion: workflowSchema, ExecutorID: "local", Logger: quiet(parts.Log),
	})
	if err != nil {
		return nil, fmt.Errorf("open the workflow store %s: %w", database, err)
	}
	e := &Engine{
		Parts: parts, only: only, dbos: d, watched: map[string]map[*context.CancelCauseFunc]struct{}{}, troubles: map[string]trouble{},
		products: newShelf(parts.Product, parts.Config.ProductsDir()),
	}
	dbos.RegisterWorkflow(d, e.run, dbos.WithWorkflowName("run"))
	dbos.RegisterWorkflow(d, e.buildImage, dbos.WithWorkflowName("image"))
	dbos.RegisterWorkflow(d, e.lane, dbos.WithWorkflowName("lane"))
	for _, q := range []struct {
		name  string
		limit int
		queue *dbos.Queue
	}{{"images", parts.Config.Limits.ImageBuilds, &e.images}, {"lanes", parts.Config.Limits.Lanes, &e.lanes}} {
		if *q.queue, err = dbos.RegisterQueue(d, q.name, dbos.WithWorkerConcurrency(q.limit), dbos.WithQueueBasePollingInterval(pause)); err != nil {
			return nil, fmt.Errorf("queue %s: %w", q.name, err)
		}
	}
	if err := dbos.Launch(d); err != nil {
		return nil, fmt.Errorf("launch workflows: %w", err)
	}
	ctx, e.stop = context.WithCancel(ctx)
	e.done.Go(func() { e.attend(ctx) })
	if e.Host != nil && e.ReadHost != nil {
		e.done.Go(func() { e.Host.Watch(ctx, e.ReadHost, e.Log) })
	}
	return e, nil
}

// Stop ends the work of this process within the given time. Runs are not lost: the next process
// resumes them at the step they were in.
func (e *Engine) Stop(within time.Duration) error {
	e.stop()
	e.done.Wait()
	return dbos.Shutdown(e.dbos, within)
}

// attend takes queued runs and passes on requests to cancel, until ctx ends.
func (e *Engine) attend(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := e.takeQueued(ctx); err != nil && ctx.Err() == nil {
			e.Log.Error("take queued runs", "err", err)
		}
		if err := e.endOverdue(ctx); err != nil && ctx.Err() == nil {
			e.Log.Error("look for overdue runs", "err", err)
		}
		if err := e.passOnCancels(ctx); err != nil && ctx.Err() == nil {
			e.Log.Error("look for cancelled runs", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// takeQueued starts a workflow for every queued run, one run after another: a second run waits for
// the first. The run's id is the workflow's id, so taking it twice starts it once.
func (e *Engine) takeQueued(ctx context.Context) error {
	working, err := Unfinished(ctx, e.Ledger)
	if err != nil {
		return err
	}
	for _, r := range working { // claimed by a process that died before the workflow began
		handle, err := dbos.RunWorkflow(e.dbos, e.run, r.ID, dbos.WithWorkflowID(r.ID))
		if err == nil {
			err = e.mourn(ctx, r, handle)
		}
		if err != nil {
			return fmt.Errorf("run %s: %w", r.ID, err)
		}
	}
	if len(working) > 0 {
		return nil
	}
	r, err := e.claim(ctx)
	if errors.Is(err, ledger.ErrNotFound) || errors.Is(err, ledger.ErrMoved) {
		return nil
	}
	if err != nil {
		return err
	}
	e.Log.Info("run starts", "run", r.ID, "kind", r.Kind, "branch", r.Branch, "commit", r.Commit)
	_, err = dbos.RunWorkflow(e.dbos, e.run, r.ID, dbos.WithWorkflowID(r.ID))
	return err
}

// claim takes the next queued run that this process may work on; ErrNotFound or ErrMoved if there is none.
func (e *Engine) claim(ctx context.Context) (ledger.Run, error) {
	if e.only != "" {
		return e.Ledger.Claim(ctx, e.only)
	}
	return e.Ledger.ClaimQueued(ctx)
}

// mourn concludes a run whose workflow ended without doing so (it panicked, or its conclusion could
// not be written), or cannot go on, begun by a Hallmark whose steps were others. Such a run would
// keep all others waiting.
func (e *Engine) mourn(ctx context.Context, r ledger.Run, handle dbos.WorkflowHandle[conclusion]) error {
	status, err := handle.GetStatus()
	if err != nil {
		return err
	}
	var reason string
	switch status.Status {
	case dbos.WorkflowStatusSuccess, dbos.WorkflowStatusError, dbos.WorkflowStatusCancelled, dbos.WorkflowStatusMaxRecoveryAttemptsExceeded:
		reason = fmt.Sprintf("its workflow ended without a conclusion: %s", status.Status)
		if status.Error != nil {
			reason += ": " + firstLine(status.Error.Error())
		}
	default:
		if status.ApplicationVersion == workflowSchema {
			return nil
		}
		reason = "it was begun by another version of Hallmark, which this one cannot go on with: start it again"
	}
	_, err = e.Ledger.UpdateRun(ctx, r.ID, func(r *ledger.Run) {
		r.State, r.Verdict, r.Reason, r.Finished = ledger.Finished, verdict.Inconclusive, reason, e.Now()
	}, ledger.Working, ledger.Cancelling)
	if errors.Is(err, ledger.ErrMoved) { // it concluded at this moment
		return nil
	}
	e.Log.Error("run ends", "run", r.ID, "reason", reason)
	return err
}

// endOverdue cancels runs that take longer than a whole run may.
func (e *Engine) endOverdue(ctx context.Context) error {
	working, err := e.Ledger.Runs(ctx, ledger.RunFilter{States: []ledger.RunState{ledger.Working}})
	if err != nil {
		return err
	}
	for _, r := range working {
		if limit := e.Config.Timeouts.Run; !r.Started.IsZero() && e.Now().Sub(r.Started) > limit {
			e.Log.Warn("run takes too long", "run", r.ID, "limit", limit)
			if _, err := e.Ledger.RequestCancel(ctx, r.ID, ledger.ByTimeout); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *Engine) passOnCancels(ctx context.Context) error {
	cancelling, err := e.Ledger.Runs(ctx, ledger.RunFilter{States: []ledger.RunState{ledger.Cancelling}})
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range cancelling {
		for cancel := range e.watched[r.ID] {
			(*cancel)(errCancelled)
		}
	}
	return nil
}

// watch gives a context that ends when its run is cancelled, at once if it was. DBOS does not
// interrupt a running step, so steps watch for themselves.
func (e *Engine) watch(ctx context.Context, run string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	e.mu.Lock()
	if e.watched[run] == nil {
		e.watched[run] = map[*context.CancelCauseFunc]struct{}{}
	}
	e.watched[run][&cancel] = struct{}{}
	e.mu.Unlock()
	if r, err := e.Ledger.Run(ctx, run); err == nil && r.State == ledger.Cancelling {
		cancel(errCancelled) // between two looks of passOnCancels a step would slip through
	}
	return ctx, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.watched[run], &cancel)
		if len(e.watched[run]) == 0 {
			delete(e.watched, run)
		}
		cancel(nil)
	}
}

// quiet passes on DBOS's warnings and errors only.
func quiet(log *slog.Logger) *slog.Logger {
	return slog.New(warnings{log.Handler()})
}

type warnings struct{ slog.Handler }

// WithAttrs and WithGroup keep what comes of it quiet too.
func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs)}
}

func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }

func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}
