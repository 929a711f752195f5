package ec2

import (
	"context"
	"net/netip"

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
			var out *ec2.CreateNetworkInterfaceOutput
			err := p.onceVisible(ctx, "a security group of "+spec.network, func(ctx context.Context) (err error) {
				out, err = p.api.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{
					SubnetId: aws.String(subnet), Groups: spec.groups, Description: aws.String("Hallmark server " + spec.server),
					ClientToken:       aws.String(token("interface", spec.network, spec.server, subnet, spec.once)),
					TagSpecifications: all.of(types.ResourceTypeNetworkInterface),
				})
				return err
			})
			if is(err, "InsufficientFreeAddressesInSubnet") {
				full = err
				continue
			}
			if err != nil {
				return nil, err
			}
			n := nicOf(out.NetworkInterface)
			n.tags, n.server, n.zone = all, spec.server, z.name
			return n, nil
		}
	}
	return nil, full
}

// deleteNIC removes an interface that no instance is on any more.
func (p *Provider) deleteNIC(ctx context.Context, n *nic) error {
	_, err := p.api.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &n.id})
	return skipAbsent(err)
}
