package environment_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
	"github.com/hallmark-ci/hallmark/internal/cloud/sim"
	"github.com/hallmark-ci/hallmark/internal/egress"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

var start = time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC)

const (
	boots     = 3 * time.Second
	provision = 20 * time.Second
)

// ground is a simulated cloud with servers that have an inside, and the store beside it.
type ground struct {
	t     *testing.T
	hand  *clock.Manual
	sim   *sim.Cloud
	world *environmenttest.World
	store environment.Store
	log   bytes.Buffer
	base  cloud.Image
	code  environment.Code

	withoutControl bool
}

func acme() *product.Product {
	return &product.Product{
		Version: 1, Name: "acme", Admin: "testadmin",
		Puppet: product.Puppet{Packages: []string{"puppet-agent"}, Timeout: 5 * time.Minute},
		Roles: map[string]product.Role{
			"bastion": {Name: "bastion", Bastion: true},
			"db":      {Name: "db", Health: &product.Health{Command: "mysqladmin ping", Within: 10 * time.Second}},
			"web":     {Name: "web"},
		},
		Topology: []product.Group{
			{Role: "bastion", Count: 1},
			{Role: "db", Count: 1, After: []string{"bastion"}, Volumes: []product.Volume{{Name: "data", SizeMiB: 64}}},
			{Role: "web", Count: 2, After: []string{"bastion", "db"}},
		},
		Secrets: []product.Secret{{Name: "db_password", Length: 24, Roles: []string{"db"}}},
	}
}

func newGround(t *testing.T) *ground { return newGroundTaking(t, provision) }

