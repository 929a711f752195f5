package ec2lab_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/machines"
)

func (b *bench) group(name string) string {
	b.Helper()
	out, err := b.api.CreateSecurityGroup(b.ctx(), &ec2.CreateSecurityGroupInput{GroupName: &name, Description: &name})
	must(b, err)
	return *out.GroupId
}

// end is what the host enforces for an address.
func (b *bench) end(address string) machines.End {
	b.Helper()
	ends := b.host.Ends()
	i := slices.IndexFunc(ends, func(e machines.End) bool { return e.Address.String() == address })
	if i < 0 {
		b.Fatalf("the host knows nothing of %s", address)
	}
	return ends[i]
}

func ssh22(peer types.IpPermission) []types.IpPermission {
	peer.IpProtocol, peer.FromPort, peer.ToPort = aws.String("tcp"), aws.Int32(22), aws.Int32(22)
	return []types.IpPermission{peer}
}

func fromCIDR(cidr string) types.IpPermission {
	return types.IpPermission{IpRanges: []types.IpRange{{CidrIp: &cidr, Description: aws.String("admin")}}}
}

func fromGroup(id string) types.IpPermission {
	return types.IpPermission{UserIdGroupPairs: []types.UserIdGroupPair{{GroupId: &id}}}
}

func TestGroups(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		web, bastion := b.group("web"), b.group("bastion")
		_, err := b.api.CreateSecurityGroup(b.ctx(), &ec2.CreateSecurityGroupInput{GroupName: aws.String("web"), Description: aws.String("again")})
		refused(t, err, "InvalidGroup.Duplicate")
		in := func(group string, p []types.IpPermission) error {
			_, err := b.api.AuthorizeSecurityGroupIngress(b.ctx(), &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &group, IpPermissions: p})
			return err
		}
		must(t, in(bastion, ssh22(fromCIDR("10.92.0.1/32"))))
		must(t, in(web, ssh22(fromGroup(bastion))))
		refused(t, in(web, ssh22(fromGroup(bastion))), "InvalidPermission.Duplicate")
		refused(t, in(web, ssh22(fromCIDR("10.92.0.1"))), "InvalidParameterValue")
		refused(t, in(web, ssh22(fromGroup("sg-0"))), "InvalidGroup.NotFound")

		gate := b.run(func(in *ec2.RunInstancesInput) { in.SecurityGroupIds = []string{bastion} })
		server := b.run(func(in *ec2.RunInstancesInput) { in.SecurityGroupIds = []string{web} })
		peers := b.end(*server.PrivateIpAddress).In[0].Peers
		if len(peers) != 1 || peers[0] != netip.PrefixFrom(netip.MustParseAddr(*gate.PrivateIpAddress), 32) {
			t.Errorf("the server lets in %v", peers)
		}
		if out := b.end(*server.PrivateIpAddress).Out; len(out) != 1 || out[0].Protocol != "" || out[0].Peers[0].Bits() != 0 {
			t.Errorf("a new group lets out %+v", out)
		}
		_, err = b.api.DeleteSecurityGroup(b.ctx(), &ec2.DeleteSecurityGroupInput{GroupId: &bastion})
		refused(t, err, "DependencyViolation")

		_, err = b.api.RevokeSecurityGroupIngress(b.ctx(), &ec2.RevokeSecurityGroupIngressInput{GroupId: &web, IpPermissions: ssh22(fromGroup(bastion))})
		must(t, err)
		if in := b.end(*server.PrivateIpAddress).In; len(in) != 0 {
			t.Errorf("after revoking it lets in %+v", in)
		}
		_, err = b.api.RevokeSecurityGroupIngress(b.ctx(), &ec2.RevokeSecurityGroupIngressInput{GroupId: &web, IpPermissions: ssh22(fromGroup(bastion))})
		refused(t, err, "InvalidPermission.NotFound")

		_, err = b.api.ModifyNetworkInterfaceAttribute(b.ctx(), &ec2.ModifyNetworkInterfaceAttributeInput{
			NetworkInterfaceId: gate.NetworkInterfaces[0].NetworkInterfaceId, Groups: []string{web},
		})
		must(t, err)
		if in := b.end(*gate.PrivateIpAddress).In; len(in) != 0 {
			t.Errorf("in its new group it lets in %+v", in)
		}
		_, err = b.api.DeleteSecurityGroup(b.ctx(), &ec2.DeleteSecurityGroupInput{GroupId: &bastion})
		must(t, err)
		out, err := b.api.DescribeSecurityGroups(b.ctx(), &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{{Name: aws.String("group-name"), Values: []string{"web", "bastion"}}}})
		must(t, err)
		if len(out.SecurityGroups) != 1 || len(out.SecurityGroups[0].IpPermissionsEgress) != 1 {
			t.Errorf("%+v", out.SecurityGroups)
		}
	})
}

