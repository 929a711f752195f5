package incus

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

// createBridge makes a bridge on a free /24. Within this process one is made at a time. Against
// other processes it looks again after creating: whoever then sees an overlap yields and tries the
// next range. The later of two always sees the earlier.
func (p *Provider) createBridge(ctx context.Context, c *incusd.Client, bridge string, config map[string]string) error {
	select {
	case p.addresses <- struct{}{}:
		defer func() { <-p.addresses }()
	case <-ctx.Done():
		return ctx.Err()
	}
	candidates := subnets(p.cfg.Range, bridge)
	for _, subnet := range candidates {
		taken, err := inUse(ctx, c, bridge)
		if err != nil {
			return err
		}
		if overlaps(subnet, taken) {
			continue
		}
		gateway := netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits())
		config["ipv4.address"] = gateway.String()
		err = incusd.Undisturbed(ctx, func() error {
			return c.CreateBridge(ctx, bridge, config[tagNetwork], config)
		})
		if err != nil && classify(err) == cloud.CodeConflict {
			return nil // another process was faster, for this very network
		}
		if err != nil {
			return err
		}
		taken, err = inUse(ctx, c, bridge)
		if err != nil {
			return err
		}
		if !overlaps(subnet, taken) {
			return nil
		}
		p.cfg.Log.Warn("the range was taken at the same time; trying another", "bridge", bridge, "range", subnet)
		if err := incusd.RemoveNetwork(ctx, c, bridge); err != nil {
			return err
		}
	}
	return &cloud.Error{
		Call: "pick a range of addresses", Code: cloud.CodeCapacity,
		Err: &net.AddrError{Err: "no free /24", Addr: p.cfg.Range.String()},
	}
}

// subnets lists the /24s of a range, beginning at a place that depends on the seed, so that
// processes that pick at the same time rarely meet.
func subnets(within netip.Prefix, seed string) []netip.Prefix {
	count := 1 << (24 - within.Bits())
	sum := sha256.Sum256([]byte(seed))
	start := int(binary.BigEndian.Uint32(sum[:4])) % count
	first := binary.BigEndian.Uint32(within.Masked().Addr().AsSlice())
	all := make([]netip.Prefix, 0, count)
	for i := range count {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], first+uint32((start+i)%count)<<8)
		all = append(all, netip.PrefixFrom(netip.AddrFrom4(b), 24))
	}
	return all
}

// inUse lists what other networks of this Incus and this host's other interfaces have.
func inUse(ctx context.Context, c *incusd.Client, except string) ([]netip.Prefix, error) {
	var taken []netip.Prefix
	networks, err := incusd.List(ctx, c.AllNetworks)
	if err != nil {
		return nil, err
	}
	for _, n := range networks {
		if prefix, err := netip.ParsePrefix(n.Config["ipv4.address"]); err == nil && n.Name != except {
			taken = append(taken, prefix.Masked())
		}
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, i := range interfaces {
		if i.Name == except {
			continue
		}
		addresses, err := i.Addrs()
		if err != nil {
			continue // it went away meanwhile
		}
		for _, a := range addresses {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Is4() {
				taken = append(taken, prefix.Masked())
			}
		}
	}
	return taken, nil
}

// last is the highest address of an IPv4 prefix.
func last(p netip.Prefix) netip.Addr {
	n := binary.BigEndian.Uint32(p.Masked().Addr().AsSlice()) | (1<<(32-p.Bits()) - 1)
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

func overlaps(p netip.Prefix, taken []netip.Prefix) bool {
	for _, t := range taken {
		if p.Overlaps(t) {
			return true
		}
	}
	return false
}
