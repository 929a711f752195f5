package ec2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// said is an error as the SDK gives it.
func saidBy(operation, code string, status int) error {
	return &smithy.OperationError{ServiceID: "EC2", OperationName: operation, Err: &awshttp.ResponseError{RequestID: "r-1", ResponseError: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: &smithy.GenericAPIError{Code: code, Message: "it says so"},
	}}}
}

func TestCodes(t *testing.T) {
	for said, want := range map[string]cloud.Code{
		"InvalidInstanceID.NotFound": cloud.CodeNotFound, "InvalidAMIID.Malformed": cloud.CodeNotFound, "InvalidAMIID.Unavailable": cloud.CodeNotFound,
		"InvalidVolume.NotFound": cloud.CodeNotFound, "ParameterNotFound": cloud.CodeNotFound, "InvalidSubnetID.NotFound": cloud.CodeNotFound,
		"InsufficientInstanceCapacity": cloud.CodeCapacity, "VcpuLimitExceeded": cloud.CodeCapacity, "MaxSpotInstanceCountExceeded": cloud.CodeCapacity,
		"InstanceLimitExceeded": cloud.CodeCapacity, "Unsupported": cloud.CodeCapacity, "InsufficientFreeAddressesInSubnet": cloud.CodeCapacity,
		"RequestLimitExceeded": cloud.CodeThrottled, "ThrottlingException": cloud.CodeThrottled,
		"InvalidGroup.Duplicate": cloud.CodeConflict, "IdempotentParameterMismatch": cloud.CodeConflict, "VolumeInUse": cloud.CodeConflict,
		"UnauthorizedOperation": cloud.CodeRefused, "InvalidParameterValue": cloud.CodeRefused, "IncorrectInstanceState": cloud.CodeRefused,
		"TargetGroupNotFound": cloud.CodeNotFound, "InstanceRefreshInProgress": cloud.CodeConflict, "ResourceContention": cloud.CodeDown,
		"InvalidTarget": cloud.CodeRefused, "IrreversibleInstanceRefresh": cloud.CodeRefused, "Throttling": cloud.CodeThrottled,
		"Server.InternalError": cloud.CodeDown, "InternalError": cloud.CodeDown, "Unavailable": cloud.CodeDown,
	} {
		if err := fail("try", saidBy("RunInstances", said, http.StatusBadRequest)); cloud.CodeOf(err) != want {
			t.Errorf("%s: %s, want %s", said, cloud.CodeOf(err), want)
		}
	}
	if err := fail("try", saidBy("RunInstances", "SomethingNew", http.StatusBadGateway)); cloud.CodeOf(err) != cloud.CodeDown {
		t.Errorf("status 502: %v", err)
	}
	spent := &smithy.OperationError{ServiceID: "EC2", OperationName: "RunInstances", Err: ratelimit.QuotaExceededError{Available: 1, Requested: 5}}
	if err := fail("try", spent); cloud.CodeOf(err) != cloud.CodeThrottled {
		t.Errorf("the SDK tries no more: %v", err)
	}
	if err := fail("try", fmt.Errorf("%w, %w", spent, saidBy("RunInstances", "Unavailable", http.StatusServiceUnavailable))); cloud.CodeOf(err) != cloud.CodeDown {
		t.Errorf("it is down, and the SDK tries no more: %v", err)
	}
	hungUp := &smithy.OperationError{ServiceID: "EC2", OperationName: "RunInstances", Err: errors.New("connection reset by peer")}
	if err := fail("try", hungUp); cloud.CodeOf(err) != cloud.CodeDown || verdict.CauseOf(err) != verdict.CloudDown {
		t.Errorf("no answer: %v", err)
	}
	if err := fail("try", fmt.Errorf("canceled: %w", context.Canceled)); !errors.Is(err, context.Canceled) {
		t.Errorf("the end of a context is lost: %v", err)
	}
	if fail("try", nil) != nil {
		t.Error("no error became one")
	}
}

func TestErrorsAreShort(t *testing.T) {
	err := fail("launch web-1", saidBy("RunInstances", "VcpuLimitExceeded", http.StatusBadRequest))
	if want := "[cloud.capacity] launch web-1: capacity: ec2:RunInstances: VcpuLimitExceeded: it says so"; err.Error() != want {
		t.Errorf("%s\nwant %s", err, want)
	}
	var said smithy.APIError
	if !errors.As(err, &said) {
		t.Error("what EC2 said is no longer in it")
	}
}

