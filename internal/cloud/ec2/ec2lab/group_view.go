package ec2lab

import "fmt"

// String is for messages.
func (a rule) String() string {
	peer := a.group
	if peer == "" {
		peer = a.cidr.String()
	}
	return fmt.Sprintf("peer: %s, %s, from port: %d, to port: %d, ALLOW", peer, a.protocol, a.from, a.to)
}

type ruleView struct {
	ID          string `xml:"securityGroupRuleId"`
	Group       string `xml:"groupId"`
	Owner       string `xml:"groupOwnerId"`
	Egress      bool   `xml:"isEgress"`
	Protocol    string `xml:"ipProtocol"`
	From        int    `xml:"fromPort"`
	To          int    `xml:"toPort"`
	Cidr        string `xml:"cidrIpv4,omitempty"`
	Reference   *peer  `xml:"referencedGroupInfo"`
	Description string `xml:"description,omitempty"`
	Tags        []tag  `xml:"tagSet>item"`
}

// peer is a group that a rule refers to.
type peer struct {
	Description string `xml:"description,omitempty"`
	Group       string `xml:"groupId"`
	Owner       string `xml:"userId"`
	VPC         string `xml:"vpcId,omitempty"`
}

func (c *call) ruleView(g *group, r rule, egress bool) ruleView {
	v := ruleView{
		ID: r.id, Group: g.id, Owner: c.cfg.Account, Egress: egress, Protocol: r.protocol, From: r.from, To: r.to,
		Description: r.says, Tags: c.r.tags[r.id].view(),
	}
	if r.group != "" {
		v.Reference = &peer{Group: r.group, Owner: c.cfg.Account, VPC: c.r.vpc.id}
	} else {
		v.Cidr = r.cidr.String()
	}
	return v
}

type rangeView struct {
	Cidr        string `xml:"cidrIp"`
	Description string `xml:"description,omitempty"`
}

type permissionView struct {
	Protocol string      `xml:"ipProtocol"`
	From     *int        `xml:"fromPort"`
	To       *int        `xml:"toPort"`
	Groups   []peer      `xml:"groups>item"`
	Ranges   []rangeView `xml:"ipRanges>item"`
}

// permissions puts rules that differ in their peers only together, as EC2 shows them.
func (c *call) permissions(rules []rule) []permissionView {
	type key struct {
		protocol string
		from, to int
	}
	var views []permissionView
	place := map[key]int{}
	for _, r := range rules {
		k := key{r.protocol, r.from, r.to}
		i, ok := place[k]
		if !ok {
			i, place[k] = len(views), len(views)
			v := permissionView{Protocol: r.protocol}
			if r.protocol != "-1" {
				v.From, v.To = new(r.from), new(r.to)
			}
			views = append(views, v)
		}
		if r.group != "" {
			views[i].Groups = append(views[i].Groups, peer{Description: r.says, Group: r.group, Owner: c.cfg.Account})
		} else {
			views[i].Ranges = append(views[i].Ranges, rangeView{r.cidr.String(), r.says})
		}
	}
	return views
}

type groupView struct {
	ID          string           `xml:"groupId"`
	Name        string           `xml:"groupName"`
	Description string           `xml:"groupDescription"`
	Owner       string           `xml:"ownerId"`
	VPC         string           `xml:"vpcId"`
	Arn         string           `xml:"securityGroupArn"`
	In          []permissionView `xml:"ipPermissions>item"`
	Out         []permissionView `xml:"ipPermissionsEgress>item"`
	Tags        []tag            `xml:"tagSet>item"`
}

type describeSecurityGroups struct {
	dry
	pages
	GroupID   []string
	GroupName []string
	Filter    []filter
}

func (c *call) describeSecurityGroups(in *describeSecurityGroups) (any, error) {
	list, err := listed(c.r.groups, in.GroupID, noGroup)
	if err != nil {
		return nil, err
	}
	if in.GroupName != nil {
		in.Filter = append(in.Filter, filter{Name: "group-name", Value: in.GroupName})
	}
	list, err = sift(c, in.Filter, list, func(g *group) attributes {
		return attributes{
			"group-id": attr(g.id), "group-name": attr(g.name), "description": attr(g.description),
			"vpc-id": attr(c.r.vpc.id), "owner-id": attr(c.cfg.Account),
		}
	})
	if err != nil {
		return nil, err
	}
	list, next, err := page(list, in.pages)
	views := make([]groupView, 0, len(list))
	for _, g := range list {
		views = append(views, groupView{
			g.id, g.name, g.description, c.cfg.Account, c.r.vpc.id, c.arn("security-group/" + g.id),
			c.permissions(g.in), c.permissions(g.out), c.r.tags[g.id].view(),
		})
	}
	return struct {
		Groups []groupView `xml:"securityGroupInfo>item"`
		Next   string      `xml:"nextToken,omitempty"`
	}{views, next}, err
}

// member is how a group is named by what belongs to it.
type member struct {
	ID   string `xml:"groupId"`
	Name string `xml:"groupName"`
}

func (r *region) members(ids []string) []member {
	list := make([]member, 0, len(ids))
	for _, id := range ids {
		list = append(list, member{id, r.groups[id].name})
	}
	return list
}
