package ledger

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// RunID makes an id that sorts by time and says what it is: 20261123-2141-nightly-ab12cd.
func RunID(at time.Time, kind string, random io.Reader) (string, error) {
	var b [3]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("run id: %w", err)
	}
	return fmt.Sprintf("%s-%s-%s", at.UTC().Format("20060102-1504"), kind, hex.EncodeToString(b[:])), nil
}

const runColumns = `id, kind, branch, commit_id, trigger_name, actor, state, verdict, reason, base, set_id,
	options_json, created, started, finished`

// runAsTold selects runColumns. A run that promoted its set has passed, whatever was written of its end,
// or could not be written: the move that is recorded decides.
var runAsTold = strings.Replace(runColumns, " verdict,", ` CASE WHEN EXISTS (
	SELECT 1 FROM moves WHERE moves.run = runs.id AND moves.kind = 'promote') THEN 'passed' ELSE verdict END,`, 1)

func readRun(row scanner) (r Run, err error) {
	err = row.Scan(&r.ID, &r.Kind, &r.Branch, &r.Commit, &r.Trigger, &r.Actor, &r.State, word{&r.Verdict}, &r.Reason,
		&r.Base, &r.Set, document{&r.Options}, (*stamp)(&r.Created), (*stamp)(&r.Started), (*stamp)(&r.Finished))
	return r, err
}

// CreateRun records a new run; its state defaults to Queued and its Created to now. Creating the
// same run again changes nothing; an id that another run has is ErrExists.
func (l *Ledger) CreateRun(ctx context.Context, r Run) error {
	return l.write(ctx, "create run "+r.ID, func(tx *sql.Tx) error { return l.createRun(ctx, tx, r) })
}

