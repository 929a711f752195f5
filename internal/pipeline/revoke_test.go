package pipeline_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
)

// launchable are the names of the images that somebody can launch.
func (s *stall) launchable() (names []string) {
	for _, name := range s.names() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// verbs are the calls since n, without those that only look.
func (s *stall) verbs(n int) (all []string) {
	for _, r := range s.sim.Records()[n:] {
		switch r.Call.Verb {
		case cloud.VerbPublished, cloud.VerbPointed, cloud.VerbImages:
		default:
			all = append(all, r.Call.String())
		}
	}
	return all
}

// A revoked set's images are launched by nobody once the channel names others; what a crash left is done by the next call.
func TestRevokedImages(t *testing.T) {
	t.Parallel()
	s := newStall(t)
	s.set("a", "web")
	s.set("b", "web", "db")
	s.must(s.move("development", "a", ledger.Promote))
	s.must(s.move("development", "b", ledger.Promote))
	s.align()
	_, err := s.parts.Ledger.RevokeSet(t.Context(), "b", "ada", "a hole")
	s.must(err)

	down := &cloud.Error{Call: "try", Code: cloud.CodeDown, Err: errors.New("no answer")}
	for _, verb := range []cloud.Verb{cloud.VerbPoint, cloud.VerbRevoke} { // what a channel names can be launched
		s.before = func(call cloud.Call) error {
			if call.Verb == verb {
				return down
			}
			return nil
		}
		if err := pipeline.Align(t.Context(), s.parts); !errors.Is(err, down) {
			t.Errorf("%s does not answer, and nobody says so: %v", verb, err)
		}
		if got := s.launchable(); len(got) != 3 {
			t.Errorf("without %s, %v can be launched", verb, got)
		}
	}
	s.before = nil
	n := len(s.sim.Records())
	s.align()
	if got := s.launchable(); !slices.Equal(got, []string{"a-web"}) {
		t.Errorf("%v can be launched", got)
	}
	s.tells("development", "web=a-web")
	s.offers("a-web: development")
	for _, call := range s.verbs(n) {
		if call != "revoke "+string(s.image("b-web")) && call != "revoke "+string(s.image("b-db")) && call[:len("publish")] != "publish" {
			t.Errorf("it also made the call %s", call)
		}
	}
	if err := s.move("development", "b", ledger.Rollback); err == nil {
		t.Error("a channel went back to a revoked set")
	}
	n = len(s.sim.Records())
	s.align()
	if got := s.verbs(n); len(got) > 0 {
		t.Errorf("with nothing to do: %v", got)
	}
}

// Nobody waits with a revocation until copies are made: that may take an hour.
func TestRevokedWhileOthersCopy(t *testing.T) {
	t.Parallel()
	s := newStall(t)
	s.set("a", "web")
	s.set("b", "web")
	s.must(s.move("development", "a", ledger.Promote))
	s.must(s.move("development", "b", ledger.Promote))
	s.align()
	s.set("c", "web")
	copying, done := make(chan struct{}), make(chan struct{})
	s.before = func(call cloud.Call) error {
		if call.Verb == cloud.VerbCopy {
			close(copying)
			<-done
		}
		return nil
	}
	moved := make(chan error)
	go func() { moved <- s.move("production", "c", ledger.Promote) }()
	<-copying
	_, err := s.parts.Ledger.RevokeSet(t.Context(), "b", "ada", "a hole")
	s.must(err)
	s.align()
	if got := s.launchable(); !slices.Equal(got, []string{"a-web", "c-web"}) {
		t.Errorf("%v can be launched", got)
	}
	close(done)
	s.must(<-moved)
}
