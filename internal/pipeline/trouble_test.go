package pipeline_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/fault"
	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// outcomes lists what tests came to, other than passed, as "origin phase test on server: outcome".
func outcomes(results []ledger.Result) []string {
	var all []string
	for _, r := range results {
		if r.Outcome != ledger.Passed {
			all = append(all, strings.TrimSpace(r.Origin+" "+r.Phase+" "+r.Test+" on "+r.Server)+": "+string(r.Outcome))
		}
	}
	slices.Sort(all)
	return all
}

// unmoved checks that no channel points to anything.
func (d *daemon) unmoved() {
	d.t.Helper()
	channels, err := d.parts.Ledger.Channels(d.t.Context())
	if err != nil || len(channels) > 0 {
		d.t.Errorf("channels %+v, %v", channels, err)
	}
}

func brokenNginx() environmenttest.Trouble {
	return environmenttest.Trouble{Puppet: &puppet.Resource{
		Title: "Service[nginx]", File: "/opt/hallmark/product/x/puppet/modules/web/manifests/init.pp", Line: 7, Message: "Could not find dependency",
	}}
}

func TestPuppetFailsOnOneRole(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"web-1", benchServer} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			g := young(t)
			g.world.Trouble(server, brokenNginx())
			d, run := g.pass(pipeline.Request{})
			if run.State != ledger.Finished || run.Verdict != verdict.Failed {
				t.Fatalf("run is %s, %s\n%s", run.State, run.Verdict, d.tree())
			}
			for _, word := range []string{"web", "Service[nginx]", "manifests/init.pp:7"} {
				if !strings.Contains(run.Reason, word) {
					t.Errorf("the reason does not say %s: %s", word, run.Reason)
				}
			}
			if server == "web-1" && !strings.Contains(run.Reason, "web-1") {
				t.Errorf("the reason does not name the server: %s", run.Reason)
			}
			for _, r := range d.results(run) {
				if r.Outcome == ledger.Failed && (r.Cause != verdict.PuppetFailed || r.Suite != pipeline.EnvironmentSuite) {
					t.Errorf("%+v", r)
				}
			}
			d.unmoved()
			d.nothingLeft()
		})
	}
}

// benchServer is the server on which an image is made.
const benchServer = "bench"

func TestRefusedLaunchRecovers(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"web-1", "bastion", benchServer} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			g := young(t, fault.Fault{Call: cloud.VerbLaunch, Subject: server, Do: fault.Refuse})
			d, run := g.pass(pipeline.Request{})
			if run.State != ledger.Finished || run.Verdict != verdict.Passed {
				t.Fatalf("run is %s, %s\n%s", run.State, run.Verdict, d.tree())
			}
			refused := 0
			for _, r := range d.results(run) {
				if r.Outcome == ledger.Failed {
					t.Errorf("a product failure: %+v", r)
				}
				if r.Cause == verdict.CloudRefused {
					refused++
				}
			}
			if refused != 1 {
				t.Errorf("%d results say that a launch was refused", refused)
			}
			if d.channel("development").Set != run.Set {
				t.Errorf("development is at %+v", d.channel("development"))
			}
			stages, err := d.parts.Ledger.Stages(t.Context(), run.ID)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range stages {
				given := strings.HasSuffix(s.Path, "/launch") && strings.Contains(s.Detail, "refused") // the first attempt
				if s.State != "done" || s.Verdict != verdict.Passed && !given {
					t.Errorf("a passed run has the stage %+v", s)
				}
			}
			d.nothingLeft()
		})
	}
}

func TestRefusedLaunchIsNeverTheProduct(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"web-1", benchServer} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			g := young(t, fault.Fault{Call: cloud.VerbLaunch, Subject: server, Do: fault.Refuse, Times: -1})
			d, run := g.pass(pipeline.Request{})
			if run.State != ledger.Finished || run.Verdict != verdict.Inconclusive {
				t.Fatalf("run is %s, %s\n%s", run.State, run.Verdict, d.tree())
			}
			for _, r := range d.results(run) {
				if r.Outcome == ledger.Failed {
					t.Errorf("a product failure: %+v", r)
				}
				if r.Attempt > g.cfg.Limits.Attempts {
					t.Errorf("attempt %d of %d", r.Attempt, g.cfg.Limits.Attempts)
				}
			}
			d.unmoved()
			d.nothingLeft()
		})
	}
}

// lose makes the servers of a name vanish.
func (g *ground) lose(name string) {
	ctx := context.WithoutCancel(g.t.Context())
	servers, err := g.sim.Servers(ctx, cloud.Filter{})
	if err != nil {
		g.t.Error(err)
	}
	for _, s := range servers {
		if s.Name == name {
			if err := g.sim.Lose(ctx, s.ID); err != nil {
				g.t.Error(err)
			}
		}
	}
}