func (l *Ledger) createRun(ctx context.Context, tx *sql.Tx, r Run) error {
	if r.State == "" {
		r.State = Queued
	}
	if r.Created.IsZero() {
		r.Created = l.clock()
	}
	switch old, err := runIn(ctx, tx, r.ID); {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return err
	case old.Kind == r.Kind && old.Branch == r.Branch && old.Commit == r.Commit && old.Trigger == r.Trigger && old.Actor == r.Actor:
		return nil
	default:
		return ErrExists
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO runs (`+runColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`, runValues(r)...)
	return err
}

func runValues(r Run) []any {
	return []any{r.ID, r.Kind, r.Branch, r.Commit, r.Trigger, r.Actor, string(r.State), word{r.Verdict}, bounded(r.Reason, mostMessage),
		r.Base, r.Set, document{r.Options}, stamp(r.Created), stamp(r.Started), stamp(r.Finished)}
}

func runIn(ctx context.Context, q querier, id string) (Run, error) {
	return one(ctx, q, readRun, `SELECT `+runAsTold+` FROM runs WHERE id = $1`+rowLock, id)
}

// Run gives one run, or ErrNotFound.
func (l *Ledger) Run(ctx context.Context, id string) (Run, error) {
	r, err := runIn(ctx, l.db, id)
	if err != nil {
		return Run{}, fmt.Errorf("run %s: %w", id, err)
	}
	return r, nil
}

// RunFilter selects runs; empty fields select all.
type RunFilter struct {
	Kind   string
	Branch string
	Commit string
	States []RunState
	Since  time.Time // created at or after
	Until  time.Time // created at or before
	Limit  int       // 0: all
}

// Runs lists runs, newest first.
func (l *Ledger) Runs(ctx context.Context, f RunFilter) ([]Run, error) {
	var c conditions
	c.text("kind", f.Kind)
	c.text("branch", f.Branch)
	c.text("commit_id", f.Commit)
	in(&c, "state", stateWords(f.States))
	if !f.Since.IsZero() {
		c.add("created >=", stamp(f.Since))
	}
	if !f.Until.IsZero() {
		c.add("created <=", stamp(f.Until))
	}
	limit := c.limit(f.Limit)
	runs, err := many(ctx, l.db, readRun,
		`SELECT `+runAsTold+` FROM runs`+c.sql+` ORDER BY created DESC, id DESC`+limit, c.args...)
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	return runs, nil
}

func stateWords(states []RunState) []string {
	words := make([]string, len(states))
	for i, s := range states {
		words[i] = string(s)
	}
	return words
}

// UpdateRun changes a run whose state is one of from (none given: any state) in one transaction and
// gives it as it then is. ErrMoved says that its state is another one; ErrNotFound, that it is
// unknown. Identity (id, kind, branch, trigger, actor, created) cannot be changed.
func (l *Ledger) UpdateRun(ctx context.Context, id string, change func(*Run), from ...RunState) (Run, error) {
	var updated Run
	err := l.write(ctx, "update run "+id, func(tx *sql.Tx) error {
		var err error
		updated, err = updateRun(ctx, tx, id, change, from)
		return err
	})
	return updated, err
}

func updateRun(ctx context.Context, tx *sql.Tx, id string, change func(*Run), from []RunState) (Run, error) {
	r, err := runIn(ctx, tx, id)
	if err != nil {
		return Run{}, err
	}
	if len(from) > 0 && !slices.Contains(from, r.State) {
		return r, fmt.Errorf("it is %s: %w", r.State, ErrMoved)
	}
	change(&r)
	if err := settle(ctx, tx, &r); err != nil {
		return Run{}, err
	}
	_, err = tx.ExecContext(ctx, `UPDATE runs SET commit_id = $1, state = $2, verdict = $3, reason = $4, base = $5,
		set_id = $6, options_json = $7, started = $8, finished = $9 WHERE id = $10`,
		r.Commit, string(r.State), word{r.Verdict}, bounded(r.Reason, mostMessage), r.Base, r.Set, document{r.Options},
		stamp(r.Started), stamp(r.Finished), id)
	if err != nil {
		return Run{}, err
	}
	return runIn(ctx, tx, id)
}

// settle corrects how a run ends. One that promoted its set is finished, also if it was cancelled or came
// to grief after the move; its reason tells both. One that ran out of time was not cancelled by a person: it
// is inconclusive.
func settle(ctx context.Context, tx *sql.Tx, r *Run) error {
	if r.State != Finished && r.State != Cancelled || r.State == Finished && r.Verdict == verdict.Passed {
		return nil
	}
	m, err := one(ctx, tx, readMove, `SELECT `+moveColumns+` FROM moves WHERE run = $1 AND kind = $2 ORDER BY at LIMIT 1`, r.ID, Promote)
	switch {
	case errors.Is(err, ErrNotFound) && r.TimedOut():
		r.State, r.Verdict, r.Reason = Finished, verdict.Inconclusive, "ended by "+ByTimeout+": it took longer than a run may"
		return nil
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	r.State = Finished
	if told := "promoted to " + m.Channel; !strings.HasPrefix(r.Reason, told) {
		r.Reason = strings.TrimSuffix(told+"; afterwards: "+r.Reason, "; afterwards: ")
	}
	return nil
}

// ClaimQueued makes the oldest queued run a running one and gives it; ErrNotFound if none waits.
// Of several processes that ask at once, one gets it.
func (l *Ledger) ClaimQueued(ctx context.Context) (Run, error) {
	var claimed Run
	err := l.write(ctx, "claim a queued run", func(tx *sql.Tx) error {
		waiting, err := one(ctx, tx, readRun,
			`SELECT `+runAsTold+` FROM runs WHERE state = $1 ORDER BY created, id LIMIT 1`+rowLock, string(Queued))
		if err != nil {
			return err
		}
		claimed, err = updateRun(ctx, tx, waiting.ID, l.start, nil)
		return err
	})
	return claimed, err
}

// Claim makes this queued run a running one; ErrMoved if somebody else has it or it is over.
func (l *Ledger) Claim(ctx context.Context, id string) (Run, error) {
	return l.UpdateRun(ctx, id, l.start, Queued)
}

func (l *Ledger) start(r *Run) {
	r.State, r.Started = Working, l.clock()
}

// RequestCancel asks for a run to end. A queued run is cancelled at once; a running one becomes
// Cancelling until the process that works on it has cleaned up; one that is being cancelled or was
// cancelled stays so. ErrMoved says that it has finished.
func (l *Ledger) RequestCancel(ctx context.Context, id, actor string) (Run, error) {
	return l.UpdateRun(ctx, id, func(r *Run) {
		switch r.State {
		case Queued:
			r.State, r.Finished = Cancelled, l.clock()
		case Working:
			r.State = Cancelling
		default:
			return
		}
		r.Reason = cancelledBy(actor)
	}, Queued, Working, Cancelling, Cancelled)
}
