package ec2_test

import (
	"cmp"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"go.uber.org/goleak"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/machines"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if code == 0 && !policyWasNeeded() {
			code = 1
		}
		os.Exit(code)
	}))
}

const (
	region    = "eu-lab-1"
	elsewhere = "us-lab-2"
	seedPrint = "seed-fingerprint"
	seedOwner = "136693071363"
	baseName  = seedOwner + "/debian-12-*"

	baseParameter = "/aws/service/debian/12/amd64"
)

// apis are the services beside EC2 by the version of their API.
var apis = map[string]string{"2011-06-15": "sts", "2011-01-01": "autoscaling", "2015-12-01": "elasticloadbalancing"}

// wire hands requests to the laboratory's handler and remembers them. In a bubble of its own time no
// network may be waited for.
type wire struct {
	handler http.Handler
	before  func(request) (*http.Response, error) // may answer instead of the laboratory
	after   func(request) error                   // may lose the answer
	page    string                                // how much fits on a page; "": as much as is asked for

	mu   sync.Mutex
	seen []request
}

// request is one that was sent, with its form if it is of EC2's kind.
type request struct {
	action string
	form   url.Values
}

func (w *wire) RoundTrip(req *http.Request) (answer *http.Response, err error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	defer func() {
		if recover() != nil { // http.ErrAbortHandler
			answer, err = nil, io.ErrUnexpectedEOF
		}
	}()
	body := []byte{}
	if req.Body != nil {
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
	}
	r := request{}
	if target := req.Header.Get("X-Amz-Target"); target != "" {
		r.action = "ssm:" + strings.TrimPrefix(target, "AmazonSSM.")
	} else {
		if r.form, err = url.ParseQuery(string(body)); err != nil {
			return nil, err
		}
		r.action = cmp.Or(apis[r.form.Get("Version")], "ec2") + ":" + r.form.Get("Action")
		body = w.translated(r)
	}
	w.mu.Lock()
	w.seen = append(w.seen, r)
	w.mu.Unlock()
	if w.before != nil {
		if answer, err := w.before(r); answer != nil || err != nil {
			return answer, err
		}
	}
	req = req.Clone(req.Context())
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(string(body))), int64(len(body))
	recorder := httptest.NewRecorder()
	w.handler.ServeHTTP(recorder, req)
	w.mu.Lock()
	after := w.after
	w.mu.Unlock()
	if after != nil {
		if err := after(r); err != nil {
			return nil, err
		}
	}
	return recorder.Result(), nil
}

// translated gives a request with the pages that a test wants.
func (w *wire) translated(r request) []byte {
	form := maps.Clone(r.form)
	if w.page != "" && form.Has("MaxResults") {
		form.Set("MaxResults", w.page)
	}
	return []byte(form.Encode())
}

// count is how often an action was asked for since the last forget.
func (w *wire) count(action string) int { return len(w.all(action)) }

func (w *wire) all(action string) []request {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []request
	for _, r := range w.seen {
		if r.action == action {
			list = append(list, r)
		}
	}
	return list
}

// tally counts requests by action, and all of them.
func (w *wire) tally() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := map[string]int{"all": len(w.seen)}
	for _, r := range w.seen {
		n[r.action]++
	}
	return n
}

func (w *wire) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = nil
}

// bench is a provider over a laboratory that only remembers.
type bench struct {
	*testing.T
	lab  *ec2lab.Lab
	wire *wire
	cfg  ec2.Config
	p    *ec2.Provider
	api  *sdk.Client // somebody else's
}

var start = cloud.Tags{Owner: "test", Run: "run-1", Environment: "env-1"}

// newBench starts a laboratory, and a provider on it.
func newBench(t *testing.T, lab ec2lab.Config, change func(*ec2.Config)) *bench {
	t.Helper()
	return newBenchOf(t, start.Owner, lab, change)
}