// A server vanishes between two tests: its environment is given up, a fresh one is tested.
func TestServerLostDuringTests(t *testing.T) {
	t.Parallel()
	g := young(t)
	lose := sync.OnceFunc(func() { g.lose("db-1") })
	g.cfg.Limits.Lanes = 1
	g.answers.Before = func(s environmenttest.Server, question string) {
		if s.Name == "web-1" && question == "validate build/web" {
			lose()
		}
	}
	d, run := g.pass(pipeline.Request{})
	if run.Verdict != verdict.Passed {
		t.Fatalf("run is %s, %s\n%s", run.State, run.Verdict, d.tree())
	}
	got := outcomes(d.results(run))
	if len(got) != 1 || !strings.HasSuffix(got[0], ": inconclusive") {
		t.Errorf("outcomes %v", got)
	}
	d.nothingLeft()
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for name, verb := range map[string]cloud.Verb{"while an image is captured": cloud.VerbCapture, "while a lane reboots": cloud.VerbReboot} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := young(t)
			at := newMoment()
			close(at.over)
			g.onCall(func(ctx context.Context, _ *daemon, call cloud.Call) {
				if call.Verb == verb {
					at.stay()
					<-ctx.Done()
				}
			})
			d := g.daemon()
			run := d.start(pipeline.Request{})
			waiting := d.start(pipeline.Request{})
			<-at.come
			for _, id := range []string{waiting.ID, run.ID} {
				if _, err := d.parts.Ledger.RequestCancel(t.Context(), id, "grace"); err != nil {
					t.Fatal(err)
				}
			}
			run = d.await(run.ID)
			if run.State != ledger.Cancelled || run.Verdict == verdict.Failed || !strings.Contains(run.Reason, "grace") {
				t.Errorf("run is %s, %s: %s\n%s", run.State, run.Verdict, run.Reason, d.tree())
			}
			for _, r := range d.results(run) {
				if r.Outcome == ledger.Failed {
					t.Errorf("a product failure: %+v", r)
				}
			}
			if waiting = d.await(waiting.ID); waiting.State != ledger.Cancelled || !waiting.Started.IsZero() {
				t.Errorf("the run that waited: %+v", waiting)
			}
			d.unmoved()
			d.nothingLeft()
		})
	}
}

// Both phases of a lane tell of a failing check, and nothing runs a failed test again.
func TestFailingCheck(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	g.answers.Fail("web-1", "port:tcp:80:holds", "nothing listens")
	d, run := g.pass(pipeline.Request{})
	if run.Verdict != verdict.Failed || !strings.Contains(run.Reason, "port:tcp:80:holds on web-1") || !strings.Contains(run.Reason, "nothing listens") {
		t.Fatalf("run is %s: %s\n%s", run.Verdict, run.Reason, d.tree())
	}
	want := []string{
		"base launched port:tcp:80:holds on web-1: failed",
		"base rebooted port:tcp:80:holds on web-1: failed",
		"base upgraded port:tcp:80:holds on web-1: failed",
		"prebuilt launched port:tcp:80:holds on web-1: failed",
		"prebuilt rebooted port:tcp:80:holds on web-1: failed",
		"prebuilt upgraded port:tcp:80:holds on web-1: failed",
	}
	if got := outcomes(d.results(run)); !slices.Equal(got, want) {
		t.Errorf("outcomes %v", strings.Join(got, "\n"))
	}
	d.unmoved()
	d.nothingLeft()
}

// allow changes the policy for nightly runs.
func (g *ground) allow(change func(*config.Policy)) {
	policies := maps.Clone(g.cfg.Policy)
	p := policies[pipeline.Nightly]
	change(&p)
	policies[pipeline.Nightly] = p
	g.cfg.Policy = policies
}

func TestWaiver(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		lasts  time.Duration
		budget int
		want   verdict.Verdict
	}{
		{"within the budget", 1000 * time.Hour, 4, verdict.Passed},
		{"beyond the budget", 1000 * time.Hour, 3, verdict.Failed},
		{"expired", -time.Hour, 4, verdict.Failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := young(t)
			g.answers.Fail("web-1", "port:tcp:80:holds", "nothing listens")
			g.cfg.Waivers = []config.Waiver{{Test: "port:tcp:80:holds", Ticket: "T-1", Reason: "known", Expires: g.clock.Now().Add(c.lasts)}}
			g.allow(func(p *config.Policy) { p.Budgets.Waived = c.budget })
			d, run := g.pass(pipeline.Request{})
			if run.Verdict != c.want {
				t.Errorf("run is %s, want %s: %s", run.Verdict, c.want, run.Reason)
			}
			if moved := d.channel("development").Set != ""; moved != (c.want == verdict.Passed) {
				t.Errorf("development is at %+v", d.channel("development"))
			}
		})
	}
}

