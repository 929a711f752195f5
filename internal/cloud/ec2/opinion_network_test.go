package ec2_test

import (
	"net/netip"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

func (w *world) group(name string) string {
	w.Helper()
	out, err := w.api.CreateSecurityGroup(w.Context(), &sdk.CreateSecurityGroupInput{
		GroupName: &name, Description: aws.String("opinion"), VpcId: w.subnets[0].VpcId, TagSpecifications: tagged(name, types.ResourceTypeSecurityGroup),
	})
	must(w, err)
	return *out.GroupId
}

func (w *world) rules(group string) types.SecurityGroup {
	w.Helper()
	out, err := w.api.DescribeSecurityGroups(w.Context(), &sdk.DescribeSecurityGroupsInput{Filters: filter("group-id", group)})
	must(w, err)
	return out.SecurityGroups[0]
}

func (w *world) nic(group string, subnet types.Subnet) types.NetworkInterface {
	w.Helper()
	out, err := w.api.CreateNetworkInterface(w.Context(), &sdk.CreateNetworkInterfaceInput{
		SubnetId: subnet.SubnetId, Groups: []string{group}, TagSpecifications: tagged(w.name(), types.ResourceTypeNetworkInterface),
	})
	must(w, err)
	return *out.NetworkInterface
}

func (w *world) listNICs(filters []types.Filter) ([]types.NetworkInterface, error) {
	out, err := w.api.DescribeNetworkInterfaces(w.Context(), &sdk.DescribeNetworkInterfacesInput{Filters: filters})
	if err != nil {
		return nil, err
	}
	return out.NetworkInterfaces, nil
}

// ssh lets in tcp/22 from somewhere, inside everything within a group.
func ssh() []types.IpPermission {
	return []types.IpPermission{{
		IpProtocol: aws.String("tcp"), FromPort: aws.Int32(22), ToPort: aws.Int32(22), IpRanges: []types.IpRange{{CidrIp: aws.String("10.20.0.0/24")}},
	}}
}

func inside(group string) []types.IpPermission {
	return []types.IpPermission{{IpProtocol: aws.String("-1"), UserIdGroupPairs: []types.UserIdGroupPair{{GroupId: &group}}}}
}

var networkOpinions = []opinion{
	{
		action: "sts:GetCallerIdentity", says: "gives the account",
		try: func(w *world) error {
			out, err := w.who.GetCallerIdentity(w.Context(), &sts.GetCallerIdentityInput{})
			if err != nil {
				return err
			}
			return expect(len(aws.ToString(out.Account)) == 12, "account %q", aws.ToString(out.Account))
		},
	},
	{
		action: "ec2:DescribeSubnets", says: "gives VPC and zone by id",
		try: func(w *world) error {
			out, err := w.api.DescribeSubnets(w.Context(), &sdk.DescribeSubnetsInput{SubnetIds: []string{*w.subnets[1].SubnetId}})
			if err != nil {
				return err
			}
			return expect(len(out.Subnets) == 1 && *out.Subnets[0].VpcId == *w.subnets[0].VpcId && *out.Subnets[0].AvailabilityZone != *w.subnets[0].AvailabilityZone,
				"%+v", out.Subnets)
		},
	},
	{
		action: "ec2:DescribeSubnets", says: "refuses an id that is not there",
		try: func(w *world) error {
			_, err := w.api.DescribeSubnets(w.Context(), &sdk.DescribeSubnetsInput{SubnetIds: []string{"subnet-0123456789abcdef0"}})
			return refused(err, "InvalidSubnetID.NotFound")
		},
	},
	{
		action: "ec2:CreateSecurityGroup", says: "refuses a name that the VPC has",
		try: func(w *world) error {
			name := w.name()
			w.group(name)
			_, err := w.api.CreateSecurityGroup(w.Context(), &sdk.CreateSecurityGroupInput{
				GroupName: &name, Description: aws.String("opinion"), VpcId: w.subnets[0].VpcId,
			})
			return refused(err, "InvalidGroup.Duplicate")
		},
	},
	{
		action: "ec2:DescribeSecurityGroups", says: "finds by tag; a new group lets nothing in and everything out",
		try: func(w *world) error {
			name := w.name()
			id := w.group(name)
			out, err := w.api.DescribeSecurityGroups(w.Context(), &sdk.DescribeSecurityGroupsInput{Filters: filter("tag:which", name)})
			if err != nil {
				return err
			}
			if len(out.SecurityGroups) != 1 || *out.SecurityGroups[0].GroupId != id {
				return expect(false, "found %+v", out.SecurityGroups)
			}
			g := out.SecurityGroups[0]
			open := slices.ContainsFunc(g.IpPermissionsEgress, func(p types.IpPermission) bool {
				return *p.IpProtocol == "-1" && len(p.IpRanges) == 1 && *p.IpRanges[0].CidrIp == "0.0.0.0/0"
			})
			return expect(len(g.IpPermissions) == 0 && open, "in %+v, out %+v", g.IpPermissions, g.IpPermissionsEgress)
		},
	},
	{
		action: "ec2:DescribeSecurityGroups", says: `reads \* in a filter as the character`,
		try: func(w *world) error {
			name := w.name()
			id := w.group(name + "*")
			w.group(name + "-more")
			out, err := w.api.DescribeSecurityGroups(w.Context(), &sdk.DescribeSecurityGroupsInput{Filters: filter("tag:which", name+`\*`)})
			if err != nil {
				return err
			}
			return expect(len(out.SecurityGroups) == 1 && *out.SecurityGroups[0].GroupId == id, "found %d", len(out.SecurityGroups))
		},
	},
	{
		action: "ec2:AuthorizeSecurityGroupIngress", says: "adds rules, and refuses one that is there",
		try: func(w *world) error {
			id := w.group(w.name())
			in := &sdk.AuthorizeSecurityGroupIngressInput{GroupId: &id, IpPermissions: append(ssh(), inside(id)...)}
			if _, err := w.api.AuthorizeSecurityGroupIngress(w.Context(), in); err != nil {
				return err
			}
			if g := w.rules(id); len(g.IpPermissions) != 2 {
				return expect(false, "in %+v", g.IpPermissions)
			}
			_, err := w.api.AuthorizeSecurityGroupIngress(w.Context(), in)
			return refused(err, "InvalidPermission.Duplicate")
		},
	},
	{
		action: "ec2:AuthorizeSecurityGroupEgress", says: "adds rules, and refuses one that is there",
		try: func(w *world) error {
			id := w.group(w.name())
			in := &sdk.AuthorizeSecurityGroupEgressInput{GroupId: &id, IpPermissions: append(ssh(), inside(id)...)}
			if _, err := w.api.AuthorizeSecurityGroupEgress(w.Context(), in); err != nil {
				return err
			}
			pairs := 0
			for _, p := range w.rules(id).IpPermissionsEgress {
				pairs += len(p.IpRanges) + len(p.UserIdGroupPairs)
			}
			if pairs != 3 {
				return expect(false, "out %+v", w.rules(id).IpPermissionsEgress)
			}
			_, err := w.api.AuthorizeSecurityGroupEgress(w.Context(), in)
			return refused(err, "InvalidPermission.Duplicate")
		},
	},
	{
		action: "ec2:RevokeSecurityGroupIngress", says: "takes rules away, and refuses one that is not there",
		try: func(w *world) error {
			id := w.group(w.name())
			_, err := w.api.AuthorizeSecurityGroupIngress(w.Context(), &sdk.AuthorizeSecurityGroupIngressInput{GroupId: &id, IpPermissions: ssh()})
			must(w, err)
			in := &sdk.RevokeSecurityGroupIngressInput{GroupId: &id, IpPermissions: ssh()}
			if _, err := w.api.RevokeSecurityGroupIngress(w.Context(), in); err != nil {
				return err
			}
			if g := w.rules(id); len(g.IpPermissions) != 0 {
				return expect(false, "in %+v", g.IpPermissions)
			}
			_, err = w.api.RevokeSecurityGroupIngress(w.Context(), in)
			return refused(err, "InvalidPermission.NotFound")
		},
	},
	{
		action: "ec2:RevokeSecurityGroupEgress", says: "takes away what a new group has, and refuses it once it is gone",
		try: func(w *world) error {
			id := w.group(w.name())
			in := &sdk.RevokeSecurityGroupEgressInput{GroupId: &id, IpPermissions: w.rules(id).IpPermissionsEgress}
			if _, err := w.api.RevokeSecurityGroupEgress(w.Context(), in); err != nil {
				return err
			}
			if g := w.rules(id); len(g.IpPermissionsEgress) != 0 {
				return expect(false, "out %+v", g.IpPermissionsEgress)
			}
			_, err := w.api.RevokeSecurityGroupEgress(w.Context(), in)
			return refused(err, "InvalidPermission.NotFound")
		},
	},
	{
		action: "ec2:DeleteSecurityGroup", says: "removes a group, and refuses one that is not there",
		try: func(w *world) error {
			id := w.group(w.name())
			in := &sdk.DeleteSecurityGroupInput{GroupId: &id}
			if _, err := w.api.DeleteSecurityGroup(w.Context(), in); err != nil {
				return err
			}
			_, err := w.api.DeleteSecurityGroup(w.Context(), in)
			return refused(err, "InvalidGroup.NotFound")
		},
	},
	{
		action: "ec2:DeleteSecurityGroup", says: "refuses a group that an interface is in",
		moto: "removes it", shows: "and nothing was",
		try: func(w *world) error {
			id := w.group(w.name())
			w.nic(id, w.subnets[0])
			_, err := w.api.DeleteSecurityGroup(w.Context(), &sdk.DeleteSecurityGroupInput{GroupId: &id})
			return refused(err, "DependencyViolation")
		},
	},
	{
		action: "ec2:CreateNetworkInterface", says: "gives an address of the subnet, in the group",
		try: func(w *world) error {
			id := w.group(w.name())
			n := w.nic(id, w.subnets[1])
			address, err := netip.ParseAddr(aws.ToString(n.PrivateIpAddress))
			if err != nil {
				return err
			}
			within := netip.MustParsePrefix(*w.subnets[1].CidrBlock).Contains(address)
			return expect(within && aws.ToString(n.AvailabilityZone) == *w.subnets[1].AvailabilityZone && len(n.Groups) == 1 && *n.Groups[0].GroupId == id, "%+v", n)
		},
	},
	{
		action: "ec2:CreateNetworkInterface", says: "gives the same interface for the same token",
		moto: "makes a second one", shows: "two interfaces",
		try: func(w *world) error {
			in := &sdk.CreateNetworkInterfaceInput{
				SubnetId: w.subnets[0].SubnetId, Groups: []string{w.group(w.name())}, ClientToken: aws.String(w.name()),
			}
			one, err := w.api.CreateNetworkInterface(w.Context(), in)
			must(w, err)
			two, err := w.api.CreateNetworkInterface(w.Context(), in)
			if err != nil {
				return err
			}
			return expect(*one.NetworkInterface.NetworkInterfaceId == *two.NetworkInterface.NetworkInterfaceId, "two interfaces")
		},
	},
	{
		action: "ec2:CreateNetworkInterface", says: "refuses a group that is not there",
		moto: "makes that group", shows: "and nothing was",
		try: func(w *world) error {
			_, err := w.api.CreateNetworkInterface(w.Context(), &sdk.CreateNetworkInterfaceInput{
				SubnetId: w.subnets[0].SubnetId, Groups: []string{"sg-0123456789abcdef0"},
			})
			return refused(err, "InvalidGroup.NotFound", "InvalidSecurityGroupID.NotFound")
		},
	},
	{
		action: "ec2:DescribeNetworkInterfaces", says: "finds by tag, and by the instance",
		try: func(w *world) error {
			i := w.instance()
			by, err := w.listNICs(filter("attachment.instance-id", *i.InstanceId))
			if err != nil {
				return err
			}
			if len(by) != 1 || by[0].Attachment == nil || aws.ToString(by[0].Attachment.InstanceId) != *i.InstanceId || len(by[0].TagSet) != 1 {
				return expect(false, "by its instance %+v", by)
			}
			tagged, err := w.listNICs(filter("tag:which", *by[0].TagSet[0].Value))
			if err != nil {
				return err
			}
			return expect(len(tagged) == 1 && *tagged[0].NetworkInterfaceId == *by[0].NetworkInterfaceId, "by its tag %+v", tagged)
		},
	},
	{
		action: "ec2:ModifyNetworkInterfaceAttribute", says: "sets the groups, also of one in use",
		try: func(w *world) error {
			i, id := w.instance(), w.group(w.name())
			nic := i.NetworkInterfaces[0].NetworkInterfaceId
			_, err := w.api.ModifyNetworkInterfaceAttribute(w.Context(), &sdk.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: nic, Groups: []string{id}})
			if err != nil {
				return err
			}
			now, err := w.listNICs(filter("network-interface-id", *nic))
			if err != nil {
				return err
			}
			return expect(len(now) == 1 && len(now[0].Groups) == 1 && *now[0].Groups[0].GroupId == id, "%+v", now)
		},
	},
	{
		action: "ec2:DeleteNetworkInterface", says: "removes one, and refuses one that is not there",
		try: func(w *world) error {
			in := &sdk.DeleteNetworkInterfaceInput{NetworkInterfaceId: w.nic(w.group(w.name()), w.subnets[0]).NetworkInterfaceId}
			if _, err := w.api.DeleteNetworkInterface(w.Context(), in); err != nil {
				return err
			}
			_, err := w.api.DeleteNetworkInterface(w.Context(), in)
			return refused(err, "InvalidNetworkInterfaceID.NotFound")
		},
	},
	{
		action: "ec2:DeleteNetworkInterface", says: "refuses one that an instance is on",
		moto: "removes it", shows: "and nothing was",
		try: func(w *world) error {
			_, err := w.api.DeleteNetworkInterface(w.Context(), &sdk.DeleteNetworkInterfaceInput{
				NetworkInterfaceId: w.instance().NetworkInterfaces[0].NetworkInterfaceId,
			})
			return refused(err, "InvalidNetworkInterface.InUse", "InvalidParameterValue")
		},
	},
}
