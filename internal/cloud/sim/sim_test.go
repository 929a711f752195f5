package sim_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
	"github.com/hallmark-ci/hallmark/internal/cloud/cloudtest"
	"github.com/hallmark-ci/hallmark/internal/cloud/sim"
)

var start = time.Date(2026, 11, 23, 21, 0, 0, 0, time.UTC)

// fixture readies a simulated cloud with one base for the contract.
func fixture(t *testing.T, c *sim.Cloud, hand *clock.Manual) cloudtest.Fixture {
	base, err := c.AddBase(t.Context(), cloud.ImageSpec{
		Name: "debian-12-a", Tags: cloud.Tags{Owner: "site"}, Properties: map[string]string{cloud.PropertyRecipe: "sha256:abc"},
	})
	if err != nil {
		t.Fatal(err)
	}
	rootfs := filepath.Join(t.TempDir(), "rootfs.tar")
	if err := os.WriteFile(rootfs, []byte("small"), 0o600); err != nil {
		t.Fatal(err)
	}
	return cloudtest.Fixture{
		Provider: c, Owner: "contract", Base: base, Rootfs: rootfs,
		BaseSpec: cloud.BaseSpec{Name: "debian-12-*", Digest: "sha256:abc"},
		Patience: time.Minute, Pause: hand.Advance, Booted: "-----END SSH HOST KEY KEYS-----",
		Dial: func(ctx context.Context, a netip.AddrPort) error {
			open, err := c.Reachable(ctx, a.Addr())
			if err == nil && !open {
				err = errors.New("dropped")
			}
			return err
		},
	}
}

func slow(hand clock.Clock) sim.Options {
	return sim.Options{Clock: hand, Boot: 3 * time.Second, Shutdown: time.Second, Capture: 9 * time.Second}
}

func TestContract(t *testing.T) {
	cloudtest.Run(t, func(t *testing.T) cloudtest.Fixture {
		hand := clock.NewManual(start)
		return fixture(t, sim.New(slow(hand)), hand)
	})
}

func TestContractAtOnce(t *testing.T) {
	cloudtest.Run(t, func(t *testing.T) cloudtest.Fixture {
		hand := clock.NewManual(start)
		return fixture(t, sim.New(sim.Options{Clock: hand}), hand)
	})
}

func TestContractOnDisk(t *testing.T) {
	cloudtest.Run(t, func(t *testing.T) cloudtest.Fixture {
		hand := clock.NewManual(start)
		c, err := sim.Open(filepath.Join(t.TempDir(), "cloud.json"), slow(hand))
		if err != nil {
			t.Fatal(err)
		}
		return fixture(t, c, hand)
	})
}

// place makes a cloud with a base, a network and a way to describe servers.
func place(t *testing.T, c *sim.Cloud) func(name string, n byte) cloud.ServerSpec {
	t.Helper()
	tags := cloud.Tags{Owner: "site", Environment: "env"}
	base, err := c.AddBase(t.Context(), cloud.ImageSpec{Name: "base", Tags: tags})
	if err != nil {
		t.Fatal(err)
	}
	network, err := c.CreateNetwork(t.Context(), cloud.NetworkSpec{Name: "env", Tags: tags})
	if err != nil {
		t.Fatal(err)
	}
	return func(name string, n byte) cloud.ServerSpec {
		return cloud.ServerSpec{
			Name: name, Network: network.ID, Image: base.ID, Token: "token-" + name, Tags: tags,
			Address: netip.AddrFrom4([4]byte{10, 64, 0, n}), UserData: "secret: hunter2",
		}
	}
}

