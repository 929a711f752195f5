package ec2lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/machines"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// group is a security group. What no rule allows does not pass.
type group struct {
	identity
	name, description string
	in, out           []rule
}

// rule has one peer: a range of addresses or a group.
type rule struct {
	id       string
	protocol string // tcp, udp, icmp or -1
	from, to int
	cidr     netip.Prefix
	group    string
	says     string // its description
}

// same compares what rules allow.
func (a rule) same(b rule) bool {
	return a.protocol == b.protocol && a.from == b.from && a.to == b.to && a.cidr == b.cidr && a.group == b.group
}

// openEgress is what every new group begins with.
func (l *Lab) openEgress() rule {
	return rule{id: l.newID("sgr-"), protocol: "-1", from: -1, to: -1, cidr: netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
}

const noGroup = "InvalidGroup.NotFound"

func (r *region) hasGroups(ids []string) error {
	for _, id := range ids {
		if _, err := find(r.groups, id, noGroup); err != nil {
			return err
		}
	}
	return nil
}

// defaultGroup is used where a request names none.
func (r *region) defaultGroup() *group {
	for _, g := range r.groups {
		if g.name == "default" {
			return g
		}
	}
	panic("ec2lab: a region without its default group")
}

type createSecurityGroup struct {
	dry
	GroupName        string `query:"required"`
	GroupDescription string `query:"required"`
	VpcID            string
	TagSpecification []tagSpecification
}

func (c *call) createSecurityGroup(in *createSecurityGroup) (any, error) {
	if in.VpcID != "" && in.VpcID != c.r.vpc.id {
		return nil, query.Errorf("InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", in.VpcID)
	}
	if strings.HasPrefix(in.GroupName, "sg-") || len(in.GroupName) > 255 || len(in.GroupDescription) > 255 {
		return nil, query.Errorf("InvalidParameterValue", "Invalid security group name or description: '%s'", in.GroupName)
	}
	for _, g := range c.r.groups {
		if g.name == in.GroupName {
			return nil, query.Errorf("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", in.GroupName, c.r.vpc.id)
		}
	}
	tags, err := specified(in.TagSpecification, "security-group")
	if err != nil {
		return nil, err
	}
	g := &group{identity: c.identify("sg-"), name: in.GroupName, description: in.GroupDescription}
	g.out = []rule{c.openEgress()}
	c.r.groups[g.id] = g
	c.r.tag(g.id, tags["security-group"])
	return struct {
		Return  bool   `xml:"return"`
		GroupID string `xml:"groupId"`
		Arn     string `xml:"securityGroupArn"`
		Tags    []tag  `xml:"tagSet>item"`
	}{true, g.id, c.arn("security-group/" + g.id), c.r.tags[g.id].view()}, nil
}

func (c *call) arn(what string) string {
	return fmt.Sprintf("arn:aws:ec2:%s:%s:%s", c.r.name, c.cfg.Account, what)
}

type deleteSecurityGroup struct {
	dry
	GroupID string `query:"required"`
}

func (c *call) deleteSecurityGroup(in *deleteSecurityGroup) (any, error) {
	g, err := find(c.r.groups, in.GroupID, noGroup)
	if err != nil {
		return nil, err
	}
	if g.name == "default" {
		return nil, query.Errorf("CannotDelete", "the specified group: \"%s\" name: \"default\" cannot be deleted by a user", g.id)
	}
	for _, n := range c.r.nics {
		if slices.Contains(n.groups, g.id) {
			return nil, query.Errorf("DependencyViolation", "resource %s has a dependent object", g.id)
		}
	}
	for _, other := range c.r.groups {
		refers := func(r rule) bool { return r.group == g.id }
		if other != g && (slices.ContainsFunc(other.in, refers) || slices.ContainsFunc(other.out, refers)) {
			return nil, query.Errorf("DependencyViolation", "resource %s has a dependent object", g.id)
		}
	}
	delete(c.r.groups, g.id)
	delete(c.r.tags, g.id)
	return struct {
		Return  bool   `xml:"return"`
		GroupID string `xml:"groupId"`
	}{true, g.id}, nil
}

// ends are the rules of all regions, as the host enforces them. Called with mu held.
func (l *Lab) ends() []machines.End {
	var all []machines.End
	for _, r := range l.regions {
		members := map[string][]netip.Prefix{}
		for _, n := range r.nics {
			for _, g := range n.groups {
				members[g] = append(members[g], netip.PrefixFrom(n.address, 32))
			}
		}
		for _, n := range r.nics {
			end := machines.End{Address: n.address, Network: r.vpc.cidr}
			for _, id := range n.groups {
				end.In = append(end.In, enforced(r.groups[id].in, members)...)
				end.Out = append(end.Out, enforced(r.groups[id].out, members)...)
			}
			all = append(all, end)
		}
	}
	slices.SortFunc(all, func(a, b machines.End) int { return a.Address.Compare(b.Address) })
	return all
}

func enforced(rules []rule, members map[string][]netip.Prefix) []machines.Rule {
	list := make([]machines.Rule, 0, len(rules))
	for _, r := range rules {
		m := machines.Rule{Protocol: r.protocol, From: r.from, To: r.to, Peers: members[r.group]}
		if r.protocol == "-1" {
			m.Protocol = ""
		}
		if r.group == "" {
			m.Peers = []netip.Prefix{r.cidr}
		}
		list = append(list, m)
	}
	return list
}
