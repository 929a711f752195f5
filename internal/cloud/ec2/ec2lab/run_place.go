package ec2lab

import (
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// placement finds the subnet, by whichever of the request's ways names it.
func (c *call) placement(in *runInstances) (*subnet, error) {
	id := in.SubnetID
	switch {
	case len(in.NetworkInterface) > 1 || len(in.NetworkInterface) == 1 && in.NetworkInterface[0].DeviceIndex != 0:
		return nil, query.Errorf("UnsupportedOperation", "The lab's instances have one network interface, at index 0")
	case len(in.NetworkInterface) == 1:
		if in.SubnetID != "" || in.PrivateIPAddress != "" || in.SecurityGroupID != nil {
			return nil, query.Errorf("InvalidParameterCombination", "Network interfaces and an instance-level subnet ID, address or security groups may not be specified on the same request")
		}
		if nid := in.NetworkInterface[0].NetworkInterfaceID; nid != "" {
			n, err := find(c.r.nics, nid, noNic)
			if err != nil {
				return nil, err
			}
			id = n.subnet.id
		} else {
			id = in.NetworkInterface[0].SubnetID
		}
	}
	zone := ""
	if in.Placement != nil {
		zone = in.Placement.AvailabilityZone
	}
	if id == "" {
		return c.r.byZone(zone)
	}
	s, err := c.r.subnet(id)
	if err == nil && zone != "" && s.zone != zone {
		return nil, query.Errorf("InvalidParameterCombination", "The subnet '%s' is not in the availability zone '%s'", id, zone)
	}
	return s, err
}

// firstNic takes the interface that was named, or makes one. What RunInstances makes it also removes,
// unless told otherwise.
func (c *call) firstNic(in *runInstances, place *subnet, tags tagSet) (*nic, bool, error) {
	address, groups, description, deletes := in.PrivateIPAddress, in.SecurityGroupID, "", true
	if len(in.NetworkInterface) == 1 {
		given := in.NetworkInterface[0]
		if given.AssociatePublicIPAddress {
			return nil, false, query.Errorf("UnsupportedOperation", "The lab has no public addresses")
		}
		if given.NetworkInterfaceID != "" {
			if given.SubnetID != "" || given.PrivateIPAddress != "" || given.SecurityGroupID != nil || given.Description != "" {
				return nil, false, query.Errorf("InvalidParameterCombination", "A network interface that exists already has its subnet, address, groups and description")
			}
			n, err := find(c.r.nics, given.NetworkInterfaceID, noNic)
			if err != nil {
				return nil, false, err
			}
			if n.attachment != nil {
				return nil, false, query.Errorf("InvalidNetworkInterface.InUse", "Interface: [%s] in use.", n.id)
			}
			return n, given.DeleteOnTermination != nil && *given.DeleteOnTermination, nil
		}
		address, groups, description = given.PrivateIPAddress, given.SecurityGroupID, given.Description
		if given.DeleteOnTermination != nil {
			deletes = *given.DeleteOnTermination
		}
	}
	n, err := c.newNic(place, address, groups, description)
	if err == nil {
		c.r.tag(n.id, tags)
	}
	return n, deletes, err
}
