package environment_test

import (
	"context"
	"net/netip"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// elsewhere has no room for one server but at another address than the one that was reserved.
type elsewhere struct {
	cloud.Provider
	server  string
	address netip.Addr
}

func (e elsewhere) Launch(ctx context.Context, spec cloud.ServerSpec) (cloud.Server, error) {
	if spec.Name == e.server {
		spec.Address = e.address
	}
	return e.Provider.Launch(ctx, spec)
}

// A server that comes up at another address is taken as long as nobody was told of the first.
func TestAnotherAddress(t *testing.T) {
	for server, want := range map[string]verdict.Cause{"bastion": verdict.None, "db-1": verdict.CloudRefused} {
		t.Run(server, func(t *testing.T) {
			g := newGround(t)
			site := g.site()
			there := netip.MustParseAddr("10.64.0.77")
			site.Provider = elsewhere{g.world.Provider(), server, there}
			e, err := site.Plan(t.Context(), g.spec(environment.Base))
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			err = environment.Do(t.Context(), e.Up())
			if verdict.CauseOf(err) != want {
				t.Fatalf("up: %v, want cause %q", err, want)
			}
			if a := e.Servers()[0].Address; want == verdict.None && a != there {
				t.Errorf("the bastion is at %s", a)
			}
		})
	}
}
