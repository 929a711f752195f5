//go:build !race

// AWS' SDK takes minutes to compile once more for the race detector.

package pipeline_test

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/machines"
	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

const (
	labRegion = "eu-lab-1"
	labVendor = "136693071363"
)

// region is a ground on EC2: its laboratory, whose servers have the World's inside.
type region struct {
	*ground
	lab *ec2lab.Lab
	api *sdk.Client
}

// newRegion makes one without a live release branch.
func newRegion(t *testing.T, spot bool) *region {
	t.Helper()
	g := emptyGround(t)
	lab, err := ec2lab.New(t.Context(), ec2lab.Config{
		Host: machines.NewMemory("seed"), Seeds: []ec2lab.Seed{{Name: "debian-12", Fingerprint: "seed", Owner: labVendor}}, Clock: g.clock,
		Delays: ec2lab.Delays{
			Visible: 2 * time.Second, Launch: 8 * time.Second, Stop: 12 * time.Second, Image: time.Minute, Copy: time.Minute, Volume: 3 * time.Second,
			Forget: 100 * time.Hour, Validate: 2 * time.Second,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	r := &region{ground: g, lab: lab}
	who, client := credentials.NewStaticCredentialsProvider("AKIDLAB", "secret", ""), &http.Client{Transport: lab.Direct()}
	r.api = sdk.New(sdk.Options{Region: labRegion, BaseEndpoint: aws.String("http://lab.invalid"), HTTPClient: client, Credentials: who})
	p, err := ec2.New(t.Context(), ec2.Config{
		Region: labRegion, Endpoint: "http://lab.invalid", HTTP: client, Credentials: who,
		Poll: time.Second / haste, Health: 30 * time.Second / haste, // by the machine's clock, as the SDK's own pauses
		Subnets: []string{lab.Subnet(labRegion + "a"), lab.Subnet(labRegion + "b"), lab.Subnet(labRegion + "c")},
		Reach:   []netip.Prefix{netip.PrefixFrom(lab.Gateway(), 32)}, Types: []string{"t3.small", "m7i.large"}, Spot: spot,
	})
	if err != nil {
		t.Fatal(err)
	}
	g.over(p)
	if g.base, err = p.ResolveBase(t.Context(), cloud.BaseSpec{Name: labVendor + "/debian-12"}); err != nil {
		t.Fatal(err)
	}
	g.cfg.Provider.Kind = "ec2"
	g.cfg.Product.Retired, g.cfg.Upgrade = []string{"release/1.0"}, config.UpgradeNoneYet
	g.timeouts.Boot = 20 * time.Minute // the clock is hurried, the machine is not
	return r
}

func (r *region) script(f ec2lab.Fault) {
	if err := r.lab.Script(f); err != nil {
		r.t.Error(err)
	}
}

// onServer scripts a fault of an instance when a server is asked a question, at most so many times.
func (r *region) onServer(server, question string, times int, f ec2lab.Fault) {
	var mu sync.Mutex
	hit := map[cloud.ServerID]bool{}
	r.answers.Before = func(s environmenttest.Server, q string) {
		mu.Lock()
		defer mu.Unlock()
		if s.Name != server || q != question || hit[s.ID] || len(hit) == times {
			return
		}
		hit[s.ID] = true
		f.Instance = string(s.ID)
		r.script(f)
		if f.Kind == ec2lab.Impaired || f.Kind == ec2lab.Maintenance {
			_ = r.clock.Sleep(r.t.Context(), time.Minute) // EC2 takes as long to notice, and the provider to look
		}
	}
}

// endOnce terminates a server, by another hand, when it is asked a question for the first time.
func (r *region) endOnce(server, question string) {
	var once sync.Once
	r.answers.Before = func(s environmenttest.Server, q string) {
		if s.Name != server || q != question {
			return
		}
		once.Do(func() {
			_, err := r.api.TerminateInstances(r.t.Context(), &sdk.TerminateInstancesInput{InstanceIds: []string{string(s.ID)}})
			if err != nil {
				r.t.Error(err)
			}
			_ = r.clock.Sleep(r.t.Context(), time.Minute) // its request looks for capacity
		})
	}
}

// trouble is a row: what goes wrong, and what has to come of it.
type trouble struct {
	name  string
	spot  bool
	begin []ec2lab.Fault     // scripted before the run
	at    func(*region)      // makes something go wrong during the run; may be nil
	kinds []ec2lab.FaultKind // of at
	want  verdict.Verdict
	told  []string // what is said of it, in the results or the run's reason
}

// scripted are the kinds of all faults of a row.
func (row trouble) scripted() []ec2lab.FaultKind {
	kinds := slices.Clone(row.kinds)
	for _, f := range row.begin {
		kinds = append(kinds, f.Kind)
	}
	return kinds
}

// always is a fault that does not end.
const always = -1

func troubles() []trouble {
	onServer := func(server, question string, times int, f ec2lab.Fault) func(*region) {
		return func(r *region) { r.onServer(server, question, times, f) }
	}
	const tests, baking = "validate build/web", "packages"
	spot := ec2lab.Fault{Kind: ec2lab.Spot, For: time.Second}
	return []trouble{
		{name: "throttled for a moment", at: onServer("bench", baking, 1, ec2lab.Fault{Kind: ec2lab.Throttle, Times: 4}),
			kinds: []ec2lab.FaultKind{ec2lab.Throttle}, want: verdict.Passed},
		{name: "a quota is reached once", begin: []ec2lab.Fault{{Kind: ec2lab.Refuse, Action: "RunInstances", Code: "VcpuLimitExceeded", Message: "You have requested more vCPU capacity than your limit"}},
			want: verdict.Passed, told: []string{"cloud.capacity", "launch bench", "VcpuLimitExceeded"}},
		{name: "launches are forbidden", begin: []ec2lab.Fault{{Kind: ec2lab.Refuse, Action: "RunInstances", Code: "UnauthorizedOperation", Message: "You are not authorized", Times: always}},
			want: verdict.Inconclusive, told: []string{"cloud.refused", "launch bench", "ec2:RunInstances", "UnauthorizedOperation"}},
		{name: "images are forbidden", begin: []ec2lab.Fault{{Kind: ec2lab.Refuse, Action: "CreateImage", Code: "UnauthorizedOperation", Message: "You are not authorized", Times: always}},
			want: verdict.Inconclusive, told: []string{"cloud.refused", "capture", "ec2:CreateImage"}},
		{name: "attaching is refused once", begin: []ec2lab.Fault{{Kind: ec2lab.Refuse, Action: "AttachVolume", Code: "InvalidParameterValue", Message: "no"}},
			want: verdict.Passed, told: []string{"cloud.refused", "launch db-1", "ec2:AttachVolume"}},
		{name: "terminating is refused once", begin: []ec2lab.Fault{{Kind: ec2lab.Refuse, Action: "TerminateInstances", Code: "UnsupportedOperation", Message: "no"}}, want: verdict.Passed},
		{name: "a zone and a type are full", begin: []ec2lab.Fault{{Kind: ec2lab.Capacity, Type: "t3.small", Times: 9}}, want: verdict.Passed},
		{name: "everything is full", begin: []ec2lab.Fault{{Kind: ec2lab.Capacity, Times: always}},
			want: verdict.Inconclusive, told: []string{"cloud.capacity", "launch bench", "InsufficientInstanceCapacity", "eu-lab-1b"}},
		{name: "a launch fails later", begin: []ec2lab.Fault{{Kind: ec2lab.LaunchFails, Code: "Server.InternalError", Message: "Internal error on launch"}},
			want: verdict.Passed, told: []string{"cloud.lost", "Internal error on launch"}},
		{name: "all launches fail later", begin: []ec2lab.Fault{{Kind: ec2lab.LaunchFails, Code: "Client.InvalidKMSKey.InvalidState", Message: "the key is disabled", Times: always}},
			want: verdict.Inconclusive, told: []string{"cloud.lost", "the key is disabled"}},
		{name: "a spot launch fails later", spot: true, begin: []ec2lab.Fault{{Kind: ec2lab.LaunchFails, Message: "Internal error on launch"}},
			want: verdict.Passed, told: []string{"cloud.lost", "Internal error on launch"}},
		{name: "ended by a person while tested, and there is no more capacity", spot: true, begin: []ec2lab.Fault{{Kind: ec2lab.NoSpot, Times: always}},
			at: func(r *region) { r.endOnce("web-1", tests) }, want: verdict.Passed, told: []string{"web-1"}},
		{name: "an image fails", begin: []ec2lab.Fault{{Kind: ec2lab.ImageFails, Code: "Server.InternalError", Message: "the snapshot failed"}},
			want: verdict.Passed, told: []string{"cloud.down", "capture", "the snapshot failed"}},
		{name: "images of a role fail", begin: []ec2lab.Fault{{Kind: ec2lab.ImageFails, Name: "*-web", Code: "Client.InvalidState", Message: "the snapshot failed", Times: always}},
			want: verdict.Inconclusive, told: []string{"cloud.refused", "capture", "the snapshot failed"}},
		{name: "images are slow", begin: []ec2lab.Fault{{Kind: ec2lab.ImageSlow, For: 20 * time.Minute, Times: always}}, want: verdict.Passed},
		{name: "instances are hidden", begin: []ec2lab.Fault{{Kind: ec2lab.Hidden, For: 40 * time.Second, Times: always}}, want: verdict.Passed},
		{name: "the API is down for a while", at: onServer("bench", baking, 1, ec2lab.Fault{Kind: ec2lab.Down, For: time.Minute}),
			kinds: []ec2lab.FaultKind{ec2lab.Down}, want: verdict.Passed},
		{name: "the API hangs up for a while", at: onServer("web-1", tests, 1, ec2lab.Fault{Kind: ec2lab.HangUp, For: time.Minute}),
			kinds: []ec2lab.FaultKind{ec2lab.HangUp}, want: verdict.Passed},
		{name: "interrupted while tested", spot: true, at: onServer("web-1", tests, 1, spot), kinds: []ec2lab.FaultKind{ec2lab.Spot},
			want: verdict.Passed, told: []string{"web-1"}},
		{name: "interrupted while baked", spot: true, at: onServer("bench", baking, 1, spot), kinds: []ec2lab.FaultKind{ec2lab.Spot}, want: verdict.Passed},
		{name: "interrupted always", spot: true, at: onServer("web-1", tests, 1000, spot), kinds: []ec2lab.FaultKind{ec2lab.Spot},
			want: verdict.Inconclusive, told: []string{"web-1"}},
		{name: "maintenance is announced", at: onServer("web-1", tests, 1, ec2lab.Fault{Kind: ec2lab.Maintenance, Code: "instance-retirement", For: time.Hour}),
			kinds: []ec2lab.FaultKind{ec2lab.Maintenance}, want: verdict.Passed, told: []string{"web-1"}},
		{name: "the host is impaired", at: onServer("web-1", tests, 1, ec2lab.Fault{Kind: ec2lab.Impaired}), kinds: []ec2lab.FaultKind{ec2lab.Impaired},
			want: verdict.Passed, told: []string{"web-1"}},
		{name: "the host of a bench is impaired", at: onServer("bench", baking, 1, ec2lab.Fault{Kind: ec2lab.Impaired}),
			kinds: []ec2lab.FaultKind{ec2lab.Impaired}, want: verdict.Passed},
		{name: "launches throttled", begin: []ec2lab.Fault{{Kind: ec2lab.Throttle, Action: "RunInstances", Times: always}},
			at:   func(r *region) { r.cfg.Limits.Attempts = 1 }, // the SDK's pauses are real
			want: verdict.Inconclusive, told: []string{"cloud.throttled", "launch bench"}},
	}
}

// Whatever goes wrong with EC2, a run recovers or says which call was refused and how; the product is never
// to blame, and nothing is left over.
func TestTroubleWithEC2(t *testing.T) {
	t.Parallel()
	rows := troubles()
	if testing.Short() { // a sample: all of them take a minute
		rows = rows[:4]
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newRegion(t, row.spot)
			for _, f := range row.begin {
				r.script(f)
			}
			if row.at != nil {
				row.at(r)
			}
			d, run := r.pass(pipeline.Request{})
			if run.State != ledger.Finished || run.Verdict != row.want {
				t.Errorf("run is %s, %s, want %s: %s", run.State, run.Verdict, row.want, run.Reason)
			}
			for _, kind := range row.scripted() {
				if r.lab.Struck(kind) == 0 {
					t.Errorf("%s never came about", kind)
				}
			}
			said := run.Reason
			for _, result := range d.results(run) {
				switch result.Outcome {
				case ledger.Passed:
				case ledger.Inconclusive:
					said += "\n" + string(result.Cause) + " " + result.Lines + " " + result.Message
					if result.Cause == verdict.None {
						t.Errorf("without a cause: %+v", result)
					}
				default:
					t.Errorf("a result that is neither passed nor inconclusive: %+v", result)
				}
			}
			for _, word := range row.told {
				if !strings.Contains(said, word) {
					t.Errorf("nothing tells of %q: %s", word, said)
				}
			}
			if row.want == verdict.Passed && d.channel("development").Set != run.Set || row.want == verdict.Inconclusive && run.Reason == "" {
				t.Errorf("development is at %+v: %s", d.channel("development"), run.Reason)
			}
			if row.want != verdict.Passed {
				d.unmoved()
			}
			r.emptied(d)
			if t.Failed() {
				t.Log(d.tree())
			}
		})
	}
}

// Every kind of fault that the laboratory can script is in some row, but those of load balancers, which no
// server of a run is behind.
func TestAllTroubleIsThere(t *testing.T) {
	t.Parallel()
	var tried []ec2lab.FaultKind
	for _, row := range troubles() {
		tried = append(tried, row.scripted()...)
	}
	for _, kind := range ec2lab.FaultKinds() {
		if kind != ec2lab.Unhealthy && !slices.Contains(tried, kind) {
			t.Errorf("nobody tries %s", kind)
		}
	}
}

// emptied lets the reaper pass and asks the API, and not by tags, what is left: images that the ledger
// knows.
func (r *region) emptied(d *daemon) {
	r.t.Helper()
	if _, err := pipeline.Reap(r.t.Context(), d.parts, false); err != nil {
		r.t.Errorf("reap: %v", err)
	}
	_ = r.clock.Sleep(r.t.Context(), 5*time.Minute) // what comes late has come
	if found, err := pipeline.Reap(r.t.Context(), d.parts, true); err != nil || len(found) > 0 {
		r.t.Errorf("the reaper finds %v again, %v", found, err)
	}
	ctx := r.t.Context()
	check := func(err error) {
		if err != nil {
			r.t.Helper()
			r.t.Fatal(err)
		}
	}
	instances, err := r.api.DescribeInstances(ctx, &sdk.DescribeInstancesInput{Filters: []types.Filter{{
		Name: aws.String("instance-state-name"), Values: []string{"pending", "running", "stopping", "stopped", "shutting-down"},
	}}})
	check(err)
	requests, err := r.api.DescribeSpotInstanceRequests(ctx, &sdk.DescribeSpotInstanceRequestsInput{Filters: []types.Filter{{
		Name: aws.String("state"), Values: []string{"open", "active", "disabled"},
	}}})
	check(err)
	volumes, err := r.api.DescribeVolumes(ctx, &sdk.DescribeVolumesInput{})
	check(err)
	nics, err := r.api.DescribeNetworkInterfaces(ctx, &sdk.DescribeNetworkInterfacesInput{})
	check(err)
	groups, err := r.api.DescribeSecurityGroups(ctx, &sdk.DescribeSecurityGroupsInput{})
	check(err)
	images, err := r.api.DescribeImages(ctx, &sdk.DescribeImagesInput{Owners: []string{"self"}})
	check(err)
	snapshots, err := r.api.DescribeSnapshots(ctx, &sdk.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	check(err)
	known, err := d.parts.Ledger.Images(ctx, ledger.ImageFilter{})
	check(err)
	for what, n := range map[string]int{
		"instances": len(instances.Reservations), "spot requests": len(requests.SpotInstanceRequests), "volumes": len(volumes.Volumes),
		"interfaces": len(nics.NetworkInterfaces), "groups": len(groups.SecurityGroups) - 1,
		"images that the ledger does not know": len(images.Images) - len(known), "snapshots without an image": len(snapshots.Snapshots) - len(images.Images),
	} {
		if n != 0 {
			r.t.Errorf("left over: %d %s", n, what)
		}
	}
}
