package ledger

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/hallmark-ci/hallmark/internal/atomicfile"
)

// Identity tells one ledger from another, and an older copy of it from the one that was used last.
type Identity struct {
	ID      string
	Created time.Time
	// Forgotten is when it was noticed that the ledger lacks what happened: it was lost and begun anew, or
	// an older copy was put in its place. What is older than that is not removed without a confirmation.
	// Zero: nothing is known to be lacking.
	Forgotten time.Time
	seen      int64
}

// sighting is what the file beside the ledger says of the ledger that was used last.
type sighting struct {
	Ledger string `json:"ledger"`
	Seen   int64  `json:"seen"`
}

// Identify gives the ledger's identity, and notices whether it is still the ledger that was used here last:
// the file NAME.seen beside it remembers that one, and how often it was identified. Every call counts as
// one sighting, so a copy that is put back is noticed if it is older than the last call.
//
// Noticed says that this call noticed that something is forgotten.
func (l *Ledger) Identify(ctx context.Context) (is Identity, noticed bool, err error) {
	last, err := l.lastSeen()
	if err != nil {
		return is, false, err
	}
	err = l.write(ctx, "identify the ledger", func(tx *sql.Tx) error {
		is, err = identityIn(ctx, tx)
		now := l.clock().UTC()
		if errors.Is(err, ErrNotFound) {
			is, err = Identity{ID: rand.Text(), Created: now}, nil
		}
		if err != nil {
			return err
		}
		if last.Ledger != "" && last.Ledger != is.ID || last.Ledger == is.ID && last.Seen > is.seen {
			is.Forgotten, noticed = now, true
		}
		is.seen = max(is.seen, last.Seen) + 1
		return putIdentity(ctx, tx, is)
	})
	if err != nil {
		return is, false, err
	}
	text, err := json.Marshal(sighting{is.ID, is.seen})
	if err == nil {
		err = atomicfile.Write(l.seenFile(), append(text, '\n'), 0o600)
	}
	if err != nil {
		return is, noticed, fmt.Errorf("note which ledger was seen: %w", err)
	}
	return is, noticed, nil
}

// Identity gives what the last Identify found; zero if there was none.
func (l *Ledger) Identity(ctx context.Context) (Identity, error) {
	is, err := identityIn(ctx, l.db)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	if err != nil {
		return is, fmt.Errorf("identify the ledger: %w", err)
	}
	return is, nil
}

// Lacks reports whether a run that the ledger does not know shows that it lacks something: by its id, the run
// began in the ledger's time, and that was not noticed before.
func (l *Ledger) Lacks(ctx context.Context, run string) (bool, error) {
	is, err := identityIn(ctx, l.db)
	if err != nil {
		return false, fmt.Errorf("identify the ledger: %w", err)
	}
	began, ok := began(run)
	return ok && began.Add(time.Minute).After(is.Created) && began.After(is.Forgotten), nil
}

// Forgot notes that the ledger lacks a run, and so may lack all that happened until now.
func (l *Ledger) Forgot(ctx context.Context, run string) error {
	return l.write(ctx, "note that the ledger lacks run "+run, func(tx *sql.Tx) error {
		is, err := identityIn(ctx, tx)
		if err != nil {
			return err
		}
		is.Forgotten = l.clock().UTC()
		if began, _ := began(run); began.After(is.Forgotten) { // by a clock that was wrong
			is.Forgotten = began
		}
		return putIdentity(ctx, tx, is)
	})
}

// began is when a run began, as its id says.
func began(run string) (time.Time, bool) {
	const layout = "20060102-1504"
	if len(run) < len(layout) {
		return time.Time{}, false
	}
	at, err := time.Parse(layout, run[:len(layout)])
	return at, err == nil
}

func (l *Ledger) seenFile() string { return l.path + ".seen" }

// lastSeen is empty if nothing was seen yet, or the file is not one of ours: then it tells nothing.
func (l *Ledger) lastSeen() (s sighting, err error) {
	text, err := os.ReadFile(l.seenFile())
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("which ledger was seen last: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("which ledger was seen last: %s: %w; remove the file if this ledger is the right one", l.seenFile(), err)
	}
	return s, nil
}

func identityIn(ctx context.Context, q querier) (Identity, error) {
	return one(ctx, q, func(row scanner) (is Identity, err error) {
		err = row.Scan(&is.ID, (*stamp)(&is.Created), &is.seen, (*stamp)(&is.Forgotten))
		return is, err
	}, `SELECT id, created, seen, forgotten FROM identity WHERE one = 1`+rowLock)
}

func putIdentity(ctx context.Context, tx *sql.Tx, is Identity) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO identity (one, id, created, seen, forgotten) VALUES (1, $1, $2, $3, $4)
		ON CONFLICT (one) DO UPDATE SET seen = excluded.seen, forgotten = excluded.forgotten`,
		is.ID, stamp(is.Created), is.seen, stamp(is.Forgotten))
	return err
}