// newBenchOf starts one whose provider has the rights that docs/ec2.md gives to an owner.
func newBenchOf(t *testing.T, owner string, lab ec2lab.Config, change func(*ec2.Config)) *bench {
	t.Helper()
	host := machines.NewMemory(seedPrint)
	lab.Host = host
	lab.Regions = []ec2lab.Region{{Name: region, Zones: []string{"a", "b", "c", "d"}}, {Name: elsewhere, Zones: []string{"a"}}}
	lab.Seeds = []ec2lab.Seed{{Name: "debian-12-amd64-1", Fingerprint: seedPrint, Owner: seedOwner, Parameter: baseParameter}}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	lab.Log = log
	l, err := ec2lab.New(t.Context(), lab)
	must(t, err)
	t.Cleanup(func() {
		must(t, l.Close(t.Context()))
		if m, v, i := host.Left(); m+v != 0 || i != 1 {
			t.Errorf("%d machines, %d volumes, %d images are left", m, v, i)
		}
	})
	w := &wire{handler: l.Handler()}
	b := &bench{T: t, lab: l, wire: w}
	b.cfg = ec2.Config{
		Region: region, Regions: []string{elsewhere}, Endpoint: "http://lab.invalid", HTTP: &http.Client{Transport: w},
		Credentials: credentials.NewStaticCredentialsProvider("AKIDLAB", "secret", ""),
		Subnets:     []string{l.Subnet(region + "a"), l.Subnet(region + "b"), l.Subnet(region + "c")},
		Reach:       []netip.Prefix{netip.PrefixFrom(l.Gateway(), 32)},
		Types:       []string{"t3.small", "m7i.large"}, Log: log,
	}
	b.api = sdk.New(sdk.Options{
		Region: region, BaseEndpoint: aws.String("http://lab.invalid"), HTTPClient: &http.Client{Transport: w}, Credentials: b.cfg.Credentials,
	})
	b.cfg.Role = b.granted("hallmark", owner, b.cfg)
	if change != nil {
		change(&b.cfg)
	}
	b.p, err = ec2.New(t.Context(), b.cfg)
	must(t, err)
	return b
}

// slow is a laboratory in which everything takes its time, as with EC2.
var slow = ec2lab.Delays{
	Visible: 2 * time.Second, Launch: 8 * time.Second, Stop: 12 * time.Second, Image: 3 * time.Minute, Copy: 4 * time.Minute,
	Volume: 3 * time.Second, Validate: 5 * time.Second, Refresh: 15 * time.Minute,
}

// inBubble runs a test in a bubble of its own time, where waiting costs nothing.
func inBubble(t *testing.T, change func(*ec2.Config), test func(b *bench)) {
	t.Helper()
	t.Parallel()
	inOneBubble(t, change, test)
}

// inOneBubble is inBubble for tests that come one after another.
func inOneBubble(t *testing.T, change func(*ec2.Config), test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, ec2lab.Config{Delays: slow}, change)
		test(b)
		b.clear()
	})
}

// clear removes everything, and says what cannot be removed.
func (b *bench) clear() {
	b.Helper()
	left, err := b.p.Owned(b.Context(), "test")
	must(b, err)
	for _, kind := range cloud.Kinds() {
		for _, r := range left {
			if r.Kind == kind {
				must(b, b.p.Delete(b.Context(), r))
			}
		}
	}
	if left, err = b.p.Owned(b.Context(), "test"); err != nil || len(left) > 0 {
		b.Errorf("left over: %v, %v", left, err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// code checks the code of an error.
func code(t testing.TB, err error, want cloud.Code) {
	t.Helper()
	if cloud.CodeOf(err) != want {
		t.Errorf("code %q, want %q: %v", cloud.CodeOf(err), want, err)
	}
}

func (b *bench) base() cloud.Image {
	b.Helper()
	image, err := b.p.ResolveBase(b.Context(), cloud.BaseSpec{Name: baseName})
	must(b, err)
	return image
}

func (b *bench) network(servers ...string) cloud.Network {
	b.Helper()
	n, err := b.p.CreateNetwork(b.Context(), cloud.NetworkSpec{Name: "env-1", Tags: start, Servers: servers})
	must(b, err)
	return n
}

func (b *bench) spec(n cloud.Network, name string) cloud.ServerSpec {
	return cloud.ServerSpec{
		Name: name, Network: n.ID, Image: b.base().ID, Address: n.Addresses[name], UserData: "#cloud-config\n", Token: "token-" + name, Tags: start,
	}
}

// await waits for a server's state, in the bubble's time.
func (b *bench) await(id cloud.ServerID, want cloud.State) cloud.Server {
	b.Helper()
	for range 600 {
		list, err := b.p.Servers(b.Context(), cloud.Filter{Owner: "test"})
		must(b, err)
		for _, s := range list {
			if s.ID == id && s.State == want {
				return s
			}
		}
		time.Sleep(time.Second) // the bubble's
	}
	b.Fatalf("%s did not become %s", id, want)
	return cloud.Server{}
}