// A check fails, then its environment is lost, and it passes in the next: that is flaky, not passed.
func TestFlaky(t *testing.T) {
	t.Parallel()
	for budget, want := range map[int]verdict.Verdict{0: verdict.Failed, 1: verdict.Passed} {
		t.Run(fmt.Sprintf("%d allowed", budget), func(t *testing.T) {
			t.Parallel()
			g := young(t)
			g.cfg.Limits.Lanes = 1
			g.allow(func(p *config.Policy) { p.Budgets.Flaky = budget })
			g.answers.Fail("db-1", "port:tcp:3306:holds", "not yet")
			lose := sync.OnceFunc(func() {
				g.answers.Fail("db-1", "port:tcp:3306:holds", "")
				g.lose("web-1")
			})
			g.onCall(func(_ context.Context, _ *daemon, call cloud.Call) {
				if call.Verb == cloud.VerbReboot {
					lose()
				}
			})
			d, run := g.pass(pipeline.Request{})
			if run.Verdict != want {
				t.Fatalf("run is %s, want %s: %s\n%s", run.Verdict, want, run.Reason, d.tree())
			}
			if !strings.Contains(run.Reason, "1 flaky") {
				t.Errorf("the reason does not tell of it: %s", run.Reason)
			}
			d.nothingLeft()
		})
	}
}

// What can be found out without a server costs none.
func TestCheckFailsBeforeAnythingIsLaunched(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		spoil func(*ground) pipeline.Request
		says  string
	}{
		{"unit tests", func(g *ground) (r pipeline.Request) {
			g.commit("broken", map[string]string{"hallmark.yaml": productFiles()["hallmark.yaml"] + "unit-tests: {command: \"echo no luck; false\"}\n"})
			return r
		}, "no luck"},
		{"product file", func(g *ground) (r pipeline.Request) {
			g.commit("broken", map[string]string{"hallmark.yaml": productFiles()["hallmark.yaml"] + "colour: blue\n"})
			return r
		}, "colour"},
		{"no tests of a tier", func(g *ground) (r pipeline.Request) {
			g.git("-C", "product", "rm", "-q", "-r", "suites/build")
			g.commit("without tests", nil)
			return r
		}, "suites/build"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := young(t)
			d, run := g.pass(c.spoil(g))
			if run.Verdict != verdict.Failed || !strings.Contains(run.Reason, c.says) {
				t.Fatalf("run is %s: %s", run.Verdict, run.Reason)
			}
			if n := g.calls(cloud.VerbLaunch); n != 0 {
				t.Errorf("%d launches", n)
			}
			d.unmoved()
		})
	}
}

// The fourth bench is the neighbour, after three images.
func TestRefusedNeighbour(t *testing.T) {
	t.Parallel()
	for times, want := range map[int]verdict.Verdict{1: verdict.Passed, -1: verdict.Inconclusive} {
		t.Run(want.String(), func(t *testing.T) {
			t.Parallel()
			g := young(t, fault.Fault{Call: cloud.VerbLaunch, Subject: benchServer, Do: fault.Refuse, Nth: 4, Times: times})
			d, run := g.pass(pipeline.Request{})
			if run.Verdict != want {
				t.Errorf("run is %s: %s\n%s", run.Verdict, run.Reason, d.tree())
			}
			if want == verdict.Inconclusive && !strings.Contains(run.Reason, "refuse") {
				t.Errorf("the reason does not say why: %s", run.Reason)
			}
			d.nothingLeft()
		})
	}
}

// A release that does not go through is the product's failure, and told with step and server.
func TestUpgradeFails(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	g.answers.Fail("web-1", "run tidy", "tidy: not found")
	d, run := g.pass(pipeline.Request{})
	if run.Verdict != verdict.Failed {
		t.Fatalf("run is %s\n%s", run.Verdict, d.tree())
	}
	for _, word := range []string{"upgraded", "tidy up", "web-1", "tidy: not found"} {
		if !strings.Contains(run.Reason, word) {
			t.Errorf("the reason does not say %q: %s", word, run.Reason)
		}
	}
	want := []string{"base upgraded post-release task tidy up on web-1 on: failed", "prebuilt upgraded post-release task tidy up on web-1 on: failed"}
	if got := outcomes(d.results(run)); !slices.Equal(got, want) {
		t.Errorf("outcomes %q", got)
	}
	d.unmoved()
	d.nothingLeft()
}
