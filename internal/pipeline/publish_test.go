package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

func TestMoveAndAlign(t *testing.T) {
	t.Parallel()
	s := newStall(t)
	s.set("a", "db", "web")
	s.set("b", "web")
	s.must(s.move("development", "a", ledger.Promote))
	s.offers("a-db: development", "a-web: development")
	s.tells("development") // published first, named afterwards
	s.align()
	s.tells("development", "db=a-db", "web=a-web")

	s.must(s.move("production", "a", ledger.Promote))
	s.must(s.move("development", "b", ledger.Promote))
	s.align()
	// What development would go back to stays published for it.
	s.offers("a-db: development production", "a-web: development production", "b-web: development")
	s.tells("development", "web=b-web") // the role db is gone
	s.tells("production", "db=a-db", "web=a-web")

	s.must(s.move("production", "b", ledger.Promote))
	s.align()
	s.offers("a-db: development production", "a-web: development production", "b-web: development production")
	n := len(s.sim.Records())
	s.must(s.move("production", "a", ledger.Rollback))
	s.align()
	s.tells("production", "db=a-db", "web=a-web")
	s.offers("a-db: development production", "a-web: development production", "b-web: development") // nobody goes back to what was left
	if got, want := s.changes(n), []string{"point production/db", "point production/web", "publish " + string(s.image("b-web"))}; !slices.Equal(got, want) {
		t.Errorf("changes for a roll-back: %v, want %v", got, want)
	}

	s.set("c", "web")
	s.must(s.move("development", "c", ledger.Promote))
	s.align()
	s.offers("a-db: production", "a-web: production", "b-web: development", "c-web: development")
	s.must(s.move("development", "b", ledger.Rollback))
	s.align()
	s.offers("a-db: production", "a-web: production", "b-web: development") // nothing is made for going back further

	_, err := s.parts.Ledger.RevokeSet(t.Context(), "b", "ada", "a hole")
	s.must(err)
	s.align()
	s.tells("development", "db=a-db", "web=a-web")
	s.offers("a-db: development production", "a-web: development production")
	_, err = s.parts.Ledger.RevokeSet(t.Context(), "a", "ada", "another")
	s.must(err)
	s.align()
	s.tells("development")
	s.tells("production")
	s.offers()

	n, said := len(s.sim.Records()), s.log.Len()
	s.align()
	if calls := s.sim.Records()[n:]; len(calls) != 4 || s.log.Len() != said { // one for images, one for each channel, and one since sets were revoked
		t.Errorf("with nothing to do: %v, and it says %s", calls, s.log.String()[said:])
	}
}

// What a channel has left stays offered for it until the channel names something else, also if another
// channel still holds it.
func TestNarrowedLast(t *testing.T) {
	t.Parallel()
	s := newStall(t)
	s.set("a", "web")
	s.set("b", "web")
	for _, set := range []string{"a", "b"} {
		for _, channel := range []string{"production", "release-1.0"} {
			s.must(s.move(channel, set, ledger.Promote))
		}
		s.align()
	}
	s.must(s.move("production", "a", ledger.Rollback))
	n := len(s.sim.Records())
	s.align()
	if got, want := s.changes(n), []string{"point production/web", "publish " + string(s.image("b-web"))}; !slices.Equal(got, want) {
		t.Errorf("changes %v, want %v", got, want)
	}
	s.offers("a-web: production release-1.0", "b-web: release-1.0")

	// One that cannot be told of its new image goes on naming the old one, which stays as it is.
	s.before = func(call cloud.Call) error {
		if call.Verb == cloud.VerbPoint {
			return &cloud.Error{Call: call.String(), Code: cloud.CodeRefused, Err: errors.New("no such key")}
		}
		return nil
	}
	s.must(s.move("release-1.0", "a", ledger.Rollback))
	s.must(s.move("production", "b", ledger.Promote))
	if err := pipeline.Align(t.Context(), s.parts); err == nil {
		t.Error("nothing was said")
	}
	s.offers("a-web: production release-1.0", "b-web: production release-1.0")
	s.before = nil
	s.align()
	s.offers("a-web: production release-1.0", "b-web: production")
}

