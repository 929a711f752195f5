package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Production is the channel that users launch from. It moves only to a set whose upgrade from the set
// that it holds at that moment has passed.
const Production = "production"

// Kinds of moves.
const (
	Promote  = "promote"
	Rollback = "rollback"
	Revoke   = "revoke"
)

func readChannel(row scanner) (c Channel, err error) {
	err = row.Scan(&c.Name, &c.Set, &c.Version, (*stamp)(&c.Moved))
	return c, err
}

func channelIn(ctx context.Context, q querier, name string) (Channel, error) {
	c, err := one(ctx, q, readChannel, `SELECT name, set_id, version, moved FROM channels WHERE name = $1`+rowLock, name)
	if errors.Is(err, ErrNotFound) {
		return Channel{Name: name}, nil
	}
	return c, err
}

// Channel gives a channel. One that never moved is no error: it has no set and version 0.
func (l *Ledger) Channel(ctx context.Context, name string) (Channel, error) {
	c, err := channelIn(ctx, l.db, name)
	if err != nil {
		return Channel{}, fmt.Errorf("channel %s: %w", name, err)
	}
	return c, nil
}

// Channels lists the channels that ever moved, by name.
func (l *Ledger) Channels(ctx context.Context) ([]Channel, error) {
	all, err := many(ctx, l.db, readChannel, `SELECT name, set_id, version, moved FROM channels ORDER BY name`)
	if err != nil {
		return nil, fmt.Errorf("list channels: %w", err)
	}
	return all, nil
}

// MoveChannel points m.Channel to m.To by compare-and-swap: it happens only if the channel still
// has the version expected, else ErrMoved. From, Version and a zero At of m are filled in, and the
// move is recorded with it.
//
// A promotion by a run (Kind Promote, Run not empty) happens once: repeated, it gives the channel
// as it is and moves nothing, even if others have moved it on since. So a promotion by hand leaves
// Run empty. The set must be known (ErrNotFound), not revoked (ErrRevoked), have all its images
// (ErrRetired), and for a promotion evidence (ErrUnproven). Production needs evidence of the upgrade from
// the set that it holds (*UntestedUpgradeError). A rollback goes to PreviousSet and nowhere else (ErrMoved).
// A run that was cancelled promotes nothing (ErrCancelled). An empty To empties the channel.
func (l *Ledger) MoveChannel(ctx context.Context, m Move, expected int64) (Channel, error) {
	var moved Channel
	err := l.write(ctx, fmt.Sprintf("%s channel %s to %q", m.Kind, m.Channel, m.To), func(tx *sql.Tx) error {
		now, done, err := mayMove(ctx, tx, m, expected)
		if moved = now; err != nil || done {
			return err
		}
		moved, err = l.move(ctx, tx, now, m)
		return err
	})
	if err != nil {
		return Channel{}, err
	}
	return moved, nil
}

// CheckMove says what MoveChannel would say now: its error, or that it would move nothing, because that
// was done before.
func (l *Ledger) CheckMove(ctx context.Context, m Move, expected int64) (done bool, err error) {
	err = l.write(ctx, fmt.Sprintf("%s channel %s to %q", m.Kind, m.Channel, m.To), func(tx *sql.Tx) error {
		_, done, err = mayMove(ctx, tx, m, expected)
		return err
	})
	return done, err
}

// mayMove gives the channel as it is, and says why it may not be moved, or that it need not be.
func mayMove(ctx context.Context, tx *sql.Tx, m Move, expected int64) (now Channel, done bool, err error) {
	if now, err = channelIn(ctx, tx, m.Channel); err != nil {
		return now, false, err
	}
	if done, err := promotedBefore(ctx, tx, m); err != nil || done {
		return now, done, err
	}
	if now.Version != expected {
		return now, false, fmt.Errorf("it is at version %d, not %d: %w", now.Version, expected, ErrMoved)
	}
	return now, false, movable(ctx, tx, now, m)
}

func promotedBefore(ctx context.Context, tx *sql.Tx, m Move) (bool, error) {
	if m.Kind != Promote || m.Run == "" {
		return false, nil
	}
	_, err := one(ctx, tx, readMove, `SELECT `+moveColumns+` FROM moves
		WHERE kind = $1 AND channel = $2 AND run = $3 AND to_set = $4`, m.Kind, m.Channel, m.Run, m.To)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// movable says why a channel, as it is now, may not point to the set of m.
func movable(ctx context.Context, tx *sql.Tx, now Channel, m Move) error {
	if m.To == "" {
		return nil
	}
	set, err := setIn(ctx, tx, m.To)
	if err != nil {
		return fmt.Errorf("image set %s: %w", m.To, err)
	}
	if set.Revoked != "" {
		return fmt.Errorf("image set %s: %w: %s", m.To, ErrRevoked, set.Revoked)
	}
	if gone, err := retiredIn(ctx, tx, set); err != nil || gone {
		return errors.Join(err, fmt.Errorf("image set %s: %w", m.To, ErrRetired))
	}
	if m.Kind == Rollback {
		previous, err := previousIn(ctx, tx, m.Channel)
		if err == nil && previous.ID != m.To || errors.Is(err, ErrNotFound) {
			return fmt.Errorf("a rollback would go to %q, not to %s: %w", previous.ID, m.To, ErrMoved)
		}
		return err
	}
	if m.Kind != Promote {
		return nil
	}
	if err := proven(ctx, tx, now, m); err != nil {
		return err
	}
	if m.Run == "" {
		return nil
	}
	run, err := runIn(ctx, tx, m.Run)
	if err != nil {
		return fmt.Errorf("run %s: %w", m.Run, err)
	}
	if run.State == Cancelling || run.State == Cancelled {
		return ErrCancelled
	}
	return nil
}

// proven says which evidence is missing for a promotion.
func proven(ctx context.Context, q querier, now Channel, m Move) error {
	all, err := evidenceIn(ctx, q, m.To)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return fmt.Errorf("image set %s: %w", m.To, ErrUnproven)
	}
	if m.Channel != Production || now.Set == "" || now.Set == m.To {
		return nil
	}
	var tested []string
	for _, e := range all {
		tested = append(tested, e.UpgradedFrom...)
	}
	if slices.Contains(tested, now.Set) {
		return nil
	}
	return &UntestedUpgradeError{Set: m.To, Holds: now.Set, Tested: tested}
}

