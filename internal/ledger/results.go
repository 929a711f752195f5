package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

const stageColumns = `run, path, state, verdict, detail, started, finished`

func readStage(row scanner) (s Stage, err error) {
	err = row.Scan(&s.Run, &s.Path, &s.State, word{&s.Verdict}, &s.Detail, (*stamp)(&s.Started), (*stamp)(&s.Finished))
	return s, err
}

// RecordStage writes a stage as it is now, replacing what was known of its path. A zero Started
// keeps the time that is recorded.
func (l *Ledger) RecordStage(ctx context.Context, s Stage) error {
	return l.write(ctx, fmt.Sprintf("record stage %s of run %s", s.Path, s.Run), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO stages (`+stageColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (run, path) DO UPDATE SET state = excluded.state, verdict = excluded.verdict,
				detail = excluded.detail, finished = excluded.finished,
				started = CASE WHEN excluded.started = '' THEN stages.started ELSE excluded.started END`,
			s.Run, s.Path, s.State, word{s.Verdict}, bounded(s.Detail, mostDetail), stamp(s.Started), stamp(s.Finished))
		return err
	})
}

// Stages gives a run's stages in the order in which they started.
func (l *Ledger) Stages(ctx context.Context, run string) ([]Stage, error) {
	stages, err := many(ctx, l.db, readStage,
		`SELECT `+stageColumns+` FROM stages WHERE run = $1 ORDER BY started, path`, run)
	if err != nil {
		return nil, fmt.Errorf("stages of run %s: %w", run, err)
	}
	return stages, nil
}

const (
	resultKeyColumns = `run, scenario, origin, phase, tier, suite, test, server, attempt`
	resultColumns    = resultKeyColumns + `, outcome, cause, message, lines, ticket, excuses_json, duration_ns, recorded`
)

func readResult(row scanner) (r Result, err error) {
	err = row.Scan(&r.Run, &r.Scenario, &r.Origin, &r.Phase, &r.Tier, &r.Suite, &r.Test, &r.Server, &r.Attempt,
		&r.Outcome, &r.Cause, &r.Message, &r.Lines, &r.Ticket, document{&r.Excuses}, &r.Duration, (*stamp)(&r.Recorded))
	return r, err
}

// RecordResults writes results in one transaction. A key that is known keeps one result: Kept says
// which. A zero Recorded becomes now. Texts are bounded.
func (l *Ledger) RecordResults(ctx context.Context, results ...Result) error {
	return l.write(ctx, "record results", func(tx *sql.Tx) error {
		for _, r := range results {
			if r.Recorded.IsZero() {
				r.Recorded = l.clock()
			}
			if err := putResult(ctx, tx, r); err != nil {
				return fmt.Errorf("%s/%s on %s: %w", r.Suite, r.Test, r.Server, err)
			}
		}
		return nil
	})
}

func putResult(ctx context.Context, tx *sql.Tx, r Result) error {
	old, err := one(ctx, tx, readResult, `SELECT `+resultColumns+` FROM results WHERE run = $1 AND scenario = $2 AND origin = $3
		AND phase = $4 AND tier = $5 AND suite = $6 AND test = $7 AND server = $8 AND attempt = $9`+rowLock,
		r.Run, r.Scenario, r.Origin, r.Phase, r.Tier, r.Suite, r.Test, r.Server, r.Attempt)
	switch {
	case err == nil:
		r = Kept(old, r)
	case !errors.Is(err, ErrNotFound):
		return err
	}
	r.Message, r.Lines = bounded(r.Message, mostMessage), bounded(r.Lines, mostLines)
	_, err = tx.ExecContext(ctx, `INSERT INTO results (`+resultColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
		ON CONFLICT (`+resultKeyColumns+`) DO UPDATE SET outcome = excluded.outcome, cause = excluded.cause,
			message = excluded.message, lines = excluded.lines, ticket = excluded.ticket, excuses_json = excluded.excuses_json,
			duration_ns = excluded.duration_ns, recorded = excluded.recorded`,
		r.Run, r.Scenario, r.Origin, r.Phase, r.Tier, r.Suite, r.Test, r.Server, r.Attempt,
		string(r.Outcome), string(r.Cause), r.Message, r.Lines, r.Ticket, document{r.Excuses}, int64(r.Duration), stamp(r.Recorded))
	return err
}

// Results gives every result of a run, all attempts, ordered by key.
func (l *Ledger) Results(ctx context.Context, run string) ([]Result, error) {
	results, err := many(ctx, l.db, readResult,
		`SELECT `+resultColumns+` FROM results WHERE run = $1 ORDER BY `+resultKeyColumns, run)
	if err != nil {
		return nil, fmt.Errorf("results of run %s: %w", run, err)
	}
	return results, nil
}

// Durations tells how long the tests of a suite took before: by test, newest first, at most last of
// each. Tests that did not run are left out.
func (l *Ledger) Durations(ctx context.Context, tier, suite string, last int) (map[string][]time.Duration, error) {
	type took struct {
		test     string
		duration time.Duration
	}
	read := func(row scanner) (t took, err error) {
		err = row.Scan(&t.test, &t.duration)
		return t, err
	}
	rows, err := many(ctx, l.db, read, `SELECT test, duration_ns FROM (
			SELECT test, duration_ns, recorded,
				ROW_NUMBER() OVER (PARTITION BY test ORDER BY recorded DESC, run DESC) AS nth
			FROM results WHERE tier = $1 AND suite = $2 AND outcome IN ('passed', 'failed', 'flaky', 'waived')
		) AS numbered WHERE nth <= $3 ORDER BY test, recorded DESC`, tier, suite, last)
	if err != nil {
		return nil, fmt.Errorf("durations of suite %s: %w", suite, err)
	}
	by := make(map[string][]time.Duration)
	for _, t := range rows {
		by[t.test] = append(by[t.test], t.duration)
	}
	return by, nil
}
