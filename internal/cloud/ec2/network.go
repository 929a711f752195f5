package ec2

import (
	"context"
	"maps"
	"net/netip"
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

var name = regexp.MustCompile(`^[a-z][a-z0-9-]{0,61}[a-z0-9]$`)

// CreateNetwork makes (or completes, or finds) the groups and interfaces of a network. The groups are
// closed before anything is put into them.
func (p *Provider) CreateNetwork(ctx context.Context, spec cloud.NetworkSpec) (cloud.Network, error) {
	call := "create network " + spec.Name
	if !name.MatchString(spec.Name) {
		return cloud.Network{}, refuse(call, "the name must match %s", name)
	}
	if err := label(spec.Tags, tags{tagNetwork: spec.Name, tagName: spec.Name, tagGroup: "", tagServer: ""}).check(call); err != nil {
		return cloud.Network{}, err
	}
	groups, err := p.ensureGroups(ctx, call, spec)
	if err != nil {
		return cloud.Network{}, fail(call, err)
	}
	nics, err := p.ensureNICs(ctx, spec, groups[servers])
	if err != nil {
		return cloud.Network{}, fail(call, err)
	}
	n := cloud.Network{
		ID: cloud.NetworkID(spec.Name), Name: spec.Name, Addresses: map[string]netip.Addr{}, Tags: groups[servers].tags.cloud(),
	}
	for _, server := range spec.Servers {
		n.Addresses[server] = nics[server].address
	}
	if p.cfg.Cache.IsValid() {
		n.Cache = "http://" + p.cfg.Cache.String()
	}
	return n, nil
}

// ensureNICs gives the interface of every server, made if need be, one after another around the zones.
func (p *Provider) ensureNICs(ctx context.Context, spec cloud.NetworkSpec, inside *group) (map[string]*nic, error) {
	nics, err := p.nics(ctx, where(tagNetwork, spec.Name))
	if err != nil {
		return nil, err
	}
	first, fresh := start(spec.Name, len(p.zones)), []string{}
	for i, server := range spec.Servers {
		if nics[server] != nil {
			continue
		}
		made, err := p.createNIC(ctx, turned(p.zones, first+i), nicSpec{
			network: spec.Name, server: server, groups: []string{inside.id}, tags: spec.Tags, once: inside.id,
		})
		if err != nil {
			return nil, err
		}
		nics[server] = made
		fresh = append(fresh, made.id)
	}
	return nics, p.visible(ctx, spec.Name, fresh)
}

// visible waits until interfaces can be found by the tags of their network: what cannot be found would be
// made a second time.
func (p *Provider) visible(ctx context.Context, network string, ids []string) error {
	return p.until(ctx, "the interfaces of "+network+" are visible", visibleIn, func(ctx context.Context) (bool, error) {
		if len(ids) == 0 {
			return true, nil
		}
		list, err := p.listNICs(ctx, append(where(tagNetwork, network), has("network-interface-id", ids...)))
		return len(list) == len(ids), err
	})
}

// AllowAdmin puts the interfaces that have these addresses into the group "door", and takes all others
// of the network out of it.
func (p *Provider) AllowAdmin(ctx context.Context, id cloud.NetworkID, addresses []netip.Addr) error {
	call := "allow admin access in " + string(id)
	groups, err := p.groups(ctx, string(id))
	if err != nil {
		return fail(call, err)
	}
	if groups[servers] == nil || groups[door] == nil {
		return lost(call, "there is no such network")
	}
	nics, err := p.nics(ctx, where(tagNetwork, string(id)))
	if err != nil {
		return fail(call, err)
	}
	for _, a := range addresses {
		if !slices.ContainsFunc(slices.Collect(maps.Values(nics)), func(n *nic) bool { return n.address == a }) {
			return refuse(call, "no server of it has the address %s", a)
		}
	}
	for _, n := range nics {
		want := []string{groups[servers].id}
		if slices.Contains(addresses, n.address) {
			want = append(want, groups[door].id)
		}
		if sameGroups(n.groups, want) {
			continue
		}
		_, err := p.api.ModifyNetworkInterfaceAttribute(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: &n.id, Groups: want})
		if err != nil {
			return fail(call, err)
		}
	}
	return nil
}

func sameGroups(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// DeleteNetwork refuses (CodeRefused) while a server is on one of its interfaces, and then takes
// nothing away. One that is just ending, ordered to by a process that died, is waited for. What a crash leaves behind still carries the tags.
func (p *Provider) DeleteNetwork(ctx context.Context, id cloud.NetworkID) error {
	call := "delete network " + string(id)
	if id == "" {
		return nil
	}
	nics, err := p.listNICs(ctx, where(tagNetwork, string(id)))
	if err != nil {
		return fail(call, err)
	}
	for _, n := range nics {
		if err := ours(call, n.tags, ""); err != nil {
			return err
		}
		if n.instance == "" {
			continue
		}
		ends, err := p.ending(ctx, n.instance, false)
		if err != nil {
			return fail(call, err)
		}
		if !ends {
			return refuse(call, "%s is on the interface of %s", n.instance, n.server)
		}
	}
	for _, n := range nics {
		if err := p.deleteNIC(ctx, n); err != nil {
			return fail(call, err)
		}
	}
	list, err := p.listGroups(ctx, where(tagNetwork, string(id)))
	if err != nil {
		return fail(call, err)
	}
	for _, g := range list {
		if err := ours(call, g.tags, ""); err != nil {
			return err
		}
		err := p.until(ctx, "security group "+g.id+" is free", visibleIn, func(ctx context.Context) (bool, error) {
			_, err := p.api.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &g.id})
			if is(err, "DependencyViolation") { // interfaces are let go of a moment after they are gone
				return false, nil
			}
			err = gone(ctx, err, func(ctx context.Context) ([]*group, error) {
				return p.listGroups(ctx, []types.Filter{has("group-id", g.id)})
			})
			return err == nil, err
		})
		if err != nil {
			return fail(call, err)
		}
	}
	return nil
}