// newGroundTaking has servers that provision themselves in that time.
func newGroundTaking(t *testing.T, takes time.Duration) *ground {
	t.Helper()
	g := &ground{t: t, hand: clock.NewManual(start)}
	g.sim = sim.New(sim.Options{Clock: g.hand, Boot: boots, Shutdown: time.Second})
	g.world = environmenttest.New(g.sim, g.hand, takes)
	dir := t.TempDir()
	var err error
	g.store = &environmenttest.Store{}
	if g.base, err = g.sim.AddBase(t.Context(), cloud.ImageSpec{Name: "base", Tags: cloud.Tags{Owner: "us"}}); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(dir, "code.tar.gz")
	if err := os.WriteFile(archive, []byte("code"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.code = environment.Code{Product: acme(), Commit: "c0ffee1", Archive: archive}
	return g
}

// keepInLedger stores environments in a real ledger.
func (g *ground) keepInLedger() {
	g.t.Helper()
	l, err := ledger.Open(g.t.Context(), filepath.Join(g.t.TempDir(), "ledger.db"), ledger.WithClock(g.hand.Now))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { l.Close() })
	g.store = l
}

// site is what one process has: a new one is a restart.
func (g *ground) site() *environment.Site {
	return &environment.Site{
		Provider: g.world.Provider(), Store: g.store, Dialer: g.world.Dialer(), Clock: g.hand,
		Log: slog.New(slog.NewJSONHandler(&g.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

func (g *ground) spec(origin environment.Origin) environment.Spec {
	control := g.base.ID
	if g.withoutControl {
		control = ""
	}
	return environment.Spec{
		ID: environment.ID("run-1", string(origin)), Owner: "us", Run: "run-1", Name: "verify " + string(origin),
		Product: g.code.Product, Commit: g.code.Commit, Archive: g.code.Archive, Origin: origin,
		Control:  control,
		Images:   map[string]cloud.ImageID{"bastion": g.base.ID, "db": g.base.ID, "web": g.base.ID},
		Deadline: start.Add(4 * time.Hour), Lease: start.Add(time.Hour),
	}
}

func (g *ground) plan(origin environment.Origin) *environment.Environment {
	g.t.Helper()
	e, err := g.site().Plan(g.t.Context(), g.spec(origin))
	if err != nil {
		g.t.Fatal(err)
	}
	return e
}

func (g *ground) do(steps []environment.Step) {
	g.t.Helper()
	if err := environment.Do(g.t.Context(), steps); err != nil {
		g.t.Fatal(err)
	}
}

// up is an environment that stands.
func (g *ground) up(origin environment.Origin) *environment.Environment {
	g.t.Helper()
	e := g.plan(origin)
	g.do(e.Up())
	return e
}

// left lists what the cloud holds beside images.
func (g *ground) left() []string {
	g.t.Helper()
	owned, err := g.sim.Owned(g.t.Context(), "us")
	if err != nil {
		g.t.Fatal(err)
	}
	var names []string
	for _, r := range owned {
		if r.Kind != cloud.KindImage {
			names = append(names, string(r.Kind)+" "+r.Name)
		}
	}
	return names
}

// standing checks that an environment is what its topology says, once each.
func (g *ground) standing(e *environment.Environment) {
	g.t.Helper()
	want := "server bastion, server db-1, server web-1, server web-2, volume db-1-data, network env-" + e.ID()
	owned := g.left()
	for _, name := range strings.Split(want, ", ") {
		n := 0
		for _, o := range owned {
			if o == name {
				n++
			}
		}
		if n != 1 {
			g.t.Errorf("%d × %s in %v", n, name, owned)
		}
	}
	if len(owned) != 6 {
		g.t.Errorf("%d resources, want 6: %v", len(owned), owned)
	}
	for _, s := range e.Servers() {
		session, err := e.Session(g.t.Context(), s.Name)
		if err != nil {
			g.t.Errorf("session on %s: %v", s.Name, err)
			continue
		}
		r, err := session.Run(g.t.Context(), remote.Command{Line: "cat /proc/sys/kernel/random/boot_id", Sudo: true})
		if err != nil || strings.TrimSpace(string(r.Stdout)) != s.Boot {
			g.t.Errorf("%s: boot %q, recorded %q, %v", s.Name, r.Stdout, s.Boot, err)
		}
	}
}

func (g *ground) destroyed(e *environment.Environment) {
	g.t.Helper()
	if err := e.Destroy(g.t.Context()); err != nil {
		g.t.Errorf("destroy: %v", err)
	}
	if left := g.left(); len(left) > 0 {
		g.t.Errorf("left after destroy: %v", left)
	}
	if err := e.Destroy(g.t.Context()); err != nil {
		g.t.Errorf("destroy again: %v", err)
	}
	stored, err := g.store.Environment(g.t.Context(), e.ID())
	if err != nil || stored.State != ledger.Destroyed || len(stored.Sealed) > 0 {
		g.t.Errorf("record after destroy: state %s, %d sealed bytes, %v", stored.State, len(stored.Sealed), err)
	}
}

func TestLife(t *testing.T) {
	for _, origin := range []environment.Origin{environment.Base, environment.Prebuilt} {
		t.Run(string(origin), func(t *testing.T) {
			g := newGround(t)
			g.keepInLedger()
			e := g.up(origin)
			g.standing(e)
			if audit := e.Audit(t.Context()); !audit.Clean() {
				t.Errorf("audit %+v", audit)
			}
			if err := e.Healthy(t.Context()); err != nil {
				t.Error(err)
			}
			if r, ok := e.Report("web-1"); !ok || r.Status != "changed" {
				t.Errorf("report of web-1: %v %+v", ok, r)
			}
			before := e.Servers()
			g.do(e.Reboot())
			for i, s := range e.Servers() {
				if s.Boot == before[i].Boot {
					t.Errorf("%s is on the same boot", s.Name)
				}
			}
			g.do(e.Relaunch())
			g.standing(e)
			for i, s := range e.Servers() {
				if s.Address != before[i].Address {
					t.Errorf("%s moved to %v", s.Name, s.Address)
				}
			}
			g.destroyed(e)
		})
	}
}

// The two web servers, and nothing before the database, work at the same time.
func TestLevelsTakeTurns(t *testing.T) {
	for origin, limit := range map[environment.Origin]time.Duration{
		environment.Base:     3*provision + 3*boots, // bastion, db, both webs
		environment.Prebuilt: 2*provision + 4*boots, // bastion beside db, then both webs
	} {
		t.Run(string(origin), func(t *testing.T) {
			g := newGround(t)
			g.up(origin)
			if took := g.hand.Now().Sub(start); took > limit {
				t.Errorf("took %v, want at most %v", took, limit)
			}
		})
	}
}

// Killed after any step, a new process does all steps again and finds everything once.
func TestKilledBetweenSteps(t *testing.T) {
	for _, origin := range []environment.Origin{environment.Base, environment.Prebuilt} {
		t.Run(string(origin), func(t *testing.T) {
			for i := range len(newGroundTaking(t, time.Second).plan(origin).Up()) {
				g := newGroundTaking(t, time.Second)
				g.do(g.plan(origin).Up()[:i+1])
				e := g.plan(origin) // of another site
				g.do(e.Up())
				g.standing(e)
				if n := g.world.Provisioned("web-1"); n != 1 {
					t.Errorf("killed after step %d: web-1 was provisioned %d times", i, n)
				}
				g.destroyed(e)
				if t.Failed() {
					t.Fatalf("killed after step %d", i)
				}
			}
		})
	}
}

// dying fails one save, and every one after it: what was done before it is done, but not recorded.
type dying struct {
	environment.Store
	after int
}

var errKilled = errors.New("killed")

func (d *dying) UpdateEnvironment(ctx context.Context, id string, change func(*ledger.Environment)) (ledger.Environment, error) {
	if d.after--; d.after < 0 {
		return ledger.Environment{}, errKilled
	}
	return d.Store.UpdateEnvironment(ctx, id, change)
}

// Killed between what a step did to the cloud and its record, in Up, Reboot and Relaunch.
func TestKilledWithinSteps(t *testing.T) {
	apart := 1
	if testing.Short() { // a sample: under the race detector all of them take more than a minute
		apart = 7
	}
	for _, origin := range []environment.Origin{environment.Base, environment.Prebuilt} {
		t.Run(string(origin), func(t *testing.T) {
			for n := 0; ; n += apart {
				g := newGroundTaking(t, time.Second)
				site := g.site()
				store := &dying{site.Store, n}
				site.Store = store
				e, err := site.Plan(t.Context(), g.spec(origin))
				if err != nil {
					t.Fatal(err)
				}
				var todo []func(*environment.Environment) []environment.Step
				todo = append(todo, (*environment.Environment).Up, (*environment.Environment).Reboot, (*environment.Environment).Relaunch)
				killed := false
				for len(todo) > 0 {
					err := environment.Do(t.Context(), todo[0](e))
					if errors.Is(err, errKilled) {
						killed = true
						if e, err = g.site().Adopt(t.Context(), e.ID()); err != nil {
							t.Fatal(err)
						}
						continue
					}
					if err != nil {
						t.Fatalf("killed at save %d: %v", n, err)
					}
					todo = todo[1:]
				}
				g.standing(e)
				if e, err = g.site().Adopt(t.Context(), e.ID()); err != nil {
					t.Fatal(err)
				}
				g.destroyed(e)
				if t.Failed() {
					t.Fatalf("killed at save %d", n)
				}
				if !killed {
					t.Logf("%d saves", n)
					return
				}
			}
		})
	}
}

// An environment that was never finished goes away as completely.
func TestDestroyAnyTime(t *testing.T) {
	steps := len(newGroundTaking(t, time.Second).plan(environment.Base).Up())
	for i := range steps {
		g := newGroundTaking(t, time.Second)
		g.do(g.plan(environment.Base).Up()[:i])
		e, err := g.site().Adopt(t.Context(), environment.ID("run-1", "base"))
		if err != nil {
			t.Fatal(err)
		}
		g.destroyed(e)
	}
}

func TestTroubleHasACause(t *testing.T) {
	resource := &puppet.Resource{
		Title: "Package[nginx]", File: "/opt/hallmark/product/c0ffee1/puppet/manifests/web.pp", Line: 7, Message: "no such package",
	}
	for _, c := range []struct {
		name    string
		origin  environment.Origin
		server  string
		trouble environmenttest.Trouble
		cause   verdict.Cause
		says    string
		want    verdict.Verdict
	}{
		{"puppet on a base", environment.Base, "web-1", environmenttest.Trouble{Puppet: resource}, verdict.PuppetFailed,
			"web-1: provisioning at stage launch: Package[nginx] (puppet/manifests/web.pp:7): no such package", verdict.Failed},
		{"puppet on a prebuilt", environment.Prebuilt, "db-1", environmenttest.Trouble{Puppet: resource}, verdict.PuppetFailed, "db-1: provisioning at stage launch: no such package", verdict.Failed},
		{"puppet on a prebuilt bastion", environment.Prebuilt, "bastion", environmenttest.Trouble{Puppet: resource}, verdict.PuppetFailed, "bastion", verdict.Failed},
		{"puppet on the bastion", environment.Base, "bastion", environmenttest.Trouble{Puppet: resource}, verdict.PuppetFailed, "web.pp:7", verdict.Failed},
		{"package sources", environment.Base, "web-1", environmenttest.Trouble{Puppet: resource, Cause: string(verdict.PackageSource)},
			verdict.PackageSource, "web-1", verdict.Inconclusive},
		{"never ends", environment.Base, "db-1", environmenttest.Trouble{Endless: true}, verdict.PuppetTimeout, "did not converge", verdict.Failed},
		{"ends without a report", environment.Base, "db-1", environmenttest.Trouble{Dies: true}, verdict.Unexplained, "without a report", verdict.Inconclusive},
		{"locked out of a server", environment.Base, "web-2", environmenttest.Trouble{Closed: verdict.LegServerKey}, verdict.ServerLogin, "web-2", verdict.Failed},
		{"locked out of the bastion", environment.Prebuilt, "bastion", environmenttest.Trouble{Closed: verdict.LegBastionKey}, verdict.RemoteBastion,
			"leg \"bastion key\"", verdict.Failed},
		{"bootstrap user stays", environment.Base, "web-1", environmenttest.Trouble{KeepsAccess: true}, verdict.Unexplained, "bootstrap", verdict.Inconclusive},
		{"nothing listens on a prebuilt", environment.Prebuilt, "web-1", environmenttest.Trouble{NoBoot: true}, verdict.Transport, "web-1", verdict.Failed},
		{"nothing listens on a base", environment.Base, "web-1", environmenttest.Trouble{NoBoot: true}, verdict.Transport, "web-1", verdict.Inconclusive},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGround(t)
			g.world.Trouble(c.server, c.trouble)
			e := g.plan(c.origin)
			err := environment.Do(t.Context(), e.Up())
			if got := verdict.CauseOf(err); got != c.cause {
				t.Errorf("cause %q, want %q: %v", got, c.cause, err)
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want it to say %q", err, c.says)
			}
			audit := e.Audit(t.Context(), verdict.ServerOf(err))
			if got := verdict.Judge(verdict.CauseOf(err), audit); got != c.want {
				t.Errorf("judged %s, want %s: %v\naudit %+v", got, c.want, err, audit)
			}
			g.destroyed(e)
		})
	}
}

func TestAuditFindsInfrastructure(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(g *ground, id cloud.ServerID) error
		says  string
	}{
		{"lost server", func(g *ground, id cloud.ServerID) error { return g.sim.Lose(g.t.Context(), id) }, "web-1 is gone"},
		{"broken server", func(g *ground, id cloud.ServerID) error { return g.sim.Break(g.t.Context(), id) }, "web-1 is broken"},
		{"stopped server", func(g *ground, id cloud.ServerID) error { return g.sim.Stop(g.t.Context(), id, true) }, "web-1 is stopped"},
		{"reboot of its own", func(g *ground, id cloud.ServerID) error {
			err := g.world.Provider().Reboot(g.t.Context(), id)
			g.hand.Advance(boots)
			return err
		}, "web-1 is on boot"},
		{"no package sources", func(g *ground, _ cloud.ServerID) error { g.world.CloseSources(true); return nil }, "package sources"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGround(t)
			e := g.up(environment.Base)
			var id cloud.ServerID
			servers, err := g.sim.Servers(t.Context(), cloud.Filter{})
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range servers {
				if s.Name == "web-1" {
					id = s.ID
				}
			}
			if err := c.spoil(g, id); err != nil {
				t.Fatal(err)
			}
			audit := e.Audit(t.Context())
			if audit.Clean() || !strings.Contains(strings.Join(audit.Findings, "; "), c.says) {
				t.Errorf("audit %+v, want it to say %q", audit, c.says)
			}
		})
	}
}

func TestRebootThatDoesNotHappen(t *testing.T) {
	g := newGround(t)
	e := g.up(environment.Base)
	g.world.Trouble("web-1", environmenttest.Trouble{Stuck: true})
	err := environment.Do(t.Context(), e.Reboot())
	if verdict.CauseOf(err) != verdict.ServerBoot || !strings.Contains(err.Error(), "web-1") {
		t.Errorf("reboot: %v", err)
	}
}

func TestUnhealthy(t *testing.T) {
	g := newGround(t)
	g.world.Shell = func(s environmenttest.Server, cmd remote.Command) (remote.Result, bool) {
		if s.Role == "db" && cmd.Line == "mysqladmin ping" {
			return remote.Result{Exit: 1, Stderr: []byte("cannot connect\n")}, true
		}
		return remote.Result{}, false
	}
	err := environment.Do(t.Context(), g.plan(environment.Base).Up())
	if verdict.CauseOf(err) != verdict.HealthFailed || !strings.Contains(err.Error(), "db-1") || !strings.Contains(err.Error(), "cannot connect") {
		t.Errorf("up: %v", err)
	}
}

func TestCrashAndStart(t *testing.T) {
	g := newGround(t)
	e := g.up(environment.Prebuilt)
	if err := e.Crash(t.Context(), "db-1"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Session(t.Context(), "db-1"); err == nil {
		t.Error("a crashed server lets us in")
	}
	if audit := e.Audit(t.Context()); !audit.Clean() {
		t.Errorf("audit of an environment with a server crashed on purpose: %+v", audit)
	}
	if err := e.Start(t.Context(), "db-1"); err != nil {
		t.Fatal(err)
	}
	if audit := e.Audit(t.Context()); !audit.Clean() {
		t.Errorf("audit after the start: %+v", audit)
	}
}

func TestSnapshotAndRestore(t *testing.T) {
	g := newGround(t)
	e := g.up(environment.Base)
	g.do(e.Snapshot("before"))
	g.do(e.Restore("before"))
	g.standing(e)
	if audit := e.Audit(t.Context()); !audit.Clean() {
		t.Errorf("audit %+v", audit)
	}
}

func TestUpgrade(t *testing.T) {
	g := newGround(t)
	e := g.up(environment.Prebuilt)
	next := acme()
	next.Secrets = append(next.Secrets, product.Secret{Name: "new_token", Length: 40})
	code := environment.Code{Product: next, Commit: "beef0002", Archive: g.code.Archive}
	steps := []environment.Step{e.Take(code, nil)}
	for _, s := range e.Servers() {
		steps = append(steps, e.Deliver(s.Name))
		steps = append(steps, e.Provision(s.Name)...)
	}
	for range 2 { // the second time nothing is left to be done
		g.do(steps)
	}
	for _, s := range e.Servers() {
		if s.Commit != "beef0002" {
			t.Errorf("%s runs %s", s.Name, s.Commit)
		}
		if n := g.world.Provisioned(s.Name); n != 2 {
			t.Errorf("%s was provisioned %d times, want 2", s.Name, n)
		}
	}
	found := false
	for _, secret := range g.world.Secrets() {
		found = found || len(secret) == 40
	}
	if !found {
		t.Error("the new code's secret did not reach a server")
	}
	g.world.Trouble("web-2", environmenttest.Trouble{Puppet: &puppet.Resource{Title: "File[/x]", Message: "no"}})
	code.Commit = "bad0003"
	err := environment.Do(t.Context(), append([]environment.Step{e.Take(code, nil), e.Deliver("web-2")}, e.Provision("web-2")...))
	if verdict.CauseOf(err) != verdict.PuppetFailed || !strings.Contains(err.Error(), "File[/x]") {
		t.Errorf("upgrade to bad code: %v", err)
	}
}

func TestSecretsStaySecret(t *testing.T) {
	g := newGround(t)
	e := g.up(environment.Base)
	var names []string
	for _, s := range e.Up() {
		names = append(names, s.Name)
	}
	stored, err := g.store.Environment(t.Context(), e.ID())
	if err != nil {
		t.Fatal(err)
	}
	secrets := g.world.Secrets()
	if len(secrets) != 2 { // db_password on db-1, and the seed on the bastion
		t.Fatalf("%d secrets on servers, want 2", len(secrets))
	}
	for where, text := range map[string]string{
		"log": g.log.String(), "body": string(stored.Body), "step names": strings.Join(names, " "),
	} {
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("a secret is in the %s", where)
			}
		}
	}
}

