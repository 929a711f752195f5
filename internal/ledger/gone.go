package ledger

import (
	"context"
	"database/sql"
	"time"
)

// GoneBranches writes down which branches are gone now, in place of what was: one that is back is no longer
// among them. It gives since when each is known to be gone.
func (l *Ledger) GoneBranches(ctx context.Context, now []string) (map[string]time.Time, error) {
	type gone struct {
		branch string
		since  time.Time
	}
	since := map[string]time.Time{}
	err := l.write(ctx, "note which branches are gone", func(tx *sql.Tx) error {
		clear(since)
		before, err := many(ctx, tx, func(row scanner) (g gone, err error) {
			err = row.Scan(&g.branch, (*stamp)(&g.since))
			return g, err
		}, `SELECT branch, since FROM gone_branches`)
		if err != nil {
			return err
		}
		known := map[string]time.Time{}
		for _, g := range before {
			known[g.branch] = g.since
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM gone_branches`); err != nil {
			return err
		}
		at := l.clock().UTC()
		for _, branch := range now {
			since[branch] = at
			if first, ok := known[branch]; ok {
				since[branch] = first
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO gone_branches (branch, since) VALUES ($1, $2)`, branch, stamp(since[branch])); err != nil {
				return err
			}
		}
		return nil
	})
	return since, err
}
