package pipeline_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hallmark-ci/hallmark/imager"
	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
	"github.com/hallmark-ci/hallmark/internal/cloud/fault"
	"github.com/hallmark-ci/hallmark/internal/cloud/limit"
	"github.com/hallmark-ci/hallmark/internal/cloud/sim"
	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/egress"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/verifier"
)

// TestMain puts a puppet in front that finds nothing wrong: what the real one says of products is
// tested in package product, and takes seconds.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "hallmark-pipeline-")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "puppet"), []byte("#!/bin/sh\nexit 0\n"), 0o755)
	}
	if err == nil {
		err = os.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	}
	if err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

const owner = "us"

// hurried is a clock on which time passes much faster, so that a timeout of minutes takes a second.
type hurried struct{ start time.Time }

const haste = 200

func (h hurried) Now() time.Time { return h.start.Add(haste * time.Since(h.start)) }

func (h hurried) Sleep(ctx context.Context, d time.Duration) error {
	return clock.Machine{}.Sleep(ctx, d/haste)
}

// ground is what outlives the daemon: a simulated cloud with servers that have an inside, the
// product's repository, the state directory.
type ground struct {
	t        *testing.T
	dir      string
	clock    hurried
	now      func() time.Time // the daemon's; nil: the clock's
	cfg      config.Config
	sim      *sim.Cloud
	world    *environmenttest.World
	answers  *environmenttest.Answers
	cloud    cloud.Provider // the World's, with faults around it
	base     cloud.Image
	timeouts environment.Timeouts
	outage   *limit.Outage               // how launches wait for the provider; nil: they do not
	room     func(context.Context) error // nil: there is always enough disk
	ensure   func() error                // as part of making sure of the base; nil: nothing

	mu    sync.Mutex
	hook  func(context.Context, *daemon, cloud.Call) // before every call to the cloud
	given []cloud.ServerID                           // by launches
	specs []cloud.ServerSpec                         // of launches that succeeded
}

// newGround makes one with branches main and release/1.0.
func newGround(t *testing.T, script ...fault.Fault) *ground {
	t.Helper()
	g := emptyGround(t)
	g.simulated(script...)
	return g
}

// simulated gives the ground a simulated cloud with a reference base.
func (g *ground) simulated(script ...fault.Fault) {
	g.t.Helper()
	g.sim = sim.New(sim.Options{Clock: g.clock})
	g.over(g.sim, script...)
	var err error
	g.base, err = g.sim.AddBase(g.t.Context(), cloud.ImageSpec{
		Name: "debian-12", Tags: cloud.Tags{Owner: owner}, Properties: map[string]string{cloud.PropertyRecipe: "r1"},
	})
	if err != nil {
		g.t.Fatal(err)
	}
}

// over puts servers with an inside into a cloud.
func (g *ground) over(p cloud.Provider, script ...fault.Fault) {
	g.world = environmenttest.New(p, g.clock, 0)
	g.world.Shell = g.answers.Shell
	g.cloud = fault.Inject(giving{g.world.Provider(), g}.provider(), script, g.clock)
}

