package environment_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
)

// launches remembers what servers are launched with.
type launches struct {
	cloud.Provider
	specs []cloud.ServerSpec
}

func (l *launches) Launch(ctx context.Context, spec cloud.ServerSpec) (cloud.Server, error) {
	l.specs = append(l.specs, spec)
	return l.Provider.Launch(ctx, spec)
}

// Servers with a deadline bring a timer that powers them off. A fleet is launched with none: neither its
// launches, nor a relaunch, nor new code may bring one to its servers, whatever they come from.
func TestOnlyADeadlineBringsTheTimer(t *testing.T) {
	for name, deadline := range map[string]time.Time{"an environment": start.Add(4 * time.Hour), "a fleet": {}} {
		for _, origin := range []environment.Origin{environment.Base, environment.Prebuilt} {
			t.Run(name+" from "+string(origin), func(t *testing.T) {
				g := newGround(t)
				onServer := map[string]bool{} // by server: is the timer among its files?
				g.world.Shell = func(s environmenttest.Server, _ remote.Command) (remote.Result, bool) {
					for path := range s.Files {
						onServer[s.Name] = onServer[s.Name] || strings.HasSuffix(path, puppet.DeadlineTimer)
					}
					return remote.Result{}, false
				}
				site := g.site()
				seen := &launches{Provider: site.Provider}
				site.Provider = seen
				spec := g.spec(origin)
				spec.Deadline, spec.Lease = deadline, time.Time{}
				e, err := site.Plan(t.Context(), spec)
				if err != nil {
					t.Fatal(err)
				}
				g.do(e.Up())
				g.do(e.RelaunchServer("web-1"))
				code := g.code
				code.Commit = "c0ffee2"
				g.do([]environment.Step{e.Take(code, nil), e.Deliver("db-1")})
				g.do(e.Provision("db-1"))
				if err := e.Check(t.Context(), "db-1", *acme().Roles["db"].Health); err != nil {
					t.Fatal(err)
				}
				if len(seen.specs) != 5 || len(onServer) == 0 {
					t.Fatalf("%d launches; looked at %v", len(seen.specs), onServer)
				}
				want := !deadline.IsZero()
				for _, s := range seen.specs {
					if got := strings.Contains(s.UserData, puppet.DeadlineTimer); got != want || s.Tags.Deadline.IsZero() == want {
						t.Errorf("%s: timer %v, deadline %v", s.Name, got, s.Tags.Deadline)
					}
				}
				for server, got := range onServer {
					if got != want {
						t.Errorf("timer among the files of %s: %v", server, got)
					}
				}
			})
		}
	}
}
