package incus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

// domain is the same in every environment, so that no configuration depends on where it runs.
const domain = "hallmark.internal"

// bridgePrefix begins the name of every bridge of ours, on every host; guard's rule knows them by it.
const bridgePrefix = "hm"

var name = regexp.MustCompile(`^[a-z][a-z0-9-]{0,61}[a-z0-9]$`)

// CreateNetwork makes (or completes, or finds) the project, the ACL and the bridge of a network.
//
// The ACL drops both ways by default. Incus always lets servers reach DHCP and DNS on the bridge.
// Names outside the environment resolve only by a name server that the allow-list names (nameServers).
func (p *Provider) CreateNetwork(ctx context.Context, spec cloud.NetworkSpec) (cloud.Network, error) {
	call := "create network " + spec.Name
	if !name.MatchString(spec.Name) || spec.Name == "default" {
		return cloud.Network{}, refuse(call, "the name must match %s and not be default", name)
	}
	if spec.Tags.Owner == "" {
		return cloud.Network{}, refuse(call, "no owner in its tags")
	}
	c := p.connect("")
	if err := p.guard(ctx); err != nil {
		return cloud.Network{}, err
	}
	tags := label(map[string]string{tagNetwork: spec.Name}, spec.Tags)
	if err := claimProject(ctx, c, spec.Name, tags); err != nil {
		return cloud.Network{}, fail(call, err)
	}
	// The bridge is closed from its first moment; the way out is opened when its range is known.
	if err := ensureACL(ctx, c, spec.Name, tags); err != nil {
		return cloud.Network{}, fail(call, err)
	}
	bridge, err := p.ensureBridge(ctx, c, spec, tags)
	if err != nil {
		return cloud.Network{}, fail(call, err)
	}
	n, err := p.network(spec.Name, bridge)
	if err != nil {
		return cloud.Network{}, fail(call, err)
	}
	if n.Addresses, err = cloud.Reserve(n.Prefix, spec.Servers); err != nil {
		return cloud.Network{}, err
	}
	rules := p.egress(n, spec.Egress)
	return n, fail(call, changeACL(ctx, c, spec.Name, func(acl *incusd.NetworkACLRules) { acl.Egress = rules }))
}

// claimProject creates the project of a network, or finds that of the same owner. It comes first:
// whoever has the project has the name.
func claimProject(ctx context.Context, c *incusd.Client, name string, tags map[string]string) error {
	config := map[string]string{
		"features.images":          "false",
		"features.networks":        "false",
		"features.networks.zones":  "false",
		"features.profiles":        "true", // its own, empty default profile: the host's must not leak in
		"features.storage.buckets": "true",
		"features.storage.volumes": "true",
	}
	for k, v := range tags {
		config[k] = v
	}
	found, err := c.Project(ctx, name)
	if absent(err) {
		err = c.CreateProject(ctx, name, "Hallmark environment", config)
		if err == nil {
			return nil
		}
		if classify(err) != cloud.CodeConflict { // another process was faster
			return fmt.Errorf("create project: %w", err)
		}
		found, err = c.Project(ctx, name)
	}
	if err != nil {
		return fmt.Errorf("find project: %w", err)
	}
	if owner := found.Config[tagOwner]; owner != tags[tagOwner] {
		return conflict("create network "+name, "the project %q is there and belongs to %q", name, owner)
	}
	return nil
}

// bridgeName is also the ACL's. Linux allows 15 bytes for the name of an interface.
func bridgeName(network string) string {
	sum := sha256.Sum256([]byte(network))
	return bridgePrefix + hex.EncodeToString(sum[:])[:15-len(bridgePrefix)]
}

