package ec2lab

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"net/netip"
	"runtime"
	"slices"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/machines"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// mostUserData is EC2's limit, before base64.
const mostUserData = 16 << 10

type templateRef struct {
	LaunchTemplateID   string
	LaunchTemplateName string
	Version            string
}

// blockDevice is a mapping of RunInstances, CreateImage and launch templates.
type blockDevice struct {
	DeviceName string  `query:"required"`
	NoDevice   *string // "" removes the mapping of the image
	Ebs        *ebs
}

type ebs struct {
	DeleteOnTermination *bool
	Encrypted           *bool
	KmsKeyID            string
	SnapshotID          string
	VolumeSize          int
	VolumeType          string
	Iops, Throughput    int // remembered by nobody: they change nothing that could be seen
}

type runInstances struct {
	dry
	ImageID               string
	InstanceType          string
	KeyName               string
	MinCount, MaxCount    int
	SubnetID              string
	PrivateIPAddress      string
	SecurityGroupID       []string
	UserData              string
	ClientToken           string
	EbsOptimized          bool
	DisableAPITermination bool

	InstanceInitiatedShutdownBehavior string

	NetworkInterface []struct {
		DeviceIndex         int
		NetworkInterfaceID  string
		SubnetID            string
		PrivateIPAddress    string
		Description         string
		SecurityGroupID     []string
		DeleteOnTermination *bool
		// The lab has no public addresses; a request that wants none gets what it wants.
		AssociatePublicIPAddress bool
	}
	MetadataOptions *struct {
		HTTPTokens, HTTPEndpoint string
		HTTPPutResponseHopLimit  int
		InstanceMetadataTags     string
	}
	InstanceMarketOptions *struct {
		MarketType  string
		SpotOptions *spotOptions
	}
	Placement          *struct{ AvailabilityZone string }
	IamInstanceProfile *struct{ Arn, Name string }
	Monitoring         *struct{ Enabled bool }
	BlockDeviceMapping []blockDevice
	TagSpecification   []tagSpecification
	LaunchTemplate     *templateRef
}

// runInstancesAction is RunInstances: a launch template's data come first and are overridden by the request's.
func runInstancesAction(c *call) (any, error) {
	form := maps.Clone(c.form)
	if err := c.expand(form); err != nil {
		return nil, err
	}
	merged := *c
	merged.form, merged.given = form, tops(c.form)
	return on(func(_ *call, in *runInstances) (any, error) { return c.runInstances(in) })(&merged)
}

func (c *call) runInstances(in *runInstances) (any, error) {
	if in.MinCount != 1 || in.MaxCount != 1 {
		return nil, query.Errorf("UnsupportedOperation", "The lab launches one instance at a time: MinCount and MaxCount must be 1")
	}
	id, err := c.once(in.ClientToken, func() (string, error) { return c.launch(in, nil) })
	if err != nil {
		return nil, err
	}
	i := c.r.instances[id]
	if i == nil || i.state == terminated {
		return nil, query.Errorf("IdempotentInstanceTerminated", "The client token you have provided is associated with a terminated instance. Please use a different client token.")
	}
	return c.reservationView(i), nil
}

// launch checks everything, then makes an instance that is pending; for a spot request that was made
// before, if one is given.
func (c *call) launch(in *runInstances, request *spotRequest) (string, error) {
	img, err := c.launchable(in.ImageID)
	if err != nil {
		return "", err
	}
	i := &instance{
		region: c.r, image: img, launched: c.at, shutdown: "stop", token: in.ClientToken, keep: in.DisableAPITermination,
		monitored: in.Monitoring != nil && in.Monitoring.Enabled,
	}
	if i.kind, err = kindNamed(in.InstanceType); err != nil {
		return "", err
	}
	if in.KeyName != "" {
		if i.key = c.r.keys[in.KeyName]; i.key == nil {
			return "", query.Errorf("InvalidKeyPair.NotFound", "The key pair '%s' does not exist", in.KeyName)
		}
	}
	tags, err := specified(in.TagSpecification, "instance", "volume", "network-interface", "spot-instances-request")
	if err != nil {
		return "", err
	}
	if err := joined(i.takeUserData(in.UserData), i.takeOptions(in)); err != nil {
		return "", err
	}
	if request == nil {
		if request, err = c.market(in); err != nil {
			return "", err
		}
	}
	disks, err := c.disks(img, in.BlockDeviceMapping)
	if err != nil {
		return "", err
	}
	place, err := c.placement(in)
	if err != nil {
		return "", err
	}
	if err := c.capacity(i.kind.name, place.zone); err != nil {
		return "", err
	}
	n, deletes, err := c.firstNic(in, place, tags["network-interface"])
	if err != nil {
		return "", err
	}

	i.identity, i.reservation, i.nic = c.identify("i-"), c.newID("r-"), n
	i.visible = c.cfg.Clock.Now().Add(c.hidden())
	n.attachment = &nicAttachment{id: c.newID("eni-attach-"), instance: i, at: c.at, deletes: deletes}
	if request != nil {
		i.request, request.instance = request, i
		if request.id == "" {
			c.ask(request, tags["spot-instances-request"])
		}
	}
	c.enter(i, pending, "", nil)
	c.r.instances[i.id] = i
	c.r.tag(i.id, tags["instance"])
	volumes := c.mount(i, disks, tags["volume"])
	c.mutated = true
	c.hold(img) // it may be deregistered as soon as we have answered
	c.queue(i, true, func(ctx context.Context) {
		c.begin(ctx, i, volumes)
		c.locked(func() { c.release(img) })
	})
	return i.id, nil
}

