package ec2_test

import (
	"context"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/cloudtest"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus"
)

const socket = "/var/lib/incus/unix.socket"

// realBase is a reference base of this machine that is there to stay. Without Incus or without one the
// test fails: a skipped real-server test would look like a passed one.
func realBase(t *testing.T) cloud.Image {
	t.Helper()
	p, err := incus.New(t.Context(), incus.Config{Socket: socket})
	if err != nil {
		t.Fatalf("Incus is not set up: run `make host` (%v)", err)
	}
	images, err := p.Images(t.Context(), cloud.Filter{})
	must(t, err)
	var newest cloud.Image
	for _, image := range images {
		if image.Kind == cloud.Base && image.Tags.Deadline.IsZero() && image.Created.After(newest.Created) {
			newest = image
		}
	}
	if newest.ID == "" {
		t.Fatal("no reference base on this machine: run `make base`")
	}
	return newest
}

func dial(ctx context.Context, address netip.AddrPort) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address.String())
	if err != nil {
		return err
	}
	return conn.Close()
}

// The contract once more, on machines that really boot, over HTTP and with the SDK's own client.
func TestContractOnRealMachines(t *testing.T) {
	if testing.Short() {
		t.Skip("needs root and Incus: not with -short")
	}
	seed := realBase(t)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	cloudtest.Run(t, func(t *testing.T) cloudtest.Fixture {
		lab, err := ec2lab.New(t.Context(), ec2lab.Config{
			Name: "contract", Socket: socket, CIDR: netip.MustParsePrefix("10.97.0.0/16"), Log: log,
			Seeds: []ec2lab.Seed{{Name: seed.Name, Fingerprint: string(seed.ID), Owner: seedOwner}},
		})
		must(t, err)
		server := httptest.NewServer(lab.Handler())
		t.Cleanup(func() {
			server.Close()
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
			defer cancel()
			must(t, lab.Close(ctx))
		})
		p, err := ec2.New(t.Context(), ec2.Config{
			Region: region, Endpoint: server.URL, Credentials: credentials.NewStaticCredentialsProvider("AKIDLAB", "secret", ""),
			Subnets: []string{lab.Subnet(region + "a"), lab.Subnet(region + "b")}, Reach: []netip.Prefix{netip.PrefixFrom(lab.Gateway(), 32)},
			Types: []string{"t3.micro"}, Poll: 200 * time.Millisecond, Log: log,
		})
		must(t, err)
		base, err := p.ResolveBase(t.Context(), cloud.BaseSpec{Name: seedOwner + "/" + seed.Name})
		must(t, err)
		return cloudtest.Fixture{
			Provider: p, Owner: "contract", Base: base, BaseSpec: cloud.BaseSpec{Name: seedOwner + "/" + seed.Name, Digest: string(base.ID)},
			Patience: 3 * time.Minute, Boots: true, Booted: "-----END SSH HOST KEY KEYS-----", Dial: dial,
			Family: func(prefix string) string { return "self/" + prefix + "*" },
		}
	})
}
