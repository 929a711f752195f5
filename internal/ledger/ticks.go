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

// ClaimTick takes the tick at the given time for the caller: true once, however many processes ask.
// It is false if this tick or a later one was claimed, and while the schedule is paused.
func (l *Ledger) ClaimTick(ctx context.Context, schedule string, at time.Time) (bool, error) {
	claimed := false
	err := l.write(ctx, "claim tick of schedule "+schedule, func(tx *sql.Tx) error {
		t, err := tickIn(ctx, tx, schedule)
		if err != nil || !t.Last.Before(at) {
			return err
		}
		claimed = !t.Paused
		t.Last = at
		return putTick(ctx, tx, t)
	})
	return claimed && err == nil, err
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
