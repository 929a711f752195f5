package ec2lab

import (
	"context"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

type copyImage struct {
	dry
	Name             string `query:"required"`
	SourceImageID    string `query:"required"`
	SourceRegion     string `query:"required"`
	Description      string
	ClientToken      string
	Encrypted        bool
	KmsKeyID         string
	CopyImageTags    bool
	TagSpecification []tagSpecification
}

func (c *call) copyImage(in *copyImage) (any, error) {
	tags, err := specified(in.TagSpecification, "image", "snapshot")
	if err != nil {
		return nil, err
	}
	if in.KmsKeyID != "" && !in.Encrypted {
		return nil, query.Errorf("InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set.")
	}
	from := c.regions[in.SourceRegion]
	if from == nil {
		return nil, query.Errorf("InvalidParameterValue", "Value (%s) for parameter sourceRegion is invalid", in.SourceRegion)
	}
	id, err := c.once(in.ClientToken, func() (string, error) {
		original, err := find(from.images, in.SourceImageID, noImage)
		if err != nil {
			return "", err
		}
		if original.state != "available" {
			return "", query.Errorf("InvalidRequest", "Image '%s' is not available for copying: it is %s", original.id, original.state)
		}
		if err := c.freeName(in.Name); err != nil {
			return "", err
		}
		img := &image{
			identity: c.identify("ami-"), name: in.Name, description: in.Description, owner: c.cfg.Account, made: c.at, state: "pending",
			protection: "disabled", host: original.host, source: original.id, sourceRegion: from.name,
		}
		if _, ours := c.images[img.host]; ours {
			c.images[img.host]++
		}
		own := tagSet{}
		if in.CopyImageTags && original.owner == c.cfg.Account {
			for k, v := range from.tags[original.id] {
				own[k] = v
			}
		}
		for k, v := range tags["image"] {
			own[k] = v
		}
		c.r.images[img.id] = img
		c.r.tag(img.id, own)
		copies := c.copySnapshots(img, original, from, in, tags["snapshot"])
		fault := c.imageFault(in.Name)
		c.task(func(ctx context.Context) { c.copied(ctx, img, copies, fault) })
		return img.id, nil
	})
	return struct {
		ID string `xml:"imageId"`
	}{id}, err
}

// copySnapshots gives a copied image disks with snapshots of its own.
func (c *call) copySnapshots(img, original *image, from *region, in *copyImage, tags tagSet) []*snapshot {
	var copies []*snapshot
	for _, d := range original.disks {
		d.encrypted = d.encrypted || in.Encrypted
		if in.Encrypted {
			d.kms = c.kmsKey(true, in.KmsKeyID)
		}
		s := &snapshot{
			identity: c.identify("snap-"), size: d.size, state: "pending", made: c.at, encrypted: d.encrypted, kms: d.kms,
			description: "Copied for DestinationAmi " + img.id + " from SourceAmi " + original.id, root: len(copies) == 0, volume: "vol-ffffffff",
		}
		if source := from.snapshots[d.snapshot]; source != nil && !source.root {
			s.host = source.host
		}
		c.r.snapshots[s.id] = s
		c.r.tag(s.id, tags)
		d.snapshot = s.id
		img.disks = append(img.disks, d)
		copies = append(copies, s)
	}
	return copies
}

func (c *call) copied(ctx context.Context, img *image, copies []*snapshot, fault *Fault) {
	var err error
	for _, s := range copies {
		if s.host != "" && err == nil {
			from := s.host
			c.locked(func() { s.host = s.id })
			err = c.host.CreateVolume(ctx, s.id, from, s.size)
		}
	}
	d := c.cfg.Delays.Copy
	if fault != nil {
		d += fault.For
	}
	c.later(ctx, d, func() {
		if c.r.images[img.id] != nil {
			c.captured(img, "", err, fault)
		}
	})
}
