package ec2lab

import (
	"net/netip"
	"slices"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// permission is the API's form of several rules that differ in their peers only.
type permission struct {
	IPProtocol string `query:"required"`
	FromPort   *int
	ToPort     *int
	IPRanges   []struct {
		CidrIP      string `query:"required"`
		Description string
	}
	Groups []struct {
		GroupID     string `query:"required"`
		UserID      string
		VpcID       string
		Description string
	}
}

// permit authorizes or revokes.
type permit struct {
	dry
	GroupID       string `query:"required"`
	IPPermissions []permission
	// The short form of one permission.
	IPProtocol       string
	CidrIP           string
	FromPort, ToPort *int
	TagSpecification []tagSpecification
	// SecurityGroupRuleID is for revoking only.
	SecurityGroupRuleID []string
}

// rules reads a request into rules without ids.
func (c *call) rules(in *permit) ([]rule, error) {
	permissions := in.IPPermissions
	if in.IPProtocol != "" || in.CidrIP != "" {
		p := permission{IPProtocol: in.IPProtocol, FromPort: in.FromPort, ToPort: in.ToPort}
		p.IPRanges = append(p.IPRanges, struct {
			CidrIP      string `query:"required"`
			Description string
		}{CidrIP: in.CidrIP})
		permissions = append(permissions, p)
	}
	var rules []rule
	for _, p := range permissions {
		base, err := p.base()
		if err != nil {
			return nil, err
		}
		for _, one := range p.IPRanges {
			r := base
			if r.cidr, err = netip.ParsePrefix(one.CidrIP); err != nil || !r.cidr.Addr().Is4() || r.cidr != r.cidr.Masked() {
				return nil, query.Errorf("InvalidParameterValue", "CIDR block %s is malformed", one.CidrIP)
			}
			r.says = one.Description
			rules = append(rules, r)
		}
		for _, one := range p.Groups {
			r := base
			if _, err := find(c.r.groups, one.GroupID, noGroup); err != nil {
				return nil, err
			}
			if one.UserID != "" && one.UserID != c.cfg.Account || one.VpcID != "" && one.VpcID != c.r.vpc.id {
				return nil, query.Errorf("UnsupportedOperation", "The lab has one account and one VPC per region")
			}
			r.group, r.says = one.GroupID, one.Description
			rules = append(rules, r)
		}
	}
	return rules, nil
}

// base is a permission without its peers.
func (p permission) base() (rule, error) {
	number := func(n *int) int {
		if n == nil {
			return -1
		}
		return *n
	}
	names := map[string]string{"6": "tcp", "17": "udp", "1": "icmp", "all": "-1"}
	r := rule{protocol: p.IPProtocol, from: number(p.FromPort), to: number(p.ToPort)}
	if name, ok := names[r.protocol]; ok {
		r.protocol = name
	}
	switch r.protocol {
	case "tcp", "udp":
		if r.from < 0 || r.to > 65535 || r.from > r.to {
			return r, query.Errorf("InvalidParameterValue", "Invalid value for portRange: %d to %d", r.from, r.to)
		}
	case "icmp":
		if r.from != -1 || r.to != -1 {
			return r, query.Errorf("UnsupportedOperation", "The lab does not tell ICMP types apart: FromPort and ToPort must be -1")
		}
	case "-1":
		r.from, r.to = -1, -1 // EC2 ignores ports here, and says so
	default:
		return r, query.Errorf("InvalidParameterValue", "Invalid value '%s' for IP protocol. The lab has tcp, udp, icmp and -1", p.IPProtocol)
	}
	return r, nil
}

// side picks the list that an action is about.
func side(egress bool, g *group) *[]rule {
	if egress {
		return &g.out
	}
	return &g.in
}

func authorize(egress bool) func(*call, *permit) (any, error) {
	return func(c *call, in *permit) (any, error) {
		g, err := find(c.r.groups, in.GroupID, noGroup)
		if err != nil {
			return nil, err
		}
		rules, err := c.rules(in)
		if err != nil {
			return nil, err
		}
		if len(rules) == 0 || in.SecurityGroupRuleID != nil {
			return nil, query.Errorf("InvalidParameterCombination", "Give at least one permission with a peer, and no rule ids")
		}
		tags, err := specified(in.TagSpecification, "security-group-rule")
		if err != nil {
			return nil, err
		}
		list := side(egress, g)
		for i, r := range rules {
			if slices.ContainsFunc(*list, r.same) || slices.ContainsFunc(rules[:i], r.same) {
				return nil, query.Errorf("InvalidPermission.Duplicate", "the specified rule \"%s\" already exists", r)
			}
		}
		views := make([]ruleView, 0, len(rules))
		for _, r := range rules {
			r.id = c.newID("sgr-")
			c.r.tag(r.id, tags["security-group-rule"])
			*list = append(*list, r)
			views = append(views, c.ruleView(g, r, egress))
		}
		c.mutated = true
		return struct {
			Return bool       `xml:"return"`
			Rules  []ruleView `xml:"securityGroupRuleSet>item"`
		}{true, views}, nil
	}
}

func revoke(egress bool) func(*call, *permit) (any, error) {
	return func(c *call, in *permit) (any, error) {
		g, err := find(c.r.groups, in.GroupID, noGroup)
		if err != nil {
			return nil, err
		}
		rules, err := c.rules(in)
		if err != nil {
			return nil, err
		}
		if len(rules)+len(in.SecurityGroupRuleID) == 0 || in.TagSpecification != nil {
			return nil, query.Errorf("InvalidParameterCombination", "Give at least one permission with a peer or rule id, and no tags")
		}
		list := side(egress, g)
		rest := slices.Clone(*list)
		drop := func(what string, same func(rule) bool) error {
			i := slices.IndexFunc(rest, same)
			if i < 0 {
				return query.Errorf("InvalidPermission.NotFound", "The specified rule does not exist in this security group: %s", what)
			}
			delete(c.r.tags, rest[i].id)
			rest = slices.Delete(rest, i, i+1)
			return nil
		}
		for _, r := range rules {
			if err := drop(r.String(), r.same); err != nil {
				return nil, err
			}
		}
		for _, id := range in.SecurityGroupRuleID {
			if err := drop(id, func(r rule) bool { return r.id == id }); err != nil {
				return nil, err
			}
		}
		*list = rest
		c.mutated = true
		return done{true}, nil
	}
}
