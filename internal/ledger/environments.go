package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// States of an environment.
const (
	Creating   = "creating"
	Up         = "up"
	Destroying = "destroying"
	Destroyed  = "destroyed"
)

const environmentColumns = `id, run, name, state, keep, lease, deadline, created, ended, body, sealed`

// readEnvironment leaves Sealed as ciphertext.
func readEnvironment(row scanner) (e Environment, err error) {
	err = row.Scan(&e.ID, &e.Run, &e.Name, &e.State, (*truth)(&e.Keep), (*stamp)(&e.Lease), (*stamp)(&e.Deadline),
		(*stamp)(&e.Created), (*stamp)(&e.Ended), &e.Body, &e.Sealed)
	return e, err
}

// SaveEnvironment writes an environment, replacing what was known of its id. Sealed is given in the
// clear and encrypted here; a destroyed environment keeps none, and has Ended. A zero Created becomes now.
func (l *Ledger) SaveEnvironment(ctx context.Context, e Environment) error {
	if e.Created.IsZero() {
		e.Created = l.clock()
	}
	return l.write(ctx, "save environment "+e.ID, func(tx *sql.Tx) error {
		return l.putEnvironment(ctx, tx, e)
	})
}

func (l *Ledger) putEnvironment(ctx context.Context, tx *sql.Tx, e Environment) error {
	if e.State == Destroyed {
		e.Sealed = nil
		if e.Ended.IsZero() {
			e.Ended = l.clock()
		}
	}
	sealed, err := l.keys.seal("environment "+e.ID, e.Sealed)
	if err != nil {
		return fmt.Errorf("seal its secrets: %w", err)
	}
	if e.Body == nil {
		e.Body = []byte{}
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO environments (`+environmentColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT (id) DO UPDATE SET run = excluded.run, name = excluded.name, state = excluded.state,
			keep = excluded.keep, lease = excluded.lease, deadline = excluded.deadline, ended = excluded.ended,
			body = excluded.body, sealed = excluded.sealed`,
		e.ID, e.Run, e.Name, e.State, truth(e.Keep), stamp(e.Lease), stamp(e.Deadline), stamp(e.Created), stamp(e.Ended), e.Body, sealed)
	return err
}

func (l *Ledger) environmentIn(ctx context.Context, q querier, id string) (Environment, error) {
	e, err := one(ctx, q, readEnvironment, `SELECT `+environmentColumns+` FROM environments WHERE id = $1`+rowLock, id)
	if err != nil {
		return Environment{}, err
	}
	if e.Sealed, err = l.keys.open("environment "+e.ID, e.Sealed); err != nil {
		return Environment{}, err
	}
	return e, nil
}

// Environment gives one environment with its secrets in the clear, or ErrNotFound.
func (l *Ledger) Environment(ctx context.Context, id string) (Environment, error) {
	e, err := l.environmentIn(ctx, l.db, id)
	if err != nil {
		return Environment{}, fmt.Errorf("environment %s: %w", id, err)
	}
	return e, nil
}

// UpdateEnvironment changes an environment in one transaction and gives it as it then is, so that
// a person who keeps it and the process that works on it do not overwrite each other.
func (l *Ledger) UpdateEnvironment(ctx context.Context, id string, change func(*Environment)) (Environment, error) {
	var updated Environment
	err := l.write(ctx, "update environment "+id, func(tx *sql.Tx) error {
		e, err := l.environmentIn(ctx, tx, id)
		if err != nil {
			return err
		}
		change(&e)
		e.ID = id
		if err := l.putEnvironment(ctx, tx, e); err != nil {
			return err
		}
		updated, err = l.environmentIn(ctx, tx, id)
		return err
	})
	return updated, err
}

// EnvironmentFilter selects environments; empty fields select all that are not destroyed.
type EnvironmentFilter struct {
	Run       string
	States    []string
	ExpiredAt time.Time // lease or deadline over at this time; zero: any
	Destroyed bool      // list also those that are destroyed
}

// Environments lists environments, newest first, without their secrets.
func (l *Ledger) Environments(ctx context.Context, f EnvironmentFilter) ([]Environment, error) {
	var c conditions
	c.text("run", f.Run)
	in(&c, "state", f.States)
	if !f.Destroyed {
		c.add("state <>", Destroyed)
	}
	all, err := many(ctx, l.db, readEnvironment,
		`SELECT `+environmentColumns+` FROM environments`+c.sql+` ORDER BY created DESC, id`, c.args...)
	if err != nil {
		return nil, fmt.Errorf("list environments: %w", err)
	}
	kept := all[:0]
	for _, e := range all {
		e.Sealed = nil
		if f.ExpiredAt.IsZero() || e.Expired(f.ExpiredAt) {
			kept = append(kept, e)
		}
	}
	return kept, nil
}

// Expired reports whether the environment may be taken away: its lease or its deadline is over. Keep does
// not change that: it keeps an environment beyond its run, up to the end of its lease. A zero time never ends.
func (e Environment) Expired(at time.Time) bool {
	over := func(t time.Time) bool { return !t.IsZero() && !at.Before(t) }
	return over(e.Deadline) || over(e.Lease)
}
