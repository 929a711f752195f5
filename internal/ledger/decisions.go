package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Decision is what the gate decided of a run, with everything that it went by. Body is JSON and belongs to
// package pipeline.
type Decision struct {
	Run  string    `json:"run"`
	Body []byte    `json:"body"`
	At   time.Time `json:"at"`
}

func decisionIn(ctx context.Context, q querier, run string) (Decision, error) {
	read := func(row scanner) (d Decision, err error) {
		err = row.Scan(&d.Run, &d.Body, (*stamp)(&d.At))
		return d, err
	}
	return one(ctx, q, read, `SELECT run, body_json, decided FROM decisions WHERE run = $1`, run)
}

// RecordDecision stores what the gate decided, and the evidence that follows from it (nil: none), in one
// transaction. A decision is never replaced: of a run the first stays, and is given.
func (l *Ledger) RecordDecision(ctx context.Context, d Decision, evidence *Evidence) (Decision, error) {
	err := l.write(ctx, "record the decision on run "+d.Run, func(tx *sql.Tx) error {
		old, err := decisionIn(ctx, tx, d.Run)
		if err == nil {
			d = old
			return nil
		}
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO decisions (run, body_json, decided) VALUES ($1, $2, $3)`, d.Run, string(d.Body), stamp(d.At)); err != nil {
			return err
		}
		if evidence == nil {
			return nil
		}
		return l.addEvidence(ctx, tx, *evidence)
	})
	return d, err
}

// Decision gives what the gate decided of a run, or ErrNotFound if it has not come to that.
func (l *Ledger) Decision(ctx context.Context, run string) (Decision, error) {
	d, err := decisionIn(ctx, l.db, run)
	if err != nil {
		return Decision{}, fmt.Errorf("decision on run %s: %w", run, err)
	}
	return d, nil
}
