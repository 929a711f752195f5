package pipeline

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/product"
)

// Request is a run that somebody or something asks for.
type Request struct {
	Kind    string
	Branch  string // "" : nightly: the development branch
	Commit  string // "" : the branch's head
	Trigger string // hand, or the schedule's name
	Actor   string
	Options ledger.RunOptions
}

// resolve fills in branch and commit.
func (r *Request) resolve(ctx context.Context, parts Parts) error {
	switch {
	case r.Kind != Nightly && r.Kind != Release:
		return fmt.Errorf("unknown kind of run %q: use %s or %s", r.Kind, Nightly, Release)
	case r.Branch == "" && r.Kind == Nightly:
		r.Branch = parts.Config.Product.Development
	case r.Branch == "":
		return fmt.Errorf("a release run needs a branch: add --branch, one of those matching %q", parts.Config.Product.Releases)
	}
	var err error
	if r.Commit == "" {
		r.Commit, err = parts.Product.Head(ctx, r.Branch)
	}
	return err
}

// Preflight fills in what the request leaves open and reads the product's own files at that commit,
// so that a person's mistake is told before anything is recorded or launched.
func Preflight(ctx context.Context, parts Parts, r *Request) error {
	if err := r.resolve(ctx, parts); err != nil {
		return err
	}
	if err := noneYet(ctx, parts); err != nil {
		return err
	}
	p, err := newShelf(parts.Product, parts.Config.ProductsDir()).get(ctx, r.Commit)
	if err != nil {
		return err
	}
	if err := p.Unused(); err != nil {
		return err
	}
	return fits(p.Product, parts.Slots.Max())
}

// fits says before anything is launched whether a product's servers fit under the cap, with the
// neighbour that stands beside them.
func fits(p *product.Product, most int) error {
	if n := len(p.Servers()) + 1; n > most {
		return fmt.Errorf("the topology of commit %s needs %d servers at once, one beside its own included, and limits.servers allows %d: raise it", p.Commit, n, most)
	}
	return nil
}

// Enqueue records a run to be worked on by whichever process has the engine.
func Enqueue(ctx context.Context, parts Parts, r Request) (ledger.Run, error) {
	if err := r.resolve(ctx, parts); err != nil {
		return ledger.Run{}, err
	}
	run, err := r.run(parts.Now())
	if err != nil {
		return ledger.Run{}, err
	}
	return run, parts.Ledger.CreateRun(ctx, run)
}

// run is what a resolved request asks for.
func (r *Request) run(now time.Time) (ledger.Run, error) {
	id, err := ledger.RunID(now, r.Kind, rand.Reader)
	return ledger.Run{ID: id, Kind: r.Kind, Branch: r.Branch, Commit: r.Commit, Trigger: r.Trigger, Actor: r.Actor, State: ledger.Queued, Options: r.Options, Created: now}, err
}

// Serve follows the schedules, reaps what outlived its lease, has the provider tell what channels
// hold, and tells people of events, until ctx ends. They do not wait for each other: a cloud that does not answer must not cost a tick.
func (e *Engine) Serve(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() {
		every(ctx, time.Minute, func() {
			if err := align(ctx, e.Parts, false); err != nil && ctx.Err() == nil {
				e.Log.Error("tell the provider what channels hold", "err", err)
			}
		})
	})
	all.Go(func() {
		every(ctx, time.Minute, func() {
			if _, err := Reap(ctx, e.Parts, false); err != nil && ctx.Err() == nil {
				e.Log.Error("reap", "err", err)
			}
		})
	})
	all.Go(func() {
		every(ctx, time.Second, func() {
			if err := e.Tick(ctx); err != nil && ctx.Err() == nil {
				e.Log.Error("schedules", "err", err)
			}
		})
	})
	all.Go(func() {
		every(ctx, time.Minute, func() {
			if err := e.Watch(ctx); err != nil && ctx.Err() == nil {
				e.Log.Error("look for events", "err", err)
			}
		})
	})
	all.Go(func() { // a goroutine of its own: people who are told slowly hold nothing up
		every(ctx, 5*time.Second, func() {
			if _, err := e.Deliver(ctx); err != nil && ctx.Err() == nil {
				e.Log.Error("tell people of events", "err", err)
			}
		})
	})
	all.Wait()
}

// every does something again and again until ctx ends, for the first time after one pause.
func every(ctx context.Context, pause time.Duration, do func()) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
		}
	}
}
