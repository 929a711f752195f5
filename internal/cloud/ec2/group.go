package ec2

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// The two security groups of a network.
const (
	servers = "servers" // everything in it
	door    = "door"    // those that may be reached from Config.Reach
)

// group is a security group as it is.
type group struct {
	id      string
	tags    tags
	in, out map[rule]bool
}

// rule is what may pass, to or from a group or a prefix. Protocol "-1" is everything.
type rule struct {
	protocol string
	from, to int32
	prefix   netip.Prefix
	group    string
}

func tcp(port uint16, prefix netip.Prefix) rule {
	return rule{protocol: "tcp", from: int32(port), to: int32(port), prefix: prefix.Masked()}
}

// self stands for the group itself, whose id is not known before it is made.
const self = "self"

// wantedGroup is a security group as it should be.
type wantedGroup struct {
	part    string
	in, out []rule
}

// wantedGroups closes both groups but for what the design allows. Traffic that a group lets in is
// answered without a rule. DNS, time, DHCP and metadata of the VPC itself pass by every group.
func (p *Provider) wantedGroups(spec cloud.NetworkSpec) []wantedGroup {
	inside := wantedGroup{part: servers, in: []rule{{protocol: "-1", group: self}}, out: []rule{{protocol: "-1", group: self}}}
	if c := p.cfg.Cache; c.IsValid() {
		inside.out = append(inside.out, tcp(c.Port(), netip.PrefixFrom(c.Addr(), c.Addr().BitLen())))
	}
	for _, e := range spec.Egress {
		inside.out = append(inside.out, tcp(e.Port, e.Prefix))
	}
	outside := wantedGroup{part: door}
	for _, from := range p.cfg.Reach {
		outside.in = append(outside.in, tcp(22, from))
	}
	return []wantedGroup{inside, outside}
}

// groups finds the groups of a network by their part.
func (p *Provider) groups(ctx context.Context, network string) (map[string]*group, error) {
	list, err := p.listGroups(ctx, where(tagNetwork, network))
	if err != nil {
		return nil, err
	}
	found := map[string]*group{}
	for _, g := range list {
		found[g.tags[tagGroup]] = g
	}
	return found, nil
}

func (p *Provider) listGroups(ctx context.Context, filters []types.Filter) ([]*group, error) {
	pages := ec2.NewDescribeSecurityGroupsPaginator(p.api, &ec2.DescribeSecurityGroupsInput{Filters: filters})
	var list []*group
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, g := range out.SecurityGroups {
			list = append(list, &group{*g.GroupId, read(g.Tags), rules(g.IpPermissions), rules(g.IpPermissionsEgress)})
		}
	}
	return list, nil
}

// ensureGroup makes a group, or brings the one that is there to what it should be. EC2 lets a new
// group send to everywhere: that is taken away first.
func (p *Provider) ensureGroup(ctx context.Context, spec cloud.NetworkSpec, want wantedGroup, g *group) (*group, error) {
	if g == nil {
		title := fmt.Sprintf("hallmark-%s-%s", spec.Name, want.part)
		all := label(spec.Tags, tags{tagNetwork: spec.Name, tagGroup: want.part, tagName: title})
		out, err := p.api.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{
			GroupName: &title, Description: aws.String("Hallmark network " + spec.Name), VpcId: &p.vpc,
			TagSpecifications: all.of(types.ResourceTypeSecurityGroup),
		})
		if err != nil {
			return nil, err
		}
		everywhere := rule{protocol: "-1", prefix: netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
		g = &group{id: *out.GroupId, tags: all, in: map[rule]bool{}, out: map[rule]bool{everywhere: true}}
	}
	more, less := g.differs(g.out, want.out)
	if len(less) > 0 {
		err := p.onceVisible(ctx, g.id, func(ctx context.Context) error {
			_, err := p.api.RevokeSecurityGroupEgress(ctx, &ec2.RevokeSecurityGroupEgressInput{GroupId: &g.id, IpPermissions: permissions(less)})
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if len(more) > 0 {
		_, err := p.api.AuthorizeSecurityGroupEgress(ctx, &ec2.AuthorizeSecurityGroupEgressInput{GroupId: &g.id, IpPermissions: permissions(more)})
		if err != nil && !is(err, "InvalidPermission.Duplicate") {
			return nil, err
		}
	}
	if more, less = g.differs(g.in, want.in); len(less) > 0 {
		_, err := p.api.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: &g.id, IpPermissions: permissions(less)})
		if err != nil {
			return nil, err
		}
	}
	if len(more) > 0 {
		_, err := p.api.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &g.id, IpPermissions: permissions(more)})
		if err != nil && !is(err, "InvalidPermission.Duplicate") {
			return nil, err
		}
	}
	return g, nil
}

// onceVisible repeats a call while what was just made cannot be found.
func (p *Provider) onceVisible(ctx context.Context, id string, do func(context.Context) error) error {
	return p.until(ctx, id+" is visible", visibleIn, func(ctx context.Context) (bool, error) {
		err := do(ctx)
		if absent(err) {
			return false, nil
		}
		return err == nil, err
	})
}

// differs compares rules: what has to come, and what has to go.
func (g *group) differs(have map[rule]bool, want []rule) (more, less []rule) {
	wanted := map[rule]bool{}
	for _, r := range want {
		if r.group == self {
			r.group = g.id
		}
		if !wanted[r] && !have[r] {
			more = append(more, r)
		}
		wanted[r] = true
	}
	for r := range have {
		if !wanted[r] {
			less = append(less, r)
		}
	}
	return more, less
}

func permissions(list []rule) []types.IpPermission {
	var all []types.IpPermission
	for _, r := range list {
		one := types.IpPermission{IpProtocol: aws.String(r.protocol)}
		if r.protocol != "-1" {
			one.FromPort, one.ToPort = aws.Int32(r.from), aws.Int32(r.to)
		}
		switch {
		case r.group != "":
			one.UserIdGroupPairs = []types.UserIdGroupPair{{GroupId: aws.String(r.group)}}
		case r.prefix.Addr().Is4():
			one.IpRanges = []types.IpRange{{CidrIp: aws.String(r.prefix.String())}}
		default:
			one.Ipv6Ranges = []types.Ipv6Range{{CidrIpv6: aws.String(r.prefix.String())}}
		}
		all = append(all, one)
	}
	return all
}

// rules reads what permissions wrote.
func rules(list []types.IpPermission) map[rule]bool {
	found := map[rule]bool{}
	for _, one := range list {
		r := rule{protocol: aws.ToString(one.IpProtocol)}
		if r.protocol != "-1" {
			r.from, r.to = aws.ToInt32(one.FromPort), aws.ToInt32(one.ToPort)
		}
		prefix := func(text *string) {
			r := r
			r.prefix, _ = netip.ParsePrefix(aws.ToString(text)) // EC2 gives nothing else
			found[r] = true
		}
		for _, v4 := range one.IpRanges {
			prefix(v4.CidrIp)
		}
		for _, v6 := range one.Ipv6Ranges {
			prefix(v6.CidrIpv6)
		}
		for _, pair := range one.UserIdGroupPairs {
			r.group = aws.ToString(pair.GroupId)
			found[r] = true
		}
	}
	return found
}
