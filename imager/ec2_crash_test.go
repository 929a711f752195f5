//go:build !race

// AWS' SDK takes minutes to compile once more for the race detector.

package imager_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/imager"
	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/machines"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/product"
)

// On EC2, in its laboratory: an image is built and an environment is launched from it and destroyed, and
// the process is killed after each request that changes something, one run for each of them. The next process
// goes on, and at the end there is one of everything, and then nothing but the image.
func TestKilledOnEC2(t *testing.T) {
	const least, most = 24, 120 // fewer and more changes than there are
	step := 1
	if testing.Short() { // a sample: all of them take half a minute
		step = 8
	}
	for name, spot := range map[string]bool{"on demand": false, "spot": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := 1; !t.Failed(); n += step {
				died := false
				t.Run(fmt.Sprintf("after change %d", n), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { died = newRegion(t, spot).survives(n) })
				})
				if !died {
					if n-step < least {
						t.Errorf("the last change was %d, there are more", n-step)
					}
					t.Logf("at most %d changes", n-1)
					break
				}
				if n > most {
					t.Fatalf("there are more than %d changes", most)
				}
			}
		})
	}
}

const (
	us       = "us"
	zones    = "eu-lab-1"
	vendor   = "136693071363"
	takesFor = 2 * time.Second
)

var errKilled = errors.New("this process was killed")

// region is what outlives a process: a laboratory with servers that have an inside, the memory of
// environments, the journal, and how far the work is, as durable steps would note it.
type region struct {
	*testing.T
	lab     *ec2lab.Lab
	api     *sdk.Client
	cfg     ec2.Config
	latest  *newest
	world   *environmenttest.World
	store   environmenttest.Store
	journal imager.FileJournal
	base    cloud.Image
	product *product.Product
	archive string
	start   time.Time

	image  ledger.Image
	up     bool
	killed int // which change the process is killed after

	mu     sync.Mutex
	change int
	dead   bool
}

// newest is the provider of the process that lives.
type newest struct{ cloud.Provider }

func newRegion(t *testing.T, spot bool) *region {
	r := &region{T: t, start: time.Now(), latest: &newest{}}
	host := machines.NewMemory("seed")
	var err error
	r.lab, err = ec2lab.New(t.Context(), ec2lab.Config{
		Host: host, Seeds: []ec2lab.Seed{{Name: "debian-12", Fingerprint: "seed", Owner: vendor}},
		Delays: ec2lab.Delays{Visible: 2 * time.Second, Launch: 8 * time.Second, Stop: 12 * time.Second, Image: 3 * time.Minute, Volume: 3 * time.Second},
	})
	must(t, err)
	t.Cleanup(func() {
		must(t, r.lab.Close(t.Context()))
		if m, v, i := host.Left(); m+v != 0 || i != 1 {
			t.Errorf("%d machines, %d volumes, %d images are left", m, v, i)
		}
	})
	who := credentials.NewStaticCredentialsProvider("AKIDLAB", "secret", "")
	r.api = sdk.New(sdk.Options{
		Region: zones, BaseEndpoint: aws.String("http://lab.invalid"), HTTPClient: &http.Client{Transport: r.lab.Direct()}, Credentials: who,
	})
	r.cfg = ec2.Config{
		Region: zones, Endpoint: "http://lab.invalid", HTTP: &http.Client{Transport: r}, Credentials: who,
		Subnets: []string{r.lab.Subnet(zones + "a"), r.lab.Subnet(zones + "b"), r.lab.Subnet(zones + "c")},
		Reach:   []netip.Prefix{netip.PrefixFrom(r.lab.Gateway(), 32)}, Types: []string{"t3.small"}, Spot: spot,
	}
	r.world = environmenttest.New(r.latest, clock.Machine{}, takesFor)
	r.world.Shell = (&environmenttest.Answers{}).Shell
	r.journal, err = imager.NewFileJournal(filepath.Join(t.TempDir(), "journal"))
	must(t, err)
	r.archive = filepath.Join(t.TempDir(), "code.tar.gz")
	must(t, os.WriteFile(r.archive, []byte("code"), 0o600))
	r.product = &product.Product{
		Version: 1, Name: "shop", Puppet: product.Puppet{Timeout: 5 * time.Minute},
		Roles: map[string]product.Role{"bastion": {Name: "bastion", Bastion: true}, "db": {Name: "db"}},
		Topology: []product.Group{
			{Role: "bastion", Count: 1}, {Role: "db", Count: 1, Volumes: []product.Volume{{Name: "data", SizeMiB: 64}}},
		},
	}
	return r
}

