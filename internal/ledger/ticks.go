package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

func readTick(row scanner) (t Tick, err error) {
	err = row.Scan(&t.Schedule, (*stamp)(&t.Last), (*truth)(&t.Paused))
	return t, err
}

func tickIn(ctx context.Context, q querier, schedule string) (Tick, error) {
	t, err := one(ctx, q, readTick, `SELECT schedule, last_tick, paused FROM ticks WHERE schedule = $1`+rowLock, schedule)
	if errors.Is(err, ErrNotFound) {
		return Tick{Schedule: schedule}, nil
	}
	return t, err
}

// Tick gives a schedule's memory. A schedule never heard of is no error: its Last is zero.
func (l *Ledger) Tick(ctx context.Context, schedule string) (Tick, error) {
	t, err := tickIn(ctx, l.db, schedule)
	if err != nil {
		return Tick{}, fmt.Errorf("schedule %s: %w", schedule, err)
	}
	return t, nil
}

// Ticks lists the memory of all schedules, by name.
func (l *Ledger) Ticks(ctx context.Context) ([]Tick, error) {
	all, err := many(ctx, l.db, readTick, `SELECT schedule, last_tick, paused FROM ticks ORDER BY schedule`)
	if err != nil {
		return nil, fmt.Errorf("list schedules: %w", err)
	}
	return all, nil
}

// Firing is what a tick does for one branch: a run to be recorded, or nil if there is to be none this time
// (the last one still works).
type Firing struct {
	Branch string
	Run    *Run
}

// FireTick acts on a tick in one transaction: it records the runs and claims the tick, so that neither
// happens without the other. A branch for which this tick was acted on before is left out. Unless done,
// the tick stays to be claimed: branches are missing, and the caller will try again with them. It gives
// the runs that it recorded.
//
// Was is the schedule's memory that the caller decided on; if that changed meanwhile, or the schedule
// is paused, nothing happens.
func (l *Ledger) FireTick(ctx context.Context, was Tick, at time.Time, firings []Firing, done bool) ([]Run, error) {
	var recorded []Run
	err := l.write(ctx, "fire tick of schedule "+was.Schedule, func(tx *sql.Tx) error {
		recorded = nil
		t, err := tickIn(ctx, tx, was.Schedule)
		if err != nil || !t.Last.Equal(was.Last) || t.Paused {
			return err
		}
		for _, f := range firings {
			run, err := l.fireIn(ctx, tx, t.Schedule, at, f)
			if err != nil {
				return err
			}
			if run != nil {
				recorded = append(recorded, *run)
			}
		}
		if !done {
			return nil
		}
		t.Last = at
		if err := putTick(ctx, tx, t); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM fired WHERE schedule = $1 AND tick NOT IN (
			SELECT DISTINCT tick FROM fired WHERE schedule = $1 ORDER BY tick DESC LIMIT $2)`, t.Schedule, firedKept)
		return err
	})
	if err != nil {
		return nil, err
	}
	return recorded, nil
}

// firedKept is of how many ticks of a schedule is kept what they did, for a clock that was set back.
const firedKept = 100

// fireIn gives the run that it recorded, if any.
func (l *Ledger) fireIn(ctx context.Context, tx *sql.Tx, schedule string, at time.Time, f Firing) (*Run, error) {
	id := ""
	if f.Run != nil {
		id = f.Run.ID
	}
	res, err := tx.ExecContext(ctx, `INSERT INTO fired (schedule, branch, tick, run) VALUES ($1, $2, $3, $4)
		ON CONFLICT (schedule, branch, tick) DO NOTHING`, schedule, f.Branch, stamp(at), id)
	if err != nil {
		return nil, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 || f.Run == nil {
		return nil, err
	}
	return f.Run, l.createRun(ctx, tx, *f.Run)
}

// Fired lists the branches for which a tick was acted on, each with its run, "" for none.
func (l *Ledger) Fired(ctx context.Context, schedule string, at time.Time) (map[string]string, error) {
	type pair struct{ branch, run string }
	all, err := many(ctx, l.db, func(row scanner) (p pair, err error) {
		err = row.Scan(&p.branch, &p.run)
		return p, err
	}, `SELECT branch, run FROM fired WHERE schedule = $1 AND tick = $2`, schedule, stamp(at))
	if err != nil {
		return nil, fmt.Errorf("what schedule %s did: %w", schedule, err)
	}
	runs := map[string]string{}
	for _, p := range all {
		runs[p.branch] = p.run
	}
	return runs, nil
}

// PassTick notes that all ticks of a schedule until at are over: nothing is to be done about them. Was is
// its memory that the caller decided on; it says false if that changed meanwhile.
func (l *Ledger) PassTick(ctx context.Context, was Tick, at time.Time) (bool, error) {
	passed := false
	err := l.write(ctx, "pass tick of schedule "+was.Schedule, func(tx *sql.Tx) error {
		t, err := tickIn(ctx, tx, was.Schedule)
		if err != nil || !t.Last.Equal(was.Last) {
			return err
		}
		passed, t.Last = true, at
		return putTick(ctx, tx, t)
	})
	return passed && err == nil, err
}

// PauseSchedule stops a schedule, or lets it go on. One that goes on does not catch up what it
// missed meanwhile.
func (l *Ledger) PauseSchedule(ctx context.Context, schedule string, paused bool) error {
	return l.write(ctx, "pause schedule "+schedule, func(tx *sql.Tx) error {
		t, err := tickIn(ctx, tx, schedule)
		if err != nil {
			return err
		}
		if now := l.clock(); t.Paused && !paused && t.Last.Before(now) {
			t.Last = now
		}
		t.Paused = paused
		return putTick(ctx, tx, t)
	})
}

func putTick(ctx context.Context, tx *sql.Tx, t Tick) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO ticks (schedule, last_tick, paused) VALUES ($1, $2, $3)
		ON CONFLICT (schedule) DO UPDATE SET last_tick = excluded.last_tick, paused = excluded.paused`,
		t.Schedule, stamp(t.Last), truth(t.Paused))
	return err
}
