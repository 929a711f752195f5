package environment_test

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// processes gives the environment to two of them, each with a ledger of its own over the same file: the
// daemon, and `hallmark env …`.
func (g *ground) processes(origin environment.Origin) (one, other *environment.Environment) {
	g.t.Helper()
	file := filepath.Join(g.t.TempDir(), "ledger.db")
	var both [2]*environment.Environment
	for i := range both {
		l, err := ledger.Open(g.t.Context(), file, ledger.WithClock(g.hand.Now))
		if err != nil {
			g.t.Fatal(err)
		}
		g.t.Cleanup(func() { l.Close() })
		g.store = l
		if both[i], err = g.site().Plan(g.t.Context(), g.spec(origin)); err != nil {
			g.t.Fatal(err)
		}
	}
	return both[0], both[1]
}

// What one process records survives what another one records that began with an older copy.
func TestTwoProcessesChangeOneRecord(t *testing.T) {
	g := newGround(t)
	one, other := g.processes(environment.Base)
	up := one.Up()
	for i, s := range up {
		g.do([]environment.Step{s})
		if i%3 == 0 { // anything that is recorded
			g.do([]environment.Step{other.Take(g.code, nil)})
		}
	}
	g.standing(one)
	g.standing(other)
	third, err := g.site().Adopt(t.Context(), one.ID())
	if err != nil {
		t.Fatal(err)
	}
	g.standing(third)
	g.destroyed(third)
}

// Each replaces a server at the same time as the other.
func TestTwoProcessesAtTheSameTime(t *testing.T) {
	g := newGroundTaking(t, time.Second)
	one, other := g.processes(environment.Prebuilt)
	g.do(one.Up())
	var both sync.WaitGroup
	for e, server := range map[*environment.Environment]string{one: "web-1", other: "web-2"} {
		both.Go(func() {
			if err := environment.Do(t.Context(), e.RelaunchServer(server)); err != nil {
				t.Errorf("relaunch %s: %v", server, err)
			}
		})
	}
	both.Wait()
	third, err := g.site().Adopt(t.Context(), one.ID())
	if err != nil {
		t.Fatal(err)
	}
	g.standing(third)
	g.destroyed(third)
}

// A server that another process launched anew has another host key, boot and id.
func TestAnotherProcessRelaunches(t *testing.T) {
	g := newGround(t)
	one, other := g.processes(environment.Prebuilt)
	g.do(one.Up())
	one.Close()
	g.do(other.RelaunchServer("web-1"))
	if _, err := one.Session(t.Context(), "web-1"); err != nil {
		t.Errorf("session on a server that another process launched: %v", err)
	}
	g.do(one.Reboot())
	g.standing(one)
	if audit := other.Audit(t.Context()); !audit.Clean() {
		t.Errorf("audit of the other process, after a reboot: %+v", audit)
	}
}

// What is destroyed stays destroyed, whatever a process does that did not know.
func TestAnotherProcessDestroys(t *testing.T) {
	g := newGround(t)
	one, other := g.processes(environment.Prebuilt)
	g.do(one.Up())
	g.destroyed(other)
	for name, err := range map[string]error{
		"a step":      one.Take(g.code, nil).Do(t.Context()),
		"many steps":  environment.Do(t.Context(), one.Up()),
		"a crash":     one.Crash(t.Context(), "web-1"),
		"a relaunch":  environment.Do(t.Context(), one.RelaunchServer("web-1")),
		"the way in ": func() error { _, err := one.Session(t.Context(), "web-1"); return err }(),
	} {
		if !errors.Is(err, environment.ErrDestroyed) || verdict.CauseOf(err) != verdict.CloudLost {
			t.Errorf("%s in an environment that another process destroyed: %v", name, err)
		}
	}
	g.destroyed(one)
}
