package ec2lab

import "time"

type privateAddress struct {
	Primary bool   `xml:"primary"`
	Name    string `xml:"privateDnsName"`
	Address string `xml:"privateIpAddress"`
}

type nicAttachmentView struct {
	ID       string    `xml:"attachmentId"`
	Instance string    `xml:"instanceId,omitempty"`
	Owner    string    `xml:"instanceOwnerId,omitempty"`
	Index    int       `xml:"deviceIndex"`
	Card     int       `xml:"networkCardIndex"`
	Status   string    `xml:"status"`
	At       time.Time `xml:"attachTime"`
	Deletes  bool      `xml:"deleteOnTermination"`
}

// nicView is an interface as DescribeNetworkInterfaces shows it, and, with less of it, an instance.
type nicView struct {
	ID          string             `xml:"networkInterfaceId"`
	Subnet      string             `xml:"subnetId"`
	VPC         string             `xml:"vpcId"`
	Zone        string             `xml:"availabilityZone,omitempty"`
	Description string             `xml:"description"`
	Owner       string             `xml:"ownerId"`
	Status      string             `xml:"status"`
	MAC         string             `xml:"macAddress"`
	Address     string             `xml:"privateIpAddress"`
	Name        string             `xml:"privateDnsName"`
	Check       bool               `xml:"sourceDestCheck"`
	Kind        string             `xml:"interfaceType"`
	Groups      []member           `xml:"groupSet>item"`
	Attachment  *nicAttachmentView `xml:"attachment"`
	Addresses   []privateAddress   `xml:"privateIpAddressesSet>item"`
	Tags        []tag              `xml:"tagSet>item"`
}

func (n *nic) status() string {
	if n.attachment == nil {
		return "available"
	}
	return "in-use"
}

func (c *call) nicView(n *nic) nicView {
	name := c.r.dns(n.address)
	v := nicView{
		ID: n.id, Subnet: n.subnet.id, VPC: c.r.vpc.id, Zone: n.subnet.zone, Description: n.description, Owner: c.cfg.Account,
		Status: n.status(), MAC: hardwareAddress(n.address), Address: n.address.String(), Name: name, Check: true, Kind: "interface",
		Groups: c.r.members(n.groups), Addresses: []privateAddress{{true, name, n.address.String()}}, Tags: c.r.tags[n.id].view(),
	}
	if a := n.attachment; a != nil {
		v.Attachment = &nicAttachmentView{
			ID: a.id, Instance: a.instance.id, Owner: c.cfg.Account, Status: "attached", At: a.at, Deletes: a.deletes,
		}
	}
	return v
}

type describeNetworkInterfaces struct {
	dry
	pages
	NetworkInterfaceID []string
	Filter             []filter
}

func (c *call) describeNetworkInterfaces(in *describeNetworkInterfaces) (any, error) {
	list, err := listed(c.r.nics, in.NetworkInterfaceID, noNic)
	if err != nil {
		return nil, err
	}
	list, err = sift(c, in.Filter, list, func(n *nic) attributes {
		a := attributes{
			"network-interface-id": attr(n.id), "description": attr(n.description), "status": attr(n.status()),
			"private-ip-address": nil, "addresses.private-ip-address": nil, "mac-address": nil, "subnet-id": nil,
			"availability-zone": nil, "vpc-id": attr(c.r.vpc.id), "owner-id": attr(c.cfg.Account), "group-id": n.groups,
			"attachment.instance-id": nil, "attachment.attachment-id": nil,
		}
		if n.subnet != nil {
			a["private-ip-address"], a["addresses.private-ip-address"] = attr(n.address.String()), attr(n.address.String())
			a["mac-address"], a["subnet-id"], a["availability-zone"] = attr(hardwareAddress(n.address)), attr(n.subnet.id), attr(n.subnet.zone)
		}
		if n.attachment != nil {
			a["attachment.instance-id"], a["attachment.attachment-id"] = attr(n.attachment.instance.id), attr(n.attachment.id)
		}
		return a
	})
	if err != nil {
		return nil, err
	}
	list, next, err := page(list, in.pages)
	views := make([]nicView, 0, len(list))
	for _, n := range list {
		views = append(views, c.nicView(n))
	}
	return struct {
		Interfaces []nicView `xml:"networkInterfaceSet>item"`
		Next       string    `xml:"nextToken,omitempty"`
	}{views, next}, err
}
