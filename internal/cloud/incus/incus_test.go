package incus_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/cloudtest"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus"
)

const socket = "/var/lib/incus/unix.socket"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// provider connects to the Incus of this machine. Without one the test fails: a skipped real-server
// test would look like a passed one.
func provider(t *testing.T) *incus.Provider {
	t.Helper()
	if testing.Short() {
		t.Skip("needs root and Incus: not with -short")
	}
	if _, err := os.Stat(socket); err != nil {
		t.Fatalf("no Incus on this machine: run `make host` (%v)", err)
	}
	p, err := incus.New(t.Context(), incus.Config{
		Socket: socket, CacheAddress: cache, Grace: 20 * time.Second,
	})
	if err != nil {
		t.Fatalf("Incus is not set up: run `make host` (%v)", err)
	}
	return p
}

// base is a reference base of this machine that is there to stay: without a deadline.
func base(t *testing.T, p *incus.Provider) cloud.Image {
	t.Helper()
	images, err := p.Images(t.Context(), cloud.Filter{})
	must(t, err)
	var newest cloud.Image
	for _, image := range images {
		if image.Kind == cloud.Base && image.Tags.Deadline.IsZero() && image.Created.After(newest.Created) {
			newest = image
		}
	}
	if newest.ID == "" {
		t.Fatal("no reference base on this machine: run `hallmark base build`")
	}
	return newest
}

// owner is one that nobody else has.
func owner(t *testing.T) string {
	t.Helper()
	var b [3]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	return "incus-test-" + hex.EncodeToString(b[:])
}

// database launches db-1 with a volume, in a network of its own; all of it goes with the test.
func database(t *testing.T, p *incus.Provider) (cloud.Network, cloud.Server, cloud.Volume) {
	t.Helper()
	image, tags := base(t, p), cloud.Tags{Owner: owner(t)}
	t.Cleanup(func() { clear(t, p, tags.Owner) })
	n := network(t, p, cloud.NetworkSpec{Name: tags.Owner + "-db", Tags: tags})
	volume, err := p.CreateVolume(t.Context(), cloud.VolumeSpec{Name: "db-1-data", Network: n.ID, SizeMiB: 64, Tags: tags})
	must(t, err)
	server, err := p.Launch(t.Context(), cloud.ServerSpec{
		Name: "db-1", Network: n.ID, Image: image.ID, Address: nth(n, 10), Token: "once", Tags: tags, Volumes: []cloud.VolumeID{volume.ID},
	})
	must(t, err)
	return n, server, volume
}

func dial(ctx context.Context, address netip.AddrPort) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address.String())
	if err != nil {
		return err
	}
	return conn.Close()
}

func TestContract(t *testing.T) {
	t.Parallel()
	cloudtest.Run(t, func(t *testing.T) cloudtest.Fixture {
		p := provider(t)
		image, began := base(t, p), time.Now()
		return cloudtest.Fixture{
			Provider: p, Owner: owner(t), Base: image,
			BaseSpec: cloud.BaseSpec{Name: image.Name, Digest: image.Properties[cloud.PropertyRecipe]},
			Patience: 2 * time.Minute, Boots: true, Booted: "-----END SSH HOST KEY KEYS-----",
			Dial: dial, Rootfs: rootfs(t),
			Kept: func(text string) ([]string, error) {
				return cloudtest.Search([]string{text}, cloudtest.OfIncus(began)...)
			},
		}
	})
}

func TestSpace(t *testing.T) {
	t.Parallel()
	space, err := provider(t).Space(t.Context())
	must(t, err)
	if space.Pool != "hallmark" || space.Free <= 0 || space.Free > 1<<50 {
		t.Errorf("%+v", space)
	}
}
