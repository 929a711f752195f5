package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"

	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// withNeighbour keeps one small server alive in an environment of its own while the lanes work. This
// host reaches it; that no server of a lane does is one of the standing tests. A test against an
// address where nothing listens could not fail.
func (e *Engine) withNeighbour(ctx dbos.Context, run ledger.Run, plan runPlan, work func(address string) error) (err error) {
	var bench *environment.Bench
	defer func() {
		if bench != nil {
			err = e.leave(ctx, run.ID, bench, err)
		}
	}()
	err = e.stage(ctx, run.ID, "neighbour", func(note func(string)) (err error) {
		var count attempts
		for attempt := 1; ; attempt++ {
			if bench, err = e.neighbour(ctx, run, plan, attempt); err != nil {
				return err
			}
			err = do(ctx, e, run.ID, "neighbour", fmt.Sprintf("neighbour, attempt %d", attempt), bench.Up(), note)
			if err == nil || final(err) {
				return err
			}
			if again, trouble := e.another(ctx, run.ID, "neighbour", attempt, &count, err, note); trouble != nil {
				return trouble
			} else if !again {
				return err
			}
			if err = e.leave(ctx, run.ID, bench, nil); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return err
	}
	return work(bench.Address().String() + ":22")
}

// leave destroys a neighbour, unless the process is ending: then the next one goes on with it.
func (e *Engine) leave(ctx dbos.Context, run string, bench *environment.Bench, err error) error {
	if errors.Is(err, errStopped) {
		return err
	}
	gone := cleanup(ctx, "destroy the neighbour", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		if err := bench.Destroy(ctx); err != nil {
			e.Log.Warn("destroy the neighbour; the reaper will retry", "run", run, "err", err)
		}
		return nil
	})
	if errors.Is(gone, errStopped) {
		return gone
	}
	return err
}

// neighbour plans the bench of one attempt, or finds it again.
func (e *Engine) neighbour(ctx context.Context, run ledger.Run, plan runPlan, attempt int) (*environment.Bench, error) {
	p, err := e.products.get(ctx, run.Commit)
	if err != nil {
		return nil, err
	}
	deadline := e.Now().Add(e.Config.Environment.Deadline)
	return e.Site.Bench(ctx, environment.BenchSpec{
		ID: environment.ID(run.ID, "neighbour", strconv.Itoa(attempt)), Owner: e.Config.Owner, Run: run.ID, Name: "neighbour",
		Role: slices.Sorted(maps.Keys(p.Roles))[0], Product: p.Product, Commit: run.Commit, Archive: p.archive,
		Base: plan.Base.ID, Deadline: deadline, Lease: deadline,
	})
}
