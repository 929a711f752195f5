package ec2_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elasticloadbalancing "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/machines"
)

// opinion is something that AWS' documentation says of an action and that the provider builds on. The
// laboratory has to do it. Moto does it too, or does something else, which docs/ec2.md then lists.
type opinion struct {
	action string
	says   string // the documentation, in a few words
	moto   string // what moto does instead; "": it agrees
	shows  string // what the error of try then contains

	// try asks for it in the way in which the provider does, and gives nil if it is as documented.
	try func(*world) error
}

var opinions = slices.Concat(networkOpinions, volumeOpinions, serverOpinions, imageOpinions, publishOpinions, ownedOpinions, poolOpinions, rollOpinions)

// The laboratory does what the documentation says; where moto does not, the laboratory shows that the
// question was put rightly.
func TestLaboratoryIsAsDocumented(t *testing.T) {
	lab, err := ec2lab.New(t.Context(), ec2lab.Config{
		Host:    machines.NewMemory(seedPrint),
		Regions: []ec2lab.Region{{Name: region, Zones: []string{"a", "b"}}, {Name: elsewhere, Zones: []string{"a"}}},
		Seeds:   []ec2lab.Seed{{Name: "debian-12-amd64-1", Fingerprint: seedPrint, Owner: seedOwner}},
	})
	must(t, err)
	server := httptest.NewServer(lab.Handler())
	t.Cleanup(func() {
		server.Close()
		must(t, lab.Close(context.WithoutCancel(t.Context())))
	})
	w := newWorld(t, server.URL, server.Client().Transport, region, elsewhere)
	for _, o := range opinions {
		t.Run(o.action+" "+o.says, func(t *testing.T) {
			if err := o.try(w.in(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

// testOpinions holds moto to what is said of it.
func testOpinions(t *testing.T, w *world) {
	for _, o := range opinions {
		t.Run(o.action+" "+o.says, func(t *testing.T) {
			switch err := o.try(w.in(t)); {
			case o.moto == "" && err != nil:
				t.Errorf("moto disagrees, and is not listed to do so: look up who is right, then see docs/ec2.md, \"Second opinion\": %v", err)
			case o.moto != "" && err == nil:
				t.Errorf("moto now does what the documentation says: it is no longer true that it %q; take this from the list", o.moto)
			case o.moto != "" && !strings.Contains(err.Error(), o.shows):
				t.Errorf("moto does something else than listed (%s): %v", o.moto, err)
			}
		})
	}
}

func TestEveryActionHasAnOpinion(t *testing.T) {
	asked := map[string]bool{}
	for _, o := range opinions {
		asked[o.action] = true
	}
	calls := append(called(t), free...)
	for _, action := range calls {
		if !asked[action] {
			t.Errorf("the provider calls %s, and nobody asked moto about it: add an opinion", action)
		}
	}
	for _, action := range slices.Sorted(maps.Keys(asked)) {
		if !slices.Contains(calls, action) {
			t.Errorf("the provider does not call %s: take it away", action)
		}
	}
}

var listed = regexp.MustCompile("(?m)^\\| `[a-z0-9]+:[A-Za-z]+` \\|.*$")

func TestDisagreementsAreListed(t *testing.T) {
	page, err := os.ReadFile("../../../docs/ec2.md")
	must(t, err)
	_, section, ok := strings.Cut(string(page), "## Second opinion")
	section, _, _ = strings.Cut(section, "\n## ")
	if !ok {
		t.Fatal(`docs/ec2.md has no section "Second opinion"`)
	}
	got := listed.FindAllString(section, -1)
	var want []string
	for _, o := range opinions {
		if o.moto != "" {
			want = append(want, fmt.Sprintf("| `%s` | %s | %s |", o.action, o.says, o.moto))
		}
	}
	for _, row := range want {
		if !slices.Contains(got, row) {
			t.Errorf("docs/ec2.md lacks\n%s", row)
		}
	}
	for _, row := range got {
		if !slices.Contains(want, row) {
			t.Errorf("docs/ec2.md has, and nobody says\n%s", row)
		}
	}
}

// world is an account that opinions are formed in: two zones, another region, one vendor's image. What an
// opinion makes is its own; nothing is removed but what it is about.
type world struct {
	*testing.T
	api, far *sdk.Client
	params   *ssm.Client
	who      *sts.Client

	balancing *elasticloadbalancing.Client
	scaling   *autoscaling.Client

	subnets []types.Subnet // in two zones of one VPC
	base    types.Image
	names   *int
}

func newWorld(t *testing.T, endpoint string, transport http.RoundTripper, region, elsewhere string) *world {
	t.Helper()
	all := aws.Config{
		Region: region, BaseEndpoint: &endpoint, HTTPClient: &http.Client{Transport: whole{transport}}, Credentials: credentials.NewStaticCredentialsProvider("AKIDLAB", "secret", ""),
		Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	}
	w := &world{
		T: t, api: sdk.NewFromConfig(all), far: sdk.NewFromConfig(all, func(o *sdk.Options) { o.Region = elsewhere }),
		params: ssm.NewFromConfig(all), who: sts.NewFromConfig(all), names: new(int),
		balancing: elasticloadbalancing.NewFromConfig(all), scaling: autoscaling.NewFromConfig(all),
	}
	subnets, err := w.api.DescribeSubnets(t.Context(), &sdk.DescribeSubnetsInput{})
	must(t, err)
	slices.SortFunc(subnets.Subnets, func(a, b types.Subnet) int { return strings.Compare(*a.AvailabilityZone, *b.AvailabilityZone) })
	if w.subnets = subnets.Subnets; len(w.subnets) < 2 {
		t.Fatalf("%d subnets", len(w.subnets))
	}
	images, err := w.api.DescribeImages(t.Context(), &sdk.DescribeImagesInput{Owners: []string{seedOwner}})
	must(t, err)
	w.base = images.Images[0]
	return w
}

// whole sends the body of a request from a copy. The SDK closes its own as soon as an answer begins; if the
// transport has not looked by then whether the body is at an end, it takes that for a failure and closes
// the connection while a long answer is read. On a machine's own network that happens.
type whole struct{ http.RoundTripper }

func (w whole) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	req = req.Clone(req.Context())
	req.Body = io.NopCloser(bytes.NewReader(body))
	return w.RoundTripper.RoundTrip(req)
}

// in is the same world for another test.
func (w *world) in(t *testing.T) *world {
	other := *w
	other.T = t
	return &other
}

// name is one that nothing has yet.
func (w *world) name() string {
	*w.names++
	return fmt.Sprintf("opinion-%d", *w.names)
}

// tagged are tags at creation that say which one it is.
func tagged(name string, kinds ...types.ResourceType) []types.TagSpecification {
	var specs []types.TagSpecification
	for _, kind := range kinds {
		specs = append(specs, types.TagSpecification{ResourceType: kind, Tags: []types.Tag{{Key: aws.String("which"), Value: &name}}})
	}
	return specs
}

// filter by one attribute.
func filter(name string, values ...string) []types.Filter {
	return []types.Filter{{Name: &name, Values: values}}
}

// expect makes an error of what is not as it should be.
func expect(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// refused says that an error with one of these codes had to come.
func refused(err error, codes ...string) error {
	var said smithy.APIError
	if errors.As(err, &said) && slices.Contains(codes, said.ErrorCode()) {
		return nil
	}
	if err == nil {
		return fmt.Errorf("%v was to be said, and nothing was", codes)
	}
	return fmt.Errorf("%v was to be said, and not: %w", codes, err)
}

// How long an opinion waits for a state, and how often it looks.
const (
	most  = 10 * time.Second
	often = 5 * time.Millisecond
)
