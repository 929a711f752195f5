package environment_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// lockout is a way in that the product closes, as a wait and the audit after it tell of it.
type lockout struct {
	name   string
	server string
	leg    verdict.Leg // that is closed
	silent bool
	by     string        // whose doing it is; "" is server
	cause  verdict.Cause // that is recorded
}

// lockouts is each leg, on the bastion and behind it.
var lockouts = []lockout{
	{"sshd of the bastion is down", "bastion", verdict.LegBastionPort, false, "", verdict.ServerPort},
	{"the bastion's firewall drops", "bastion", verdict.LegBastionPort, true, "", verdict.ServerPort},
	{"the bastion refuses the key", "bastion", verdict.LegBastionKey, false, "", verdict.ServerLogin},
	{"the bastion refuses codes", "bastion", verdict.LegFactor, false, "", verdict.ServerLogin},
	{"the account is expired on the bastion", "bastion", verdict.LegAccount, false, "", verdict.ServerLogin},
	{"the bastion does not forward", "bastion", verdict.LegForwarding, false, "", verdict.ServerPort},
	{"the bastion filters what goes out", "bastion", verdict.LegNetwork, false, "", verdict.ServerPort},
	{"no shell on the bastion", "bastion", verdict.LegShell, false, "", verdict.ServerLogin},
	{"no sudo on the bastion", "bastion", verdict.LegSudo, false, "", verdict.ServerSudo},
	{"sshd is down", "web-1", verdict.LegServerPort, false, "", verdict.ServerPort},
	{"the firewall drops", "web-1", verdict.LegServerPort, true, "", verdict.ServerPort},
	{"the firewall drops the bastion only", "web-1", verdict.LegNetwork, false, "", verdict.ServerPort},
	{"the key is refused", "web-1", verdict.LegServerKey, false, "", verdict.ServerLogin},
	{"a code is wanted behind the bastion", "web-1", verdict.LegFactor, false, "", verdict.ServerLogin},
	{"the account is expired", "web-1", verdict.LegAccount, false, "", verdict.ServerLogin},
	{"no shell", "web-1", verdict.LegShell, false, "", verdict.ServerLogin},
	{"no sudo", "web-1", verdict.LegSudo, false, "", verdict.ServerSudo},
}

// Whatever leg a product closes: it is told as the product's, with the leg, and within a minute of the
// server's report. That others were not launched yet, or are shut out too, changes nothing.
func TestLockoutsAreTheProducts(t *testing.T) {
	for _, origin := range []environment.Origin{environment.Base, environment.Prebuilt} {
		for _, c := range lockouts {
			t.Run(string(origin)+"/"+c.name, func(t *testing.T) {
				g := newGround(t)
				g.world.Trouble(c.server, environmenttest.Trouble{Closed: c.leg, Silent: c.silent})
				e := g.plan(origin)
				err := environment.Do(t.Context(), e.Up())
				if err == nil {
					t.Fatal("it came up")
				}
				audit := e.Audit(t.Context(), verdict.ServerOf(err))
				told := g.hand.Now()
				cause := verdict.CauseOf(err)
				if got := verdict.Judge(cause, audit); got != verdict.Failed {
					t.Fatalf("judged %s: %v\naudit %+v", got, err, audit)
				}
				if got := verdict.Refine(cause, audit); got != c.cause {
					t.Errorf("recorded cause %q, want %q: %v", got, c.cause, err)
				}
				said := verdict.Explain(cause, audit) + "; " + err.Error()
				if !strings.Contains(said, "leg \""+string(c.leg)+"\"") || !strings.Contains(said, c.server) {
					t.Errorf("told as %q, want leg %q and %s", said, c.leg, c.server)
				}
				if took := told.Sub(g.closedSince(c)); took > time.Minute {
					t.Errorf("told %v after it was certain", took)
				}
				g.destroyed(e)
			})
		}
	}
}

// closedSince is when a lock-out could be met: its server had reported, and, of what the bastion closes
// to those behind it, so had they, or they were about to get their code.
func (g *ground) closedSince(c lockout) time.Time {
	since := g.world.Reported(c.server)
	if c.server == "bastion" && (c.leg == verdict.LegForwarding || c.leg == verdict.LegNetwork) {
		if behind := g.world.Reported("db-1"); behind.After(since) {
			since = behind
		}
	}
	return since
}

// What looks like a lock-out and is the network's doing is not held against the product: then the
// control server is not reached either, or there can be none.
func TestSilenceOfTheNetworkIsNotTheProducts(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*ground)
		says  string
	}{
		{"the network is down", func(g *ground) { g.world.Trouble("hallmark-control", environmenttest.Trouble{Lost: true}) }, "whether the network works cannot be told"},
		{"no room for a control server", func(g *ground) { g.withoutControl = true }, "no image for a control server"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGround(t)
			g.world.Trouble("bastion", environmenttest.Trouble{Lost: true, KeepsAccess: true})
			c.spoil(g)
			e := g.plan(environment.Prebuilt)
			err := environment.Do(t.Context(), e.Up())
			audit := e.Audit(t.Context(), verdict.ServerOf(err))
			if got := verdict.Judge(verdict.CauseOf(err), audit); err == nil || got != verdict.Inconclusive {
				t.Errorf("judged %s: %v\naudit %+v", got, err, audit)
			}
			if said := verdict.Explain(verdict.CauseOf(err), audit); !strings.Contains(said, c.says) {
				t.Errorf("told as %q, want %q", said, c.says)
			}
			if left := g.left(); strings.Contains(strings.Join(left, " "), "hallmark-control") {
				t.Errorf("the control server was left: %v", left)
			}
			g.destroyed(e)
		})
	}
}

