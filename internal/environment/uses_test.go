package environment_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cost"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// uses are an environment's as the ledger tells them, as "kind name minutes".
func (g *ground) uses(id string) []string {
	g.t.Helper()
	stored, err := g.store.Environment(g.t.Context(), id)
	if err != nil {
		g.t.Fatal(err)
	}
	uses, err := environment.Uses(stored)
	if err != nil {
		g.t.Fatal(err)
	}
	var all []string
	for _, u := range uses {
		lived := "there"
		if !u.To.IsZero() {
			lived = fmt.Sprint(int(u.To.Sub(u.From).Minutes()))
		}
		if u.Kind == cost.Server && (u.Type != "sim" || u.GiB != 4) || u.Kind == cost.Volume && u.GiB != 0.0625 {
			g.t.Errorf("%+v", u)
		}
		all = append(all, fmt.Sprintf("%s %s %s", u.Kind, u.Name, lived))
	}
	slices.Sort(all)
	return all
}

// What servers and volumes were there, and how long, is in the record: also of lives that are over, of an
// environment that another process adopted, and of one that the reaper took away.
func TestUses(t *testing.T) {
	for name, end := range map[string]func(*ground, *environment.Environment){
		"destroyed": func(g *ground, e *environment.Environment) {
			if err := e.Destroy(g.t.Context()); err != nil {
				g.t.Fatal(err)
			}
		},
		"reaped": func(g *ground, e *environment.Environment) {
			if _, err := g.store.UpdateEnvironment(g.t.Context(), e.ID(), func(s *ledger.Environment) { s.State = ledger.Destroyed }); err != nil {
				g.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGround(t)
			g.keepInLedger()
			e := g.up(environment.Prebuilt)
			steps := e.RelaunchServer("web-1")
			g.hand.Advance(time.Hour)
			g.do(steps[:1]) // destroyed; then the process dies
			g.hand.Advance(time.Hour)
			next, err := g.site().Adopt(t.Context(), e.ID())
			if err != nil {
				t.Fatal(err)
			}
			g.do(next.RelaunchServer("web-1"))
			want := []string{"server bastion there", "server db-1 there", "server web-1 60", "server web-1 there", "server web-2 there", "volume db-1-data there"}
			if got := g.uses(e.ID()); !slices.Equal(got, want) {
				t.Errorf("while it lives: %q, want %q", got, want)
			}
			g.hand.Advance(time.Hour)
			end(g, next)
			ended := g.uses(e.ID())
			g.hand.Advance(24 * time.Hour) // what is over costs no more
			if _, err := g.store.UpdateEnvironment(t.Context(), e.ID(), func(*ledger.Environment) {}); err != nil {
				t.Fatal(err)
			}
			want = []string{"server bastion 181", "server db-1 181", "server web-1 60", "server web-1 60", "server web-2 180", "volume db-1-data 181"}
			if got := g.uses(e.ID()); !slices.Equal(got, ended) || len(got) != len(want) {
				t.Errorf("%q, then %q", ended, got)
			} else {
				for i := range got {
					var kind, server string
					var is, should int
					fmt.Sscan(got[i], &kind, &server, &is)
					fmt.Sscan(want[i], &kind, &server, &should)
					if is < should-2 || is > should+2 {
						t.Errorf("%s, want about %s", got[i], want[i])
					}
				}
			}
		})
	}
}

func TestUsesOfAnOldRecord(t *testing.T) {
	for body, ok := range map[string]bool{"": true, `{"spec": {}}`: true, "{": false} {
		if uses, err := environment.Uses(ledger.Environment{ID: "e1", Body: []byte(body)}); (err == nil) != ok || len(uses) > 0 {
			t.Errorf("%q: %v, %v", body, uses, err)
		}
	}
}

// A server whose launch came through just before its process died is counted too.
func TestUsesOfWhatWasNotNoted(t *testing.T) {
	for n := 0; ; n++ {
		g := newGroundTaking(t, time.Second)
		site := g.site()
		site.Store = &dying{site.Store, n}
		e, err := site.Plan(t.Context(), g.spec(environment.Base))
		if err != nil {
			t.Fatal(err)
		}
		err = environment.Do(t.Context(), e.Up())
		if err != nil && !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		g.hand.Advance(time.Hour)
		next, adoptErr := g.site().Adopt(t.Context(), e.ID())
		if adoptErr != nil {
			t.Fatal(adoptErr)
		}
		g.destroyed(next)
		launched := 0
		for _, r := range g.sim.Records() {
			if r.Call.Verb == cloud.VerbLaunch && r.Err == "" {
				launched++
			}
		}
		counted := slices.DeleteFunc(g.uses(e.ID()), func(use string) bool { return !strings.HasPrefix(use, "server ") })
		if len(counted) != launched {
			t.Errorf("killed at save %d: %d servers were launched, counted are %q", n, launched, counted)
		}
		if err == nil {
			return
		}
	}
}

// A control server that could not be taken away costs until its environment's end, and is counted once.
func TestUsesOfAControlServerThatStays(t *testing.T) {
	g := newGround(t)
	g.world.Trouble("bastion", environmenttest.Trouble{Lost: true, KeepsAccess: true})
	g.world.Trouble("hallmark-control", environmenttest.Trouble{Lost: true})
	site := g.site()
	site.Provider = cloud.Intercept(site.Provider, func(ctx context.Context, call cloud.Call, do func(context.Context) error) error {
		if call.Verb == cloud.VerbDestroy {
			return errors.New("not now")
		}
		return do(ctx)
	})
	e, err := site.Plan(t.Context(), g.spec(environment.Prebuilt))
	if err != nil {
		t.Fatal(err)
	}
	e.Audit(t.Context(), verdict.ServerOf(environment.Do(t.Context(), e.Up())))
	if left := g.left(); !slices.Contains(left, "server hallmark-control") {
		t.Fatalf("the control server is gone, so this proves nothing: %v", left)
	}
	g.destroyed(e)
	counted := slices.DeleteFunc(g.uses(e.ID()), func(use string) bool { return !strings.HasPrefix(use, "server hallmark-control ") })
	if len(counted) != 1 {
		t.Errorf("counted as %q", counted)
	}
}
