package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/notify"
)

// grace is how late the daemon may look at a tick without having missed it.
const grace = time.Minute

// overdue is after how long people are told that a tick could not be acted on so far.
const overdue = time.Hour

// A tick that could not be acted on (the repository is away) is tried again after a pause that grows.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// trouble is why a tick could not be acted on so far.
type trouble struct {
	tick  time.Time
	err   error
	pause time.Duration
	again time.Time
}

// Tick acts on every schedule that is due: one run, or for a release schedule without a branch one
// for each live release branch. A tick and its runs are recorded in one transaction, so it fires once
// however many look, and what could not be recorded is tried again as long as the catch-up allows.
func (e *Engine) Tick(ctx context.Context) error {
	var all error
	for _, s := range e.Config.Schedules {
		if err := e.tickOne(ctx, s); err != nil {
			all = errors.Join(all, fmt.Errorf("schedule %s: %w", s.Name, err))
		}
	}
	return all
}

func (e *Engine) tickOne(ctx context.Context, s config.Schedule) error {
	now := e.Now()
	memory, err := e.Ledger.Tick(ctx, s.Name)
	if err != nil {
		return err
	}
	if memory.Last.IsZero() { // a new schedule begins now
		_, err := e.Ledger.PassTick(ctx, memory, now)
		return err
	}
	look := s.Look(memory.Last, now, grace)
	ahead := s.Ahead(memory.Last, now)
	if ahead {
		e.Log.Warn("the clock was wrong: the schedule's last tick is in the future; it goes on from now", "schedule", s.Name, "last", memory.Last)
	}
	switch {
	case memory.Paused:
		if over := later(look.Due, look.Missed); !over.IsZero() {
			_, err = e.Ledger.PassTick(ctx, memory, over)
		}
		return err
	case !look.Due.IsZero():
		return e.fire(ctx, s, memory, look, now)
	case look.Count > 0:
		passed, err := e.Ledger.PassTick(ctx, memory, look.Missed)
		if err == nil && passed {
			e.missed(ctx, s, look)
		}
		return err
	case ahead:
		_, err := e.Ledger.PassTick(ctx, memory, now)
		return err
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// fire records the runs of a tick. Branches that cannot be resolved now keep it from being claimed, and
// the others are recorded all the same.
func (e *Engine) fire(ctx context.Context, s config.Schedule, memory ledger.Tick, look config.Look, now time.Time) error {
	e.mu.Lock()
	before, troubled := e.troubles[s.Name]
	e.mu.Unlock()
	troubled = troubled && before.tick.Equal(look.Due)
	if troubled && now.Before(before.again) {
		return nil
	}
	firings, failed := e.firings(ctx, s, look.Due)
	runs, err := e.Ledger.FireTick(ctx, memory, look.Due, firings, failed == nil)
	if err != nil {
		return errors.Join(failed, err)
	}
	if failed == nil && look.Count > 0 {
		e.missed(ctx, s, config.Look{Missed: look.Missed, Count: look.Count})
	}
	for _, run := range runs {
		e.Log.Info("schedule fires", "schedule", s.Name, "tick", look.Due, "run", run.ID, "branch", run.Branch)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if failed == nil {
		delete(e.troubles, s.Name)
		return nil
	}
	pause := firstRetry
	if troubled {
		pause = min(2*before.pause, lastRetry)
	}
	e.troubles[s.Name] = trouble{look.Due, failed, pause, now.Add(pause)}
	if now.Sub(look.Due) > overdue {
		e.tellMissed(ctx, s, look.Due, 1, "it is still tried: "+strings.ReplaceAll(failed.Error(), "\n", "; "))
	}
	return fmt.Errorf("tick of %s: %w; it is tried again in %s", look.Due.Format(time.RFC3339), failed, pause)
}

// firings says what a tick does for each branch, as far as branches and their heads can be resolved.
func (e *Engine) firings(ctx context.Context, s config.Schedule, tick time.Time) (firings []ledger.Firing, failed error) {
	branches := []string{s.Branch}
	if s.Kind == Release && s.Branch == "" {
		var err error
		if branches, err = e.Product.LiveReleases(ctx, e.Config.Product.Releases, e.Config.Product.Retired); err != nil {
			return nil, err
		}
	}
	fired, err := e.Ledger.Fired(ctx, s.Name, tick)
	if err != nil {
		return nil, err
	}
	busy, err := e.Ledger.Runs(ctx, ledger.RunFilter{States: []ledger.RunState{ledger.Queued, ledger.Working, ledger.Cancelling}})
	if err != nil {
		return nil, err
	}
	for _, branch := range branches {
		if _, done := fired[branch]; done {
			continue
		}
		at := slices.IndexFunc(busy, func(r ledger.Run) bool {
			return s.Overlap == "skip" && r.Trigger == s.Name && (branch == "" || r.Branch == branch)
		})
		if at >= 0 {
			e.Log.Info("tick skipped: its last run still works", "schedule", s.Name, "run", busy[at].ID)
			e.tellMissed(ctx, s, tick, 1, "its last run still works: "+busy[at].ID)
			firings = append(firings, ledger.Firing{Branch: branch})
			continue
		}
		request := Request{Kind: s.Kind, Branch: branch, Trigger: s.Name, Actor: "schedule " + s.Name}
		err := request.resolve(ctx, e.Parts)
		var run ledger.Run
		if err == nil {
			run, err = request.run(e.Now())
		}
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		firings = append(firings, ledger.Firing{Branch: branch, Run: &run})
	}
	return firings, failed
}

// missed tells that ticks passed without a run, and why as far as it is known.
func (e *Engine) missed(ctx context.Context, s config.Schedule, look config.Look) {
	why := "the daemon was not at work then"
	e.mu.Lock()
	if t, ok := e.troubles[s.Name]; ok && t.tick.Equal(look.Missed) {
		why = strings.ReplaceAll(t.err.Error(), "\n", "; ")
		delete(e.troubles, s.Name)
	}
	e.mu.Unlock()
	e.Log.Warn("tick missed: it is too late to act on it", "schedule", s.Name, "tick", look.Missed, "ticks", look.Count, "why", why)
	e.tellMissed(ctx, s, look.Missed, look.Count, "it is too late to act on it: "+why)
}

// tellMissed records the event that a tick passed without a run. It is logged in any case.
func (e *Engine) tellMissed(ctx context.Context, s config.Schedule, tick time.Time, ticks int, why string) {
	tick = tick.UTC()
	err := e.tell(ctx, "schedule "+s.Name, notify.Event{
		ID: strings.Join([]string{notify.Missed, s.Name, tick.Format(time.RFC3339)}, "/"), Event: notify.Missed,
		Summary: fmt.Sprintf("schedule %s started no run at %s", s.Name, tick.Format("2006-01-02 15:04 UTC")),
		Text:    bounded(why), Branch: s.Branch, Kind: s.Kind, Schedule: s.Name, Tick: &tick, Ticks: ticks,
	})
	if err != nil {
		e.Log.Error("record that a tick was missed", "schedule", s.Name, "err", err)
	}
}