// RoundTrip hands a request to the laboratory and kills the process when its time has come: EC2 has done
// it, and nobody heard. A process that is dead asks for nothing.
func (r *region) RoundTrip(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	dead := r.dead
	r.mu.Unlock()
	if dead {
		return nil, errKilled
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	req = req.Clone(req.Context())
	req.Body = io.NopCloser(bytes.NewReader(body))
	answer, err := r.lab.Direct().RoundTrip(req)
	if action := form.Get("Action"); err != nil || strings.HasPrefix(action, "Describe") || strings.HasPrefix(action, "Get") {
		return answer, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.change++; r.change == r.killed {
		r.dead = true
		return nil, errKilled
	}
	return answer, nil
}

// alive is around everything that a process does beside its requests.
func (r *region) alive(ctx context.Context, _ cloud.Call, do func(context.Context) error) error {
	r.mu.Lock()
	dead := r.dead
	r.mu.Unlock()
	if dead {
		return errKilled
	}
	return do(ctx)
}

// process is one process that goes on with the work where the one before has left it.
func (r *region) process() error {
	p, err := ec2.New(r.Context(), r.cfg)
	if err != nil {
		return err
	}
	r.latest.Provider = p
	ctx, end := context.WithCancel(r.Context())
	defer end()
	site := &environment.Site{
		Provider: cloud.Intercept(r.world.Provider(), r.alive), Store: mortal{&r.store, r}, Dialer: r.world.Dialer(), Clock: clock.Machine{},
		Log: slog.New(slog.DiscardHandler),
	}
	if r.base, err = p.ResolveBase(ctx, cloud.BaseSpec{Name: vendor + "/debian-12"}); err != nil {
		return err
	}
	if r.image.ID == "" {
		built, err := imager.Build(ctx, imager.Spec{
			Product: r.product, Commit: "c0ffee", Archive: r.archive, Role: "db", Base: r.base, Run: "run-1", Owner: us, Branch: "main",
			Deadline: r.start.Add(8 * time.Hour),
		}, imager.Deps{Provider: site.Provider, ProviderName: "ec2", Benches: imager.OnSite(site), Journal: mortalJournal{r.journal, r}, Clock: clock.Machine{}})
		if err != nil {
			return err
		}
		if err := r.alive(ctx, cloud.Call{}, func(context.Context) error { r.image = built.Image; return nil }); err != nil {
			return err
		}
	}
	id := cloud.ImageID(r.image.ProviderID)
	env, err := site.Plan(ctx, environment.Spec{
		ID: environment.ID("run-1", "verify"), Owner: us, Run: "run-1", Name: "verify", Product: r.product, Commit: "c0ffee", Archive: r.archive,
		Origin: environment.Prebuilt, Images: map[string]cloud.ImageID{"bastion": id, "db": id}, Deadline: r.start.Add(8 * time.Hour), Lease: r.start.Add(7 * time.Hour),
	})
	if err != nil {
		return err
	}
	defer env.Close()
	if !r.up {
		if err := environment.Do(ctx, env.Up()); err != nil {
			return err
		}
		r.up = true
		r.holds("an environment and its image", held{instances: 2, volumes: 3, interfaces: 2, groups: 2, images: 1, snapshots: 1})
	}
	return env.Destroy(ctx)
}

// survives reports whether the process was killed on its way.
func (r *region) survives(change int) bool {
	r.killed = change
	err := r.process()
	died := r.dead
	if died {
		r.dead = false
		err = r.process()
	}
	if err != nil {
		r.Fatal(err)
	}
	time.Sleep(10 * time.Minute) // the bubble's: whatever comes late has come
	r.holds("the image", held{images: 1, snapshots: 1})
	r.killed = 0
	must(r, r.latest.DeleteImage(r.Context(), cloud.ImageID(r.image.ProviderID)))
	return died
}

// held is what a region holds beside its default group.
type held struct{ instances, requests, volumes, interfaces, groups, images, snapshots int }

// holds asks the API, and not by tags.
func (r *region) holds(what string, want held) {
	r.Helper()
	living := []types.Filter{{Name: aws.String("instance-state-name"), Values: []string{"pending", "running", "stopping", "stopped", "shutting-down"}}}
	instances, err := r.api.DescribeInstances(r.Context(), &sdk.DescribeInstancesInput{Filters: living})
	must(r, err)
	open := []types.Filter{{Name: aws.String("state"), Values: []string{"open", "active", "disabled"}}}
	requests, err := r.api.DescribeSpotInstanceRequests(r.Context(), &sdk.DescribeSpotInstanceRequestsInput{Filters: open})
	must(r, err)
	volumes, err := r.api.DescribeVolumes(r.Context(), &sdk.DescribeVolumesInput{})
	must(r, err)
	nics, err := r.api.DescribeNetworkInterfaces(r.Context(), &sdk.DescribeNetworkInterfacesInput{})
	must(r, err)
	groups, err := r.api.DescribeSecurityGroups(r.Context(), &sdk.DescribeSecurityGroupsInput{})
	must(r, err)
	images, err := r.api.DescribeImages(r.Context(), &sdk.DescribeImagesInput{Owners: []string{"self"}})
	must(r, err)
	snapshots, err := r.api.DescribeSnapshots(r.Context(), &sdk.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	must(r, err)
	if r.cfg.Spot {
		want.requests = want.instances
	}
	got := held{
		len(instances.Reservations), len(requests.SpotInstanceRequests), len(volumes.Volumes), len(nics.NetworkInterfaces),
		len(groups.SecurityGroups) - 1, len(images.Images), len(snapshots.Snapshots),
	}
	if got != want {
		r.Errorf("killed after change %d: there should be %s, %+v; there is %+v", r.killed, what, want, got)
	}
}

// mortal is the memory of environments as long as its process lives.
type mortal struct {
	environment.Store
	r *region
}

func (m mortal) SaveEnvironment(ctx context.Context, e ledger.Environment) error {
	return m.r.alive(ctx, cloud.Call{}, func(ctx context.Context) error { return m.Store.SaveEnvironment(ctx, e) })
}

func (m mortal) UpdateEnvironment(ctx context.Context, id string, change func(*ledger.Environment)) (got ledger.Environment, err error) {
	err = m.r.alive(ctx, cloud.Call{}, func(ctx context.Context) (err error) {
		got, err = m.Store.UpdateEnvironment(ctx, id, change)
		return err
	})
	return got, err
}

type mortalJournal struct {
	imager.FileJournal
	r *region
}

func (m mortalJournal) Save(ctx context.Context, bench string, e imager.Entry) error {
	return m.r.alive(ctx, cloud.Call{}, func(ctx context.Context) error { return m.FileJournal.Save(ctx, bench, e) })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
