package ec2lab

import (
	"context"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

type attachVolume struct {
	dry
	Device     string `query:"required"`
	InstanceID string `query:"required"`
	VolumeID   string `query:"required"`
}

func (c *call) attachVolume(in *attachVolume) (any, error) {
	v, err := find(c.r.volumes, in.VolumeID, noVolume)
	if err != nil {
		return nil, err
	}
	i, err := c.instance(in.InstanceID)
	if err != nil {
		return nil, err
	}
	switch {
	case v.attachment != nil:
		return nil, query.Errorf("VolumeInUse", "%s is already attached to an instance", v.id)
	case v.state != "available":
		return nil, query.Errorf("IncorrectState", "%s is not 'available': it is '%s'", v.id, v.state)
	case i.state != running && i.state != stopped:
		return nil, query.Errorf("IncorrectState", "Instance '%s' is not 'running'.", i.id)
	case v.zone != i.nic.subnet.zone:
		return nil, query.Errorf("InvalidVolume.ZoneMismatch", "The volume '%s' is not in the same availability zone as instance '%s'", v.id, i.id)
	case v.root:
		return nil, query.Errorf("UnsupportedOperation", "The lab's root volumes exist in the API only: '%s' cannot be attached again", v.id)
	}
	for _, other := range c.r.volumes {
		if a := other.attachment; a != nil && a.instance == i && a.device == in.Device {
			return nil, query.Errorf("InvalidParameterValue", "Invalid value '%s' for unixDevice. Attachment point %s is already in use", in.Device, in.Device)
		}
	}
	v.state = "in-use"
	v.attachment = &attachment{instance: i, device: in.Device, state: "attaching", at: c.at}
	a := v.attachment
	c.queue(i, false, func(ctx context.Context) {
		if c.gone(i) {
			return
		}
		err := c.host.AttachVolume(ctx, v.id, i.id, v.path())
		if c.cfg.Clock.Sleep(ctx, c.cfg.Delays.Volume) != nil {
			return
		}
		c.locked(func() {
			switch {
			case v.attachment != a:
			case err != nil:
				c.cfg.Log.Error("attach", "volume", v.id, "instance", i.id, "err", err)
				v.state, v.attachment = "available", nil
			default:
				a.state = "attached"
			}
		})
	})
	return c.attachmentView(v, a, "attaching"), nil
}

type detachVolume struct {
	dry
	VolumeID           string `query:"required"`
	Device, InstanceID string
	Force              bool
}

func (c *call) detachVolume(in *detachVolume) (any, error) {
	v, err := find(c.r.volumes, in.VolumeID, noVolume)
	if err != nil {
		return nil, err
	}
	a := v.attachment
	switch {
	case a == nil:
		return nil, query.Errorf("IncorrectState", "Volume '%s' is in the '%s' state.", v.id, v.state)
	case in.InstanceID != "" && in.InstanceID != a.instance.id, in.Device != "" && in.Device != a.device:
		return nil, query.Errorf("InvalidAttachment.NotFound", "Volume '%s' is not attached so: it is %s of '%s'", v.id, a.device, a.instance.id)
	case v.root:
		return nil, query.Errorf("OperationNotPermitted", "Unable to detach root volume '%s' from instance '%s'", v.id, a.instance.id)
	case a.state == "detaching" && !in.Force:
		return nil, query.Errorf("IncorrectState", "Volume '%s' is in the 'detaching' state.", v.id)
	}
	a.state = "detaching"
	i := a.instance
	c.queue(i, false, func(ctx context.Context) {
		if c.gone(i) {
			return
		}
		err := c.host.DetachVolume(ctx, v.id, i.id)
		if c.cfg.Clock.Sleep(ctx, c.cfg.Delays.Volume) != nil {
			return
		}
		c.locked(func() {
			switch {
			case v.attachment != a:
			case err != nil: // a volume that is in use stays busy, as EC2's does
				c.cfg.Log.Warn("detach", "volume", v.id, "instance", i.id, "err", err)
				a.state = "busy"
			default:
				v.state, v.attachment = "available", nil
			}
		})
	})
	return c.attachmentView(v, a, "detaching"), nil
}

// gone says that an instance's machine is destroyed, and its volumes with it set free.
func (l *Lab) gone(i *instance) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return i.state == terminated
}

type attachmentView struct {
	Volume   string    `xml:"volumeId"`
	Instance string    `xml:"instanceId"`
	Device   string    `xml:"device"`
	State    string    `xml:"status"`
	At       time.Time `xml:"attachTime"`
	Deletes  bool      `xml:"deleteOnTermination"`
}

func (c *call) attachmentView(v *volume, a *attachment, state string) attachmentView {
	return attachmentView{v.id, a.instance.id, a.device, state, a.at, a.deletes}
}

type volumeView struct {
	ID          string           `xml:"volumeId"`
	Size        int              `xml:"size"`
	Snapshot    string           `xml:"snapshotId"`
	Zone        string           `xml:"availabilityZone"`
	State       string           `xml:"status"`
	Made        time.Time        `xml:"createTime"`
	Kind        string           `xml:"volumeType"`
	Encrypted   bool             `xml:"encrypted"`
	KMS         string           `xml:"kmsKeyId,omitempty"`
	Attachments []attachmentView `xml:"attachmentSet>item"`
	Tags        []tag            `xml:"tagSet>item"`
}

func (c *call) volumeView(v *volume) volumeView {
	view := volumeView{
		ID: v.id, Size: v.size, Snapshot: v.snapshot, Zone: v.zone, State: v.state, Made: v.made, Kind: v.kind,
		Encrypted: v.encrypted, KMS: v.kms, Tags: c.r.tags[v.id].view(),
	}
	if a := v.attachment; a != nil {
		view.Attachments = []attachmentView{c.attachmentView(v, a, a.state)}
	}
	return view
}

type describeVolumes struct {
	dry
	pages
	VolumeID []string
	Filter   []filter
}

func (c *call) describeVolumes(in *describeVolumes) (any, error) {
	list, err := listed(c.r.volumes, in.VolumeID, noVolume)
	if err != nil {
		return nil, err
	}
	list, err = sift(c, in.Filter, list, func(v *volume) attributes {
		all := attributes{
			"volume-id": attr(v.id), "availability-zone": attr(v.zone), "status": attr(v.state), "snapshot-id": attr(v.snapshot),
			"volume-type": attr(v.kind), "encrypted": attr(yes(v.encrypted)), "attachment.instance-id": nil, "attachment.device": nil, "attachment.status": nil,
		}
		if a := v.attachment; a != nil {
			all["attachment.instance-id"], all["attachment.device"], all["attachment.status"] = attr(a.instance.id), attr(a.device), attr(a.state)
		}
		return all
	})
	if err != nil {
		return nil, err
	}
	list, next, err := page(list, in.pages)
	views := make([]volumeView, 0, len(list))
	for _, v := range list {
		views = append(views, c.volumeView(v))
	}
	return struct {
		Volumes []volumeView `xml:"volumeSet>item"`
		Next    string       `xml:"nextToken,omitempty"`
	}{views, next}, err
}

// yes spells a truth as filters do.
func yes(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
