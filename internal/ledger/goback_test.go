package ledger

import (
	"errors"
	"fmt"
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

// Production moves to a set only if the upgrade to it passed from the set that production holds at that
// moment.
func TestProductionMovesByTestedUpgradesOnly(t *testing.T) {
	l := fresh(t)
	ctx := t.Context()
	sets(t, l, "a", "b", "c")
	to := func(set string) Move { return Move{Channel: Production, To: set, Kind: Promote, Actor: "grace"} }
	tested := func(set string, from ...string) {
		t.Helper()
		run := fmt.Sprintf("upgrades-%s-%v", set, from)
		must(t, l.CreateRun(ctx, Run{ID: run, Kind: "release", Branch: "main"}))
		must(t, l.RecordEvidence(ctx, Evidence{Set: set, Run: run, Statement: []byte("{}"), UpgradedFrom: from}))
	}
	get[Channel](t)(l.MoveChannel(ctx, to("a"), 0)) // it held nothing, so there is nothing to upgrade
	tested("c", "a")

	_, err := l.MoveChannel(ctx, to("b"), 1)
	untested, ok := errors.AsType[*UntestedUpgradeError](err)
	if !ok || untested.Set != "b" || untested.Holds != "a" || untested.Tested != nil {
		t.Fatalf("promote b: %v", err)
	}
	_, err = l.CheckMove(ctx, to("b"), 1)
	if _, ok := errors.AsType[*UntestedUpgradeError](err); !ok {
		t.Errorf("CheckMove says %v", err)
	}
	tested("b", "a")
	get[Channel](t)(l.MoveChannel(ctx, to("b"), 1))
	_, err = l.MoveChannel(ctx, to("c"), 2) // the upgrade from a was tested, and production moved on
	if untested, ok := errors.AsType[*UntestedUpgradeError](err); !ok || !slices.Equal(untested.Tested, []string{"a"}) {
		t.Fatalf("promote c: %v", err)
	}
	get[Channel](t)(l.MoveChannel(ctx, Move{Channel: Production, To: "a", Kind: Rollback, Actor: "grace"}, 2))
	forced := to("c")
	forced.Forced, forced.Reason = true, "as in May"
	get[Channel](t)(l.MoveChannel(ctx, forced, 3))
	if m := get[[]Move](t)(l.Moves(ctx, Production, 1))[0]; !m.Forced || m.Reason != "as in May" || m.From != "a" {
		t.Errorf("the move is %+v", m)
	}
	if e := get[[]Evidence](t)(l.Evidence(ctx, "c")); len(e) != 2 || !slices.Equal(e[1].UpgradedFrom, []string{"a"}) && !slices.Equal(e[0].UpgradedFrom, []string{"a"}) {
		t.Errorf("evidence is %+v", e)
	}
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