// UntestedUpgradeError says that the upgrade from the set that production holds to another one is not
// in that one's evidence.
type UntestedUpgradeError struct {
	Set    string   // to be promoted
	Holds  string   // by production, now
	Tested []string // sets whose upgrade to Set passed
}

func (e *UntestedUpgradeError) Error() string {
	text := fmt.Sprintf("%s holds %s, and no run has tested the upgrade from it to %s", Production, e.Holds, e.Set)
	if len(e.Tested) > 0 {
		text += "; tested was the upgrade from " + strings.Join(e.Tested, ", ")
	}
	return text
}

// retiredIn reports whether an image of a set was given up.
func retiredIn(ctx context.Context, q querier, set ImageSet) (bool, error) {
	if len(set.Images) == 0 {
		return false, nil
	}
	var c conditions
	c.add("deleted <>", "")
	in(&c, "id", slices.Collect(maps.Values(set.Images)))
	var n int
	err := q.QueryRowContext(ctx, `SELECT COUNT(*) FROM images`+c.sql, c.args...).Scan(&n)
	return n > 0, err
}

// move writes the channel and its move; the caller has checked that it may.
func (l *Ledger) move(ctx context.Context, tx *sql.Tx, from Channel, m Move) (Channel, error) {
	if m.At.IsZero() {
		m.At = l.clock()
	}
	to := Channel{Name: from.Name, Set: m.To, Version: from.Version + 1, Moved: m.At.UTC()}
	// The version in the condition is a second guard, for a database whose read did not lock the row.
	res, err := tx.ExecContext(ctx, `INSERT INTO channels (name, set_id, version, moved) VALUES ($1, $2, $3, $4)
		ON CONFLICT (name) DO UPDATE SET set_id = excluded.set_id, version = excluded.version, moved = excluded.moved
		WHERE channels.version = $5`, to.Name, to.Set, to.Version, stamp(to.Moved), from.Version)
	if err != nil {
		return Channel{}, err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return Channel{}, errors.Join(ErrMoved, err)
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO moves (`+moveColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		to.Name, from.Set, to.Set, to.Version, m.Kind, m.Actor, bounded(m.Reason, mostMessage), m.Run, stamp(m.At), truth(m.Forced))
	return to, err
}

const moveColumns = `channel, from_set, to_set, version, kind, actor, reason, run, at, forced`

func readMove(row scanner) (m Move, err error) {
	err = row.Scan(&m.Channel, &m.From, &m.To, &m.Version, &m.Kind, &m.Actor, &m.Reason, &m.Run, (*stamp)(&m.At), (*truth)(&m.Forced))
	return m, err
}

// Moves lists the moves of a channel, newest first, at most limit (0: all).
func (l *Ledger) Moves(ctx context.Context, channel string, limit int) ([]Move, error) {
	moves, err := movesIn(ctx, l.db, channel, limit)
	if err != nil {
		return nil, fmt.Errorf("moves of channel %s: %w", channel, err)
	}
	return moves, nil
}

func movesIn(ctx context.Context, q querier, channel string, limit int) ([]Move, error) {
	var c conditions
	c.add("channel =", channel)
	most := c.limit(limit)
	return many(ctx, q, readMove, `SELECT `+moveColumns+` FROM moves`+c.sql+` ORDER BY version DESC`+most, c.args...)
}

// RevokeSet forbids an image set for good and says why. Every channel that points to it goes back
// to its previous set, or is emptied if it has none, in the same transaction; those moves are
// given. Revoking a set again changes nothing.
func (l *Ledger) RevokeSet(ctx context.Context, id, actor, reason string) ([]Move, error) {
	var moves []Move
	err := l.write(ctx, "revoke image set "+id, func(tx *sql.Tx) error {
		set, err := setIn(ctx, tx, id)
		if err != nil {
			return err
		}
		if set.Revoked != "" {
			return nil
		}
		if reason == "" {
			reason = "revoked by " + actor
		}
		reason = bounded(reason, mostMessage)
		if _, err := tx.ExecContext(ctx, `UPDATE image_sets SET revoked = $1 WHERE id = $2`, reason, id); err != nil {
			return err
		}
		pointing, err := many(ctx, tx, readChannel,
			`SELECT name, set_id, version, moved FROM channels WHERE set_id = $1 ORDER BY name`+rowLock, id)
		if err != nil {
			return err
		}
		for _, c := range pointing {
			previous, err := previousIn(ctx, tx, c.Name)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			m := Move{Channel: c.Name, From: id, To: previous.ID, Kind: Revoke, Actor: actor, Reason: reason, At: l.clock().UTC()}
			moved, err := l.move(ctx, tx, c, m)
			if err != nil {
				return err
			}
			m.Version = moved.Version
			moves = append(moves, m)
		}
		return nil
	})
	return moves, err
}
