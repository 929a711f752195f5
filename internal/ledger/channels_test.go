package ledger

import (
	"testing"
	"time"
)

// sets records runs, images and image sets a, b, c, … with evidence for each.
func sets(t *testing.T, l *Ledger, ids ...string) {
	t.Helper()
	ctx := t.Context()
	for i, id := range ids {
		run := "run-" + id
		must(t, l.CreateRun(ctx, Run{ID: run, Kind: "nightly", Branch: "main", Created: noon.Add(time.Duration(i) * time.Hour)}))
		must(t, l.RecordImage(ctx, Image{ID: run + "-web", Run: run, Role: "web", Branch: "main"}))
		must(t, l.RecordSet(ctx, ImageSet{ID: id, Run: run, Branch: "main", Images: map[string]string{"web": run + "-web"}, Digest: "sha256:" + id}))
		must(t, l.RecordEvidence(ctx, Evidence{Set: id, Run: run, Statement: []byte(`{"for":"` + id + `"}`)}))
	}
}

func promote(set string) Move {
	return Move{Channel: "development", To: set, Kind: Promote, Actor: "hallmark", Run: "run-" + set}
}

func TestChannelThatNeverMoved(t *testing.T) {
	l := fresh(t)
	if c := get[Channel](t)(l.Channel(t.Context(), "development")); c != (Channel{Name: "development"}) {
		t.Errorf("channel is %+v", c)
	}
	_, err := l.PreviousSet(t.Context(), "development")
	wantError(t, err, ErrNotFound)
}

// What CheckMove says is what MoveChannel does, and it moves nothing.
func TestCheckMove(t *testing.T) {
	l := fresh(t)
	ctx := t.Context()
	sets(t, l, "a", "b")
	may := func(m Move, expected int64) bool {
		t.Helper()
		done, err := l.CheckMove(ctx, m, expected)
		must(t, err)
		return !done
	}
	for range 2 { // to look changes nothing
		if !may(promote("a"), 0) {
			t.Error("the first promotion is done before it is made")
		}
	}
	get[Channel](t)(l.MoveChannel(ctx, promote("a"), 0))
	if may(promote("a"), 0) {
		t.Error("a run's promotion may be made twice")
	}
	_, err := l.CheckMove(ctx, promote("b"), 0)
	wantError(t, err, ErrMoved)
	get[[]Move](t)(l.RevokeSet(ctx, "b", "ann", "CVE"))
	_, err = l.CheckMove(ctx, promote("b"), 1)
	wantError(t, err, ErrRevoked)
	if c := get[Channel](t)(l.Channel(ctx, "development")); c.Set != "a" || c.Version != 1 {
		t.Errorf("channel is %+v", c)
	}
}

func TestMoveIsCompareAndSwap(t *testing.T) {
	l := fresh(t)
	ctx := t.Context()
	sets(t, l, "a", "b")
	if c := get[Channel](t)(l.MoveChannel(ctx, promote("a"), 0)); c.Set != "a" || c.Version != 1 || c.Moved.IsZero() {
		t.Errorf("channel is %+v", c)
	}
	_, err := l.MoveChannel(ctx, promote("b"), 0)
	wantError(t, err, ErrMoved)
	get[Channel](t)(l.MoveChannel(ctx, promote("b"), 1))

	moves := get[[]Move](t)(l.Moves(ctx, "development", 0))
	if len(moves) != 2 || moves[0].From != "a" || moves[0].To != "b" || moves[0].Version != 2 || moves[0].Actor != "hallmark" || moves[1].From != "" {
		t.Errorf("moves are %+v", moves)
	}
}

func TestPromotionByARunHappensOnce(t *testing.T) {
	l := fresh(t)
	ctx := t.Context()
	sets(t, l, "a", "b")
	get[Channel](t)(l.MoveChannel(ctx, promote("a"), 0))
	get[Channel](t)(l.MoveChannel(ctx, promote("a"), 0)) // the step is repeated after a crash
	get[Channel](t)(l.MoveChannel(ctx, promote("b"), 1))
	if c := get[Channel](t)(l.MoveChannel(ctx, promote("a"), 2)); c.Set != "b" { // much later
		t.Errorf("a late repetition moved the channel back: %+v", c)
	}
	if n := len(get[[]Move](t)(l.Moves(ctx, "development", 0))); n != 2 {
		t.Errorf("%d moves, want 2", n)
	}
	byHand := promote("a")
	byHand.Run, byHand.Actor = "", "ann"
	if c := get[Channel](t)(l.MoveChannel(ctx, byHand, 2)); c.Set != "a" {
		t.Errorf("a person's promotion did not move the channel: %+v", c)
	}
}

func TestWhatMayNotBePromoted(t *testing.T) {
	l := fresh(t)
	ctx := t.Context()
	sets(t, l, "a", "b")
	must(t, l.RecordSet(ctx, ImageSet{ID: "bare", Run: "run-a", Digest: "sha256:bare"}))
	get[[]Move](t)(l.RevokeSet(ctx, "b", "ann", "CVE"))
	for set, want := range map[string]error{"unknown": ErrNotFound, "bare": ErrUnproven, "b": ErrRevoked} {
		_, err := l.MoveChannel(ctx, promote(set), 0)
		wantError(t, err, want)
	}
	if c := get[Channel](t)(l.Channel(ctx, "development")); c.Version != 0 {
		t.Errorf("the channel moved: %+v", c)
	}
}

