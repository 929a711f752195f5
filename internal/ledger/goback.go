package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Standing replays the moves of a channel (newest first, as Moves gives them) into the sets that it
// stands on, oldest first: a promotion lays a set on top, a rollback or revocation takes off what
// lies above the set that it goes back to. The last one is the set that the channel holds; "" stands
// for a time when it held none.
func Standing(moves []Move) []string {
	var held []string
	for _, m := range slices.Backward(moves) {
		if at := slices.Index(held, m.To); at >= 0 && m.Kind != Promote {
			held = held[:at+1]
			continue
		}
		held = append(held, m.To)
	}
	return held
}

// GoesBackTo gives the set that a channel can go back to, "" if there is none: of the sets that it
// stands on, the newest below the one that it holds that is still usable. A set is usable if it was
// not revoked and has all its images. Rollbacks, revocations, pruning and publishing all go by this.
func GoesBackTo(moves []Move, usable func(set string) (bool, error)) (string, error) {
	held := Standing(moves)
	if len(held) == 0 {
		return "", nil
	}
	current := held[len(held)-1]
	for _, id := range slices.Backward(held) {
		if id == current || id == "" {
			continue
		}
		if ok, err := usable(id); err != nil || ok {
			return id, err
		}
	}
	return "", nil
}

// PreviousSet gives the set to which a rollback of the channel would go, as GoesBackTo has it.
// ErrNotFound if there is none.
func (l *Ledger) PreviousSet(ctx context.Context, channel string) (ImageSet, error) {
	set, err := previousIn(ctx, l.db, channel)
	if err != nil {
		return ImageSet{}, fmt.Errorf("set before the current one of channel %s: %w", channel, err)
	}
	return set, nil
}

func previousIn(ctx context.Context, q querier, channel string) (ImageSet, error) {
	moves, err := movesIn(ctx, q, channel, 0)
	if err != nil {
		return ImageSet{}, err
	}
	id, err := GoesBackTo(moves, func(id string) (bool, error) { return usableIn(ctx, q, id) })
	if err != nil {
		return ImageSet{}, err
	}
	if id == "" {
		return ImageSet{}, ErrNotFound
	}
	return setIn(ctx, q, id)
}

func usableIn(ctx context.Context, q querier, id string) (bool, error) {
	set, err := setIn(ctx, q, id)
	if err != nil {
		return false, err
	}
	gone, err := retiredIn(ctx, q, set)
	return set.Revoked == "" && !gone, err
}

// neededIn lists the sets that no image may be taken from: those that channels hold, and those that
// they can go back to.
func neededIn(ctx context.Context, q querier) ([]ImageSet, error) {
	channels, err := many(ctx, q, readChannel, `SELECT name, set_id, version, moved FROM channels ORDER BY name`)
	if err != nil {
		return nil, err
	}
	var needed []ImageSet
	for _, c := range channels {
		if c.Set != "" {
			set, err := setIn(ctx, q, c.Set)
			if err != nil {
				return nil, err
			}
			needed = append(needed, set)
		}
		previous, err := previousIn(ctx, q, c.Name)
		switch {
		case err == nil:
			needed = append(needed, previous)
		case !errors.Is(err, ErrNotFound):
			return nil, err
		}
	}
	return needed, nil
}
