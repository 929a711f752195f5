package ec2lab

import (
	"context"
	"slices"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// snapshot is of a volume. That of a root volume exists in the API only; that of a data volume is a
// volume of the host.
type snapshot struct {
	identity
	volume      string
	size        int
	state       string // pending, completed, error
	made        time.Time
	finished    time.Time
	description string
	encrypted   bool
	kms         string
	root        bool
	host        string // the host's volume, of a data volume's snapshot
	users       []string
	public      bool
}

func (c *call) newSnapshot(v *volume, description string) *snapshot {
	s := &snapshot{
		identity: c.identify("snap-"), volume: v.id, size: v.size, state: "pending", made: c.at, description: description,
		encrypted: v.encrypted, kms: v.kms, root: v.root,
	}
	if !v.root {
		s.host = s.id
	}
	c.r.snapshots[s.id] = s
	return s
}

func (s *snapshot) finish(ok bool, at time.Time) {
	if s.state != "pending" {
		return
	}
	s.state, s.finished = "error", at
	if ok {
		s.state = "completed"
	}
}

// usedBy gives an image that stands on a snapshot.
func (c *call) usedBy(s *snapshot) string {
	for _, img := range c.r.images {
		if slices.ContainsFunc(img.disks, func(d disk) bool { return d.snapshot == s.id }) {
			return img.id
		}
	}
	return ""
}

func (c *call) removeSnapshot(s *snapshot) {
	delete(c.r.snapshots, s.id)
	delete(c.r.tags, s.id)
	if s.host == "" {
		return
	}
	c.task(func(ctx context.Context) {
		if err := c.host.DeleteVolume(ctx, s.host); err != nil && ctx.Err() == nil {
			c.cfg.Log.Error("delete snapshot", "snapshot", s.id, "err", err)
		}
	})
}

type createSnapshot struct {
	dry
	VolumeID         string `query:"required"`
	Description      string
	TagSpecification []tagSpecification
}

func (c *call) createSnapshot(in *createSnapshot) (any, error) {
	v, err := find(c.r.volumes, in.VolumeID, noVolume)
	if err != nil {
		return nil, err
	}
	if v.state != "available" && v.state != "in-use" {
		return nil, query.Errorf("IncorrectState", "The volume '%s' is '%s'", v.id, v.state)
	}
	tags, err := specified(in.TagSpecification, "snapshot")
	if err != nil {
		return nil, err
	}
	s := c.newSnapshot(v, in.Description)
	c.r.tag(s.id, tags["snapshot"])
	c.task(func(ctx context.Context) {
		var err error
		if !v.root {
			err = c.host.CreateVolume(ctx, s.id, v.id, v.size)
		}
		c.later(ctx, c.cfg.Delays.Image, func() { s.finish(err == nil, c.now()) })
	})
	return c.snapshotView(s), nil
}

type snapshotOnly struct {
	dry
	SnapshotID string `query:"required"`
}

func (c *call) deleteSnapshot(in *snapshotOnly) (any, error) {
	s, err := find(c.r.snapshots, in.SnapshotID, noSnapshot)
	if err != nil {
		return nil, err
	}
	if img := c.usedBy(s); img != "" {
		return nil, query.Errorf("InvalidSnapshot.InUse", "The snapshot %s is currently in use by %s", s.id, img)
	}
	c.removeSnapshot(s)
	return done{true}, nil
}

type modifySnapshotAttribute struct {
	snapshotOnly
	Attribute              string
	OperationType          string
	UserID                 []string
	UserGroup              []string
	CreateVolumePermission *struct {
		Add, Remove []struct{ UserID, Group string }
	}
}

func (c *call) modifySnapshotAttribute(in *modifySnapshotAttribute) (any, error) {
	s, err := find(c.r.snapshots, in.SnapshotID, noSnapshot)
	if err != nil {
		return nil, err
	}
	if _, err := oneOf("attribute", in.Attribute, "createVolumePermission"); err != nil {
		return nil, err
	}
	operation, err := oneOf("operationType", in.OperationType, "add", "remove")
	if err != nil {
		return nil, err
	}
	type one struct {
		who launchPermission
		add bool
	}
	var all []one
	for _, id := range in.UserID {
		all = append(all, one{launchPermission{UserID: id}, operation == "add"})
	}
	for _, g := range in.UserGroup {
		all = append(all, one{launchPermission{Group: g}, operation == "add"})
	}
	if p := in.CreateVolumePermission; p != nil {
		for _, u := range p.Add {
			all = append(all, one{launchPermission{UserID: u.UserID, Group: u.Group}, true})
		}
		for _, u := range p.Remove {
			all = append(all, one{launchPermission{UserID: u.UserID, Group: u.Group}, false})
		}
	}
	for _, o := range all {
		if err := o.who.check(); err != nil {
			return nil, err
		}
	}
	if defaultKey(s.kms) && slices.ContainsFunc(all, func(o one) bool { return o.add }) { // as github.com/hashicorp/packer/issues/7499 has it
		return nil, query.Errorf("OperationNotPermitted", "Encrypted snapshots with EBS default key cannot be shared")
	}
	for _, o := range all {
		list := image{users: s.users, public: s.public} // the same way to keep who may
		list.permit(o.who, o.add)
		s.users, s.public = list.users, list.public
	}
	return done{true}, nil
}

type describeSnapshotAttribute struct {
	snapshotOnly
	Attribute string `query:"required"`
}

func (c *call) describeSnapshotAttribute(in *describeSnapshotAttribute) (any, error) {
	s, err := find(c.r.snapshots, in.SnapshotID, noSnapshot)
	if err != nil {
		return nil, err
	}
	if _, err := oneOf("attribute", in.Attribute, "createVolumePermission"); err != nil {
		return nil, err
	}
	type item struct {
		User  string `xml:"userId,omitempty"`
		Group string `xml:"group,omitempty"`
	}
	var items []item
	for _, u := range s.users {
		items = append(items, item{User: u})
	}
	if s.public {
		items = append(items, item{Group: "all"})
	}
	return struct {
		ID    string `xml:"snapshotId"`
		Items []item `xml:"createVolumePermission>item"`
	}{s.id, items}, nil
}

type snapshotView struct {
	ID          string     `xml:"snapshotId"`
	Volume      string     `xml:"volumeId"`
	State       string     `xml:"status"`
	Made        time.Time  `xml:"startTime"`
	Finished    *time.Time `xml:"completionTime"`
	Progress    string     `xml:"progress"`
	Owner       string     `xml:"ownerId"`
	Size        int        `xml:"volumeSize"`
	Description string     `xml:"description"`
	Encrypted   bool       `xml:"encrypted"`
	KMS         string     `xml:"kmsKeyId,omitempty"`
	Tags        []tag      `xml:"tagSet>item"`
}

func (c *call) snapshotView(s *snapshot) snapshotView {
	v := snapshotView{
		ID: s.id, Volume: s.volume, State: s.state, Made: s.made, Progress: "42%", Owner: c.cfg.Account, Size: s.size,
		Description: s.description, Encrypted: s.encrypted, KMS: s.kms, Tags: c.r.tags[s.id].view(),
	}
	if s.state == "completed" {
		v.Progress, v.Finished = "100%", &s.finished
	}
	return v
}

type describeSnapshots struct {
	dry
	pages
	SnapshotID []string
	Owner      []string
	Filter     []filter
}

func (c *call) describeSnapshots(in *describeSnapshots) (any, error) {
	list, err := listed(c.r.snapshots, in.SnapshotID, noSnapshot)
	if err != nil {
		return nil, err
	}
	if len(in.Owner) > 0 && !slices.Contains(in.Owner, "self") && !slices.Contains(in.Owner, c.cfg.Account) {
		list = nil
	}
	list, err = sift(c, in.Filter, list, func(s *snapshot) attributes {
		return attributes{
			"snapshot-id": attr(s.id), "status": attr(s.state), "volume-id": attr(s.volume), "description": attr(s.description),
			"owner-id": attr(c.cfg.Account), "encrypted": attr(yes(s.encrypted)),
		}
	})
	if err != nil {
		return nil, err
	}
	list, next, err := page(list, in.pages)
	views := make([]snapshotView, 0, len(list))
	for _, s := range list {
		views = append(views, c.snapshotView(s))
	}
	return struct {
		Snapshots []snapshotView `xml:"snapshotSet>item"`
		Next      string         `xml:"nextToken,omitempty"`
	}{views, next}, err
}
