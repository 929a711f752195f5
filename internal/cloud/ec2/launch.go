package ec2

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Launch puts an instance on the interface that was reserved for the server, of the first type for
// which there is room. If no type has room in that zone it goes on to the others, each with a new
// interface and so with another address. A server with volumes stays in the zone that they are in.
//
// It returns once EC2 shows the instance, and has attached its volumes, which takes until it is
// running. Volumes so come while the system boots: what needs them has to wait for their devices, as
// mount units do.
func (p *Provider) Launch(ctx context.Context, spec cloud.ServerSpec) (cloud.Server, error) {
	call := "launch " + spec.Name
	r, err := p.request(call, spec)
	if err != nil {
		return cloud.Server{}, err
	}
	nics, err := p.nics(ctx, where(tagNetwork, string(spec.Network)))
	if err != nil {
		return cloud.Server{}, fail(call, err)
	}
	if len(nics) == 0 {
		return cloud.Server{}, lost(call, "there is no network %s", spec.Network)
	}
	in, err := p.launched(ctx, call, spec)
	if err != nil {
		return cloud.Server{}, fail(call, err)
	}
	if in == nil && p.cfg.Spot {
		if err := p.endOthers(ctx, call, spec); err != nil {
			return cloud.Server{}, fail(call, err)
		}
	}
	n := nics[spec.Name]
	volumes, err := p.volumesOf(ctx, call, spec, n, in)
	if err == nil && in == nil {
		in, err = p.place(ctx, call, r, n, p.zonesFor(n, volumes))
	}
	if err != nil {
		return cloud.Server{}, fail(call, err)
	}
	if err := p.attachAll(ctx, volumes, in); err != nil {
		return cloud.Server{}, fail(call, err)
	}
	made := p.server(in)
	disk, err := p.rootDisk(ctx, string(made.Image))
	made.RootMiB = disk.mib
	return made, fail(call, skipAbsent(err)) // the image of one that is adopted may be gone
}

// launched finds the server that an earlier call with the same token made; nil if there is none.
func (p *Provider) launched(ctx context.Context, call string, spec cloud.ServerSpec) (*types.Instance, error) {
	others, err := p.instances(ctx, append(where(tagNetwork, string(spec.Network)), living))
	if err != nil {
		return nil, err
	}
	for i := range others {
		t := read(others[i].Tags)
		sameName, sameToken := t[tagServer] == spec.Name, t[tagToken] == spec.Token
		switch {
		case sameName && sameToken:
			return &others[i], nil
		case sameName:
			return nil, conflict(call, "a server of that name was launched with another token")
		case sameToken:
			return nil, conflict(call, "that token launched %s", t[tagServer])
		}
	}
	return nil, nil
}

// zonesFor gives the zones in which a server may be, beginning with the one of its interface. It has none
// if a move to another zone was cut short.
func (p *Provider) zonesFor(n *nic, volumes []types.Volume) []zone {
	home := ""
	switch {
	case len(volumes) > 0:
		home = aws.ToString(volumes[0].AvailabilityZone)
	case n != nil:
		home = n.zone
	}
	zones := turned(p.zones, max(0, slices.IndexFunc(p.zones, func(z zone) bool { return z.name == home })))
	if len(volumes) > 0 {
		return zones[:1]
	}
	return zones
}

// place tries one zone after the other, in each all types.
func (p *Provider) place(ctx context.Context, call string, r request, n *nic, zones []zone) (*types.Instance, error) {
	disk, err := p.rootDisk(ctx, string(r.spec.Image))
	if err != nil {
		return nil, err
	}
	var full []error
	for _, z := range zones {
		if n == nil || n.zone != z.name {
			if n, err = p.move(ctx, r, n, z); cloud.CodeOf(fail(call, err)) == cloud.CodeCapacity {
				full = append(full, fmt.Errorf("%s: %w", z.name, plain(err)))
				continue
			} else if err != nil {
				return nil, err
			}
		}
		if there, err := p.vacant(ctx, call, r.spec, n); there != nil || err != nil {
			return there, err
		}
		for _, kind := range r.kinds {
			in, err := p.run(ctx, r, n, kind, disk.device)
			if err == nil {
				return p.seen(ctx, in)
			}
			if !is(err, append([]string{unsupported}, noRoom...)...) {
				return nil, err
			}
			p.cfg.Log.Warn("no capacity", "server", r.spec.Name, "zone", z.name, "type", string(kind), "err", err)
			full = append(full, fmt.Errorf("%s, %s: %w", z.name, kind, plain(err)))
		}
	}
	return nil, &cloud.Error{Call: call, Code: cloud.CodeCapacity, Err: errors.Join(full...)}
}

