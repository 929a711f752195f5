package ec2

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// zone is an availability zone and our subnets in it.
type zone struct {
	name    string
	subnets []string
}

// size is what an instance type has.
type size struct {
	kind      types.InstanceType
	cpus      int
	memoryMiB int
}

// findZones checks the configured subnets and sorts them by zone.
func (p *Provider) findZones(ctx context.Context) (vpc string, zones []zone, err error) {
	call := "find the subnets " + strings.Join(p.cfg.Subnets, ", ")
	out, err := p.api.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: p.cfg.Subnets})
	if err != nil {
		return "", nil, fail(call, err)
	}
	byZone := map[string][]string{}
	for _, s := range out.Subnets {
		if vpc != "" && vpc != *s.VpcId {
			return "", nil, refuse(call, "they are in different VPCs, %s and %s: security groups could not reach across", vpc, *s.VpcId)
		}
		vpc = *s.VpcId
		byZone[*s.AvailabilityZone] = append(byZone[*s.AvailabilityZone], *s.SubnetId)
	}
	for name, subnets := range byZone {
		slices.Sort(subnets)
		zones = append(zones, zone{name, subnets})
	}
	slices.SortFunc(zones, func(a, b zone) int { return strings.Compare(a.name, b.name) })
	return vpc, zones, nil
}

// findSizes asks what the configured types have, so that one that fits can be chosen.
func (p *Provider) findSizes(ctx context.Context) ([]size, error) {
	call := "find the instance types " + strings.Join(p.cfg.Types, ", ")
	in := &ec2.DescribeInstanceTypesInput{}
	for _, kind := range p.cfg.Types {
		in.InstanceTypes = append(in.InstanceTypes, types.InstanceType(kind))
	}
	out, err := p.api.DescribeInstanceTypes(ctx, in)
	if err != nil {
		return nil, fail(call, err)
	}
	var sizes []size
	for _, kind := range in.InstanceTypes {
		at := slices.IndexFunc(out.InstanceTypes, func(t types.InstanceTypeInfo) bool { return t.InstanceType == kind })
		if at < 0 {
			return nil, refuse(call, "%s does not exist in %s", kind, p.cfg.Region)
		}
		t := out.InstanceTypes[at]
		sizes = append(sizes, size{kind, int(aws.ToInt32(t.VCpuInfo.DefaultVCpus)), int(aws.ToInt64(t.MemoryInfo.SizeInMiB))})
	}
	return sizes, nil
}

// fitting are the types that are large enough, in the order in which they are to be tried.
func (p *Provider) fitting(call string, spec cloud.ServerSpec) ([]types.InstanceType, error) {
	var kinds []types.InstanceType
	for _, s := range p.sizes {
		if s.cpus >= spec.CPUs && s.memoryMiB >= spec.MemoryMiB {
			kinds = append(kinds, s.kind)
		}
	}
	if len(kinds) == 0 {
		return nil, refuse(call, "none of the types %s has %d CPUs and %d MiB of memory", strings.Join(p.cfg.Types, ", "), spec.CPUs, spec.MemoryMiB)
	}
	return kinds, nil
}

// turned gives a whole list, beginning with the n-th.
func turned[T any](list []T, n int) []T {
	n %= len(list)
	return slices.Concat(list[n:], list[:n])
}

// start is which of so many zones or subnets a name begins with. A network that is tried again under
// another name begins elsewhere, so one zone without capacity does not stop everything.
func start(name string, n int) int {
	d := digest("start", name)
	return int(binary.BigEndian.Uint32(d[:])) % n
}