// What may not move is not published either.
func TestNothingIsPublishedInVain(t *testing.T) {
	t.Parallel()
	s := newStall(t)
	s.set("a", "web")
	_, err := s.parts.Ledger.RevokeSet(t.Context(), "a", "ada", "a hole")
	s.must(err)
	if err := s.move("development", "a", ledger.Promote); !errors.Is(err, ledger.ErrRevoked) {
		t.Errorf("moved to a revoked set: %v", err)
	}
	s.set("b", "web")
	run := ledger.Move{Channel: "development", To: "b", Kind: ledger.Promote, Run: "b"}
	for range 2 { // the step is repeated after a crash
		if _, err := pipeline.PublishAndMove(t.Context(), s.parts, run, 0); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.changes(0); len(got) != 1 {
		t.Errorf("changes: %v", got)
	}
}

// However far something got before its process died, the next look sets it right.
func TestAlignMends(t *testing.T) {
	t.Parallel()
	for name, crash := range map[string]func(s *stall){
		"published and not moved": func(s *stall) {
			s.publish("b-web", "development")
		},
		"published for more": func(s *stall) {
			s.publish("a-web", "development", "production")
		},
		"named what is gone from the channel": func(s *stall) {
			s.publish("b-web", "development")
			s.must(s.sim.Point(s.t.Context(), "development", "web", s.image("b-web")))
		},
		"named too much": func(s *stall) {
			s.must(s.sim.Point(s.t.Context(), "development", "db", s.image("a-web")))
		},
		"not named": func(s *stall) {
			s.must(s.sim.Point(s.t.Context(), "development", "web", ""))
		},
		"not published": func(s *stall) {
			s.must(s.sim.Point(s.t.Context(), "development", "web", ""))
			s.must(s.sim.Publish(s.t.Context(), s.image("a-web"), nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStall(t)
			s.set("a", "web")
			s.set("b", "web")
			s.must(s.move("development", "a", ledger.Promote))
			s.align()
			crash(s)
			s.align()
			s.tells("development", "web=a-web")
			s.offers("a-web: development")
			n := len(s.sim.Records())
			s.align()
			if got := s.changes(n); len(got) > 0 {
				t.Errorf("nothing is left to do, but: %v", got)
			}
		})
	}
	t.Run("not copied", func(t *testing.T) {
		t.Parallel()
		s := newStall(t)
		s.set("a", "web")
		s.set("b", "web")
		s.must(s.move("development", "a", ledger.Promote))
		s.align()
		_, err := s.parts.Ledger.MoveChannel(t.Context(), ledger.Move{Channel: "development", To: "b", Kind: ledger.Promote}, 1)
		s.must(err)
		tries := 0
		s.before = func(call cloud.Call) error {
			if call.Verb == cloud.VerbCopy {
				tries++
				return &cloud.Error{Call: call.String(), Code: cloud.CodeDown, Err: errors.New("no answer from the other region")}
			}
			return nil
		}
		if err := pipeline.Align(t.Context(), s.parts); verdict.CauseOf(err) != verdict.CloudDown || tries != 1 {
			t.Errorf("align, having tried %d times: %v", tries, err)
		}
		s.tells("development", "web=a-web")
		s.before = nil
		s.align()
		s.tells("development", "web=b-web")
	})
	t.Run("moved and not named", func(t *testing.T) {
		t.Parallel()
		s := newStall(t)
		s.set("a", "web")
		_, err := s.parts.Ledger.MoveChannel(t.Context(), ledger.Move{Channel: "development", To: "a", Kind: ledger.Promote}, 0)
		s.must(err)
		s.align()
		s.tells("development", "web=a-web")
	})
}

// All roles are named anew or none, and one channel's trouble is not another's.
func TestAlignInTrouble(t *testing.T) {
	t.Parallel()
	s := newStall(t)
	for _, set := range []string{"a", "b", "c"} {
		s.set(set, "db", "web")
	}
	for channel, set := range map[string]string{"development": "a", "production": "a"} {
		s.must(s.move(channel, set, ledger.Promote))
	}
	s.align()
	refused, tries := s.image("b-db"), 0
	s.before = func(call cloud.Call) error {
		if call.Verb == cloud.VerbPublish && call.Subject == string(refused) {
			tries++
			return &cloud.Error{Call: call.String(), Code: cloud.CodeRefused, Err: errors.New("the key is disabled")}
		}
		return nil
	}
	if err := s.move("development", "b", ledger.Promote); err == nil || verdict.CauseOf(err) != verdict.CloudRefused || !strings.Contains(err.Error(), "development stays") {
		t.Errorf("moved to a set that could not be published: %v", err)
	}
	s.offers("a-db: development production", "a-web: development production", "b-web: development")

	for channel, set := range map[string]string{"development": "b", "production": "c"} { // by another hand
		_, err := s.parts.Ledger.MoveChannel(t.Context(), ledger.Move{Channel: channel, To: set, Kind: ledger.Promote}, 1)
		s.must(err)
	}
	tries = 0
	s.must(s.sim.Publish(t.Context(), s.image("c-db"), nil)) // to be copied, while b-db cannot be published
	if err := pipeline.Align(t.Context(), s.parts); verdict.CauseOf(err) != verdict.CloudRefused || tries != 1 {
		t.Errorf("align, having tried %d times: %v", tries, err)
	}
	s.tells("development", "db=a-db", "web=a-web")
	s.tells("production", "db=c-db", "web=c-web")
	s.before = nil
	s.align()
	s.tells("development", "db=b-db", "web=b-web")
	s.offers("a-db: development production", "a-web: development production",
		"b-db: development", "b-web: development", "c-db: production", "c-web: production")
}

// While one process publishes, the daemon's look leaves it alone: nobody holds the images yet.
func TestOnePublishesAtATime(t *testing.T) {
	t.Parallel()
	s := newStall(t)
	s.set("a", "web")
	m := newMoment()
	s.before = func(call cloud.Call) error {
		if call.Verb == cloud.VerbPublish {
			m.stay()
		}
		return nil
	}
	moved := make(chan error, 1)
	go func() { moved <- s.move("development", "a", ledger.Promote) }()
	<-m.come
	n := len(s.sim.Records())
	s.must(pipeline.AlignUnlessBusy(t.Context(), s.parts))
	if got := s.sim.Records()[n:]; len(got) > 0 {
		t.Errorf("calls of the other: %v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := pipeline.Align(ctx, s.parts); !errors.Is(err, context.Canceled) {
		t.Errorf("waited without end: %v", err)
	}
	close(m.over)
	s.must(<-moved)
	s.must(pipeline.AlignUnlessBusy(t.Context(), s.parts))
	s.tells("development", "web=a-web")
}

// Copies take an hour. A roll-back waits for nobody's, and leaves them to who makes them.
func TestRollbackWhileOthersCopy(t *testing.T) {
	t.Parallel()
	s := newStall(t)
	for _, set := range []string{"a", "b", "c"} {
		s.set(set, "web")
	}
	for _, set := range []string{"a", "b"} {
		s.must(s.move("production", set, ledger.Promote))
		s.align()
	}
	m := newMoment()
	s.before = func(call cloud.Call) error {
		if call.Verb == cloud.VerbCopy && call.Subject == string(s.image("c-web")) {
			m.stay()
		}
		return nil
	}
	moved := make(chan error, 1)
	go func() { moved <- s.move("development", "c", ledger.Promote) }()
	<-m.come
	s.publish("c-web", "nobody") // as a copy that is there looks like
	s.must(s.move("production", "a", ledger.Rollback))
	s.align()
	s.tells("production", "web=a-web")
	s.offers("a-web: production", "b-web: production", "c-web: nobody")
	close(m.over)
	s.must(<-moved)
	s.align()
	s.tells("development", "web=c-web")
	s.offers("a-web: production", "c-web: development")
}

// Going back to a set needs nothing that another channel lacks: nothing is copied for roll-backs to come.
func TestRollbackCopiesNothing(t *testing.T) {
	t.Parallel()
	s := newStall(t)
	for _, set := range []string{"a", "b", "c"} {
		s.set(set, "web")
		s.must(s.move("production", set, ledger.Promote))
		if set != "b" {
			s.must(s.move("development", set, ledger.Promote))
		}
		s.align()
	}
	s.before = func(call cloud.Call) error {
		if call.Verb == cloud.VerbCopy {
			t.Errorf("%s", call)
		}
		return nil
	}
	_, err := s.parts.Ledger.RevokeSet(t.Context(), "c", "ada", "a hole")
	s.must(err)
	s.align()
	s.tells("production", "web=b-web")
	s.tells("development", "web=a-web")
	s.offers("a-web: development", "b-web: production")
}

// What was revoked while its copies were made is offered to nobody.
func TestRevokedWhileCopied(t *testing.T) {
	t.Parallel()
	s := newStall(t)
	s.set("a", "web")
	s.before = func(call cloud.Call) error {
		if call.Verb == cloud.VerbCopy {
			_, err := s.parts.Ledger.RevokeSet(t.Context(), "a", "ada", "a hole")
			s.must(err)
		}
		return nil
	}
	if err := s.move("development", "a", ledger.Promote); !errors.Is(err, ledger.ErrRevoked) {
		t.Errorf("moved to a revoked set: %v", err)
	}
	if got := s.changes(0); len(got) > 0 {
		t.Errorf("changes: %v", got)
	}
}

// A provider that tells nobody, and images of another provider, are no matter of publishing.
func TestNoPublisher(t *testing.T) {
	t.Parallel()
	s := newStall(t)
	s.set("a", "web")
	can := cloud.CapabilitiesOf(s.parts.Cloud)
	can.Publisher = nil
	all := s.parts.Cloud
	s.parts.Cloud = cloud.With(all, can)
	s.must(s.move("development", "a", ledger.Promote))
	s.align()
	if got := s.changes(0); len(got) > 0 {
		t.Errorf("changes: %v", got)
	}
	held, err := pipeline.WhatIsHeld(t.Context(), s.parts, "")
	if err != nil || len(held) != 1 || held[0].Named != nil || held[0].Image != s.image("a-web") {
		t.Errorf("held: %+v, %v", held, err)
	}

	s.parts.Cloud, s.parts.Config.Provider.Kind = all, "ec2"
	s.align()
	if got := s.changes(0); len(got) > 0 {
		t.Errorf("images of another provider: %v", got)
	}
}

func TestWhatIsHeld(t *testing.T) {
	t.Parallel()
	s := newStall(t)
	s.set("a", "web")
	s.set("b", "web")
	s.must(s.move("production", "a", ledger.Promote))
	look := func(want string) {
		t.Helper()
		held, err := pipeline.WhatIsHeld(t.Context(), s.parts, "production")
		if err != nil || len(held) != 1 || held[0].Named == nil {
			t.Fatalf("held: %+v, %v", held, err)
		}
		h := held[0]
		if got := fmt.Sprintf("%s %s %v", s.names()[h.Image], s.names()[*h.Named], h.Differs); got != want {
			t.Errorf("held: %s, want %s", got, want)
		}
	}
	look("a-web  true")
	s.align()
	look("a-web a-web false")
	s.must(s.move("production", "b", ledger.Promote))
	look("b-web a-web true")
}

// abroad has a copy of an image in another region, under an id of its own.
type abroad struct {
	cloud.Provider
	name string
}

func (a abroad) Owned(ctx context.Context, owner string) ([]cloud.Resource, error) {
	all, err := a.Provider.Owned(ctx, owner)
	return append(all, cloud.Resource{Kind: cloud.KindImage, ID: "abroad/1", Name: a.name, Tags: cloud.Tags{Owner: owner, Run: "a"}}), err
}

// A copy of an image lives as long as the image, though the ledger does not know its id.
func TestReapCopies(t *testing.T) {
	t.Parallel()
	s := newStall(t)
	s.set("a", "web")
	s.parts.Cloud = cloud.With(abroad{s.parts.Cloud, "a-web"}, cloud.CapabilitiesOf(s.parts.Cloud))
	found, err := pipeline.Reap(t.Context(), s.parts, true)
	if err != nil || len(found) > 0 {
		t.Errorf("found %v, %v", found, err)
	}
	s.publish("a-web", "development") // left by a crash
	s.must(s.parts.Ledger.RetireImage(t.Context(), "a-web", time.Now()))
	found, err = pipeline.Reap(t.Context(), s.parts, false)
	if err != nil || len(found) != 2 {
		t.Errorf("found %v, %v", found, err)
	}
	s.offers()
	if left := s.names(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