func TestLease(t *testing.T) {
	g := newGround(t)
	e := g.plan(environment.Base)
	for _, c := range []struct{ ask, want time.Time }{
		{start.Add(2 * time.Hour), start.Add(2 * time.Hour)},
		{start.Add(time.Hour), start.Add(2 * time.Hour)},     // it was longer
		{start.Add(9 * time.Hour), start.Add(4 * time.Hour)}, // the deadline
	} {
		if err := e.Extend(t.Context(), c.ask); err != nil {
			t.Fatal(err)
		}
		stored, err := g.store.Environment(t.Context(), e.ID())
		if err != nil || !stored.Lease.Equal(c.want) {
			t.Errorf("lease %v, want %v, %v", stored.Lease, c.want, err)
		}
	}
}

func TestBadSpecs(t *testing.T) {
	g := newGround(t)
	for name, spoil := range map[string]func(*environment.Spec){
		"id":                         func(s *environment.Spec) { s.ID = "Too-Long-An-Id" },
		"owner":                      func(s *environment.Spec) { s.Owner = "" },
		"origin":                     func(s *environment.Spec) { s.Origin = "moon" },
		"image":                      func(s *environment.Spec) { s.Images = nil },
		"archive":                    func(s *environment.Spec) { s.Archive = "" },
		"egress":                     func(s *environment.Spec) { s.Product.Egress = []string{"nowhere"} },
		"egress that nobody allowed": func(s *environment.Spec) { s.Product.Egress = []string{"192.0.2.7:443"} },
		"more than the site gives":   func(s *environment.Spec) { s.Product.Topology[1].Volumes[0].SizeMiB = 1 << 20 },
		"bastion":                    func(s *environment.Spec) { s.Product.Topology = s.Product.Topology[1:] },
	} {
		t.Run(name, func(t *testing.T) {
			g.code.Product = acme()
			spec := g.spec(environment.Base)
			spoil(&spec)
			site := g.site()
			site.Most = product.Most{DiskMiB: 1 << 19}
			if _, err := site.Plan(t.Context(), spec); err == nil {
				t.Error("accepted")
			}
		})
	}
	if _, err := g.site().Adopt(t.Context(), "nothing"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("adopt what is not there: %v", err)
	}
}

