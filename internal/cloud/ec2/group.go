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

// ensureGroups gives both groups with the rules that they should have.
func (p *Provider) ensureGroups(ctx context.Context, call string, spec cloud.NetworkSpec) (map[string]*group, error) {
	found, err := p.groups(ctx, spec.Name)
	if err != nil {
		return nil, err
	}
	for _, g := range found {
		if err := ours(call, g.tags, spec.Tags.Owner); err != nil {
			return nil, err
		}
	}
	made := false
	for _, part := range []string{servers, door} {
		if found[part] == nil {
			made = true
			if err := p.createGroup(ctx, spec, part); err != nil {
				return nil, err
			}
		}
	}
	// Read back: EC2 has put rules into them.
	err = p.until(ctx, "the security groups of "+spec.Name+" are visible", visibleIn, func(ctx context.Context) (bool, error) {
		if made {
			found, err = p.groups(ctx, spec.Name)
		}
		return found[servers] != nil && found[door] != nil, err
	})
	if err != nil {
		return nil, err
	}
	for _, want := range p.wantedGroups(spec) {
		if err := p.setRules(ctx, found[want.part], want); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (p *Provider) createGroup(ctx context.Context, spec cloud.NetworkSpec, part string) error {
	title := fmt.Sprintf("hallmark-%s-%s", spec.Name, part)
	all := label(spec.Tags, tags{tagNetwork: spec.Name, tagGroup: part, tagName: title})
	_, err := p.api.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{
		GroupName: &title, Description: aws.String("Hallmark network " + spec.Name), VpcId: &p.vpc,
		TagSpecifications: all.of(types.ResourceTypeSecurityGroup),
	})
	if is(err, "InvalidGroup.Duplicate") { // made before, and not seen yet
		return nil
	}
	return err
}

// setRules brings a group's rules to what they should be. What is too much goes first: EC2 lets a new
// group send to everywhere.
func (p *Provider) setRules(ctx context.Context, g *group, want wantedGroup) error {
	more, less := g.differs(g.out, want.out)
	if len(less) > 0 {
		_, err := p.api.RevokeSecurityGroupEgress(ctx, &ec2.RevokeSecurityGroupEgressInput{GroupId: &g.id, IpPermissions: permissions(less)})
		if skipAbsent(err) != nil {
			return err
		}
	}
	if len(more) > 0 {
		_, err := p.api.AuthorizeSecurityGroupEgress(ctx, &ec2.AuthorizeSecurityGroupEgressInput{GroupId: &g.id, IpPermissions: permissions(more)})
		if err != nil && !is(err, "InvalidPermission.Duplicate") {
			return err
		}
	}
	if more, less = g.differs(g.in, want.in); len(less) > 0 {
		_, err := p.api.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: &g.id, IpPermissions: permissions(less)})
		if skipAbsent(err) != nil {
			return err
		}
	}
	if len(more) > 0 {
		_, err := p.api.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &g.id, IpPermissions: permissions(more)})
		if err != nil && !is(err, "InvalidPermission.Duplicate") {
			return err
		}
	}
	return nil
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
