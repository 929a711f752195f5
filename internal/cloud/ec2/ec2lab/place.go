package ec2lab

import (
	"maps"
	"slices"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// instanceType is a size that the lab has.
type instanceType struct {
	identity
	name          string
	vcpus, memory int // MiB
}

// sizes are a few of EC2's, small enough for one host.
var sizes = []*instanceType{
	{identity{"t3.nano", 1}, "t3.nano", 2, 512},
	{identity{"t3.micro", 2}, "t3.micro", 2, 1024},
	{identity{"t3.small", 3}, "t3.small", 2, 2048},
	{identity{"t3.medium", 4}, "t3.medium", 2, 4096},
	{identity{"m7i.large", 5}, "m7i.large", 2, 8192},
	{identity{"c7i.large", 6}, "c7i.large", 2, 4096},
}

// kindNamed finds a size; EC2's own default is m1.small, which nobody wants.
func kindNamed(name string) (*instanceType, error) {
	if name == "" {
		name = "t3.small"
	}
	for _, t := range sizes {
		if t.name == name {
			return t, nil
		}
	}
	return nil, query.Errorf("InvalidParameterValue", "Invalid value '%s' for InstanceType.", name)
}

type describeInstanceTypes struct {
	dry
	pages
	InstanceType []string
	Filter       []filter
}

type typeView struct {
	Name    string   `xml:"instanceType"`
	Current bool     `xml:"currentGeneration"`
	Usage   []string `xml:"supportedUsageClasses>item"`
	Root    []string `xml:"supportedRootDeviceTypes>item"`
	Virtual []string `xml:"supportedVirtualizationTypes>item"`
	Bare    bool     `xml:"bareMetal"`
	Nitro   string   `xml:"hypervisor"`
	Arch    []string `xml:"processorInfo>supportedArchitectures>item"`
	VCPUs   int      `xml:"vCpuInfo>defaultVCpus"`
	Memory  int      `xml:"memoryInfo>sizeInMiB"`
	NVMe    string   `xml:"ebsInfo>nvmeSupport"`
	ENA     string   `xml:"networkInfo>enaSupport"`
}

func (c *call) describeInstanceTypes(in *describeInstanceTypes) (any, error) {
	list := sizes
	if len(in.InstanceType) > 0 {
		list = nil
		for _, name := range in.InstanceType {
			t, err := kindNamed(name)
			if err != nil {
				return nil, query.Errorf("InvalidInstanceType", "The following supplied instance types do not exist: [%s]", name)
			}
			list = append(list, t)
		}
	}
	list, err := sift(c, in.Filter, list, func(t *instanceType) attributes {
		return attributes{
			"instance-type": attr(t.name), "current-generation": attr("true"), "bare-metal": attr("false"),
			"processor-info.supported-architecture": attr("x86_64"), "supported-usage-class": {"on-demand", "spot"},
		}
	})
	if err != nil {
		return nil, err
	}
	list, next, err := page(list, in.pages)
	views := make([]typeView, 0, len(list))
	for _, t := range list {
		views = append(views, typeView{
			t.name, true, []string{"on-demand", "spot"}, []string{"ebs"}, []string{"hvm"}, false, "nitro", []string{"x86_64"},
			t.vcpus, t.memory, "required", "required",
		})
	}
	return struct {
		Types []typeView `xml:"instanceTypeSet>item"`
		Next  string     `xml:"nextToken,omitempty"`
	}{views, next}, err
}

func (s *subnet) who() *identity { return &identity{id: s.id} }
func (v *vpc) who() *identity    { return &identity{id: v.id} }

type describeSubnets struct {
	dry
	pages
	SubnetID []string
	Filter   []filter
}

type subnetView struct {
	ID      string `xml:"subnetId"`
	State   string `xml:"state"`
	VPC     string `xml:"vpcId"`
	Cidr    string `xml:"cidrBlock"`
	Free    int    `xml:"availableIpAddressCount"`
	Zone    string `xml:"availabilityZone"`
	ZoneID  string `xml:"availabilityZoneId"`
	Default bool   `xml:"defaultForAz"`
	Owner   string `xml:"ownerId"`
	Arn     string `xml:"subnetArn"`
	Tags    []tag  `xml:"tagSet>item"`
}

func (c *call) describeSubnets(in *describeSubnets) (any, error) {
	list := c.r.subnets
	if len(in.SubnetID) > 0 {
		list = nil
		for _, id := range in.SubnetID {
			s, err := c.r.subnet(id)
			if err != nil {
				return nil, err
			}
			list = append(list, s)
		}
	}
	list, err := sift(c, in.Filter, list, func(s *subnet) attributes {
		return attributes{
			"subnet-id": attr(s.id), "vpc-id": attr(c.r.vpc.id), "availability-zone": attr(s.zone), "availability-zone-id": attr(s.zoneID),
			"state": attr("available"), "cidr-block": attr(s.cidr.String()), "default-for-az": attr("true"), "owner-id": attr(c.cfg.Account),
		}
	})
	if err != nil {
		return nil, err
	}
	views := make([]subnetView, 0, len(list))
	for _, s := range list {
		free := 1<<(32-s.cidr.Bits()) - 5
		for _, n := range c.r.nics {
			if n.subnet == s {
				free--
			}
		}
		views = append(views, subnetView{
			s.id, "available", c.r.vpc.id, s.cidr.String(), free, s.zone, s.zoneID, true, c.cfg.Account, c.arn("subnet/" + s.id), c.r.tags[s.id].view(),
		})
	}
	return struct {
		Subnets []subnetView `xml:"subnetSet>item"`
	}{views}, nil
}

type describeVpcs struct {
	dry
	pages
	VpcID  []string
	Filter []filter
}

func (c *call) describeVpcs(in *describeVpcs) (any, error) {
	for _, id := range in.VpcID {
		if id != c.r.vpc.id {
			return nil, query.Errorf("InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", id)
		}
	}
	list, err := sift(c, in.Filter, []*vpc{&c.r.vpc}, func(v *vpc) attributes {
		return attributes{
			"vpc-id": attr(v.id), "is-default": attr("true"), "state": attr("available"), "cidr": attr(v.cidr.String()), "owner-id": attr(c.cfg.Account),
		}
	})
	type view struct {
		ID      string `xml:"vpcId"`
		State   string `xml:"state"`
		Cidr    string `xml:"cidrBlock"`
		Default bool   `xml:"isDefault"`
		Owner   string `xml:"ownerId"`
		Tags    []tag  `xml:"tagSet>item"`
	}
	views := []view{}
	for _, v := range list {
		views = append(views, view{v.id, "available", v.cidr.String(), true, c.cfg.Account, c.r.tags[v.id].view()})
	}
	return struct {
		Vpcs []view `xml:"vpcSet>item"`
	}{views}, err
}

type describeZones struct {
	dry
	ZoneName, ZoneID     []string
	AllAvailabilityZones bool
	Filter               []filter
}

func (c *call) describeZones(in *describeZones) (any, error) {
	for _, name := range in.ZoneName {
		if _, err := c.r.byZone(name); err != nil {
			return nil, err
		}
	}
	list, err := sift(c, in.Filter, c.r.subnets, func(s *subnet) attributes {
		return attributes{
			"zone-name": attr(s.zone), "zone-id": attr(s.zoneID), "region-name": attr(c.r.name), "state": attr("available"),
			"opt-in-status": attr("opt-in-not-required"), "zone-type": attr("availability-zone"),
		}
	})
	type view struct {
		Name   string `xml:"zoneName"`
		ID     string `xml:"zoneId"`
		State  string `xml:"zoneState"`
		Region string `xml:"regionName"`
		Type   string `xml:"zoneType"`
		OptIn  string `xml:"optInStatus"`
	}
	views := []view{}
	for _, s := range list {
		if (in.ZoneName == nil || slices.Contains(in.ZoneName, s.zone)) && (in.ZoneID == nil || slices.Contains(in.ZoneID, s.zoneID)) {
			views = append(views, view{s.zone, s.zoneID, "available", c.r.name, "availability-zone", "opt-in-not-required"})
		}
	}
	return struct {
		Zones []view `xml:"availabilityZoneInfo>item"`
	}{views}, err
}

type describeRegions struct {
	dry
	RegionName []string
	AllRegions bool
}

func (c *call) describeRegions(in *describeRegions) (any, error) {
	type view struct {
		Name     string `xml:"regionName"`
		Endpoint string `xml:"regionEndpoint"`
		OptIn    string `xml:"optInStatus"`
	}
	var views []view
	for _, name := range slices.Sorted(maps.Keys(c.regions)) {
		if in.RegionName == nil || slices.Contains(in.RegionName, name) {
			views = append(views, view{name, "ec2." + name + ".invalid", "opt-in-not-required"})
		}
	}
	if len(views) < len(in.RegionName) {
		return nil, query.Errorf("InvalidParameterValue", "Invalid region provided: [%s]", strings.Join(in.RegionName, ", "))
	}
	return struct {
		Regions []view `xml:"regionInfo>item"`
	}{views}, nil
}
