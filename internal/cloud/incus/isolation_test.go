package incus_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus"
)

// check is one attempt to connect.
type check struct {
	what    string
	from    string        // a server; "" : this host
	network cloud.Network // the server's
	to      netip.Addr
	port    int
	open    bool
}

// TestIsolation shows with real packets what a network lets through: nothing but what it must.
func TestIsolation(t *testing.T) {
	t.Parallel()
	p, me := provider(t), owner(t)
	image := base(t, p)
	t.Cleanup(func() { clear(t, p, me) })

	port, others := listen(t)
	a := network(t, p, cloud.NetworkSpec{Name: me + "-a", Tags: cloud.Tags{Owner: me}})
	b := network(t, p, cloud.NetworkSpec{
		Name: me + "-b", Tags: cloud.Tags{Owner: me}, Egress: []cloud.Egress{{Prefix: netip.PrefixFrom(cache, 32), Port: uint16(port)}},
	})
	bastion, web, stranger := nth(a, 10), nth(a, 11), nth(b, 10)
	var group errgroup.Group
	for _, s := range []struct {
		name    string
		network cloud.Network
		address netip.Addr
	}{{"bastion", a, bastion}, {"web-1", a, web}, {"stranger", b, stranger}} {
		group.Go(func() error {
			_, err := p.Launch(t.Context(), cloud.ServerSpec{
				Name: s.name, Network: s.network.ID, Image: image.ID, Address: s.address,
				Token: s.name, Tags: cloud.Tags{Owner: me}, CPUs: 1, MemoryMiB: 256,
				UserData: "#cloud-config\n# a secret\n",
			})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]cloud.Network{"bastion": a, "web-1": a, "stranger": b} {
		until(t, name+" has sshd and its address", func() bool {
			return inside(t, n, name, "ss -Hltn sport = :22 | grep -q . && ip -4 -o addr show dev eth0 | grep -q inet")
		})
	}
	must(t, p.AllowAdmin(t.Context(), a.ID, []netip.Addr{bastion}))

	checks := []check{
		{"host to bastion", "", a, bastion, 22, true},
		{"host to the bastion's other ports", "", a, bastion, 5355, false},
		{"host to web-1", "", a, web, 22, false},
		{"host to a network without admins", "", b, stranger, 22, false},
		{"bastion to web-1", "bastion", a, web, 22, true},
		{"web-1 to bastion", "web-1", a, bastion, 22, true},
		{"web-1 to the package cache", "web-1", a, cache, 3142, true},
		{"web-1 to another environment", "web-1", a, stranger, 22, false},
		{"another environment to bastion", "stranger", b, bastion, 22, false},
		{"web-1 to the host by its own bridge", "web-1", a, a.Gateway, port, false},
		{"web-1 to the host by the other bridge", "web-1", a, b.Gateway, port, false},
		{"web-1 to the host by the cache's address", "web-1", a, cache, port, false},
		{"stranger to what its allow-list names", "stranger", b, cache, port, true},
		{"stranger, with an allow-list, to the host", "stranger", b, b.Gateway, port, false},
		{"web-1 to its own DNS", "web-1", a, a.Gateway, 53, true},
		{"web-1 to the DNS of another environment", "web-1", a, b.Gateway, 53, false},
	}
	for _, other := range others {
		checks = append(checks, check{"web-1 to this host by " + other.String(), "web-1", a, other, port, false})
	}
	for _, check := range checks {
		t.Run(check.what, func(t *testing.T) {
			t.Parallel()
			var open bool
			if check.from == "" {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				open = dial(ctx, netip.AddrPortFrom(check.to, uint16(check.port))) == nil
			} else {
				open = inside(t, check.network, check.from, fmt.Sprintf("timeout 1 bash -c '</dev/tcp/%s/%d'", check.to, check.port))
			}
			if open != check.open {
				t.Errorf("%v:%d open: %v, want %v", check.to, check.port, open, check.open)
			}
		})
	}
	if !inside(t, a, "web-1", `test "$(nproc)" = 1 && test "$(free -m | awk '/^Mem/ {print $2}')" = 256`) {
		t.Error("web-1 has not the size it was given")
	}
	if !inside(t, a, "web-1", "grep -q secret /var/lib/cloud/seed/nocloud/user-data && ! su nobody -s /bin/cat /var/lib/cloud/seed/nocloud/user-data") {
		t.Error("anybody on web-1 may read its user-data")
	}
	if !inside(t, a, "web-1", "getent hosts bastion.hallmark.internal") {
		t.Error("web-1 cannot resolve the bastion")
	}
	for name, n := range map[string]cloud.Network{"web-1": a, "stranger": b} { // which may reach something
		if inside(t, n, name, "timeout 5 getent hosts debian.org") {
			t.Errorf("%s resolves names of the world: DNS is a way out", name)
		}
	}
	if inside(t, a, "web-1", "ip -6 -o addr show dev eth0 scope global | grep .") {
		t.Error("web-1 has an IPv6 address")
	}
}

var cache = netip.MustParseAddr("10.90.0.1")

// listen opens a port on all addresses of this host, and proves that it can be reached at all.
func listen(t *testing.T) (port int, others []netip.Addr) {
	t.Helper()
	listener, err := net.Listen("tcp", ":0") //nolint:gosec // it is what must not be reached
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
	})
	port = listener.Addr().(*net.TCPAddr).Port
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || !prefix.Addr().Is4() || prefix.Addr().IsLoopback() {
			continue
		}
		if err := dial(t.Context(), netip.AddrPortFrom(prefix.Addr(), uint16(port))); err != nil {
			t.Fatalf("this host does not reach itself by %v: %v", prefix.Addr(), err)
		}
		others = append(others, prefix.Addr())
	}
	return port, others
}

func network(t *testing.T, p *incus.Provider, spec cloud.NetworkSpec) cloud.Network {
	t.Helper()
	n, err := p.CreateNetwork(t.Context(), spec)
	must(t, err)
	return n
}

func nth(n cloud.Network, i int) netip.Addr {
	a := n.Gateway
	for range i {
		a = a.Next()
	}
	return a
}

// inside runs a command on a server by Incus itself, and reports whether it succeeded.
func inside(t *testing.T, n cloud.Network, server, command string) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "incus", "exec", "--project", string(n.ID), server, "--", "sh", "-c", command)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if strings.HasPrefix(string(out), "Error:") { // of incus, not of the command
		t.Fatalf("exec on %s: %s", server, out)
	}
	return err == nil
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("waited too long until " + what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clear removes everything of one owner.
func clear(t *testing.T, p *incus.Provider, owner string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	left, err := p.Owned(ctx, owner)
	if err != nil {
		t.Error(err)
	}
	for _, r := range left { // in the order in which they can go
		if err := p.Delete(ctx, r); err != nil {
			t.Error(err)
		}
	}
}
