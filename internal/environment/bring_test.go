package environment_test

import (
	"context"
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
)

// ways are the two ways by which secrets come to servers.
var ways = map[string]bool{"the provider brings them": true, "Hallmark brings them": false}

// reticent is a provider that brings no private files; launches notes what it was told.
type reticent struct {
	cloud.Provider
	launches *[]cloud.ServerSpec
}

func (r reticent) Launch(ctx context.Context, spec cloud.ServerSpec) (cloud.Server, error) {
	*r.launches = append(*r.launches, spec)
	return r.Provider.Launch(ctx, spec)
}

// spied gives a site whose launches are noted, and whose provider confides or does not.
func (g *ground) spied(confides bool) (*environment.Site, *[]cloud.ServerSpec) {
	site, launches := g.site(), &[]cloud.ServerSpec{}
	can := cloud.CapabilitiesOf(site.Provider)
	if !confides {
		can.Confidant = nil
	}
	site.Provider = cloud.With(reticent{site.Provider, launches}, can)
	return site, launches
}

// secretsOf gives the secrets that lie on a server.
func (g *ground) secretsOf(e *environment.Environment, server string) map[string]string {
	g.t.Helper()
	var file string
	g.world.Shell = func(s environmenttest.Server, cmd remote.Command) (remote.Result, bool) {
		if cmd.Line == "look" {
			file = s.Files[puppet.SecretsPath]
		}
		return remote.Result{}, true
	}
	session, err := e.Session(g.t.Context(), server)
	if err != nil {
		g.t.Fatal(err)
	}
	if _, err := session.Run(g.t.Context(), remote.Command{Line: "look"}); err != nil {
		g.t.Fatal(err)
	}
	var values map[string]string
	if err := yaml.Unmarshal([]byte(file), &values); err != nil || file == "" {
		g.t.Errorf("%s has no file of secrets: %q, %v", server, file, err)
	}
	return values
}

// has checks which secrets lie on a server.
func (g *ground) has(e *environment.Environment, server string, want ...string) {
	g.t.Helper()
	if got := slices.Sorted(maps.Keys(g.secretsOf(e, server))); !slices.Equal(got, want) {
		g.t.Errorf("%s has the secrets %v, want %v", server, got, want)
	}
}

// withSecrets gives the product secrets of some roles.
func (g *ground) withSecrets(list ...product.Secret) environment.Code {
	p := *g.code.Product
	p.Secrets = list
	code := g.code
	code.Product = &p
	return code
}

// A server has the secrets that its role names, the bastion its seed, and nothing else; and no secret is in what a
// provider keeps. So it is from both origins, by both ways, after a relaunch and an upgrade.
func TestSecretsGoToTheirRoles(t *testing.T) {
	for way, confides := range ways {
		for _, origin := range []environment.Origin{environment.Base, environment.Prebuilt} {
			t.Run(way+", "+string(origin), func(t *testing.T) {
				g := newGround(t)
				g.code = g.withSecrets(product.Secret{Name: "shared", Length: 20, Roles: []string{"db", "web"}}, product.Secret{Name: "site_salt", Length: 20, Roles: []string{"web"}})
				site, launches := g.spied(confides)
				e := g.planOn(site, origin)
				g.do(e.Up())
				standing := func() {
					g.has(e, "bastion", "secret::totp_seed")
					g.has(e, "db-1", "secret::shared")
					g.has(e, "web-1", "secret::shared", "secret::site_salt")
					g.has(e, "web-2", "secret::shared", "secret::site_salt")
				}
				standing()
				g.do(e.Reboot())
				for _, server := range []string{"bastion", "db-1", "web-1"} {
					g.do(e.RelaunchServer(server))
				}
				standing()
				if audit := e.Audit(t.Context()); !audit.Clean() {
					t.Errorf("audit %+v", audit)
				}
				g.noFaults()

				next := g.withSecrets(product.Secret{Name: "site_salt", Length: 20, Roles: []string{"db"}}, product.Secret{Name: "fresh", Length: 20, Roles: []string{"db"}})
				next.Commit = "c0ffee2"
				salt := g.secretsOf(e, "web-1")["secret::site_salt"]
				g.do([]environment.Step{e.Take(next, nil)})
				for _, s := range e.Servers() {
					g.do(append([]environment.Step{e.Deliver(s.Name)}, e.Provision(s.Name)...))
				}
				g.has(e, "bastion", "secret::totp_seed")
				g.has(e, "web-1") // a role that lost its last secret keeps none
				g.has(e, "db-1", "secret::fresh", "secret::site_salt")
				if got := g.secretsOf(e, "db-1")["secret::site_salt"]; got != salt {
					t.Errorf("the salt is another one now: %s, it was %s", got, salt)
				}
				for _, spec := range *launches {
					if (len(spec.Private) > 0) != confides {
						t.Errorf("%s was launched with %d private files", spec.Name, len(spec.Private))
					}
					for _, secret := range g.world.Secrets() {
						if strings.Contains(spec.UserData, secret) || strings.Contains(spec.UserData, base64.StdEncoding.EncodeToString([]byte(secret))) {
							t.Errorf("the user-data of %s holds a secret", spec.Name)
						}
					}
				}
				g.destroyed(e)
			})
		}
	}
}

// A process that dies before or after it brought secrets leaves a server that the next one finds waiting, at work, or
// handed over long ago.
func TestSecretsAreBroughtByTheNextProcess(t *testing.T) {
	for _, server := range []string{"bastion", "web-1"} {
		for _, brought := range []int{0, 1} {
			for _, absent := range []time.Duration{0, time.Second, 5 * time.Minute} {
				g := newGround(t)
				site, _ := g.spied(false)
				e := g.planOn(site, environment.Prebuilt)
				steps := e.Up()
				at := slices.IndexFunc(steps, func(s environment.Step) bool { return s.Name == "bring secrets to "+server })
				g.do(steps[:at+brought])
				e.Close()
				g.world.Disconnect()
				g.hand.Advance(absent)
				site, _ = g.spied(false)
				e = g.planOn(site, environment.Prebuilt)
				g.do(e.Up())
				g.standing(e)
				g.noFaults()
				g.has(e, server, map[string][]string{"bastion": {"secret::totp_seed"}, "web-1": nil}[server]...)
			}
		}
	}
}
