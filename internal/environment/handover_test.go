package environment_test

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// paces are hand-overs of which one step, or every step, is slow.
func paces() map[string]environmenttest.HandOver {
	const slow = 12 * time.Second
	return map[string]environmenttest.HandOver{
		"quick":         {},
		"slow to say":   {Announce: slow},
		"slow to close": {Close: slow},
		"slow logind":   {Forget: slow},
		"slow at all":   {Announce: slow, Close: slow, Forget: slow, Remove: slow},
	}
}

// noFaults checks that nothing of ours met a user that was half gone.
func (g *ground) noFaults() {
	g.t.Helper()
	if faults := g.world.HandOverFaults(); len(faults) > 0 {
		g.t.Errorf("hand-overs: %v", faults)
	}
}

// Servers of one level hand over while another of them is waited for.
func TestHandOver(t *testing.T) {
	for name, pace := range paces() {
		t.Run(name, func(t *testing.T) {
			g := newGround(t)
			for _, server := range []string{"bastion", "web-1", "web-2"} {
				g.world.HandOver(server, pace)
			}
			e := g.up(environment.Base)
			g.standing(e)
			g.noFaults()
			g.do(e.RelaunchServer("web-1"))
			g.do(e.Reboot())
			if audit := e.Audit(t.Context()); !audit.Clean() {
				t.Errorf("audit %+v", audit)
			}
			g.noFaults()
			g.destroyed(e)
		})
	}
}

// A server that hands over long before its turn to be waited for comes is not held up by a session of ours.
func TestHandOverBeforeItsTurn(t *testing.T) {
	g := newGround(t)
	g.world.HandOver("web-1", environmenttest.HandOver{Announce: puppet.HandOverPatience + time.Minute})
	g.up(environment.Base)
	g.noFaults()
}

// stopping ends a process after a number of sleeps, its own and those of the commands that it runs on servers.
type stopping struct {
	environment.Clock
	left int
	stop context.CancelCauseFunc // nil: not yet
}

func (s *stopping) Sleep(ctx context.Context, d time.Duration) error {
	if s.stop != nil {
		if s.left--; s.left == 0 {
			s.stop(errKilled)
		}
	}
	return s.Clock.Sleep(ctx, d)
}

// The process dies at any moment of a server's provisioning and hand-over, with its connections, and the
// next one begins at any moment after that: it does all steps again.
func TestHandOverToAnotherProcess(t *testing.T) {
	apart := 11
	if testing.Short() { // a sample: under the race detector all of them take minutes
		apart = 67
	}
	for name, pace := range paces() {
		t.Run(name, func(t *testing.T) {
			for n := 1; ; n += apart {
				for _, absent := range []time.Duration{0, 5 * time.Second, 9 * time.Second} {
					g := newGroundTaking(t, 2*time.Second)
					watched := &stopping{Clock: g.hand, left: n}
					g.world = environmenttest.New(g.sim, watched, 2*time.Second)
					g.world.HandOver("web-1", pace)
					e := g.plan(environment.Base)
					steps := e.Up()
					at := slices.IndexFunc(steps, func(s environment.Step) bool { return s.Name == "deliver code to web-1" })
					g.do(steps[:at])
					e.Close()

					ctx, stop := context.WithCancelCause(t.Context())
					site := g.site()
					site.Clock, watched.stop = watched, stop
					first, err := site.Plan(t.Context(), g.spec(environment.Base))
					if err != nil {
						t.Fatal(err)
					}
					killed := environment.Do(ctx, first.Up()) != nil
					stop(nil)
					watched.stop = nil
					g.world.Disconnect()
					g.hand.Advance(absent)

					second := g.plan(environment.Base)
					g.do(second.Up())
					g.standing(second)
					if g.noFaults(); t.Failed() {
						t.Fatalf("killed at sleep %d, absent for %v", n, absent)
					}
					if !killed {
						t.Logf("%d sleeps", n)
						return
					}
				}
			}
		})
	}
}

// Trouble after the hand-over is told in an admin's session; before it, in the bootstrap user's, and an
// audit comes in as the same.
func TestTroubleBesideHandOver(t *testing.T) {
	g := newGround(t)
	g.world.Trouble("web-1", environmenttest.Trouble{Puppet: &puppet.Resource{Title: "File[/x]", Message: "no"}})
	e := g.plan(environment.Base)
	if err := environment.Do(t.Context(), e.Up()); verdict.CauseOf(err) != verdict.PuppetFailed {
		t.Errorf("up: %v", err)
	}
	if audit := e.Audit(t.Context()); !audit.Clean() {
		t.Errorf("audit %+v", audit)
	}
	g.noFaults()
}

// Records of an earlier version do not say that a server has handed over: one that converged, or whose
// boot is known, has.
func TestHandOverOfEarlierVersion(t *testing.T) {
	g := newGround(t)
	e := g.up(environment.Base)
	stored, err := g.store.UpdateEnvironment(t.Context(), e.ID(), func(stored *ledger.Environment) {
		stored.Body = regexp.MustCompile(`,"handed_over":true`).ReplaceAll(stored.Body, nil)
	})
	if err != nil || bytes.Contains(stored.Body, []byte("handed_over")) {
		t.Fatalf("%v %s", err, stored.Body)
	}
	e.Close()
	before := g.world.Dialled("web-1")
	if e, err = g.site().Adopt(t.Context(), e.ID()); err != nil {
		t.Fatal(err)
	}
	if audit := e.Audit(t.Context()); !audit.Clean() {
		t.Errorf("audit %+v", audit)
	}
	if n := g.world.Dialled("web-1") - before; n > 0 {
		t.Errorf("the bootstrap user was dialled %d times", n)
	}
}