// begin brings the machine up.
func (l *Lab) begin(ctx context.Context, i *instance, volumes []*volume) {
	spec := machines.Spec{
		ID: i.id, Image: i.image.host, Address: i.nic.address, VCPUs: min(i.kind.vcpus, runtime.NumCPU()), MemoryMiB: i.kind.memory,
		Volumes: map[string]string{},
	}
	err := l.failsLaunch(i)
	if err == nil {
		err = l.settle(ctx) // the rules are there before the machine is
	}
	for _, v := range volumes {
		if v.root {
			spec.RootGiB = int64(v.size)
		}
		if v.root || err != nil {
			continue
		}
		spec.Volumes[v.id] = v.path()
		err = l.host.CreateVolume(ctx, v.id, v.from, v.size)
	}
	if err == nil {
		err = l.host.Launch(ctx, spec)
	}
	if err == nil || ctx.Err() != nil {
		l.afterStart(ctx, i, err)
		return
	}
	l.cfg.Log.Error("launch", "instance", i.id, "err", err)
	why := reason{"Server.InternalError", "Server.InternalError: Internal error on launch"}
	var scripted *launchFault
	if errors.As(err, &scripted) {
		why = reason(*scripted)
	}
	if l.cfg.Clock.Sleep(ctx, l.cfg.Delays.Launch) != nil {
		return
	}
	l.destroy(ctx, i)
	l.locked(func() {
		if i.state == pending {
			i.transition, i.reason = why.Code, &why
			l.buried(i)
		}
	})
}

func (i *instance) takeUserData(text string) error {
	if text == "" {
		return nil
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return query.Errorf("InvalidParameterValue", "Invalid BASE64 encoding of user data.")
	}
	if len(raw) > mostUserData {
		return query.Errorf("InvalidParameterValue", "User data is limited to %d bytes", mostUserData)
	}
	i.userData = raw
	return nil
}

// oneOf takes a value of a list, the first if none is given.
func oneOf(name, value string, values ...string) (string, error) {
	if value == "" {
		return values[0], nil
	}
	if !slices.Contains(values, value) {
		return "", query.Errorf("InvalidParameterValue", "Value (%s) for parameter %s is invalid. The lab has %v", value, name, values)
	}
	return value, nil
}

func (i *instance) takeOptions(in *runInstances) (err error) {
	if i.shutdown, err = oneOf("instanceInitiatedShutdownBehavior", in.InstanceInitiatedShutdownBehavior, "stop", "terminate"); err != nil {
		return err
	}
	if p := in.IamInstanceProfile; p != nil {
		i.profile = p.Arn
		if i.profile == "" {
			i.profile = "arn:aws:iam::lab:instance-profile/" + p.Name
		}
	}
	i.options = metadataOptions{tokens: "optional", endpoint: "enabled", hops: 1, tags: "disabled"}
	if i.image.tokens {
		i.options.tokens, i.options.hops = "required", 2
	}
	o := in.MetadataOptions
	if o == nil {
		return nil
	}
	var errs [3]error
	if o.HTTPTokens != "" {
		i.options.tokens, errs[0] = oneOf("HttpTokens", o.HTTPTokens, "optional", "required")
	}
	i.options.endpoint, errs[1] = oneOf("HttpEndpoint", o.HTTPEndpoint, "enabled", "disabled")
	i.options.tags, errs[2] = oneOf("InstanceMetadataTags", o.InstanceMetadataTags, "disabled", "enabled")
	if o.HTTPPutResponseHopLimit < 0 || o.HTTPPutResponseHopLimit > 64 {
		return query.Errorf("InvalidParameterValue", "HttpPutResponseHopLimit is between 1 and 64")
	}
	if o.HTTPPutResponseHopLimit > 0 {
		i.options.hops = o.HTTPPutResponseHopLimit
	}
	return joined(errs[:]...)
}

// address is where an instance is on the network; zero if it is gone.
func (i *instance) address() netip.Addr {
	if i.nic == nil {
		return netip.Addr{}
	}
	return i.nic.address
}
