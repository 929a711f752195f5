package imager

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
	"github.com/hallmark-ci/hallmark/internal/cloud/sim"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

const owner = "imager-test"

// secretOfBench is what every bench has as a secret.
const secretOfBench = "s3cret-of-the-bench"

// world is what outlives a process: the cloud, the memory of benches, the journal.
type world struct {
	cloud   *sim.Cloud
	clock   *clock.Manual
	disk    fstest.MapFS // of every stopped server
	base    cloud.Image
	journal FileJournal

	mu      sync.Mutex
	benches map[string]*benchState

	// What happens on servers.
	provisionErr error  // Provision ends with it
	sealExit     int    // of the seal script
	sealSays     string // its output
	told         []string
}

type benchState struct {
	network   cloud.NetworkID
	server    cloud.ServerID
	destroyed bool
	converged bool
	sealed    bool // nobody gets in any more
}

func newWorld(t *testing.T) *world {
	t.Helper()
	hand := clock.NewManual(time.Date(2026, 11, 23, 22, 0, 0, 0, time.UTC))
	disk := fstest.MapFS{"etc/hostname": {Data: []byte("localhost\n")}, "etc/machine-id": {}}
	w := &world{clock: hand, disk: disk, cloud: sim.New(sim.Options{Clock: hand, Boot: time.Second, Shutdown: time.Second, Disk: disk}), benches: map[string]*benchState{}}
	var err error
	if w.base, err = w.cloud.AddBase(t.Context(), cloud.ImageSpec{Name: "debian-12", Tags: cloud.Tags{Owner: owner}, Properties: map[string]string{cloud.PropertyRecipe: "r1"}}); err != nil {
		t.Fatal(err)
	}
	if w.journal, err = NewFileJournal(filepath.Join(t.TempDir(), "journal")); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) spec() Spec {
	return Spec{
		Product: &product.Product{Roles: map[string]product.Role{"web": {Name: "web"}}},
		Commit:  "c0ffee", Archive: "/nowhere/code.tar", Role: "web", Base: w.base, Run: "run-1", Owner: owner, Branch: "main",
		Deadline: w.clock.Now().Add(time.Hour),
	}
}

// deps are those of one process. around, if not nil, is about everything that it does to the world.
func (w *world) deps(around cloud.Around) Deps {
	if around == nil {
		around = func(ctx context.Context, _ cloud.Call, do func(context.Context) error) error { return do(ctx) }
	}
	provider := cloud.Intercept(w.cloud, around)
	return Deps{
		Provider: provider, ProviderName: "sim", Clock: w.clock,
		Journal: guardedJournal{w.journal, around},
		Benches: func(_ context.Context, spec environment.BenchSpec) (Bench, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			state := w.benches[spec.ID]
			if state == nil {
				state = &benchState{}
				w.benches[spec.ID] = state
			}
			if state.destroyed {
				return nil, environment.ErrDestroyed
			}
			return &fakeBench{w: w, spec: spec, state: state, provider: provider, around: around}, nil
		},
	}
}