func TestSharedFileWithoutUserData(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cloud.json")
	opts := sim.Options{Clock: clock.NewManual(start)}
	first, err := sim.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	spec := place(t, first)
	server, err := first.Launch(t.Context(), spec("web-1", 11))
	if err != nil {
		t.Fatal(err)
	}
	second, err := sim.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	list, err := second.Servers(t.Context(), cloud.Filter{Owner: "site"})
	if err != nil || len(list) != 1 || list[0].ID != server.ID {
		t.Errorf("the second process sees %v, %v", list, err)
	}
	if err := second.Destroy(t.Context(), server.ID); err != nil {
		t.Fatal(err)
	}
	if list, _ = first.Servers(t.Context(), cloud.Filter{}); len(list) != 0 {
		t.Errorf("the first process still sees %v", list)
	}
	content, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(content), "hunter2") {
		t.Errorf("user-data in the file, or %v", err)
	}
	for _, r := range first.Records() {
		if strings.Contains(r.Call.String()+r.Err, "hunter2") {
			t.Errorf("user-data in the record %v", r)
		}
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sim.Open(path, opts); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("opened a broken file: %v", err)
	}
}

func TestHostKeyFromConsole(t *testing.T) {
	hand := clock.NewManual(start)
	c := sim.New(slow(hand))
	spec := place(t, c)
	server, err := c.Launch(t.Context(), spec("web-1", 11))
	if err != nil {
		t.Fatal(err)
	}
	said, err := c.Console(t.Context(), server.ID)
	if err != nil || strings.Contains(string(said), "HOST KEY") {
		t.Errorf("before it is up the console says %q, %v", said, err)
	}
	hand.Advance(3 * time.Second)
	said, err = c.Console(t.Context(), server.ID)
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(said), "-----BEGIN SSH HOST KEY KEYS-----\n")
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(block))
	if err != nil {
		t.Fatalf("no host key in %q: %v", said, err)
	}
	want, err := ssh.NewPublicKey(sim.HostKey(server.ID).Public())
	if err != nil || string(key.Marshal()) != string(want.Marshal()) {
		t.Errorf("host key %v, want %v, %v", key, want, err)
	}
}

func TestTrouble(t *testing.T) {
	c := sim.New(sim.Options{Clock: clock.NewManual(start), Capacity: 2})
	spec := place(t, c)
	ctx := t.Context()
	lost, err := c.Launch(ctx, spec("web-1", 11))
	if err != nil {
		t.Fatal(err)
	}
	broken, err := c.Launch(ctx, spec("web-2", 12))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.Launch(ctx, spec("web-3", 13)); cloud.CodeOf(err) != cloud.CodeCapacity {
		t.Errorf("a third server: %v", err)
	}
	if err := errors.Join(c.Lose(ctx, lost.ID), c.Break(ctx, broken.ID)); err != nil {
		t.Fatal(err)
	}
	list, err := c.Servers(ctx, cloud.Filter{})
	if err != nil || len(list) != 1 || list[0].State != cloud.Broken {
		t.Errorf("servers %v, %v", list, err)
	}
	if err := c.Reboot(ctx, lost.ID); cloud.CodeOf(err) != cloud.CodeNotFound {
		t.Errorf("reboot a lost server: %v", err)
	}
	if _, err = c.Launch(ctx, spec("web-1", 11)); err != nil {
		t.Errorf("launch in place of the lost one: %v", err)
	}
	var refused []string
	for _, r := range c.Records() {
		if r.Code != "" {
			refused = append(refused, r.Call.String()+": "+string(r.Code))
		}
	}
	if got := strings.Join(refused, ", "); got != "launch web-3: capacity, reboot srv-0003: not-found" {
		t.Errorf("recorded as refused: %s", got)
	}
}

func TestSlowCaptureCancelled(t *testing.T) {
	hand := clock.NewManual(start)
	c := sim.New(sim.Options{Clock: stuck{hand}, Capture: time.Minute})
	spec := place(t, c)
	server, err := c.Launch(t.Context(), spec("web-1", 11))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(t.Context(), server.ID, true); err != nil {
		t.Fatal(err)
	}
	_, err = c.Capture(t.Context(), server.ID, cloud.ImageSpec{Name: "web", Kind: cloud.Prebuilt})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("capture: %v", err)
	}
	list, err := c.Images(t.Context(), cloud.Filter{})
	if err != nil || len(list) != 1 {
		t.Errorf("a capture that ended early left %v, %v", list, err)
	}
}

// stuck is a clock whose sleepers run out of time.
type stuck struct{ *clock.Manual }

func (stuck) Sleep(context.Context, time.Duration) error { return context.DeadlineExceeded }
