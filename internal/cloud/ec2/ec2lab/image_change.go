package ec2lab

import (
	"context"
	"regexp"
	"slices"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

type imageOnly struct {
	dry
	ImageID string `query:"required"`
}

type deregisterImage struct {
	imageOnly
	DeleteAssociatedSnapshots bool
}

func (c *call) deregisterImage(in *deregisterImage) (any, error) {
	img, err := c.own(in.ImageID)
	if err != nil {
		return nil, err
	}
	if img.protection != "disabled" {
		return nil, query.Errorf("OperationNotPermitted", "The image '%s' may not be deregistered: deregistration protection is enabled.", img.id)
	}
	delete(c.r.images, img.id)
	delete(c.r.tags, img.id)
	c.release(img)
	type result struct {
		ID   string `xml:"snapshotId"`
		Code string `xml:"returnCode"`
	}
	var results []result
	if in.DeleteAssociatedSnapshots {
		for _, d := range img.disks {
			s := c.r.snapshots[d.snapshot]
			if s == nil {
				continue
			}
			r := result{s.id, "success"}
			if c.usedBy(s) != "" {
				r.Code = "skipped"
			} else {
				c.removeSnapshot(s)
			}
			results = append(results, r)
		}
	}
	return struct {
		Return  bool     `xml:"return"`
		Results []result `xml:"deleteSnapshotResultSet>item"`
	}{true, results}, nil
}

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
	err := error(nil)
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

type modifyImageAttribute struct {
	dry
	ImageID          string `query:"required"`
	Attribute        string
	OperationType    string
	UserID           []string
	UserGroup        []string
	OrganizationArn  []string
	Description      *struct{ Value string }
	LaunchPermission *struct{ Add, Remove []launchPermission }
}

type launchPermission struct {
	UserID, OrganizationArn, Group string
}

func (c *call) modifyImageAttribute(in *modifyImageAttribute) (any, error) {
	img, err := c.own(in.ImageID)
	if err != nil {
		return nil, err
	}
	if in.Description != nil {
		img.description = in.Description.Value
		return done{true}, nil
	}
	if in.Attribute != "" && in.Attribute != "launchPermission" {
		return nil, query.Errorf("InvalidParameterValue", "Value (%s) for parameter attribute is invalid. The lab has launchPermission", in.Attribute)
	}
	p := in.LaunchPermission
	if p == nil {
		p = &struct{ Add, Remove []launchPermission }{}
	}
	short := &p.Add
	if in.OperationType == "remove" {
		short = &p.Remove
	}
	for _, id := range in.UserID {
		*short = append(*short, launchPermission{UserID: id})
	}
	for _, arn := range in.OrganizationArn {
		*short = append(*short, launchPermission{OrganizationArn: arn})
	}
	for _, g := range in.UserGroup {
		*short = append(*short, launchPermission{Group: g})
	}
	if len(p.Add)+len(p.Remove) == 0 {
		return nil, query.Errorf("InvalidParameterCombination", "Nothing to be changed was given")
	}
	for _, one := range slices.Concat(p.Add, p.Remove) {
		if err := one.check(); err != nil {
			return nil, err
		}
	}
	for _, one := range p.Add {
		img.permit(one, true)
	}
	for _, one := range p.Remove {
		img.permit(one, false)
	}
	return done{true}, nil
}

var organization = regexp.MustCompile(`^arn:aws:organizations::[0-9]{12}:organization/o-[a-z0-9]{10,32}$`)

func (p launchPermission) check() error {
	switch {
	case p.UserID != "" && !accountID.MatchString(p.UserID):
		return query.Errorf("InvalidAMIAttributeItemValue", "Invalid attribute item value \"%s\" for userId item type.", p.UserID)
	case p.OrganizationArn != "" && !organization.MatchString(p.OrganizationArn):
		return query.Errorf("InvalidAMIAttributeItemValue", "Invalid attribute item value \"%s\" for organizationArn item type.", p.OrganizationArn)
	case p.Group != "" && p.Group != "all":
		return query.Errorf("InvalidAMIAttributeItemValue", "Invalid attribute item value \"%s\" for userGroup item type.", p.Group)
	}
	return nil
}

func (img *image) permit(p launchPermission, add bool) {
	set := func(list *[]string, v string) {
		if v == "" {
			return
		}
		*list = slices.DeleteFunc(*list, func(s string) bool { return s == v })
		if add {
			*list = append(*list, v)
		}
	}
	set(&img.users, p.UserID)
	set(&img.orgs, p.OrganizationArn)
	if p.Group == "all" {
		img.public = add
	}
}

type describeImageAttribute struct {
	imageOnly
	Attribute string `query:"required"`
}

type valueView struct {
	Value string `xml:"value"`
}

func (c *call) describeImageAttribute(in *describeImageAttribute) (any, error) {
	img, err := c.own(in.ImageID)
	if err != nil {
		return nil, err
	}
	type permissionItem struct {
		User  string `xml:"userId,omitempty"`
		Org   string `xml:"organizationArn,omitempty"`
		Group string `xml:"group,omitempty"`
	}
	answer := struct {
		ID          string           `xml:"imageId"`
		Permissions []permissionItem `xml:"launchPermission>item"`
		Description *valueView       `xml:"description"`
		Protection  *valueView       `xml:"deregistrationProtection"`
	}{ID: img.id}
	switch in.Attribute {
	case "launchPermission":
		for _, u := range img.users {
			answer.Permissions = append(answer.Permissions, permissionItem{User: u})
		}
		for _, o := range img.orgs {
			answer.Permissions = append(answer.Permissions, permissionItem{Org: o})
		}
		if img.public {
			answer.Permissions = append(answer.Permissions, permissionItem{Group: "all"})
		}
	case "description":
		answer.Description = &valueView{img.description}
	case "deregistrationProtection":
		answer.Protection = &valueView{img.protection}
	default:
		return nil, query.Errorf("UnsupportedOperation", "The lab does not tell the attribute %s", in.Attribute)
	}
	return answer, nil
}

type enableImageDeprecation struct {
	imageOnly
	DeprecateAt time.Time `query:"required"`
}

func (c *call) enableImageDeprecation(in *enableImageDeprecation) (any, error) {
	img, err := c.own(in.ImageID)
	if err != nil {
		return nil, err
	}
	if !in.DeprecateAt.After(c.at) {
		return nil, query.Errorf("InvalidParameterValue", "The deprecation date %s is in the past", in.DeprecateAt.Format(time.RFC3339))
	}
	img.deprecated = in.DeprecateAt.UTC().Truncate(time.Minute)
	return done{true}, nil
}

func (c *call) disableImageDeprecation(in *imageOnly) (any, error) {
	img, err := c.own(in.ImageID)
	if err != nil {
		return nil, err
	}
	img.deprecated = time.Time{}
	return done{true}, nil
}

type enableProtection struct {
	imageOnly
	WithCooldown bool
}

type saysSo struct {
	Return string `xml:"return"`
}

func (c *call) enableProtection(in *enableProtection) (any, error) {
	img, err := c.own(in.ImageID)
	if err != nil {
		return nil, err
	}
	img.protection = "enabled-without-cooldown"
	if in.WithCooldown {
		img.protection = "enabled-with-cooldown"
	}
	return saysSo{img.protection}, nil
}

func (c *call) disableProtection(in *imageOnly) (any, error) {
	img, err := c.own(in.ImageID)
	if err != nil {
		return nil, err
	}
	if img.protection == "enabled-with-cooldown" {
		return nil, query.Errorf("UnsupportedOperation", "The lab does not count the 24 hours of a protection with cooldown")
	}
	img.protection = "disabled"
	return saysSo{img.protection}, nil
}