func TestPreviousSet(t *testing.T) {
	l := fresh(t)
	ctx := t.Context()
	sets(t, l, "a", "b", "c")
	previous := func(want string) {
		t.Helper()
		if s := get[ImageSet](t)(l.PreviousSet(ctx, "development")); s.ID != want {
			t.Errorf("previous set is %s, want %s", s.ID, want)
		}
	}
	get[Channel](t)(l.MoveChannel(ctx, promote("a"), 0))
	get[Channel](t)(l.MoveChannel(ctx, promote("b"), 1))
	get[Channel](t)(l.MoveChannel(ctx, promote("c"), 2))
	previous("b")
	get[Channel](t)(l.MoveChannel(ctx, Move{Channel: "development", To: "b", Kind: Rollback}, 3))
	previous("a") // and not c, which was rolled back
	if run := get[Run](t)(l.LastPromoted(ctx, "main")); run.ID != "run-c" {
		t.Errorf("last promoted run is %s", run.ID)
	}
}

func TestRevokeTakesChannelsBack(t *testing.T) {
	l := fresh(t)
	ctx := t.Context()
	sets(t, l, "a", "b")
	get[Channel](t)(l.MoveChannel(ctx, promote("a"), 0))
	get[Channel](t)(l.MoveChannel(ctx, promote("b"), 1))
	only := promote("b")
	only.Channel = "production"
	get[Channel](t)(l.MoveChannel(ctx, only, 0))

	moves := get[[]Move](t)(l.RevokeSet(ctx, "b", "ann", "CVE-2026-1"))
	if len(moves) != 2 || moves[0].To != "a" || moves[0].Version != 3 || moves[1].To != "" || moves[1].Kind != Revoke {
		t.Errorf("moves are %+v", moves)
	}
	if again := get[[]Move](t)(l.RevokeSet(ctx, "b", "ann", "twice")); again != nil {
		t.Errorf("revoked twice: %+v", again)
	}
	if s := get[ImageSet](t)(l.Set(ctx, "b")); s.Revoked != "CVE-2026-1" {
		t.Errorf("reason is %q", s.Revoked)
	}
	if c := get[Channel](t)(l.Channel(ctx, "production")); c.Set != "" || c.Version != 2 {
		t.Errorf("production is %+v", c)
	}
	if run := get[Run](t)(l.LastPromoted(ctx, "main")); run.ID != "run-a" {
		t.Errorf("last promoted run is %s", run.ID)
	}
	if all := get[[]Channel](t)(l.Channels(ctx)); len(all) != 2 || all[0].Name != "development" {
		t.Errorf("channels are %+v", all)
	}
}

func TestSetNeverChanges(t *testing.T) {
	l := fresh(t)
	ctx := t.Context()
	sets(t, l, "a")
	s := get[ImageSet](t)(l.Set(ctx, "a"))
	must(t, l.RecordSet(ctx, s))
	s.Digest = "sha256:other"
	wantError(t, l.RecordSet(ctx, s), ErrExists)
	wantError(t, l.RecordSet(ctx, ImageSet{ID: "x", Run: "run-a", Images: map[string]string{"db": "nothing"}}), ErrNotFound)
	if list := get[[]ImageSet](t)(l.Sets(ctx, "main", 5)); len(list) != 1 || list[0].Images["web"] != "run-a-web" {
		t.Errorf("sets are %+v", list)
	}
	must(t, l.RecordEvidence(ctx, Evidence{Set: "a", Run: "run-a", Statement: []byte("forged")}))
	if e := get[[]Evidence](t)(l.Evidence(ctx, "a")); len(e) != 1 || string(e[0].Statement) != `{"for":"a"}` {
		t.Errorf("evidence is %q", e)
	}
}

// An image that was given up takes its set with it. One that a channel holds, or can go back to, cannot be
// given up.
func TestRetiredImages(t *testing.T) {
	l := fresh(t)
	ctx := t.Context()
	sets(t, l, "a", "b", "c")
	for i, id := range []string{"a", "b", "c"} {
		get[Channel](t)(l.MoveChannel(ctx, promote(id), int64(i)))
	}
	wantError(t, l.RetireImage(ctx, "run-c-web", noon), ErrHeld)
	wantError(t, l.RetireImage(ctx, "run-b-web", noon), ErrHeld)
	get[[]Move](t)(l.RevokeSet(ctx, "b", "ann", "CVE")) // now a rollback would go to a
	wantError(t, l.RetireImage(ctx, "run-a-web", noon), ErrHeld)
	must(t, l.RetireImage(ctx, "run-b-web", noon))
	get[[]Move](t)(l.RevokeSet(ctx, "a", "ann", "CVE"))
	must(t, l.RetireImage(ctx, "run-a-web", noon))
	_, err := l.PreviousSet(ctx, "development")
	wantError(t, err, ErrNotFound)

	sets(t, l, "d")
	must(t, l.RetireImage(ctx, "run-d-web", noon))
	_, err = l.MoveChannel(ctx, promote("d"), 3)
	wantError(t, err, ErrRetired)
}

func TestACancelledRunPromotesNothing(t *testing.T) {
	l := fresh(t)
	ctx := t.Context()
	sets(t, l, "a")
	get[Run](t)(l.Claim(ctx, "run-a"))
	get[Run](t)(l.RequestCancel(ctx, "run-a", "ada"))
	_, err := l.MoveChannel(ctx, promote("a"), 0)
	wantError(t, err, ErrCancelled)
	if c := get[Channel](t)(l.Channel(ctx, "development")); c.Set != "" {
		t.Errorf("channel is %+v", c)
	}
	byHand := promote("a")
	byHand.Run = ""
	get[Channel](t)(l.MoveChannel(ctx, byHand, 0)) // a person may
}
