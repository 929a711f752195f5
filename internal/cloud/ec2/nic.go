package ec2

import (
	"context"
	"net/netip"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// nic is the network interface that keeps a server's address.
type nic struct {
	id, server, zone string
	address          netip.Addr
	groups           []string
	instance         string // that it is attached to; "": none
	tags             tags
}

// nicSpec describes an interface to make.
type nicSpec struct {
	network, server string
	groups          []string
	tags            cloud.Tags
	once            string // makes its token different from that of an earlier one for the same server
}

// nics finds interfaces by the server they are for.
func (p *Provider) nics(ctx context.Context, filters []types.Filter) (map[string]*nic, error) {
	list, err := p.listNICs(ctx, filters)
	if err != nil {
		return nil, err
	}
	found := map[string]*nic{}
	for _, n := range list {
		if n.server != "" {
			found[n.server] = n
		}
	}
	return found, nil
}

func (p *Provider) listNICs(ctx context.Context, filters []types.Filter) ([]*nic, error) {
	pages := ec2.NewDescribeNetworkInterfacesPaginator(p.api, &ec2.DescribeNetworkInterfacesInput{Filters: filters})
	var list []*nic
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for i := range out.NetworkInterfaces {
			list = append(list, nicOf(&out.NetworkInterfaces[i]))
		}
	}
	return list, nil
}

func nicOf(in *types.NetworkInterface) *nic {
	n := &nic{id: aws.ToString(in.NetworkInterfaceId), zone: aws.ToString(in.AvailabilityZone), tags: read(in.TagSet)}
	n.server = n.tags[tagServer]
	n.address, _ = netip.ParseAddr(aws.ToString(in.PrivateIpAddress)) // EC2 gives nothing else
	for _, g := range in.Groups {
		n.groups = append(n.groups, aws.ToString(g.GroupId))
	}
	if in.Attachment != nil {
		n.instance = aws.ToString(in.Attachment.InstanceId)
	}
	return n
}

// createNIC makes an interface in the first of the zones that has an address left.
func (p *Provider) createNIC(ctx context.Context, zones []zone, spec nicSpec) (*nic, error) {
	all := label(spec.tags, tags{tagNetwork: spec.network, tagServer: spec.server, tagName: spec.server})
	var full error
	for _, z := range zones {
		for _, subnet := range turned(z.subnets, start(spec.network+"/"+spec.server, len(z.subnets))) {
			made, err := p.oneNIC(ctx, subnet, spec, all)
			if is(err, "InsufficientFreeAddressesInSubnet") {
				full = err
				continue
			}
			if err != nil {
				return nil, err
			}
			n := nicOf(made)
			n.tags, n.server, n.zone = all, spec.server, z.name
			return n, nil
		}
	}
	return nil, full
}

// oneNIC makes an interface once, also if it is asked again because the answer was lost. A token whose
// interface somebody has deleted since gives no other: then another generation of it is used.
func (p *Provider) oneNIC(ctx context.Context, subnet string, spec nicSpec, all tags) (*types.NetworkInterface, error) {
	var out *ec2.CreateNetworkInterfaceOutput
	var err error
	for generation := range generations {
		in := &ec2.CreateNetworkInterfaceInput{
			SubnetId: aws.String(subnet), Groups: spec.groups, Description: aws.String("Hallmark server " + spec.server),
			ClientToken:       aws.String(token("interface", spec.network, spec.server, subnet, spec.once, strings.Repeat("+", generation))),
			TagSpecifications: all.of(types.ResourceTypeNetworkInterface),
		}
		err = p.until(ctx, "the security groups of "+spec.network+" are visible", visibleIn, func(ctx context.Context) (bool, error) {
			out, err = p.api.CreateNetworkInterface(ctx, in)
			if is(err, "InvalidGroup.NotFound", "InvalidSecurityGroupID.NotFound") {
				return false, nil
			}
			return err == nil, err
		})
		if err == nil {
			return out.NetworkInterface, nil
		}
		if !is(err, "InvalidNetworkInterfaceID.NotFound") {
			return nil, err
		}
	}
	return nil, err
}

// deleteNIC removes an interface that no instance is on any more.
func (p *Provider) deleteNIC(ctx context.Context, n *nic) error {
	_, err := p.api.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &n.id})
	return gone(ctx, err, func(ctx context.Context) ([]*nic, error) {
		return p.listNICs(ctx, []types.Filter{has("network-interface-id", n.id)})
	})
}
