package ec2lab

import (
	"context"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// volume is an EBS volume. A root volume exists here only; it is what the machine stands on.
type volume struct {
	identity
	zone       string
	size       int // GiB
	kind       string
	encrypted  bool
	kms        string
	snapshot   string
	from       string // the host's volume that it begins as a copy of; "": empty
	root       bool
	made       time.Time
	state      string // creating, available, in-use, deleting
	attachment *attachment
}

type attachment struct {
	instance *instance
	device   string
	state    string // attaching, attached, detaching
	at       time.Time
	deletes  bool
}

const noVolume = "InvalidVolume.NotFound"

// path is where the machine finds it.
func (v *volume) path() string {
	return "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_" + strings.ReplaceAll(v.id, "-", "")
}

// disk is one entry of a block device mapping, with all of its defaults.
type disk struct {
	device, kind, kms, snapshot string
	size                        int
	encrypted, deletes          bool
}

// overlaid gives an image's mappings as a request changes them.
func (c *call) overlaid(base []disk, changes []blockDevice) ([]disk, error) {
	all := append([]disk(nil), base...)
	for _, ch := range changes {
		at := -1
		for i := range all {
			if all[i].device == ch.DeviceName {
				at = i
			}
		}
		if ch.NoDevice != nil {
			if at == 0 {
				return nil, query.Errorf("InvalidBlockDeviceMapping", "The root device cannot be left out")
			}
			if at > 0 {
				all = append(all[:at], all[at+1:]...)
			}
			continue
		}
		if ch.Ebs == nil {
			return nil, query.Errorf("InvalidBlockDeviceMapping", "The mapping of %s has neither Ebs nor NoDevice; the lab has no instance store", ch.DeviceName)
		}
		if at < 0 {
			all = append(all, disk{device: ch.DeviceName, kind: "gp3", deletes: true})
			at = len(all) - 1
		}
		if err := c.overlay(&all[at], ch.Ebs); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (c *call) overlay(d *disk, e *ebs) error {
	if e.SnapshotID != "" && e.SnapshotID != d.snapshot {
		s, err := find(c.r.snapshots, e.SnapshotID, noSnapshot)
		if err != nil {
			return err
		}
		if s.root {
			return query.Errorf("UnsupportedOperation", "The lab keeps the content of root volumes with their images: '%s' makes no volume", s.id)
		}
		d.snapshot, d.size, d.encrypted, d.kms = s.id, max(d.size, s.size), d.encrypted || s.encrypted, s.kms
	}
	if e.VolumeSize != 0 && e.VolumeSize < d.size && d.snapshot != "" || e.VolumeSize < 0 || e.VolumeSize > 16384 {
		return query.Errorf("InvalidBlockDeviceMapping", "Volume of size %dGB is smaller than snapshot '%s', expect size >= %dGB", e.VolumeSize, d.snapshot, d.size)
	}
	d.size = max(d.size, e.VolumeSize)
	kind, err := oneOf("volumeType", e.VolumeType, "gp3", "gp2", "io1", "io2", "st1", "sc1", "standard")
	if err != nil {
		return err
	}
	if e.VolumeType != "" {
		d.kind = kind
	}
	if e.DeleteOnTermination != nil {
		d.deletes = *e.DeleteOnTermination
	}
	if e.Encrypted != nil {
		if d.encrypted && !*e.Encrypted {
			return query.Errorf("InvalidParameterDependency", "The snapshot '%s' is encrypted: a volume of it cannot be otherwise", d.snapshot)
		}
		d.encrypted = *e.Encrypted
	}
	if e.KmsKeyID != "" {
		if !d.encrypted {
			return query.Errorf("InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set.")
		}
		d.kms = e.KmsKeyID
	}
	return nil
}

// disks are what an instance begins with, the root first.
func (c *call) disks(img *image, changes []blockDevice) ([]disk, error) {
	all, err := c.overlaid(img.disks, changes)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		if d.size == 0 {
			return nil, query.Errorf("MissingParameter", "The request must contain the parameter size or snapshotId")
		}
	}
	return all, nil
}

// mount makes an instance's first volumes.
func (c *call) mount(i *instance, disks []disk, tags tagSet) []*volume {
	made := make([]*volume, 0, len(disks))
	for n, d := range disks {
		v := &volume{
			identity: c.identify("vol-"), zone: i.nic.subnet.zone, size: d.size, kind: d.kind, encrypted: d.encrypted, kms: c.kmsKey(d.encrypted, d.kms),
			snapshot: d.snapshot, root: n == 0, made: c.at, state: "in-use",
			attachment: &attachment{instance: i, device: d.device, state: "attached", at: c.at, deletes: d.deletes},
		}
		if s := c.r.snapshots[d.snapshot]; s != nil {
			v.from = s.host
		}
		c.r.volumes[v.id] = v
		c.r.tag(v.id, tags)
		made = append(made, v)
	}
	return made
}

// defaultKey reports whether a key is the one that AWS makes for an account's volumes: nobody else can be let use it.
func defaultKey(kms string) bool { return strings.HasSuffix(kms, ":"+ebsAlias) }

const ebsAlias = "alias/aws/ebs"

// kmsKey is the account's own key where none is named.
func (c *call) kmsKey(encrypted bool, named string) string {
	if !encrypted || strings.HasPrefix(named, "arn:") {
		return named
	}
	if named == "" {
		named = ebsAlias
	}
	if !strings.HasPrefix(named, "alias/") {
		named = "key/" + named
	}
	return "arn:aws:kms:" + c.r.name + ":" + c.cfg.Account + ":" + named
}

type createVolume struct {
	dry
	AvailabilityZone string
	Size             int
	SnapshotID       string
	VolumeType       string
	Encrypted        *bool
	KmsKeyID         string
	Iops, Throughput int
	ClientToken      string
	TagSpecification []tagSpecification
}

func (c *call) createVolume(in *createVolume) (any, error) {
	tags, err := specified(in.TagSpecification, "volume")
	if err != nil {
		return nil, err
	}
	if in.AvailabilityZone == "" {
		return nil, query.Errorf("MissingParameter", "The request must contain the parameter AvailabilityZone")
	}
	if s, err := c.r.byZone(in.AvailabilityZone); err != nil || s == nil {
		return nil, query.Errorf("InvalidZone.NotFound", "The zone '%s' does not exist.", in.AvailabilityZone)
	}
	d := disk{kind: "gp3"}
	if err := c.overlay(&d, &ebs{
		SnapshotID: in.SnapshotID, VolumeSize: in.Size, VolumeType: in.VolumeType, Encrypted: in.Encrypted, KmsKeyID: in.KmsKeyID,
	}); err != nil {
		return nil, err
	}
	if d.size == 0 {
		return nil, query.Errorf("MissingParameter", "The request must contain the parameter size/snapshot")
	}
	id, err := c.once(in.ClientToken, func() (string, error) {
		v := &volume{
			identity: c.identify("vol-"), zone: in.AvailabilityZone, size: d.size, kind: d.kind, encrypted: d.encrypted,
			kms: c.kmsKey(d.encrypted, d.kms), snapshot: d.snapshot, made: c.at, state: "creating",
		}
		if s := c.r.snapshots[d.snapshot]; s != nil {
			v.from = s.host
		}
		c.r.volumes[v.id] = v
		c.r.tag(v.id, tags["volume"])
		c.task(func(ctx context.Context) { c.created(ctx, v) })
		return v.id, nil
	})
	if err != nil {
		return nil, err
	}
	v, err := find(c.r.volumes, id, noVolume)
	if err != nil {
		return nil, err
	}
	return c.volumeView(v), nil
}

func (c *call) created(ctx context.Context, v *volume) {
	err := c.host.CreateVolume(ctx, v.id, v.from, v.size)
	if err == nil {
		err = c.cfg.Clock.Sleep(ctx, c.cfg.Delays.Volume)
	}
	c.locked(func() {
		switch {
		case ctx.Err() != nil || v.state != "creating":
		case err != nil:
			c.cfg.Log.Error("create volume", "volume", v.id, "err", err)
			v.state = "error"
		default:
			v.state = "available"
		}
	})
}

type deleteVolume struct {
	dry
	VolumeID string `query:"required"`
}

func (c *call) deleteVolume(in *deleteVolume) (any, error) {
	v, err := find(c.r.volumes, in.VolumeID, noVolume)
	if err != nil {
		return nil, err
	}
	if v.attachment != nil {
		return nil, query.Errorf("VolumeInUse", "Volume %s is currently attached to %s", v.id, v.attachment.instance.id)
	}
	if v.state != "available" && v.state != "error" {
		return nil, query.Errorf("IncorrectState", "The volume '%s' is '%s'", v.id, v.state)
	}
	c.removeVolume(c.r, v)
	return done{true}, nil
}

// removeVolume takes it from the API after it is gone from the host. Called with mu held.
func (l *Lab) removeVolume(r *region, v *volume) {
	v.state = "deleting"
	l.spawn(func(ctx context.Context) {
		if !v.root {
			if err := l.host.DeleteVolume(ctx, v.id); err != nil && ctx.Err() == nil {
				l.cfg.Log.Error("delete volume", "volume", v.id, "err", err)
			}
		}
		l.locked(func() {
			delete(r.volumes, v.id)
			delete(r.tags, v.id)
		})
	})
}
