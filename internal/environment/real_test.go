package environment_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// real is acme on real servers.
type real struct {
	t     testing.TB
	site  *environment.Site
	owner string
	base  cloud.Image
	code  environment.Code
}

func newReal(t testing.TB) *real {
	t.Helper()
	ctx := t.Context()
	provider, err := incus.New(ctx, incus.Config{
		CacheAddress: environmenttest.Cache.Addr(), CachePort: environmenttest.Cache.Port(),
	})
	must(t, err)
	base, err := environmenttest.Base(ctx, provider, t.Output())
	must(t, err)
	r := &real{t: t, base: base, owner: fmt.Sprintf("env-test-%d", os.Getpid())}
	dir := t.TempDir()
	l, err := ledger.Open(ctx, filepath.Join(dir, "ledger.db"))
	must(t, err)
	t.Cleanup(func() { l.Close() })
	t.Cleanup(func() { r.clear(provider) })
	r.site = &environment.Site{
		Provider: provider, Store: l, Dialer: environment.SSH{},
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
	const acme, commit = "../../configs/acme", "0000000000000000000000000000000000000001"
	p, err := product.Load(acme, commit)
	must(t, err)
	archive := filepath.Join(dir, "code.tar.gz")
	if out, err := exec.CommandContext(ctx, "tar", "-czf", archive, "-C", acme, ".").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	r.code = environment.Code{Product: p, Commit: commit, Archive: archive}
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clear removes images, and whatever a failed test left.
func (r *real) clear(provider cloud.Provider) {
	ctx := context.WithoutCancel(r.t.Context())
	owned, err := provider.Owned(ctx, r.owner)
	if err != nil {
		r.t.Error(err)
	}
	for _, kind := range cloud.Kinds() {
		for _, left := range owned {
			if left.Kind != kind {
				continue
			}
			if kind != cloud.KindImage {
				r.t.Errorf("%s %s was left over", left.Kind, left.Name)
			}
			if err := provider.Delete(ctx, left); err != nil {
				r.t.Error(err)
			}
		}
	}
}

// do times the steps.
func (r *real) do(what string, steps []environment.Step) {
	r.t.Helper()
	begin := time.Now()
	for _, s := range steps {
		at := time.Now()
		err := s.Do(r.t.Context())
		r.t.Logf("%6.2fs  %s: %s", time.Since(at).Seconds(), what, s.Name)
		if err != nil {
			r.t.Fatal(err)
		}
	}
	r.t.Logf("%6.2fs  %s", time.Since(begin).Seconds(), what)
}

func (r *real) spec(origin environment.Origin, images map[string]cloud.ImageID) environment.Spec {
	return environment.Spec{
		ID: environment.ID(r.owner, string(origin)), Owner: r.owner, Run: r.owner, Name: "trial " + string(origin),
		Product: r.code.Product, Commit: r.code.Commit, Archive: r.code.Archive, Origin: origin, Images: images,
		Deadline: time.Now().Add(2 * time.Hour), Lease: time.Now().Add(time.Hour),
	}
}

// bake makes one role's image as the imager does, in short.
func (r *real) bake(role string) cloud.ImageID {
	r.t.Helper()
	ctx := r.t.Context()
	bench, err := r.site.Bench(ctx, environment.BenchSpec{
		ID: environment.ID(r.owner, "build", role), Owner: r.owner, Run: r.owner, Name: "build " + role, Role: role,
		Product: r.code.Product, Commit: r.code.Commit, Archive: r.code.Archive, Base: r.base.ID,
		Deadline: time.Now().Add(time.Hour),
	})
	must(r.t, err)
	defer func() { must(r.t, bench.Destroy(context.WithoutCancel(ctx))) }()
	r.do("build "+role, bench.Up())
	r.do("build "+role, bench.Provision())
	session, err := bench.Session(ctx)
	must(r.t, err)
	result, err := session.Run(ctx, remote.Command{Line: "bash -s", Stdin: strings.NewReader(puppet.SealScript()), Sudo: true})
	must(r.t, err)
	if result.Exit != 0 {
		r.t.Fatalf("seal %s: exit %d: %s", role, result.Exit, result.Stdout)
	}
	must(r.t, bench.Stop(ctx))
	image, err := r.site.Provider.Capture(ctx, bench.Server(), cloud.ImageSpec{
		Name: r.owner + "-" + role, Kind: cloud.Prebuilt, Tags: cloud.Tags{Owner: r.owner},
	})
	must(r.t, err)
	return image.ID
}

// inspect looks at an environment that stands, from inside.
func (r *real) inspect(e *environment.Environment) {
	r.t.Helper()
	ctx := r.t.Context()
	if err := e.Healthy(ctx); err != nil {
		r.t.Error(err)
	}
	if audit := e.Audit(ctx); !audit.Clean() {
		r.t.Errorf("audit %+v", audit)
	}
	for _, s := range e.Servers() {
		report, ok := e.Report(s.Name)
		if !ok || len(report.Failed) > 0 {
			r.t.Errorf("%s: report %v, failed %v", s.Name, ok, report.Failed)
		}
	}
}

// run is root's shell on a server.
func (r *real) run(e *environment.Environment, server, line string) string {
	r.t.Helper()
	session, err := e.Session(r.t.Context(), server)
	must(r.t, err)
	result, err := session.Run(r.t.Context(), remote.Command{Line: line, Sudo: true})
	must(r.t, err)
	if result.Exit != 0 {
		r.t.Errorf("%s: %s: exit %d: %s%s", server, line, result.Exit, result.Stdout, result.Stderr)
	}
	return strings.TrimSpace(string(result.Stdout))
}

// servers makes the topology smaller: real servers take long. It gives how many of a role there shall
// be; none of them leaves the group out.
func (r *real) servers(count map[string]int) {
	p := *r.code.Product
	p.Topology = nil
	for _, g := range r.code.Product.Topology {
		if g.Count = count[g.Role]; g.Count > 0 {
			p.Topology = append(p.Topology, g)
		}
	}
	r.code.Product = &p
}

// TestReal is acme on Incus from both origins, through all verbs.
func TestReal(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: real servers take minutes")
	}
	r := newReal(t)
	r.servers(map[string]int{"bastion": 1, "db": 1, "web": 1})
	ctx := t.Context()
	images := map[string]cloud.ImageID{}
	for role := range r.code.Product.Roles {
		images[role] = r.base.ID
	}

	e, err := r.site.Plan(ctx, r.spec(environment.Base, images))
	must(t, err)
	defer func() {
		if err := e.Destroy(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}()
	r.do("up from base", e.Up())
	r.inspect(e)
	r.do("reboot", e.Reboot())
	r.inspect(e)
	r.run(e, "db-1", "mysql -e 'create database kept'")

	// A process that starts anew finds all of it, and every step done.
	again := &environment.Site{Provider: r.site.Provider, Store: r.site.Store, Dialer: environment.SSH{}}
	e.Close()
	adopted, err := again.Adopt(ctx, e.ID())
	must(t, err)
	r.do("up once more", adopted.Up())
	r.do("relaunch db-1", adopted.RelaunchServer("db-1"))
	if got := r.run(adopted, "db-1", "mysql -Ne 'show databases like \"kept\"'"); got != "kept" {
		t.Errorf("after a relaunch the volume holds %q", got)
	}
	r.inspect(adopted)
	begin := time.Now()
	must(t, adopted.Destroy(ctx))
	t.Logf("%6.2fs  destroy", time.Since(begin).Seconds())

	r.servers(map[string]int{"bastion": 1, "db": 1})
	for _, role := range []string{"bastion", "db"} {
		images[role] = r.bake(role)
	}
	e, err = r.site.Plan(ctx, r.spec(environment.Prebuilt, images))
	must(t, err)
	r.do("up from prebuilt", e.Up())
	r.inspect(e)

	// Nobody helps a server that is launched again from its image: no step follows the launch, the
	// bastion only looks whether the database answers.
	r.run(e, "db-1", "mysql -e 'create database kept'")
	r.do("relaunch db-1 and leave it alone", e.RelaunchServer("db-1")[:3])
	database := e.ByRole("db")[0].Address
	r.run(e, "bastion", fmt.Sprintf("timeout 180 bash -c 'until timeout 2 bash -c \": </dev/tcp/%s/3306\" 2>/dev/null; do sleep 1; done'", database))
	r.do("find it", e.RelaunchServer("db-1")[3:])
	if got := r.run(e, "db-1", "mysql -Ne 'show databases like \"kept\"'"); got != "kept" {
		t.Errorf("after a relaunch by itself the volume holds %q", got)
	}
	r.inspect(e)

	next := r.code
	next.Commit = "0000000000000000000000000000000000000002"
	r.do("upgrade", []environment.Step{e.Take(next, nil)})
	for _, s := range e.Servers() {
		r.do("upgrade", append([]environment.Step{e.Deliver(s.Name)}, e.Provision(s.Name)...))
	}
	r.inspect(e)

	// Code that is not in the image: the first run fails before there is any account, and still says why.
	next.Commit = "0000000000000000000000000000000000000003"
	r.do("no code", []environment.Step{e.Take(next, nil)})
	begin = time.Now()
	err = environment.Do(ctx, e.RelaunchServer("db-1"))
	t.Logf("%6.2fs  %v", time.Since(begin).Seconds(), err)
	if verdict.CauseOf(err) != verdict.PuppetFailed || !strings.Contains(err.Error(), "db-1: ") || !strings.Contains(err.Error(), "no code") {
		t.Errorf("relaunch without code: %v", err)
	}
	if audit := e.Audit(ctx); !audit.Clean() {
		t.Errorf("audit %+v", audit)
	}
}

// TestRealDeadline is a server that nobody looks after any more: it powers itself off.
func TestRealDeadline(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: real servers take minutes")
	}
	r := newReal(t)
	ctx := t.Context()
	deadline := time.Now().Add(20 * time.Second)
	bench, err := r.site.Bench(ctx, environment.BenchSpec{
		ID: environment.ID(r.owner, "deadline"), Owner: r.owner, Run: r.owner, Name: "deadline", Role: "web",
		Product: r.code.Product, Commit: r.code.Commit, Archive: r.code.Archive, Base: r.base.ID, Deadline: deadline,
	})
	must(t, err)
	defer func() { must(t, bench.Destroy(context.WithoutCancel(ctx))) }()
	r.do("deadline", bench.Up())
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for state := cloud.Running; state != cloud.Stopped; <-tick.C {
		servers, err := r.site.Provider.Servers(ctx, cloud.Filter{Owner: r.owner})
		must(t, err)
		state = servers[0].State
		if late := time.Since(deadline); late > 2*time.Minute || late < 0 && state == cloud.Stopped {
			t.Fatalf("%v after its deadline it is %s", late, state)
		}
	}
}

// TestRealFailure is a resource that fails from clean: it is named, and the product is to blame, also for
// a package source of its own that does not answer.
func TestRealFailure(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: real servers take minutes")
	}
	r := newReal(t)
	ctx := t.Context()
	dir := t.TempDir()
	manifests := filepath.Join(dir, "puppet", "manifests")
	must(t, os.MkdirAll(manifests, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "puppet", "hiera.yaml"), []byte("version: 5\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(manifests, "site.pp"), []byte(
		"file { '/etc/motd':\n  content => 'built',\n}\nfile { '/no/such/folder/x':\n  content => 'x',\n}\n"+
			"file { '/etc/apt/sources.list.d/product.list':\n  content => \"deb http://packages.invalid/ stable main\\n\",\n}\n"+
			"-> exec { '/usr/bin/apt-get update -qq --error-on=any -o Acquire::Retries=0': }\n"), 0o644))
	archive := filepath.Join(dir, "code.tar.gz")
	if out, err := exec.CommandContext(ctx, "tar", "-czf", archive, "-C", dir, "puppet").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	p := *r.code.Product
	p.Puppet.Packages = []string{"puppet-agent"}
	bench, err := r.site.Bench(ctx, environment.BenchSpec{
		ID: environment.ID(r.owner, "failure"), Owner: r.owner, Run: r.owner, Name: "failure", Role: "web",
		Product: &p, Commit: "0000000000000000000000000000000000000009", Archive: archive, Base: r.base.ID,
	})
	must(t, err)
	defer func() { must(t, bench.Destroy(context.WithoutCancel(ctx))) }()
	r.do("failure", bench.Up())
	err = environment.Do(ctx, bench.Provision())
	t.Log(err)
	if verdict.CauseOf(err) != verdict.PuppetFailed || !strings.Contains(err.Error(), "File[/no/such/folder/x] (puppet/manifests/site.pp:4)") ||
		!strings.Contains(err.Error(), "Exec[/usr/bin/apt-get update") {
		t.Errorf("provision: %v", err)
	}
	if audit := bench.Audit(ctx); !audit.Clean() {
		t.Errorf("audit %+v", audit)
	}
}
