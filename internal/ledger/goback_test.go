package ledger

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// A rollback goes to the set that PreviousSet gives, and to no other: by then it may be another one.
func TestRollbackGoesToThePreviousSetOnly(t *testing.T) {
	l := fresh(t)
	ctx := t.Context()
	sets(t, l, "a", "b", "c")
	for i, id := range []string{"a", "b", "c"} {
		get[Channel](t)(l.MoveChannel(ctx, promote(id), int64(i)))
	}
	back := func(to string) Move { return Move{Channel: "development", To: to, Kind: Rollback, Actor: "ann"} }
	_, err := l.MoveChannel(ctx, back("a"), 3)
	wantError(t, err, ErrMoved)
	get[[]Move](t)(l.RevokeSet(ctx, "b", "ann", "CVE"))
	get[Channel](t)(l.MoveChannel(ctx, back("a"), 3))
	_, err = l.MoveChannel(ctx, back("c"), 4)
	wantError(t, err, ErrMoved)
}

func TestLaunches(t *testing.T) {
	l := fresh(t)
	ctx := t.Context()
	sets(t, l, "a")
	first := LaunchedFrom{
		Run: "run-a", Scenario: "upgrade from release/1.0 by rolling", Origin: "prebuilt", Attempt: 1,
		Branch: "release/1.0", Commit: "c0ffee", Set: "old", Images: map[string]string{"web": "image-1"},
	}
	second := first
	second.Attempt, second.Images = 2, map[string]string{"web": "image-2"}
	for _, f := range []LaunchedFrom{first, second, first} {
		must(t, l.RecordLaunch(ctx, f))
	}
	other := first
	other.Images = map[string]string{"web": "another"}
	must(t, l.RecordLaunch(ctx, other)) // of one attempt the first record stays
	got := get[[]LaunchedFrom](t)(l.Launches(ctx, "run-a"))
	if len(got) != 2 || got[0].Attempt != 1 || got[0].Set != "old" || got[0].Images["web"] != "image-1" || got[1].Images["web"] != "image-2" {
		t.Errorf("launches are %+v", got)
	}
	if none := get[[]LaunchedFrom](t)(l.Launches(ctx, "another run")); len(none) != 0 {
		t.Errorf("launches of a run without any are %+v", none)
	}
}

// Random promotions, rollbacks, revocations and attempts to give images up: the set that a channel can go
// back to is always one that it held, that may be held, and whose images are there; a rollback to it
// succeeds, and one to any other set is refused.
func TestWhatAChannelGoesBackToIsThere(t *testing.T) {
	const histories, moves = 20, 40
	for seed := range uint64(histories) {
		l := fresh(t)
		ctx := t.Context()
		random := rand.New(rand.NewPCG(seed, 7))
		letters := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
		channels := []string{"development", "staging"}
		sets(t, l, letters...)
		held := map[string]map[string]bool{} // channel → sets that it ever held
		for range moves {
			set, name := letters[random.IntN(len(letters))], channels[random.IntN(len(channels))]
			channel := get[Channel](t)(l.Channel(ctx, name))
			switch random.IntN(4) {
			case 0, 1:
				if c, err := l.MoveChannel(ctx, Move{Channel: name, To: set, Kind: Promote}, channel.Version); err == nil {
					if held[name] == nil {
						held[name] = map[string]bool{}
					}
					held[name][c.Set] = true
				}
			case 2:
				previous, err := l.PreviousSet(ctx, name)
				if err == nil && previous.ID != set {
					_, err := l.MoveChannel(ctx, Move{Channel: name, To: set, Kind: Rollback}, channel.Version)
					if err == nil {
						t.Fatalf("seed %d: %s was rolled back to %s instead of %s", seed, name, set, previous.ID)
					}
				}
				if err == nil {
					get[Channel](t)(l.MoveChannel(ctx, Move{Channel: name, To: previous.ID, Kind: Rollback}, channel.Version))
				}
			case 3:
				if random.IntN(3) == 0 {
					get[[]Move](t)(l.RevokeSet(ctx, set, "ann", "CVE"))
				} else if err := l.RetireImage(ctx, "run-"+set+"-web", noon); err != nil {
					wantError(t, err, ErrHeld)
				}
			}
			for _, name := range channels {
				now := get[Channel](t)(l.Channel(ctx, name))
				previous, err := l.PreviousSet(ctx, name)
				if errors.Is(err, ErrNotFound) {
					continue
				}
				must(t, err)
				image := get[Image](t)(l.Image(ctx, previous.Images["web"]))
				if previous.ID == now.Set || previous.Revoked != "" || !image.Deleted.IsZero() || !held[name][previous.ID] {
					t.Fatalf("seed %d: %s holds %s and would go back to %+v, image %+v; it held %v", seed, name, now.Set, previous, image, slices.Sorted(maps.Keys(held[name])))
				}
				wantError(t, l.RetireImage(ctx, image.ID, noon), ErrHeld)
			}
		}
	}
}
