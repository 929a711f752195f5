package incus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"syscall"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

func TestTagsRoundTrip(t *testing.T) {
	for name, tags := range map[string]cloud.Tags{
		"owner only": {Owner: "me"},
		"all": {
			Owner: "me", Run: "r", Environment: "e", Deadline: time.Date(2026, 11, 23, 21, 41, 0, 7, time.UTC),
			Extra: map[string]string{"role": "web", "empty": "", "Any key = \n": "any\tvalue"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tagsOf(label(map[string]string{"other": "x"}, tags)); !reflect.DeepEqual(got, tags) {
				t.Errorf("got %+v, want %+v", got, tags)
			}
		})
	}
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		err  error
		want cloud.Code
	}{
		{&incusd.Error{Status: http.StatusNotFound, Text: "Instance not found"}, cloud.CodeNotFound},
		{errors.New("Failed to find storage volume: not found"), cloud.CodeNotFound},
		{&incusd.Error{Text: "Image not found"}, cloud.CodeNotFound}, // an operation's end
		{&incusd.Error{Status: http.StatusInternalServerError, Text: "Failed to stop: device not found"}, cloud.CodeRefused},
		{&incusd.Error{Status: http.StatusPreconditionFailed, Text: "ETag"}, cloud.CodeConflict},
		{&incusd.Error{Status: http.StatusBadRequest, Text: "Invalid config"}, cloud.CodeRefused},
		{&incusd.Error{Status: http.StatusInternalServerError, Text: "database is locked"}, cloud.CodeThrottled},
		{errors.New(`Instance is busy running a "create" operation`), cloud.CodeConflict}, // it is still used
		{io.ErrUnexpectedEOF, cloud.CodeDown},
		{fmt.Errorf("wait: %w", io.EOF), cloud.CodeDown},
		{fmt.Errorf("read: %w", syscall.ECONNRESET), cloud.CodeDown},
		{fmt.Errorf("dial: %w", syscall.ENOENT), cloud.CodeDown},
		{errors.New("Incus is shutting down"), cloud.CodeDown},
		{errors.New("websocket: close 1006 (abnormal closure): unexpected EOF"), cloud.CodeDown},
		{&incusd.Error{Status: http.StatusServiceUnavailable, Text: "GET /1.0/instances: 503 Service Unavailable"}, cloud.CodeDown},
		{errors.New("Unpack failed: tar: Unexpected EOF in archive"), cloud.CodeRefused}, // the image is broken
		{errors.New("Unpack failed: write: no space left on device"), cloud.CodeCapacity},
		{errors.New(`IP address "10.91.0.9" already defined on another NIC`), cloud.CodeConflict},
		{fmt.Errorf("wait: %w", context.DeadlineExceeded), cloud.CodeDown},
		{&url.Error{Op: "Get", URL: "http://unix.socket", Err: errors.New("connect: connection refused")}, cloud.CodeDown},
		{errors.New("something new"), cloud.CodeRefused},
	} {
		if got := classify(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}

func TestBridgeNameFits(t *testing.T) {
	if name := bridgeName("an-environment-with-a-rather-long-name"); len(name) != 15 || bridgeName("another") == name {
		t.Errorf("%q", name)
	}
}

func TestSubnets(t *testing.T) {
	within := netip.MustParsePrefix("10.91.0.0/22")
	seen := map[netip.Prefix]bool{}
	for _, s := range subnets(within, "seed") {
		if s.Bits() != 24 || !within.Contains(s.Addr()) || seen[s] {
			t.Errorf("subnet %v", s)
		}
		seen[s] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d subnets, want 4", len(seen))
	}
	if got := last(netip.MustParsePrefix("10.91.3.0/24")); got != netip.MustParseAddr("10.91.3.255") {
		t.Errorf("last address %v", got)
	}
}

// No rule lets anything through to the host, or to everybody.
func TestRulesKeepToServers(t *testing.T) {
	p := &Provider{}
	n := cloud.Network{Prefix: netip.MustParsePrefix("10.91.3.0/24"), Gateway: netip.MustParseAddr("10.91.3.1")}
	for _, rule := range p.egress(n, []cloud.Egress{{Prefix: netip.MustParsePrefix("192.0.2.53/32"), Port: 53}}) {
		switch rule.Destination {
		case "10.91.3.2-10.91.3.254", "192.0.2.53/32":
		default:
			t.Errorf("%+v", rule)
		}
	}
}

// Names of the world resolve only where a name server is named.
func TestResolver(t *testing.T) {
	const closed = "no-hosts\nno-resolv\nno-poll\nno-ident\nbogus-priv"
	for name, c := range map[string]struct {
		list []cloud.Egress
		want string
	}{
		"nothing":             {nil, closed},
		"something":           {[]cloud.Egress{{Prefix: netip.MustParsePrefix("192.0.2.7/32"), Port: 443}}, closed},
		"a range with DNS":    {[]cloud.Egress{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Port: 53}}, closed},
		"a name server":       {[]cloud.Egress{{Prefix: netip.MustParsePrefix("192.0.2.53/32"), Port: 53}}, closed + "\nserver=192.0.2.53"},
		"a name server by v6": {[]cloud.Egress{{Prefix: netip.MustParsePrefix("2001:db8::53/128"), Port: 53}}, closed + "\nserver=2001:db8::53"},
	} {
		if got := bridgeConfig(cloud.NetworkSpec{Egress: c.list}, "hm1", nil)["raw.dnsmasq"]; got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// What a server gets whose role asks for nothing, and for something.
func TestBounds(t *testing.T) {
	p := &Provider{cfg: Config{Usual: usual}}
	if got := p.bounds(cloud.ServerSpec{}); got != usual || got.MemoryMiB == 0 || got.DiskMiB == 0 || got.Processes == 0 || got.CPUShare == 0 {
		t.Errorf("asks for nothing: %+v", got)
	}
	want := incusd.Bounds{CPUs: 1, CPUShare: usual.CPUShare, MemoryMiB: 2, DiskMiB: 3, Processes: 4}
	if got := p.bounds(cloud.ServerSpec{CPUs: 1, MemoryMiB: 2, DiskMiB: 3, Processes: 4}); got != want {
		t.Errorf("asks for all: %+v", got)
	}
}

func TestDiscreet(t *testing.T) {
	err := errors.New(`Invalid value for "cloud-init.user-data": cannot unmarshal hunter2`)
	if got := discreet(err).Error(); got == err.Error() {
		t.Error("what Incus says about user-data is passed on")
	}
}
