package ec2lab

import (
	"net/netip"
	"slices"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

type diskView struct {
	Device  string    `xml:"deviceName"`
	Volume  string    `xml:"ebs>volumeId"`
	State   string    `xml:"ebs>status"`
	At      time.Time `xml:"ebs>attachTime"`
	Deletes bool      `xml:"ebs>deleteOnTermination"`
}

type profileView struct {
	Arn string `xml:"arn"`
	ID  string `xml:"id"`
}

type instanceView struct {
	ID          string       `xml:"instanceId"`
	Image       string       `xml:"imageId"`
	State       stateView    `xml:"instanceState"`
	PrivateName string       `xml:"privateDnsName"`
	PublicName  string       `xml:"dnsName"`
	Transition  string       `xml:"reason"`
	Key         string       `xml:"keyName,omitempty"`
	Index       int          `xml:"amiLaunchIndex"`
	Kind        string       `xml:"instanceType"`
	Launched    time.Time    `xml:"launchTime"`
	Zone        string       `xml:"placement>availabilityZone,omitempty"`
	Tenancy     string       `xml:"placement>tenancy"`
	Monitoring  string       `xml:"monitoring>state"`
	Subnet      string       `xml:"subnetId,omitempty"`
	VPC         string       `xml:"vpcId,omitempty"`
	Address     string       `xml:"privateIpAddress,omitempty"`
	Check       bool         `xml:"sourceDestCheck"`
	Groups      []member     `xml:"groupSet>item"`
	Why         *reason      `xml:"stateReason"`
	Arch        string       `xml:"architecture"`
	RootType    string       `xml:"rootDeviceType"`
	RootDevice  string       `xml:"rootDeviceName"`
	Disks       []diskView   `xml:"blockDeviceMapping>item"`
	Virtual     string       `xml:"virtualizationType"`
	Hypervisor  string       `xml:"hypervisor"`
	Token       string       `xml:"clientToken"`
	Tags        []tag        `xml:"tagSet>item"`
	Interfaces  []nicView    `xml:"networkInterfaceSet>item"`
	Profile     *profileView `xml:"iamInstanceProfile"`
	ENA         bool         `xml:"enaSupport"`
	Lifecycle   string       `xml:"instanceLifecycle,omitempty"`
	Spot        string       `xml:"spotInstanceRequestId,omitempty"`
	MetaState   string       `xml:"metadataOptions>state"`
	MetaTokens  string       `xml:"metadataOptions>httpTokens"`
	MetaHops    int          `xml:"metadataOptions>httpPutResponseHopLimit"`
	MetaOn      string       `xml:"metadataOptions>httpEndpoint"`
	MetaTags    string       `xml:"metadataOptions>instanceMetadataTags"`
}

func (c *call) instanceView(i *instance) instanceView {
	v := instanceView{
		ID: i.id, Image: i.image.id, State: i.state.view(), Transition: i.transition, Kind: i.kind.name, Launched: i.launched,
		Tenancy: "default", Monitoring: "disabled", Check: true, Why: i.reason, Arch: "x86_64", RootType: "ebs",
		RootDevice: i.image.disks[0].device, Virtual: "hvm", Hypervisor: "xen", Token: i.token, Tags: c.r.tags[i.id].view(), ENA: true,
		MetaState: "applied", MetaTokens: i.options.tokens, MetaHops: i.options.hops, MetaOn: i.options.endpoint, MetaTags: i.options.tags,
	}
	if i.monitored {
		v.Monitoring = "enabled"
	}
	if i.key != nil {
		v.Key = i.key.name
	}
	if i.profile != "" {
		v.Profile = &profileView{i.profile, c.fixedID("AIPA", i.profile)}
	}
	if i.request != nil {
		v.Lifecycle, v.Spot = "spot", i.request.id
	}
	if n := i.nic; n != nil {
		v.PrivateName, v.Zone, v.Subnet, v.VPC = c.r.dns(n.address), n.subnet.zone, n.subnet.id, c.r.vpc.id
		v.Address, v.Groups, v.Interfaces = n.address.String(), c.r.members(n.groups), []nicView{c.nicView(n)}
	}
	for _, vol := range c.r.attachedTo(i) {
		a := vol.attachment
		v.Disks = append(v.Disks, diskView{a.device, vol.id, a.state, a.at, a.deletes})
	}
	return v
}

// attachedTo gives the volumes of an instance in the order of their making.
func (r *region) attachedTo(i *instance) []*volume {
	some := map[string]*volume{}
	for id, v := range r.volumes {
		if v.attachment != nil && v.attachment.instance == i {
			some[id] = v
		}
	}
	return sorted(some)
}

// sorted gives all in the order of their making.
func sorted[T any, P resource[T]](all map[string]P) []P {
	list, _ := listed(all, nil, "") // nothing is missing where nothing is asked for
	return list
}

type reservationView struct {
	ID        string         `xml:"reservationId"`
	Owner     string         `xml:"ownerId"`
	Instances []instanceView `xml:"instancesSet>item"`
}

func (c *call) reservationView(i *instance) reservationView {
	return reservationView{i.reservation, c.cfg.Account, []instanceView{c.instanceView(i)}}
}

type describeInstances struct {
	dry
	pages
	InstanceID []string
	Filter     []filter
}

func (c *call) describeInstances(in *describeInstances) (any, error) {
	list, next, err := c.visible(in.InstanceID, in.Filter, in.pages)
	if err != nil {
		return nil, err
	}
	views := make([]reservationView, 0, len(list))
	for _, i := range list {
		views = append(views, c.reservationView(i))
	}
	return struct {
		Reservations []reservationView `xml:"reservationSet>item"`
		Next         string            `xml:"nextToken,omitempty"`
	}{views, next}, nil
}

// visible chooses instances for the describing actions.
func (c *call) visible(ids []string, filters []filter, p pages) ([]*instance, string, error) {
	if len(ids) > 0 && p.MaxResults != 0 {
		return nil, "", query.Errorf("InvalidParameterCombination", "The parameter instancesSet cannot be used with the parameter maxResults")
	}
	if p.MaxResults != 0 && p.MaxResults < 5 {
		return nil, "", query.Errorf("InvalidParameterValue", "Value ( %d ) for parameter maxResults is invalid. Expecting a value greater than 5.", p.MaxResults)
	}
	if _, err := c.chosen(ids); err != nil {
		return nil, "", err
	}
	list, err := listed(c.r.instances, ids, noInstance)
	if err != nil {
		return nil, "", err
	}
	list = slices.DeleteFunc(list, func(i *instance) bool { return c.cfg.Clock.Now().Before(i.visible) })
	if list, err = sift(c, filters, list, c.instanceAttributes); err != nil {
		return nil, "", err
	}
	return page(list, p)
}

func (c *call) instanceAttributes(i *instance) attributes {
	a := attributes{
		"instance-id": attr(i.id), "instance-state-name": attr(stateNames[i.state]), "reservation-id": attr(i.reservation),
		"client-token": attr(i.token), "owner-id": attr(c.cfg.Account), "spot-instance-request-id": nil, "instance-lifecycle": nil,
		"image-id": nil, "instance-type": nil, "key-name": nil, "availability-zone": nil, "subnet-id": nil, "vpc-id": nil,
		"private-ip-address": nil, "private-dns-name": nil, "instance.group-id": nil, "network-interface.network-interface-id": nil,
		"network-interface.addresses.private-ip-address": nil,
	}
	if i.request != nil {
		a["instance-lifecycle"], a["spot-instance-request-id"] = attr("spot"), attr(i.request.id)
	}
	if i.image != nil {
		a["image-id"], a["instance-type"] = attr(i.image.id), attr(i.kind.name)
	}
	if i.key != nil {
		a["key-name"] = attr(i.key.name)
	}
	if n := i.nic; n != nil {
		a["availability-zone"], a["subnet-id"], a["vpc-id"] = attr(n.subnet.zone), attr(n.subnet.id), attr(c.r.vpc.id)
		a["private-ip-address"], a["private-dns-name"] = attr(n.address.String()), attr(c.r.dns(n.address))
		a["instance.group-id"], a["network-interface.network-interface-id"] = n.groups, attr(n.id)
		a["network-interface.addresses.private-ip-address"] = attr(n.address.String())
	}
	return a
}

type describeInstanceStatus struct {
	describeInstances
	IncludeAllInstances bool
}

type eventView struct {
	ID          string    `xml:"instanceEventId"`
	Code        string    `xml:"code"`
	Description string    `xml:"description"`
	NotBefore   time.Time `xml:"notBefore"`
	NotAfter    time.Time `xml:"notAfter"`
}

type health struct {
	Status string `xml:"status"`
	Name   string `xml:"details>item>name"`
	Detail string `xml:"details>item>status"`
}

type statusView struct {
	ID     string      `xml:"instanceId"`
	Zone   string      `xml:"availabilityZone,omitempty"`
	State  stateView   `xml:"instanceState"`
	Guest  health      `xml:"instanceStatus"`
	System health      `xml:"systemStatus"`
	Events []eventView `xml:"eventsSet>item"`
}

// settling is for how long EC2's checks have no result after a start.
const settling = time.Second

func (c *call) describeInstanceStatus(in *describeInstanceStatus) (any, error) {
	for n, f := range in.Filter { // some have other names here
		if f.Name == "instance-state-name" || f.Name == "availability-zone" {
			continue
		}
		return nil, query.Errorf("InvalidParameterValue", "The filter '%s' (number %d) is invalid", f.Name, n+1)
	}
	if !in.IncludeAllInstances {
		in.Filter = append(in.Filter, filter{Name: "instance-state-name", Value: []string{"running"}})
	}
	list, next, err := c.visible(in.InstanceID, in.Filter, in.pages)
	if err != nil {
		return nil, err
	}
	views := make([]statusView, 0, len(list))
	for _, i := range list {
		v := statusView{ID: i.id, State: i.state.view()}
		if i.nic != nil {
			v.Zone = i.nic.subnet.zone
		}
		ok := health{"ok", "reachability", "passed"}
		switch {
		case i.state != running:
			ok = health{"not-applicable", "reachability", "not-applicable"}
		case c.cfg.Clock.Now().Sub(i.since) < settling:
			ok = health{"initializing", "reachability", "initializing"}
		}
		v.Guest, v.System = ok, ok
		if i.state == running && !i.impaired.IsZero() {
			v.System = health{"impaired", "reachability", "failed"}
		}
		for _, e := range i.events {
			v.Events = append(v.Events, eventView(e))
		}
		views = append(views, v)
	}
	return struct {
		Statuses []statusView `xml:"instanceStatusSet>item"`
		Next     string       `xml:"nextToken,omitempty"`
	}{views, next}, nil
}

// at finds the instance that has an address. Called with mu held.
func (l *Lab) at(a netip.Addr) *instance {
	for _, r := range l.regions {
		for _, i := range r.instances {
			if i.address() == a {
				return i
			}
		}
	}
	return nil
}