func TestInterfaces(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		create := func(token, address string) (*types.NetworkInterface, error) {
			out, err := b.api.CreateNetworkInterface(b.ctx(), &ec2.CreateNetworkInterfaceInput{
				SubnetId: aws.String(b.lab.Subnet("eu-lab-1b")), ClientToken: &token, PrivateIpAddress: &address,
				TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeNetworkInterface, Tags: []types.Tag{{Key: aws.String("owner"), Value: aws.String("me")}}}},
			})
			if err != nil {
				return nil, err
			}
			return out.NetworkInterface, nil
		}
		first, err := create("a", "10.92.4.10")
		must(t, err)
		again, err := create("a", "10.92.4.10")
		must(t, err)
		if *first.NetworkInterfaceId != *again.NetworkInterfaceId {
			t.Error("one token made two interfaces")
		}
		_, err = create("a", "10.92.4.11")
		refused(t, err, "IdempotentParameterMismatch")
		_, err = create("b", "10.92.4.10")
		refused(t, err, "InvalidIPAddress.InUse")
		_, err = create("c", "10.92.0.10")
		refused(t, err, "InvalidParameterValue")
		_, err = create("d", "10.92.4.3")
		refused(t, err, "InvalidIPAddress.InUse") // EC2's own

		with := func(in *ec2.RunInstancesInput) {
			in.SubnetId = nil
			in.NetworkInterfaces = []types.InstanceNetworkInterfaceSpecification{{DeviceIndex: aws.Int32(0), NetworkInterfaceId: first.NetworkInterfaceId}}
		}
		i := b.launched(with)
		_, err = b.tryRun(with)
		refused(t, err, "InvalidNetworkInterface.InUse")
		_, err = b.api.DeleteNetworkInterface(b.ctx(), &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: first.NetworkInterfaceId})
		refused(t, err, "InvalidParameterValue")
		_, err = b.api.TerminateInstances(b.ctx(), &ec2.TerminateInstancesInput{InstanceIds: []string{*i.InstanceId}})
		must(t, err)
		b.reaches(*i.InstanceId, types.InstanceStateNameTerminated)
		out, err := b.api.DescribeNetworkInterfaces(b.ctx(), &ec2.DescribeNetworkInterfacesInput{Filters: []types.Filter{{Name: aws.String("tag:owner"), Values: []string{"me"}}}})
		must(t, err)
		if len(out.NetworkInterfaces) != 1 || out.NetworkInterfaces[0].Status != types.NetworkInterfaceStatusAvailable {
			t.Errorf("%+v", out.NetworkInterfaces)
		}
		_, err = b.api.DeleteNetworkInterface(b.ctx(), &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: first.NetworkInterfaceId})
		must(t, err)
		if ends := b.host.Ends(); len(ends) != 0 {
			t.Errorf("the host still knows %+v", ends)
		}
	})
}

func TestPlaces(t *testing.T) {
	inBubble(t, ec2lab.Config{Regions: twoRegions}, func(b *bench) {
		zones, err := b.api.DescribeAvailabilityZones(b.ctx(), &ec2.DescribeAvailabilityZonesInput{})
		must(t, err)
		subnets, err := b.api.DescribeSubnets(b.ctx(), &ec2.DescribeSubnetsInput{Filters: []types.Filter{{Name: aws.String("availability-zone"), Values: []string{"eu-lab-1b"}}}})
		must(t, err)
		vpcs, err := b.api.DescribeVpcs(b.ctx(), &ec2.DescribeVpcsInput{})
		must(t, err)
		kinds, err := b.api.DescribeInstanceTypes(b.ctx(), &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{types.InstanceTypeT3Small}})
		must(t, err)
		if len(zones.AvailabilityZones) != 2 || *subnets.Subnets[0].SubnetId != b.lab.Subnet("eu-lab-1b") || *vpcs.Vpcs[0].CidrBlock != "10.92.0.0/18" || *kinds.InstanceTypes[0].MemoryInfo.SizeInMiB != 2048 {
			t.Errorf("%+v\n%+v\n%+v\n%+v", zones, subnets, vpcs, kinds)
		}
		regions, err := b.api.DescribeRegions(b.ctx(), &ec2.DescribeRegionsInput{})
		must(t, err)
		if len(regions.Regions) != 2 {
			t.Errorf("%+v", regions.Regions)
		}
		far := ec2.NewFromConfig(config(b.lab, "us-lab-1"))
		there, err := far.DescribeVpcs(b.ctx(), &ec2.DescribeVpcsInput{})
		must(t, err)
		if *there.Vpcs[0].CidrBlock != "10.92.64.0/18" {
			t.Errorf("%+v", there.Vpcs)
		}
		_, err = ec2.NewFromConfig(config(b.lab, "af-lab-1")).DescribeVpcs(b.ctx(), &ec2.DescribeVpcsInput{})
		refused(t, err, "AuthFailure")
	})
}