// networks notes the last network that was asked for.
type networks struct {
	cloud.Provider
	last cloud.NetworkSpec
}

func (n *networks) CreateNetwork(ctx context.Context, spec cloud.NetworkSpec) (cloud.Network, error) {
	n.last = spec
	return n.Provider.CreateNetwork(ctx, spec)
}

// Whatever the product's check accepts as an allow-list becomes the network's, each destination once.
func TestAllowListOfTheProduct(t *testing.T) {
	g := newGround(t)
	g.code.Product.Egress = []string{"192.0.2.7:443", "192.0.2.0/24:25", "192.0.2.7/32:443", "2001:db8::7:443", "[2001:db8::7]:443", "2001:db8::/32:80"}
	site := g.site()
	for _, entry := range g.code.Product.Egress {
		d, err := egress.Parse(entry)
		if err != nil {
			t.Fatalf("the product's check refuses %q: %v", entry, err)
		}
		site.Egress.Allowed = append(site.Egress.Allowed, d)
	}
	site.Egress.Host = func() ([]net.Addr, error) { return nil, nil }
	network := &networks{}
	network.Provider = site.Provider
	site.Provider = network
	e, err := site.Plan(t.Context(), g.spec(environment.Base))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Up()[0].Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, to := range network.last.Egress {
		got = append(got, fmt.Sprintf("%s %d", to.Prefix, to.Port))
	}
	if want := []string{"192.0.2.7/32 443", "192.0.2.0/24 25", "2001:db8::7/128 443", "2001:db8::/32 80"}; !slices.Equal(got, want) {
		t.Errorf("allowed is %q, want %q", got, want)
	}
}

