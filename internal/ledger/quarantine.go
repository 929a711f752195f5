package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Suspect is a resource that nothing seems to need and that is kept all the same: the ledger may not know
// all that happened.
type Suspect struct {
	Kind  string    `json:"kind"`
	ID    string    `json:"id"`
	Name  string    `json:"name"`
	Why   string    `json:"why"`
	First time.Time `json:"first"` // when it was first seen like that
}

// Quarantine writes down what is suspect now, in place of what was: what is no longer among it was explained,
// or is gone. It gives all of it with the time at which each was first seen, in the order given.
func (l *Ledger) Quarantine(ctx context.Context, now []Suspect) ([]Suspect, error) {
	var noted []Suspect
	err := l.write(ctx, "quarantine", func(tx *sql.Tx) error {
		noted = nil
		before, err := suspectsIn(ctx, tx)
		if err != nil {
			return err
		}
		first := map[[2]string]time.Time{}
		for _, s := range before {
			first[[2]string{s.Kind, s.ID}] = s.First
		}
		if len(now) == 0 && len(before) == 0 {
			return nil
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM quarantine`); err != nil {
			return err
		}
		at := l.clock().UTC()
		for _, s := range now {
			if s.First = first[[2]string{s.Kind, s.ID}]; s.First.IsZero() {
				s.First = at
			}
			_, err := tx.ExecContext(ctx, `INSERT INTO quarantine (kind, id, name, why, first) VALUES ($1, $2, $3, $4, $5)`, s.Kind, s.ID, s.Name, s.Why, stamp(s.First))
			if err != nil {
				return err
			}
			noted = append(noted, s)
		}
		return nil
	})
	return noted, err
}

// Suspects lists what is in quarantine, as the last look found it.
func (l *Ledger) Suspects(ctx context.Context) ([]Suspect, error) {
	all, err := suspectsIn(ctx, l.db)
	if err != nil {
		return nil, fmt.Errorf("list the quarantine: %w", err)
	}
	return all, nil
}

func suspectsIn(ctx context.Context, q querier) ([]Suspect, error) {
	return many(ctx, q, func(row scanner) (s Suspect, err error) {
		err = row.Scan(&s.Kind, &s.ID, &s.Name, &s.Why, (*stamp)(&s.First))
		return s, err
	}, `SELECT kind, id, name, why, first FROM quarantine ORDER BY first, kind, id`)
}

// ImageFact is what is known of an image without the documents that belong to it.
type ImageFact struct {
	ID, ProviderID   string
	Created, Deleted time.Time
}

// ImageFacts gives what is known of these images, each named by its provider's id or by its own: it reads a
// row for each of them and no others, however many there ever were.
func (l *Ledger) ImageFacts(ctx context.Context, names []string) ([]ImageFact, error) {
	read := func(row scanner) (f ImageFact, err error) {
		err = row.Scan(&f.ID, &f.ProviderID, (*stamp)(&f.Created), (*stamp)(&f.Deleted))
		return f, err
	}
	var facts []ImageFact
	for _, name := range names {
		for _, column := range []string{"provider_id", "id"} {
			f, err := many(ctx, l.db, read, `SELECT id, provider_id, created, deleted FROM images WHERE `+column+` = $1`, name)
			if err != nil {
				return nil, fmt.Errorf("image %s: %w", name, err)
			}
			facts = append(facts, f...)
		}
	}
	return facts, nil
}