// emptyGround has everything but a cloud.
func emptyGround(t *testing.T) *ground {
	t.Helper()
	g := &ground{t: t, dir: t.TempDir(), clock: hurried{time.Now().Truncate(time.Second)}, answers: &environmenttest.Answers{}}
	g.cfg.Default()
	g.cfg.Owner, g.cfg.StateDir, g.cfg.Provider.Kind = owner, filepath.Join(g.dir, "state"), "sim"
	g.cfg.Product.Repository = filepath.Join(g.dir, "product")
	g.cfg.Limits = config.Limits{Servers: 24, Lanes: 4, ImageBuilds: 6, Attempts: 2}
	g.cfg.Timeouts.Run = 1000 * time.Hour // it is hurried, the machine is not
	g.file("probe", "the probe")
	if err := os.MkdirAll(g.cfg.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	g.git("init", "-q", "-b", "release/1.0", "product")
	g.commit("1.0", productFiles())
	g.git("-C", "product", "checkout", "-q", "-b", "main")
	g.commit("1.1", map[string]string{"app/VERSION": "1.1\n", "suites/build/db.yaml": "port: {\"tcp:3306\": {listening: true}}\n"})
	return g
}

// giving notes which servers a cloud gives.
type giving struct {
	cloud.Provider
	g *ground
}

func (p giving) provider() cloud.Provider { return cloud.With(p, cloud.CapabilitiesOf(p.Provider)) }

func (p giving) Launch(ctx context.Context, spec cloud.ServerSpec) (cloud.Server, error) {
	s, err := p.Provider.Launch(ctx, spec)
	if err == nil {
		p.g.mu.Lock()
		defer p.g.mu.Unlock()
		p.g.given = append(p.g.given, s.ID)
		p.g.specs = append(p.g.specs, spec)
	}
	return s, err
}

// young makes a ground without a live release branch: a run on it has half of the work.
func young(t *testing.T, script ...fault.Fault) *ground {
	t.Helper()
	g := newGround(t, script...)
	g.cfg.Product.Retired, g.cfg.Upgrade = []string{"release/1.0"}, config.UpgradeNoneYet
	return g
}

func productFiles() map[string]string {
	return map[string]string{
		"hallmark.yaml": `version: 1
name: shop
roles:
  bastion: {bastion: true}
  db: {health: {command: "true"}}
  web: {health: {command: "true"}}
topology:
  - {role: bastion}
  - {role: db, volumes: [{name: data, size: 1GiB}]}
  - {role: web, after: [db]}
secrets:
  - {name: db_password, length: 24, roles: [db, web]}
`,
		"puppet/manifests/site.pp": "notice('hello')\n",
		"suites/smoke/all.yaml":    "service: {ssh: {running: true}}\n",
		"suites/build/all.yaml":    "package: {openssh-server: {installed: true}}\n",
		"suites/build/web.yaml":    "port: {\"tcp:80\": {listening: true}}\n",
		"app/VERSION":              "1.0\n",
		"release/procedure.yaml": `version: 1
steps: [{role: db}, {role: web}, {role: bastion}]
tasks: [{name: tidy up, role: web, command: tidy}]
`,
	}
}

func (g *ground) file(name, content string) {
	g.t.Helper()
	path := filepath.Join(g.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		g.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		g.t.Fatal(err)
	}
}

func (g *ground) git(args ...string) string {
	g.t.Helper()
	cmd := exec.CommandContext(g.t.Context(), "git", args...)
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org")
	out, err := cmd.CombinedOutput()
	if err != nil {
		g.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit puts files on the branch that is checked out and gives the commit.
func (g *ground) commit(message string, files map[string]string) string {
	g.t.Helper()
	for name, content := range files {
		g.file("product/"+name, content)
	}
	g.git("-C", "product", "add", "-A")
	g.git("-C", "product", "commit", "-q", "-m", message)
	return g.git("-C", "product", "rev-parse", "HEAD")
}

// daemon is one process that works on runs.
type daemon struct {
	*ground
	engine *pipeline.Engine
	parts  pipeline.Parts
	log    *os.File
	killed chan struct{} // closed when the process is gone
	over   bool
}

// daemon starts one on the ground's state.
func (g *ground) daemon() *daemon {
	g.t.Helper()
	return g.process(pipeline.Start)
}

// one starts a process that works on a single run.
func (g *ground) one(run string) *daemon {
	g.t.Helper()
	return g.process(func(ctx context.Context, parts pipeline.Parts, database string) (*pipeline.Engine, error) {
		return pipeline.StartOne(ctx, parts, database, run)
	})
}

func (g *ground) process(start func(context.Context, pipeline.Parts, string) (*pipeline.Engine, error)) *daemon {
	g.t.Helper()
	d := &daemon{ground: g, killed: make(chan struct{})}
	var err error
	check := func(err error) {
		if err != nil {
			g.t.Helper()
			g.t.Fatal(err)
		}
	}
	d.log, err = os.OpenFile(filepath.Join(g.cfg.StateDir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	check(err)
	log := slog.New(slog.NewTextHandler(d.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	now := g.clock.Now
	if g.now != nil {
		now = g.now
	}
	book, err := ledger.Open(g.t.Context(), g.cfg.LedgerFile(), ledger.WithClock(now))
	check(err)
	reached := cloud.Intercept(g.cloud, d.around)
	if g.room != nil {
		reached = limit.Room(reached, g.room)
	}
	reached = limit.Retry(reached, limit.Patience{First: time.Millisecond, Most: 5 * time.Millisecond, All: 100 * time.Millisecond}, log)
	if g.outage != nil {
		reached = limit.Breaker(reached, *g.outage, log)
	}
	slots, err := limit.NewSlots(g.t.Context(), reached, owner, g.cfg.Limits.Servers)
	check(err)
	repository, err := product.Open(g.t.Context(), g.cfg.Product, g.cfg.MirrorDir())
	check(err)
	journal, err := imager.NewFileJournal(filepath.Join(g.cfg.StateDir, "images"))
	check(err)
	d.parts = pipeline.Parts{
		Config: g.cfg, Ledger: book, Cloud: slots.Provider(), Slots: slots, Product: repository, Journal: journal, Log: log, Now: now, Settle: time.Millisecond, Room: g.room,
		Site: &environment.Site{Provider: slots.Provider(), Store: mortal{book, d}, Dialer: g.world.Dialer(), Clock: g.clock, Log: log, Records: g.cfg.RecordsDir, Timeouts: g.timeouts, Egress: g.egress(), Most: product.MostOf(g.cfg)},
		Verifier: verifier.Verifier{
			Probe: filepath.Join(g.dir, "probe"), Timeout: time.Minute, Now: g.clock.Now,
			Outside: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Host: g.world.Host(),
		},
		EnsureBase: func(context.Context, io.Writer) (cloud.Image, error) {
			if g.ensure != nil {
				if err := g.ensure(); err != nil {
					return cloud.Image{}, err
				}
			}
			return g.base, nil
		},
	}
	d.engine, err = start(context.WithoutCancel(g.t.Context()), d.parts, g.cfg.WorkflowFile())
	check(err)
	g.t.Cleanup(d.stop)
	return d
}

// around is every call of this process to the cloud. A process that was killed makes none.
func (d *daemon) around(ctx context.Context, call cloud.Call, do func(context.Context) error) error {
	d.mu.Lock()
	hook := d.hook
	d.mu.Unlock()
	if hook != nil {
		hook(ctx, d, call)
	}
	if err := d.dead(); err != nil {
		return err
	}
	return do(ctx)
}

// onCall sets what happens before every call to the cloud.
func (g *ground) onCall(hook func(context.Context, *daemon, cloud.Call)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hook = hook
}

// stop ends the process as SIGTERM does.
func (d *daemon) stop() {
	if d.over {
		return
	}
	d.over = true
	if err := d.engine.Stop(20 * time.Second); err != nil {
		d.t.Errorf("stop: %v", err)
	}
	d.close()
}

// end ends the process while others stay at a moment, and lets these go.
func (d *daemon) end(m *moment) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.stop()
	}()
	<-d.engine.Ending()
	close(m.over)
	<-done
}

// kill ends the process as SIGKILL does: from now on it reaches neither cloud nor the memory of
// environments, and what it does is not noted as done.
func (d *daemon) kill(m *moment) {
	close(d.killed)
	d.end(m)
}

// dead gives an error once the process was killed, and not before it has noticed.
func (d *daemon) dead() error {
	select {
	case <-d.killed:
		<-d.engine.Ending()
		return errKilled
	default:
		return nil
	}
}

// mortal is the memory of environments as long as its process lives.
type mortal struct {
	environment.Store
	d *daemon
}

var errKilled = errors.New("this process was killed")

func (m mortal) SaveEnvironment(ctx context.Context, e ledger.Environment) error {
	if err := m.d.dead(); err != nil {
		return err
	}
	return m.Store.SaveEnvironment(ctx, e)
}

func (m mortal) UpdateEnvironment(ctx context.Context, id string, change func(*ledger.Environment)) (ledger.Environment, error) {
	if err := m.d.dead(); err != nil {
		return ledger.Environment{}, err
	}
	return m.Store.UpdateEnvironment(ctx, id, change)
}

// moment is a point in a run at which everybody who comes there stays.
type moment struct {
	come, over chan struct{}
	once       sync.Once
}

func newMoment() *moment { return &moment{come: make(chan struct{}), over: make(chan struct{})} }

func (m *moment) stay() {
	m.once.Do(func() { close(m.come) })
	<-m.over
}

func (d *daemon) close() {
	if d.t.Failed() && testing.Verbose() {
		said, _ := os.ReadFile(d.log.Name())
		d.t.Logf("%s", said)
	}
	if err := errors.Join(d.parts.Ledger.Close(), d.log.Close()); err != nil {
		d.t.Errorf("close: %v", err)
	}
}

// start begins a nightly run.
func (d *daemon) start(r pipeline.Request) ledger.Run {
	d.t.Helper()
	if r.Kind == "" {
		r.Kind = pipeline.Nightly
	}
	r.Actor, r.Trigger = "ada", "hand"
	run, err := pipeline.Enqueue(d.t.Context(), d.parts, r)
	if err != nil {
		d.t.Fatal(err)
	}
	return run
}

// patience is how long a test waits for a run on a machine that is busy, and under the race detector. Nothing
// waits for it but a test that fails.
const patience = 8 * time.Minute

// await waits until a run is over and gives it.
func (d *daemon) await(id string) ledger.Run {
	d.t.Helper()
	var run ledger.Run
	d.until("run "+id+" to end", func() bool {
		var err error
		if run, err = d.parts.Ledger.Run(d.t.Context(), id); err != nil {
			d.t.Fatal(err)
		}
		return run.State == ledger.Finished || run.State == ledger.Cancelled
	})
	return run
}

// until waits for something that is sure to come.
func (d *daemon) until(what string, come func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(patience); !come(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			d.t.Fatalf("waited %v for %s\n%s", patience, what, d.tree())
		}
	}
}

// pass takes one nightly run through a daemon of its own.
func (g *ground) pass(r pipeline.Request) (*daemon, ledger.Run) {
	g.t.Helper()
	d := g.daemon()
	return d, d.await(d.start(r).ID)
}

// tree is what the ledger knows of all runs, for messages.
func (d *daemon) tree() string {
	var b strings.Builder
	ctx := context.WithoutCancel(d.t.Context())
	runs, _ := d.parts.Ledger.Runs(ctx, ledger.RunFilter{})
	for _, r := range runs {
		b.WriteString(r.ID + ": " + string(r.State) + " " + r.Verdict.String() + ": " + r.Reason + "\n")
		stages, _ := d.parts.Ledger.Stages(ctx, r.ID)
		for _, s := range stages {
			b.WriteString("  " + s.Path + ": " + s.State + " " + s.Verdict.String() + " " + s.Detail + "\n")
		}
		results, _ := d.parts.Ledger.Results(ctx, r.ID)
		for _, r := range results {
			if r.Outcome != ledger.Passed {
				b.WriteString("  " + strings.Join([]string{r.Scenario, r.Origin, r.Phase, r.Tier, r.Suite, r.Test, r.Server}, ", ") + ": " + string(r.Outcome) + " " + string(r.Cause) + " " + r.Message + "\n")
			}
		}
	}
	return b.String()
}

func (d *daemon) results(run ledger.Run) []ledger.Result {
	d.t.Helper()
	results, err := d.parts.Ledger.Results(d.t.Context(), run.ID)
	if err != nil {
		d.t.Fatal(err)
	}
	return results
}

func (d *daemon) channel(name string) ledger.Channel {
	d.t.Helper()
	c, err := d.parts.Ledger.Channel(d.t.Context(), name)
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

// nothingLeft checks that the cloud holds images only, and that the reaper finds nothing to do.
func (d *daemon) nothingLeft() {
	d.t.Helper()
	owned, err := d.sim.Owned(d.t.Context(), owner)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, r := range owned {
		if r.Kind != cloud.KindImage {
			d.t.Errorf("left over: %s %s of environment %s", r.Kind, r.Name, r.Tags.Environment)
		}
	}
	found, err := pipeline.Reap(d.t.Context(), d.parts, true)
	if err != nil || len(found) > 0 {
		d.t.Errorf("the reaper finds %v, %v", found, err)
	}
}

// told checks that the cloud tells what channels hold, and offers that, what a roll-back would go to, and
// nothing else.
func (d *daemon) told() {
	d.t.Helper()
	held, err := pipeline.WhatIsHeld(d.t.Context(), d.parts, "")
	if err != nil {
		d.t.Fatal(err)
	}
	images := map[cloud.ImageID]bool{}
	for _, h := range held {
		images[h.Image] = true
		before, err := d.parts.Ledger.PreviousSet(d.t.Context(), h.Channel)
		if err == nil {
			one, err := d.parts.Ledger.Image(d.t.Context(), before.Images[h.Role])
			if err != nil {
				d.t.Fatal(err)
			}
			images[cloud.ImageID(one.ProviderID)] = true
		} else if !errors.Is(err, ledger.ErrNotFound) {
			d.t.Fatal(err)
		}
		if h.Differs {
			d.t.Errorf("%s holds %s for %s, and %s is named", h.Channel, h.Image, h.Role, *h.Named)
		}
	}
	published, err := d.sim.Published(d.t.Context(), owner)
	if err != nil || len(published) != len(images) {
		d.t.Errorf("published: %v, %v, want %d images", published, err, len(images))
	}
}

// calls counts the calls to the cloud that succeeded.
func (g *ground) calls(verb cloud.Verb) int {
	n := 0
	for _, r := range g.sim.Records() {
		if r.Call.Verb == verb && r.Err == "" {
			n++
		}
	}
	return n
}

// prebuilt lists the images that were captured, by name.
func (g *ground) prebuilt() []string {
	g.t.Helper()
	images, err := g.sim.Images(g.t.Context(), cloud.Filter{Owner: owner})
	if err != nil {
		g.t.Fatal(err)
	}
	var names []string
	for _, i := range images {
		if i.Kind == cloud.Prebuilt {
			names = append(names, i.Name)
		}
	}
	slices.Sort(names)
	return names
}

// launched lists the servers that the cloud gave, one as often as it was asked for.
func (g *ground) launched() []cloud.ServerID {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.given)
}

// egress is the policy of the configuration, on a host without addresses of its own.
func (g *ground) egress() egress.Policy {
	p := g.cfg.EgressPolicy()
	p.Host = func() ([]net.Addr, error) { return nil, nil }
	return p
}