// egress are the rules for what servers send. Packets between servers of one bridge pass no rules
// unless the kernel filters bridges too (br_netfilter, which Docker for one switches on), so these
// are allowed explicitly. The gateway, which is the host, is not among them.
func (p *Provider) egress(n cloud.Network, list []cloud.Egress) []incusd.NetworkACLRule {
	rules := []incusd.NetworkACLRule{{
		Action: "allow", State: "enabled", Description: "servers among themselves",
		Destination: n.Gateway.Next().String() + "-" + last(n.Prefix).Prev().String(), // neither the host nor everybody
	}}
	allow := func(what string, to netip.Prefix, port uint16) {
		rules = append(rules, incusd.NetworkACLRule{
			Action: "allow", State: "enabled", Description: what,
			Destination: to.Masked().String(), Protocol: "tcp", DestinationPort: strconv.Itoa(int(port)),
		})
	}
	if a := p.cfg.CacheAddress; a.IsValid() {
		allow("package cache", netip.PrefixFrom(a, a.BitLen()), p.cfg.CachePort)
	}
	for _, e := range list {
		allow("allow-list", e.Prefix, e.Port)
	}
	return rules
}

// ensureACL makes an ACL that allows nothing, or leaves the one that is there.
func ensureACL(ctx context.Context, c *incusd.Client, network string, tags map[string]string) error {
	name := bridgeName(network)
	err := c.FindNetworkACL(ctx, name)
	if absent(err) {
		err = c.CreateNetworkACL(ctx, name, network, tags)
		if err != nil && classify(err) == cloud.CodeConflict { // another process was faster
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("network ACL %s: %w", name, err)
	}
	return nil
}

// changeACL reads, changes and writes a network's ACL until nobody interferes: Incus 6.0 walks all ACLs of
// the project when it writes one, and does not find those that go away meanwhile.
func changeACL(ctx context.Context, c *incusd.Client, network string, change func(*incusd.NetworkACLRules)) error {
	for {
		err := c.ChangeNetworkACL(ctx, bridgeName(network), change)
		if !incusd.Stale(err) && (!incusd.Absent(err) || c.FindNetworkACL(ctx, bridgeName(network)) != nil) {
			return err
		}
		if err := (clock.Machine{}).Sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// ensureBridge finds a bridge or makes it. Twice, if need be: the first may have been somebody's who
// never completed it.
func (p *Provider) ensureBridge(ctx context.Context, c *incusd.Client, spec cloud.NetworkSpec, tags map[string]string) (incusd.Network, error) {
	bridge := bridgeName(spec.Name)
	for try := 1; ; try++ {
		found, err := awaitBridge(ctx, c, bridge)
		if err == nil {
			return found, nil
		}
		if absent(err) && try <= 2 {
			err = p.createBridge(ctx, c, bridge, bridgeConfig(spec, bridge, tags))
		}
		if err != nil {
			return incusd.Network{}, fmt.Errorf("bridge %s: %w", bridge, err)
		}
	}
}

func bridgeConfig(spec cloud.NetworkSpec, bridge string, tags map[string]string) map[string]string {
	config := map[string]string{
		"ipv4.nat":     strconv.FormatBool(len(spec.Egress) > 0),
		"ipv6.address": "none",
		"dns.domain":   domain,
		"dns.mode":     "managed",

		"security.acls":                        bridge,
		"security.acls.default.ingress.action": "drop",
		"security.acls.default.egress.action":  "drop",
	}
	config["raw.dnsmasq"] = incusd.Resolver(nameServers(spec.Egress)...)
	for k, v := range tags {
		config[k] = v
	}
	return config
}

// nameServers are the destinations that are named as such: one address, and the port of DNS.
func nameServers(list []cloud.Egress) []netip.Addr {
	var servers []netip.Addr
	for _, e := range list {
		if e.Prefix.IsSingleIP() && e.Port == 53 {
			servers = append(servers, e.Prefix.Addr())
		}
	}
	return servers
}

// awaitBridge gives a bridge that is complete; CodeNotFound if there is none. One that somebody is
// just making it waits for; one that nobody completes, because Incus was killed, it takes away.
func awaitBridge(ctx context.Context, c *incusd.Client, bridge string) (incusd.Network, error) {
	const tries, wait = 100, 100 * time.Millisecond
	for range tries {
		found, err := c.Network(ctx, bridge)
		if err != nil || found.Status == incusd.NetworkCreated && found.Config["ipv4.address"] != "" {
			return found, err
		}
		if err := (clock.Machine{}).Sleep(ctx, wait); err != nil {
			return incusd.Network{}, err
		}
	}
	if err := incusd.RemoveNetwork(ctx, c, bridge); err != nil {
		return incusd.Network{}, err
	}
	return incusd.Network{}, &cloud.Error{Call: "find bridge " + bridge, Code: cloud.CodeNotFound, Err: errors.New("it was never completed")}
}

// AllowAdmin replaces the ingress rules: tcp/22 to each address, from the host's own end of the
// bridge only.
func (p *Provider) AllowAdmin(ctx context.Context, id cloud.NetworkID, addresses []netip.Addr) error {
	call := "allow admin access in " + string(id)
	c := p.connect("")
	bridge, err := c.Network(ctx, bridgeName(string(id)))
	if err != nil {
		return fail(call, err)
	}
	n, err := p.network(string(id), bridge)
	if err != nil {
		return fail(call, err)
	}
	rules := []incusd.NetworkACLRule{}
	for _, a := range addresses {
		if !n.Prefix.Contains(a) || a == n.Prefix.Masked().Addr() || a == n.Gateway || a == last(n.Prefix) {
			return refuse(call, "%s is no server's in %s", a, n.Prefix)
		}
		rules = append(rules, incusd.NetworkACLRule{
			Action: "allow", State: "enabled", Description: "admin", Protocol: "tcp", DestinationPort: "22",
			Source: n.Gateway.String() + "/32", Destination: a.String() + "/32",
		})
	}
	return fail(call, changeACL(ctx, c, string(id), func(acl *incusd.NetworkACLRules) { acl.Ingress = rules }))
}

// DeleteNetwork refuses (CodeRefused) while servers or volumes are in it. The project goes first:
// Incus keeps it while it is in use, and nothing has been taken away yet. What a crash leaves behind
// still carries the tags, and Owned lists it as this network.
func (p *Provider) DeleteNetwork(ctx context.Context, id cloud.NetworkID) error {
	call := "delete network " + string(id)
	if !name.MatchString(string(id)) || id == "default" {
		return nil // never one of ours
	}
	c := p.connect("")
	project, err := c.Project(ctx, string(id))
	if err != nil && !absent(err) {
		return fail(call, err)
	}
	if err == nil {
		if project.Config[tagOwner] == "" {
			return conflict(call, "the project is not Hallmark's")
		}
		if err := incusd.RemoveProject(ctx, c, string(id)); err != nil {
			return fail(call, err)
		}
	}
	bridge := bridgeName(string(id))
	if err := incusd.RemoveNetwork(ctx, c, bridge); err != nil {
		return fail(call, err)
	}
	// The ACL goes last: while it is there, Owned lists the network, and a crash leaves no log behind.
	if err := errors.Join(incusd.RemoveProjectLogs(p.cfg.LogDir, string(id)), incusd.RemoveNetworkLogs(p.cfg.LogDir, bridge)); err != nil {
		return fail(call, err)
	}
	return fail(call, incusd.Remove(ctx,
		func() error { return c.DeleteNetworkACL(ctx, bridge) },
		func() error { return c.FindNetworkACL(ctx, bridge) }))
}

// network reads a cloud.Network from its bridge.
func (p *Provider) network(name string, bridge incusd.Network) (cloud.Network, error) {
	gateway, err := netip.ParsePrefix(bridge.Config["ipv4.address"])
	if err != nil {
		return cloud.Network{}, fmt.Errorf("address of bridge %s: %w", bridge.Name, err)
	}
	n := cloud.Network{
		ID: cloud.NetworkID(name), Name: name, Prefix: gateway.Masked(), Gateway: gateway.Addr(),
		Tags: tagsOf(bridge.Config),
	}
	if a := p.cfg.CacheAddress; a.IsValid() {
		n.Cache = "http://" + netip.AddrPortFrom(a, p.cfg.CachePort).String()
	}
	return n, nil
}