func TestTags(t *testing.T) {
	want := cloud.Tags{
		Owner: "main", Run: "r", Environment: "e", Deadline: time.Date(2026, 11, 24, 22, 47, 34, 5000, time.UTC),
		Extra: map[string]string{"role": "web", "empty": "", "odd: key": "v*?"},
	}
	var list []types.Tag
	for _, spec := range label(want, tags{tagServer: "web-1"}).of(types.ResourceTypeInstance) {
		list = append(list, spec.Tags...)
	}
	got := read(list)
	if c := got.cloud(); fmt.Sprint(c) != fmt.Sprint(want) || got[tagServer] != "web-1" {
		t.Errorf("%+v, want %+v", c, want)
	}
	if bare := (tags{}).cloud(); bare.Extra != nil || !bare.Deadline.IsZero() {
		t.Errorf("without tags: %+v", bare)
	}
	many := cloud.Tags{Owner: "main", Extra: map[string]string{}}
	for n := range mostTags {
		many.Extra[fmt.Sprint(n)] = ""
	}
	for what, bad := range map[string]cloud.Tags{
		"no owner": {}, "long value": {Owner: "main", Extra: map[string]string{"k": strings.Repeat("v", 257)}},
		"long key": {Owner: "main", Extra: map[string]string{strings.Repeat("k", 128): ""}}, "too many": many,
	} {
		if cloud.CodeOf(label(bad, nil).check("try")) != cloud.CodeRefused {
			t.Errorf("%s: not refused", what)
		}
	}
	if got := where(tagServer, "a*b?c")[0].Values[0]; got != `a\*b\?c` {
		t.Errorf("a name is read as a pattern: %s", got)
	}
}

func TestTokens(t *testing.T) {
	spec := cloud.ServerSpec{Name: "web-1", Network: "env-1", Token: "t"}
	other := spec
	other.Token = "u"
	seen := map[string]bool{}
	for _, one := range []string{
		clientToken(spec, "t3.small", "eni-1", 0), clientToken(spec, "t3.small", "eni-1", 1), clientToken(spec, "t3.large", "eni-1", 0),
		clientToken(spec, "t3.small", "eni-2", 0), clientToken(other, "t3.small", "eni-1", 0), token("a", "bc"), token("ab", "c"),
	} {
		if len(one) > 64 || seen[one] {
			t.Errorf("%s: %d characters, or seen before", one, len(one))
		}
		seen[one] = true
	}
	if !seen[clientToken(cloud.ServerSpec{Name: "web-1", Network: "env-1", Token: "t", CPUs: 2}, "t3.small", "eni-1", 0)] {
		t.Error("the same request has two tokens")
	}
}

func TestWhereAVolumeIsMade(t *testing.T) {
	p := &Provider{zones: []zone{{name: "z-a"}, {name: "z-b"}, {name: "z-c"}}}
	nics := map[string]*nic{"db": {server: "db", zone: "z-a"}, "db-1": {server: "db-1", zone: "z-b"}, "db-12": {server: "db-12", zone: "z-c"}}
	for name, want := range map[string]string{"db-data": "z-a", "db-1-data": "z-b", "db-12-data": "z-c", "db-1": "z-a"} {
		if got := p.zoneFor(cloud.VolumeSpec{Name: name, Network: "n"}, nics); got != want {
			t.Errorf("%s in %s, want %s", name, got, want)
		}
	}
	nobodys := p.zoneFor(cloud.VolumeSpec{Name: "shared", Network: "n"}, nics)
	if nobodys != p.zones[start("n", 3)].name {
		t.Errorf("a volume of nobody is in %s", nobodys)
	}
	for mib, want := range map[int64]int32{1: 1, 1024: 1, 1025: 2, 10240: 10} {
		if gibibytes(mib) != want {
			t.Errorf("%d MiB are %d GiB, want %d", mib, gibibytes(mib), want)
		}
	}
}

func TestNetworksBeginInDifferentZones(t *testing.T) {
	begun := map[int]int{}
	for n := range 300 {
		begun[start(fmt.Sprintf("env-%d", n), 3)]++
	}
	for zone := range 3 {
		if begun[zone] < 60 {
			t.Errorf("of 300 networks %d begin in zone %d", begun[zone], zone)
		}
	}
}
