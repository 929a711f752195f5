package ec2lab

import (
	"context"
	"regexp"
	"slices"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// image is an AMI. Several, in one region or more, may stand on one image of the host.
type image struct {
	identity
	name, description string
	owner             string
	made              time.Time
	state             string // pending, available, failed, disabled
	why               *reason
	host              string // the host's image; "" until it is captured
	disks             []disk // the root first
	public            bool
	users, orgs       []string  // who else may launch it
	deprecated        time.Time // zero: never
	protection        string    // disabled, or enabled-without-cooldown, enabled-with-cooldown
	tokens            bool      // ImdsSupport is v2.0: what it launches asks for tokens unless the request says otherwise
	instance          string    // it was made from
	source            string    // AMI it was copied from
	sourceRegion      string
}

const (
	noImage    = "InvalidAMIID.NotFound"
	noSnapshot = "InvalidSnapshot.NotFound"
	rootDevice = "/dev/xvda"
	rootSize   = 8 // GiB
)

// seed shows an image of the host as a public AMI.
func (l *Lab) seed(r *region, s Seed) {
	l.serial++
	img := &image{
		identity: identity{l.fixedID("ami-", r.name+" "+s.Name), l.serial}, name: s.Name, description: "a seed of the lab", owner: s.Owner,
		made: l.now(), state: "available", host: s.Fingerprint, public: true, protection: "disabled",
		disks: []disk{{device: rootDevice, kind: "gp3", size: rootSize, deletes: true, snapshot: l.fixedID("snap-", r.name+" "+s.Name)}},
	}
	r.images[img.id] = img
	if s.Parameter != "" {
		r.params[s.Parameter] = &param{value: img.id, dataType: "aws:ec2:image", version: 1, changed: float64(l.now().Unix())}
	}
}

// launchable finds an image that can be launched now.
func (c *call) launchable(id string) (*image, error) {
	if id == "" {
		return nil, query.Errorf("MissingParameter", "The request must contain the parameter ImageId")
	}
	img, err := c.image(id)
	if err != nil {
		return nil, err
	}
	if img.state != "available" {
		return nil, query.Errorf("InvalidAMIID.Unavailable", "The image id '[%s]' is no longer available: it is %s", id, img.state)
	}
	return img, nil
}

func (c *call) image(id string) (*image, error) {
	if kindOf(id) != "image" {
		return nil, query.Errorf("InvalidAMIID.Malformed", "Invalid id: \"%s\" (expecting \"ami-...\")", id)
	}
	return find(c.r.images, id, noImage)
}

// own finds an image that may be changed.
func (c *call) own(id string) (*image, error) {
	img, err := c.image(id)
	if err == nil && img.owner != c.cfg.Account {
		return nil, query.Errorf("AuthFailure", "Not authorized for image:%s", id)
	}
	return img, err
}

var imageName = regexp.MustCompile(`^[a-zA-Z0-9()\[\] ./\-'@_]{3,128}$`)

// freeName checks the name of a new image.
func (c *call) freeName(name string) error {
	if !imageName.MatchString(name) {
		return query.Errorf("InvalidAMIName.Malformed", "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, spaces and ()[]./-'@_")
	}
	for _, img := range c.r.images {
		if img.name == name && img.owner == c.cfg.Account {
			return query.Errorf("InvalidAMIName.Duplicate", "AMI name %s is already in use by AMI %s", name, img.id)
		}
	}
	return nil
}

type createImage struct {
	dry
	InstanceID         string `query:"required"`
	Name               string `query:"required"`
	Description        string
	NoReboot           bool
	BlockDeviceMapping []blockDevice
	TagSpecification   []tagSpecification
}

func (c *call) createImage(in *createImage) (any, error) {
	i, err := c.instance(in.InstanceID)
	if err != nil {
		return nil, err
	}
	if i.state != running && i.state != stopped {
		return nil, query.Errorf("IncorrectInstanceState", "The instance '%s' is not in the 'running' or 'stopped' state: it is %s", i.id, stateNames[i.state])
	}
	if err := c.freeName(in.Name); err != nil {
		return nil, err
	}
	tags, err := specified(in.TagSpecification, "image", "snapshot")
	if err != nil {
		return nil, err
	}
	// All volumes that are attached become part of the image, unless the request leaves them out.
	attached := map[string]*volume{}
	var disks []disk
	for _, v := range sorted(c.r.volumes) {
		if a := v.attachment; a != nil && a.instance == i {
			attached[a.device] = v
			d := disk{device: a.device, kind: v.kind, size: v.size, encrypted: v.encrypted, kms: v.kms, deletes: v.root || a.deletes}
			if v.root {
				disks = slices.Insert(disks, 0, d)
			} else {
				disks = append(disks, d)
			}
		}
	}
	if disks, err = c.overlaid(disks, in.BlockDeviceMapping); err != nil {
		return nil, err
	}
	img := &image{
		identity: c.identify("ami-"), name: in.Name, description: in.Description, owner: c.cfg.Account, made: c.at,
		state: "pending", protection: "disabled", instance: i.id, source: i.image.id, sourceRegion: c.r.name,
	}
	c.r.images[img.id] = img
	c.r.tag(img.id, tags["image"])
	copies := map[*snapshot]string{} // of data volumes
	for n := range disks {
		v := attached[disks[n].device]
		if v == nil { // a mapping that the request adds, empty
			continue
		}
		s := c.newSnapshot(v, "Created by CreateImage("+i.id+") for "+img.id)
		s.size = disks[n].size
		c.r.tag(s.id, tags["snapshot"])
		disks[n].snapshot = s.id
		if !v.root {
			copies[s] = v.id
		}
	}
	img.disks = disks
	fault := c.imageFault(in.Name)
	c.queue(i, false, func(ctx context.Context) { c.capture(ctx, i, img, copies, in.NoReboot, fault) })
	return struct {
		ID string `xml:"imageId"`
	}{img.id}, nil
}

// capture makes the host's image, with the machine at rest unless it is not to be rebooted.
func (c *call) capture(ctx context.Context, i *instance, img *image, copies map[*snapshot]string, noReboot bool, fault *Fault) {
	var runs bool
	c.locked(func() { runs = i.state == running })
	rests := runs && !noReboot
	var err error
	if rests {
		err = c.host.Stop(ctx, i.id, false)
	}
	host := ""
	if err == nil && (fault == nil || fault.For != 0) {
		host, err = c.host.Capture(ctx, i.id, img.id)
	}
	for s, v := range copies {
		if err == nil {
			err = c.host.CreateVolume(ctx, s.id, v, s.size)
		}
	}
	if rests {
		if again := c.host.Start(ctx, i.id); err == nil {
			err = again
		}
	}
	c.task(func(ctx context.Context) { // the instance can go on; the rest is EC2's copying
		d := c.cfg.Delays.Image
		if fault != nil {
			d += fault.For
		}
		c.later(ctx, d, func() { c.captured(img, host, err, fault) })
	})
}

func (c *call) captured(img *image, host string, err error, fault *Fault) {
	if host != "" {
		c.images[host]++
		img.host = host
	}
	if c.r.images[img.id] == nil { // deregistered meanwhile
		c.release(img)
		return
	}
	ok := err == nil && (fault == nil || fault.For != 0)
	for _, d := range img.disks {
		if s := c.r.snapshots[d.snapshot]; s != nil {
			s.finish(ok, c.now())
		}
	}
	if ok {
		img.state = "available"
		return
	}
	img.state, img.why = "failed", &reason{"Server.InternalError", "Server.InternalError: Internal error during the creation of the image"}
	if fault != nil && fault.Message != "" {
		img.why = &reason{fault.Code, fault.Message}
	}
	if err != nil {
		c.cfg.Log.Error("capture", "image", img.id, "err", err)
	}
}

// hold keeps the host's image while something still needs it that is no AMI. Called with mu held.
func (l *Lab) hold(img *image) {
	if l.images[img.host] > 0 {
		l.images[img.host]++
	}
}

// release deletes the host's image when the last AMI on it is gone. Called with mu held.
func (l *Lab) release(img *image) {
	if img.host == "" || l.images[img.host] == 0 { // none, or a seed's
		return
	}
	l.images[img.host]--
	if host := img.host; l.images[host] == 0 {
		delete(l.images, host)
		l.spawn(func(ctx context.Context) {
			if err := l.host.DeleteImage(ctx, host); err != nil && ctx.Err() == nil {
				l.cfg.Log.Error("delete image", "image", host, "err", err)
			}
		})
	}
}