func TestBench(t *testing.T) {
	g := newGround(t)
	spec := environment.BenchSpec{
		ID: environment.ID("run-1", "build", "web"), Owner: "us", Run: "run-1", Name: "build web", Role: "web",
		Product: g.code.Product, Commit: g.code.Commit, Archive: g.code.Archive, Base: g.base.ID,
	}
	var secrets []string
	for range 2 { // the second process does it all again
		bench, err := g.site().Bench(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		// The image is searched for them: the product's, the seed, both halves of both keys.
		now := slices.Sorted(slices.Values(bench.Secrets()))
		if secrets != nil && !slices.Equal(now, secrets) || len(slices.Compact(now)) != len(g.code.Product.Secrets)+5 {
			t.Errorf("a bench has %d secrets, and others as another process asks", len(now))
		}
		if public := slices.IndexFunc(now, func(s string) bool { return strings.HasPrefix(s, "AAAA") }); public < 0 {
			t.Error("the keys that are let in are not among them")
		}
		secrets = now
		g.do(bench.Up())
		g.do(bench.Provision())
		if _, ok := bench.Report(); !ok {
			t.Error("no report")
		}
		if _, err := bench.Session(t.Context()); err != nil {
			t.Error(err)
		}
		if n := g.world.Provisioned(environment.BenchServer); n != 1 {
			t.Errorf("provisioned %d times", n)
		}
		if len(g.world.Secrets()) > 0 {
			t.Error("a bench was told secrets")
		}
		if audit := bench.Audit(t.Context()); !audit.Clean() {
			t.Errorf("audit %+v", audit)
		}
	}
	bench, err := g.site().Bench(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := bench.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := bench.Destroy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if left := g.left(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
