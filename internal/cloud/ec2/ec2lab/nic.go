package ec2lab

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// nic is a network interface with its one address. It may outlive the instance.
type nic struct {
	identity
	subnet      *subnet
	address     netip.Addr
	groups      []string
	description string
	attachment  *nicAttachment
}

type nicAttachment struct {
	id       string
	instance *instance
	at       time.Time
	deletes  bool // the interface goes with the instance
}

const noNic = "InvalidNetworkInterfaceID.NotFound"

// hardwareAddress is made from the address, so that neighbours need not learn anew when the next
// instance has it.
func hardwareAddress(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3]) // locally administered
}

// dns is the name that EC2 gives to an address.
func (r *region) dns(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("ip-%d-%d-%d-%d.%s.compute.internal", b[0], b[1], b[2], b[3], r.name)
}

// pick gives the address that was asked for, or a free one. EC2 keeps the first four and the last of
// every subnet for itself.
func (r *region) pick(s *subnet, wanted string) (netip.Addr, error) {
	used := map[netip.Addr]bool{}
	for _, n := range r.nics {
		used[n.address] = true
	}
	first := s.cidr.Addr()
	for range 4 {
		used[first] = true
		first = first.Next()
	}
	if wanted != "" {
		a, err := netip.ParseAddr(wanted)
		if err != nil || !s.cidr.Contains(a) {
			return a, query.Errorf("InvalidParameterValue", "Address %s does not fall within the subnet's address range", wanted)
		}
		if used[a] || !s.cidr.Contains(a.Next()) {
			return a, query.Errorf("InvalidIPAddress.InUse", "Address %s is in use.", wanted)
		}
		return a, nil
	}
	for a := first; s.cidr.Contains(a.Next()); a = a.Next() {
		if !used[a] {
			return a, nil
		}
	}
	return first, query.Errorf("InsufficientFreeAddressesInSubnet", "The subnet '%s' has no free addresses", s.id)
}

// newNic makes an interface; without groups it is in the default one.
func (c *call) newNic(s *subnet, address string, groups []string, description string) (*nic, error) {
	if err := c.r.hasGroups(groups); err != nil {
		return nil, err
	}
	if len(groups) == 0 {
		groups = []string{c.r.defaultGroup().id}
	}
	a, err := c.r.pick(s, address)
	if err != nil {
		return nil, err
	}
	n := &nic{identity: c.identify("eni-"), subnet: s, address: a, groups: slices.Clone(groups), description: description}
	c.r.nics[n.id] = n
	c.mutated = true
	return n, nil
}

type createNetworkInterface struct {
	dry
	SubnetID         string `query:"required"`
	Description      string
	PrivateIPAddress string
	SecurityGroupID  []string
	TagSpecification []tagSpecification
	ClientToken      string
}

func (c *call) createNetworkInterface(in *createNetworkInterface) (any, error) {
	s, err := c.r.subnet(in.SubnetID)
	if err != nil {
		return nil, err
	}
	tags, err := specified(in.TagSpecification, "network-interface")
	if err != nil {
		return nil, err
	}
	id, err := c.once(in.ClientToken, func() (string, error) {
		n, err := c.newNic(s, in.PrivateIPAddress, in.SecurityGroupID, in.Description)
		if err != nil {
			return "", err
		}
		c.r.tag(n.id, tags["network-interface"])
		return n.id, nil
	})
	if err != nil {
		return nil, err
	}
	n, err := find(c.r.nics, id, noNic) // somebody may have deleted what the token made
	if err != nil {
		return nil, err
	}
	return struct {
		Interface nicView `xml:"networkInterface"`
		Token     string  `xml:"clientToken,omitempty"`
	}{c.nicView(n), in.ClientToken}, nil
}

type deleteNetworkInterface struct {
	dry
	NetworkInterfaceID string `query:"required"`
}

func (c *call) deleteNetworkInterface(in *deleteNetworkInterface) (any, error) {
	n, err := find(c.r.nics, in.NetworkInterfaceID, noNic)
	if err != nil {
		return nil, err
	}
	if n.attachment != nil {
		return nil, query.Errorf("InvalidParameterValue", "Network interface '%s' is currently in use.", n.id)
	}
	c.r.deleteNic(n)
	c.mutated = true
	return done{true}, nil
}

func (r *region) deleteNic(n *nic) {
	delete(r.nics, n.id)
	delete(r.tags, n.id)
}

type modifyNetworkInterface struct {
	dry
	NetworkInterfaceID string `query:"required"`
	SecurityGroupID    []string
	Description        *struct{ Value string }
	Attachment         *struct {
		AttachmentID        string `query:"required"`
		DeleteOnTermination *bool
	}
}

func (c *call) modifyNetworkInterface(in *modifyNetworkInterface) (any, error) {
	n, err := find(c.r.nics, in.NetworkInterfaceID, noNic)
	if err != nil {
		return nil, err
	}
	given := 0
	for _, is := range []bool{in.SecurityGroupID != nil, in.Description != nil, in.Attachment != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		return nil, query.Errorf("InvalidParameterCombination", "Exactly one attribute can be modified at a time")
	}
	switch {
	case in.SecurityGroupID != nil:
		if err := c.r.hasGroups(in.SecurityGroupID); err != nil {
			return nil, err
		}
		if len(in.SecurityGroupID) == 0 {
			return nil, query.Errorf("InvalidParameterValue", "An interface is in at least one security group")
		}
		n.groups = slices.Clone(in.SecurityGroupID)
		c.mutated = true
	case in.Description != nil:
		n.description = in.Description.Value
	default:
		if n.attachment == nil || n.attachment.id != in.Attachment.AttachmentID {
			return nil, query.Errorf("InvalidAttachmentID.NotFound", "The attachment ID '%s' does not exist", in.Attachment.AttachmentID)
		}
		if in.Attachment.DeleteOnTermination != nil {
			n.attachment.deletes = *in.Attachment.DeleteOnTermination
		}
	}
	return done{true}, nil
}
