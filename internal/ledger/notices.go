package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Notice is an event that people are told of, and how far that has come.
type Notice struct {
	ID      string          `json:"id"` // of the event: the same event is told once
	Event   string          `json:"event"`
	Subject string          `json:"subject"` // what it is about: a branch's runs of a kind, a schedule, a channel
	Created time.Time       `json:"created"`
	Body    json.RawMessage `json:"body"` // what the command gets
	State   string          `json:"state"`
	Tries   int             `json:"tries"`
	Next    time.Time       `json:"next"`            // when it is tried next; zero: never again
	Error   string          `json:"error,omitempty"` // of the last try
}

// States of a notice.
const (
	NoticePending = "pending"
	NoticeSent    = "sent"
	NoticeFailed  = "failed" // given up
)

const (
	// noticesKept is how many notices stay once they are told or given up.
	noticesKept = 1000
	// noticeErrorBytes bounds what is kept of what the command said.
	noticeErrorBytes = 2000
)

const noticeColumns = `id, event, subject, created, body_json, state, tries, next, error`

func readNotice(row scanner) (n Notice, err error) {
	var body string
	err = row.Scan(&n.ID, &n.Event, &n.Subject, (*stamp)(&n.Created), &body, &n.State, &n.Tries, (*stamp)(&n.Next), &n.Error)
	n.Body = json.RawMessage(body)
	return n, err
}

// AddNotice records an event to be told; false if this event was recorded before. A zero Created becomes now.
func (l *Ledger) AddNotice(ctx context.Context, n Notice) (added bool, err error) {
	if n.Created.IsZero() {
		n.Created = l.clock()
	}
	err = l.write(ctx, "record notice "+n.ID, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `INSERT INTO notices (`+noticeColumns+`) VALUES ($1, $2, $3, $4, $5, $6, 0, $4, '')
			ON CONFLICT (id) DO NOTHING`, n.ID, n.Event, n.Subject, stamp(n.Created), string(n.Body), NoticePending)
		if err != nil {
			return err
		}
		rows, err := res.RowsAffected()
		added = rows > 0
		if err != nil || !added {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM notices WHERE state <> $1 AND id NOT IN (
			SELECT id FROM notices ORDER BY created DESC LIMIT $2)`, NoticePending, noticesKept)
		return err
	})
	return added && err == nil, err
}

// TakeNotice gives the oldest notice that is due and counts a try of it, so that one whose command kills this
// process is not tried for ever. Should this try not be ended by EndNotice, it is due again at the given time.
// ErrNotFound: none is due.
func (l *Ledger) TakeNotice(ctx context.Context, now, again time.Time) (n Notice, err error) {
	err = l.write(ctx, "take a notice", func(tx *sql.Tx) error {
		n, err = one(ctx, tx, readNotice, `SELECT `+noticeColumns+` FROM notices
			WHERE state = $1 AND next <= $2 ORDER BY created, id LIMIT 1`+rowLock, NoticePending, stamp(now))
		if err != nil {
			return err
		}
		n.Tries, n.Next = n.Tries+1, again
		_, err := tx.ExecContext(ctx, `UPDATE notices SET tries = $1, next = $2 WHERE id = $3`, n.Tries, stamp(again), n.ID)
		return err
	})
	return n, err
}

// EndNotice notes what came of a try: sent, pending with the time of the next one, or failed for good.
func (l *Ledger) EndNotice(ctx context.Context, id, state string, next time.Time, trouble string) error {
	return l.write(ctx, "note what came of notice "+id, func(tx *sql.Tx) error {
		if len(trouble) > noticeErrorBytes {
			trouble = trouble[:noticeErrorBytes]
		}
		_, err := tx.ExecContext(ctx, `UPDATE notices SET state = $1, next = $2, error = $3 WHERE id = $4`, state, stamp(next), trouble, id)
		return err
	})
}

// LastNotice gives the newest notice about a subject whose event is one of these, or ErrNotFound.
func (l *Ledger) LastNotice(ctx context.Context, subject string, events ...string) (Notice, error) {
	var c conditions
	c.add("subject =", subject)
	in(&c, "event", events)
	n, err := one(ctx, l.db, readNotice, `SELECT `+noticeColumns+` FROM notices`+c.sql+` ORDER BY created DESC, id DESC LIMIT 1`, c.args...)
	if err != nil && !errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("last notice about %s: %w", subject, err)
	}
	return n, err
}

// Notices lists notices, newest first, at most limit (0: all).
func (l *Ledger) Notices(ctx context.Context, limit int) ([]Notice, error) {
	var c conditions
	most := c.limit(limit)
	all, err := many(ctx, l.db, readNotice, `SELECT `+noticeColumns+` FROM notices ORDER BY created DESC, id DESC`+most, c.args...)
	if err != nil {
		return nil, fmt.Errorf("list notices: %w", err)
	}
	return all, nil
}

// Line is the runs of one kind on one branch.
type Line struct{ Kind, Branch string }

// Lines lists the lines that have a run since a time.
func (l *Ledger) Lines(ctx context.Context, since time.Time) ([]Line, error) {
	lines, err := many(ctx, l.db, func(row scanner) (n Line, err error) {
		err = row.Scan(&n.Kind, &n.Branch)
		return n, err
	}, `SELECT DISTINCT kind, branch FROM runs WHERE created >= $1 ORDER BY kind, branch`, stamp(since))
	if err != nil {
		return nil, fmt.Errorf("list branches with runs: %w", err)
	}
	return lines, nil
}