// left are the resources that nobody should find after a build: all but images.
func (w *world) left(t *testing.T) []cloud.Resource {
	t.Helper()
	owned, err := w.cloud.Owned(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	var left []cloud.Resource
	for _, r := range owned {
		if r.Kind != cloud.KindImage {
			left = append(left, r)
		}
	}
	return left
}

func (w *world) prebuilt(t *testing.T) []cloud.Image {
	t.Helper()
	images, err := w.cloud.Images(t.Context(), cloud.Filter{Owner: owner})
	if err != nil {
		t.Fatal(err)
	}
	var prebuilt []cloud.Image
	for _, i := range images {
		if i.Kind == cloud.Prebuilt {
			prebuilt = append(prebuilt, i)
		}
	}
	return prebuilt
}

type guardedJournal struct {
	FileJournal
	around cloud.Around
}

func (j guardedJournal) Save(ctx context.Context, bench string, e Entry) error {
	return j.around(ctx, cloud.Call{Verb: "journal"}, func(ctx context.Context) error { return j.FileJournal.Save(ctx, bench, e) })
}

// fakeBench is a bench whose server is simulated; what its server knows is in benchState.
type fakeBench struct {
	w        *world
	spec     environment.BenchSpec
	state    *benchState
	provider cloud.Provider
	around   cloud.Around
}

func (b *fakeBench) tags() cloud.Tags {
	return cloud.Tags{Owner: b.spec.Owner, Run: b.spec.Run, Environment: b.spec.ID, Deadline: b.spec.Deadline}
}

func (b *fakeBench) Up() []environment.Step {
	return []environment.Step{
		{Name: "network", Do: func(ctx context.Context) error {
			n, err := b.provider.CreateNetwork(ctx, cloud.NetworkSpec{Name: b.spec.ID, Tags: b.tags()})
			b.state.network = n.ID
			return err
		}},
		{Name: "launch bench", Do: func(ctx context.Context) error {
			n, err := b.provider.CreateNetwork(ctx, cloud.NetworkSpec{Name: b.spec.ID, Tags: b.tags()})
			if err != nil {
				return err
			}
			s, err := b.provider.Launch(ctx, cloud.ServerSpec{
				Name: environment.BenchServer, Network: n.ID, Image: b.spec.Base, Token: b.spec.ID, Tags: b.tags(),
				Address: nth(n.Prefix, 10),
			})
			if err != nil {
				return err
			}
			b.state.server = s.ID
			b.w.clock.Advance(2 * time.Second)
			return nil
		}},
	}
}

func nth(p netip.Prefix, n int) netip.Addr {
	a := p.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return a
}

func (b *fakeBench) Provision() []environment.Step {
	return []environment.Step{{Name: "provision bench", Do: func(ctx context.Context) error {
		return b.around(ctx, cloud.Call{Verb: "provision"}, func(context.Context) error {
			if b.w.provisionErr != nil {
				return b.w.provisionErr
			}
			b.state.converged = true
			return nil
		})
	}}}
}

func (b *fakeBench) Session(context.Context) (remote.Session, error) {
	if b.state.sealed {
		return nil, verdict.Errorf(verdict.ServerLogin, environment.BenchServer, "no such user")
	}
	return &fakeSession{b}, nil
}

func (b *fakeBench) Server() cloud.ServerID { return b.state.server }

func (b *fakeBench) Secrets() []string { return []string{secretOfBench} }

func (b *fakeBench) Report() (puppet.Report, bool) {
	return puppet.Report{Status: "changed", Slowest: []puppet.Resource{{Title: "Package[nginx]", Took: time.Second}}}, b.state.converged
}

func (b *fakeBench) Audit(context.Context) verdict.Audit {
	return verdict.Audit{Done: true, AllRunning: true, ExpectedBoots: true, PackageSources: true}
}

func (b *fakeBench) Stop(ctx context.Context) error {
	if err := b.provider.Stop(ctx, b.state.server, false); err != nil {
		return err
	}
	b.w.clock.Advance(2 * time.Second)
	return nil
}

func (b *fakeBench) Destroy(ctx context.Context) error {
	if b.state.server != "" {
		if err := b.provider.Destroy(ctx, b.state.server); err != nil {
			return err
		}
	}
	// As the real one: what is there is found by tag, whether or not it was recorded.
	servers, err := b.provider.Servers(ctx, cloud.Filter{Owner: b.spec.Owner, Environment: b.spec.ID})
	if err != nil {
		return err
	}
	for _, s := range servers {
		if err := b.provider.Destroy(ctx, s.ID); err != nil {
			return err
		}
	}
	owned, err := b.provider.Owned(ctx, b.spec.Owner)
	if err != nil {
		return err
	}
	for _, r := range owned {
		if r.Tags.Environment == b.spec.ID {
			if err := b.provider.Delete(ctx, r); err != nil {
				return err
			}
		}
	}
	b.state.destroyed = true
	return nil
}

// fakeSession answers what the imager asks of a server.
type fakeSession struct{ b *fakeBench }

func (s *fakeSession) Run(ctx context.Context, cmd remote.Command) (result remote.Result, err error) {
	var stdin []byte
	if cmd.Stdin != nil {
		if stdin, err = io.ReadAll(cmd.Stdin); err != nil {
			return result, err
		}
	}
	err = s.b.around(ctx, cloud.Call{Verb: "run"}, func(context.Context) error {
		s.b.w.told = append(s.b.w.told, cmd.Line)
		switch {
		case strings.HasPrefix(cmd.Line, "dpkg-query"):
			result.Stdout = []byte("installed nginx 1.22.1-9\nconfig-files old 1\ninstalled puppet-agent 7.23\n")
		case strings.HasPrefix(cmd.Line, "exec bash"):
			if !bytes.Contains(stdin, []byte(puppet.SealScript())) {
				return errors.New("this is not the seal script")
			}
			s.b.state.sealed = true
			result.Exit, result.Stdout = s.b.w.sealExit, []byte(s.b.w.sealSays)
		case strings.HasPrefix(cmd.Line, "tail"):
			result.Stdout = []byte("Error: it broke\n")
		}
		return nil
	})
	return result, err
}

func (s *fakeSession) Put(context.Context, string, io.Reader, uint32, bool) error { return nil }
func (s *fakeSession) Close() error                                               { return nil }

// localSession is this machine's own shell.
type localSession struct{}

func (localSession) Run(ctx context.Context, c remote.Command) (remote.Result, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "bash", "-c", c.Line)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, &stdout, &stderr
	if c.Output != nil {
		cmd.Stdout = io.MultiWriter(&stdout, c.Output)
	}
	err := cmd.Run()
	result := remote.Result{Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		result.Exit = exit.ExitCode()
		return result, nil
	}
	return result, err
}

func (localSession) Put(_ context.Context, path string, content io.Reader, mode uint32, _ bool) error {
	body, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	return os.WriteFile(path, body, os.FileMode(mode))
}

func (localSession) Close() error { return nil }