// move gives a server an interface in another zone. The old one goes first, so that a server never has
// two: if the process dies in between, the next call makes the new one.
func (p *Provider) move(ctx context.Context, r request, old *nic, to zone) (*nic, error) {
	groups, err := p.groups(ctx, string(r.spec.Network))
	if err != nil {
		return nil, err
	}
	if groups[servers] == nil {
		return nil, lost("find the network "+string(r.spec.Network), "it has no security group")
	}
	spec := nicSpec{
		network: string(r.spec.Network), server: r.spec.Name, groups: []string{groups[servers].id},
		tags: groups[servers].tags.cloud(), once: groups[servers].id + r.spec.Token,
	}
	if old != nil {
		spec.groups = old.groups
		if err := p.deleteNIC(ctx, old); err != nil {
			return nil, err
		}
	}
	made, err := p.createNIC(ctx, []zone{to}, spec)
	if err != nil {
		return nil, err
	}
	return made, p.visible(ctx, spec.network, []string{made.id})
}

// vacant waits until the instance that was on an interface before has let go of it; or until it turns
// out to be the one that an earlier call launched and that could not be seen yet, and gives that.
func (p *Provider) vacant(ctx context.Context, call string, spec cloud.ServerSpec, n *nic) (there *types.Instance, err error) {
	by := n.instance
	err = p.until(ctx, "the interface "+n.id+" is free", stateIn, func(ctx context.Context) (bool, error) {
		if by == "" {
			return true, nil
		}
		if there, err = p.launched(ctx, call, spec); there != nil || err != nil {
			return true, err
		}
		list, err := p.listNICs(ctx, []types.Filter{has("network-interface-id", n.id)})
		if err == nil && len(list) > 0 {
			by = list[0].instance
		}
		return by == "", err
	})
	return there, err
}

// generations bounds how often a token is used again whose instance is gone.
const generations = 5

// run asks for one instance of one type. EC2 gives the same instance for the same token, also when it is
// just ending, and refuses the token once it has ended; then another generation of the token is used.
func (p *Provider) run(ctx context.Context, r request, n *nic, kind types.InstanceType, root string) (*types.Instance, error) {
	for generation := range generations {
		in := r.input(n, kind, root, generation)
		var out *ec2.RunInstancesOutput
		err := p.until(ctx, "the interface "+n.id+" can be launched on", visibleIn, func(ctx context.Context) (_ bool, err error) {
			out, err = p.api.RunInstances(ctx, in)
			if is(err, "InvalidNetworkInterfaceID.NotFound") { // what describes it knows it already
				return false, nil
			}
			return err == nil, err
		})
		if is(err, "IdempotentInstanceTerminated") {
			continue
		}
		if err != nil {
			return nil, err
		}
		made := &out.Instances[0]
		if s := made.State.Name; s != types.InstanceStateNameTerminated && s != types.InstanceStateNameShuttingDown {
			return made, nil
		}
	}
	return nil, conflict("launch "+r.spec.Name, "its token launched %d instances, and all of them are gone", generations)
}

// seen waits until what was just launched can be found by its tags.
func (p *Provider) seen(ctx context.Context, in *types.Instance) (*types.Instance, error) {
	err := p.until(ctx, aws.ToString(in.InstanceId)+" is visible", visibleIn, func(ctx context.Context) (bool, error) {
		list, err := p.instances(ctx, append(where(tagServer, ""), has("instance-id", aws.ToString(in.InstanceId))))
		if err == nil && len(list) > 0 {
			in = &list[0]
		}
		return len(list) > 0, err
	})
	return in, err
}

// instances lists instances, on as many pages as there are.
func (p *Provider) instances(ctx context.Context, filters []types.Filter) ([]types.Instance, error) {
	pages := ec2.NewDescribeInstancesPaginator(p.api, &ec2.DescribeInstancesInput{Filters: filters, MaxResults: aws.Int32(1000)})
	var list []types.Instance
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range out.Reservations {
			list = append(list, r.Instances...)
		}
	}
	return list, nil
}

// clientToken is what makes a launch happen once. Every type and zone has its own: EC2 would answer a
// second request that differs from the first with an error.
func clientToken(spec cloud.ServerSpec, kind types.InstanceType, nic string, generation int) string {
	return token("launch", string(spec.Network), spec.Name, spec.Token, string(kind), nic, strings.Repeat("+", generation))
}
