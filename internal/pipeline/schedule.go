package pipeline

import (
	"context"
	"sync"
	"time"
)

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
	all.Go(func() {
		every(ctx, time.Hour, func() {
			if err := e.retain(ctx); err != nil && ctx.Err() == nil {
				e.Log.Error("remove what nothing needs any more", "err", err)
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
