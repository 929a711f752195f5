package ec2lab_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/machines"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	seedPrint = "seed-fingerprint"
	seedOwner = "136693071363"
)

// bench is a lab over a remembered host, with a client of the SDK.
type bench struct {
	*testing.T
	lab  *ec2lab.Lab
	host *machines.Memory
	api  *ec2.Client
}

// direct hands requests to a handler: in a synctest bubble no network may be waited for.
type direct struct{ handler http.Handler }

func (d direct) RoundTrip(req *http.Request) (answer *http.Response, err error) {
	defer func() {
		if recover() != nil { // http.ErrAbortHandler
			answer, err = nil, io.ErrUnexpectedEOF
		}
	}()
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, req)
	return w.Result(), nil
}

func config(l *ec2lab.Lab, region string) aws.Config {
	return aws.Config{
		Region: region, Credentials: credentials.NewStaticCredentialsProvider("AKIDLAB", "secret", ""),
		BaseEndpoint: aws.String("http://lab.invalid"), HTTPClient: &http.Client{Transport: direct{l.Handler()}},
		RetryMaxAttempts: 1,
	}
}

// inBubble runs a test in a bubble of its own time.
func inBubble(t *testing.T, cfg ec2lab.Config, test func(b *bench)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		host := machines.NewMemory(seedPrint)
		cfg.Host = host
		cfg.Seeds = []ec2lab.Seed{{Name: "debian-12-amd64-1", Fingerprint: seedPrint, Owner: seedOwner, Parameter: "/vendor/debian-12"}}
		if cfg.Log == nil {
			cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
		}
		lab, err := ec2lab.New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		test(&bench{t, lab, host, ec2.NewFromConfig(config(lab, "eu-lab-1"))})
		if err := lab.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if m, v, i := host.Left(); m+v != 0 || i != 1 {
			t.Errorf("%d machines, %d volumes, %d images are left", m, v, i)
		}
	})
}

func (b *bench) ctx() context.Context { return b.Context() }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused checks that a call was refused with a code.
func refused(t testing.TB, err error, code string) {
	t.Helper()
	var refusal smithy.APIError
	if !errors.As(err, &refusal) || refusal.ErrorCode() != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

// base is the seed's AMI.
func (b *bench) base() string {
	b.Helper()
	out, err := b.api.DescribeImages(b.ctx(), &ec2.DescribeImagesInput{
		Owners:  []string{seedOwner},
		Filters: []types.Filter{{Name: aws.String("name"), Values: []string{"debian-12-*"}}},
	})
	if err != nil || len(out.Images) != 1 {
		b.Fatalf("one image was expected: %v, %v", out, err)
	}
	return *out.Images[0].ImageId
}

// run launches an instance as a provider would, and returns at once.
func (b *bench) run(change ...func(*ec2.RunInstancesInput)) types.Instance {
	b.Helper()
	out, err := b.tryRun(change...)
	if err != nil {
		b.Fatal(err)
	}
	return out.Instances[0]
}

func (b *bench) tryRun(change ...func(*ec2.RunInstancesInput)) (*ec2.RunInstancesOutput, error) {
	in := &ec2.RunInstancesInput{
		ImageId: aws.String(b.base()), MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: types.InstanceTypeT3Small,
		SubnetId: aws.String(b.lab.Subnet("eu-lab-1a")),
		TagSpecifications: []types.TagSpecification{
			{ResourceType: types.ResourceTypeInstance, Tags: []types.Tag{{Key: aws.String("Name"), Value: aws.String("web-1")}}},
		},
	}
	for _, c := range change {
		c(in)
	}
	return b.api.RunInstances(b.ctx(), in)
}

// describe gives one instance.
func (b *bench) describe(id string) types.Instance {
	b.Helper()
	out, err := b.api.DescribeInstances(b.ctx(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	if err != nil {
		b.Fatal(err)
	}
	return out.Reservations[0].Instances[0]
}

// until waits, in the bubble's time.
func (b *bench) until(what string, ok func() bool) {
	b.Helper()
	for range 10_000 {
		if ok() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	b.Fatalf("waited too long until %s", what)
}

func (b *bench) reaches(id string, s types.InstanceStateName) {
	b.Helper()
	b.until(id+" is "+string(s), func() bool { return b.describe(id).State.Name == s })
}

// launched is an instance that runs.
func (b *bench) launched(change ...func(*ec2.RunInstancesInput)) types.Instance {
	b.Helper()
	id := *b.run(change...).InstanceId
	b.reaches(id, types.InstanceStateNameRunning)
	return b.describe(id)
}