// A bastion that is let in again when the audit looks was infrastructure's trouble.
func TestLockoutThatPassedIsNone(t *testing.T) {
	g := newGround(t)
	e := g.up(environment.Base)
	g.world.Trouble("bastion", environmenttest.Trouble{Closed: verdict.LegBastionPort})
	e.Close()
	_, err := e.Session(t.Context(), "web-1")
	if verdict.CauseOf(err) != verdict.RemoteBastion {
		t.Fatalf("session: %v", err)
	}
	g.world.Trouble("bastion", environmenttest.Trouble{})
	if audit := e.Audit(t.Context(), "web-1"); verdict.Judge(verdict.CauseOf(err), audit) != verdict.Inconclusive || !audit.Clean() {
		t.Errorf("audit %+v", audit)
	}
}

// A way that is closed after a reboot only, as by a service that was started and not enabled, is told as
// soon as the console says that the boot is over.
func TestLockoutAfterReboot(t *testing.T) {
	for _, c := range lockouts {
		t.Run(c.name, func(t *testing.T) {
			g := newGround(t)
			e := g.up(environment.Base)
			g.world.Trouble(c.server, environmenttest.Trouble{Closed: c.leg, Silent: c.silent})
			began := g.hand.Now()
			err := environment.Do(t.Context(), e.Reboot())
			audit := e.Audit(t.Context(), verdict.ServerOf(err))
			if got := verdict.Judge(verdict.CauseOf(err), audit); err == nil || got != verdict.Failed {
				t.Errorf("judged %s: %v\naudit %+v", got, err, audit)
			}
			if said := verdict.Explain(verdict.CauseOf(err), audit) + fmt.Sprint(err); !strings.Contains(said, "leg \""+string(c.leg)+"\"") {
				t.Errorf("told as %q, want leg %q", said, c.leg)
			}
			if took := g.hand.Now().Sub(began); took > time.Minute {
				t.Errorf("told %v after the reboot", took)
			}
			g.destroyed(e)
		})
	}
}

// A product may lock admins out long after it converged: by a job of its own, in the midst of tests.
func TestLockoutDuringTests(t *testing.T) {
	for _, c := range lockouts {
		t.Run(c.name, func(t *testing.T) {
			g := newGround(t)
			e := g.up(environment.Prebuilt)
			g.world.Trouble(c.server, environmenttest.Trouble{Closed: c.leg, Silent: c.silent})
			e.Close()
			began := g.hand.Now()
			audit := e.Audit(t.Context(), "web-1")
			if audit.Lockout.Leg != c.leg || audit.Lockout.Server != c.server {
				t.Errorf("audit %+v", audit)
			}
			if got := verdict.Judge(verdict.RemoteBastion, audit); got != verdict.Failed {
				t.Errorf("judged %s, audit %+v", got, audit)
			}
			// The played clock adds up what servers are waited for at the same time.
			if took := g.hand.Now().Sub(began); took > 3*time.Minute {
				t.Errorf("told after %v", took)
			}
		})
	}
}

// A server that somebody else rebooted refuses logins while it boots: that is not the product's doing.
func TestRefusalByAServerThatBoots(t *testing.T) {
	g := newGround(t)
	e := g.up(environment.Base)
	if err := g.world.Provider().Reboot(t.Context(), g.id("web-1")); err != nil {
		t.Fatal(err)
	}
	g.hand.Advance(boots)
	audit := e.Audit(t.Context(), "web-1")
	if got := verdict.Judge(verdict.ServerLogin, audit); got != verdict.Inconclusive || audit.ExpectedBoots {
		t.Errorf("judged %s, audit %+v", got, audit)
	}
}

// The audit looks at what the trouble depends on: the server, its like, what it is provisioned after, and
// the bastion.
func TestAuditLooksAtDependenciesOnly(t *testing.T) {
	for _, c := range []struct {
		lost    string
		about   []string
		running bool
	}{
		{"web-2", []string{"db-1"}, true},
		{"db-1", []string{"bastion"}, true},
		{"db-1", []string{"web-1"}, false},
		{"web-2", []string{"web-1"}, false},
		{"bastion", []string{"web-1"}, false},
		{"web-2", nil, false},
	} {
		t.Run(c.lost+" lost, trouble on "+strings.Join(c.about, ""), func(t *testing.T) {
			g := newGround(t)
			e := g.up(environment.Base)
			if err := g.sim.Lose(t.Context(), g.id(c.lost)); err != nil {
				t.Fatal(err)
			}
			if audit := e.Audit(t.Context(), c.about...); audit.AllRunning != c.running {
				t.Errorf("audit %+v", audit)
			}
		})
	}
}

// Servers that the plan has not launched yet are no finding.
func TestAuditOfServersNotLaunchedYet(t *testing.T) {
	g := newGround(t)
	e := g.plan(environment.Prebuilt)
	steps := e.Up()
	for i, s := range steps {
		if s.Name == "launch web-1" {
			g.do(steps[:i])
			break
		}
	}
	if audit := e.Audit(t.Context(), "db-1"); !audit.Clean() || len(audit.Findings) > 0 {
		t.Errorf("audit %+v", audit)
	}
}

// id gives the provider's id of a server.
func (g *ground) id(name string) cloud.ServerID {
	g.t.Helper()
	servers, err := g.sim.Servers(g.t.Context(), cloud.Filter{})
	if err != nil {
		g.t.Fatal(err)
	}
	for _, s := range servers {
		if s.Name == name {
			return s.ID
		}
	}
	g.t.Fatalf("no server %s", name)
	return ""
}
