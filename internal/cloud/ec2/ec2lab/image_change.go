package ec2lab

import (
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
			removal := c.existing(c.r, s.id)
			removal.Action = "ec2:DeleteSnapshot"
			switch {
			case c.usedBy(s) != "":
				r.Code = "skipped"
			case !c.may(removal):
				r.Code = "missing-permissions"
			default:
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

type modifyImageAttribute struct {
	dry
	ImageID          string `query:"required"`
	Attribute        string
	OperationType    string
	UserID           []string
	UserGroup        []string
	OrganizationArn  []string
	Description      *struct{ Value string }
	ImdsSupport      *struct{ Value string }
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
	if in.ImdsSupport != nil {
		if in.ImdsSupport.Value != imdsV2 { // there is no way back
			return nil, query.Errorf("InvalidParameterValue", "Value (%s) for parameter imdsSupport is invalid. Valid values: v2.0", in.ImdsSupport.Value)
		}
		img.tokens = true
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
	if err := img.sharable(len(p.Add) > 0); err != nil {
		return nil, err
	}
	for _, one := range p.Add {
		img.permit(one, true)
	}
	for _, one := range p.Remove {
		img.permit(one, false)
	}
	return done{true}, nil
}

// imdsV2 is the only value of ImdsSupport.
const imdsV2 = "v2.0"

// sharable refuses to let others launch a disabled image, and one with a snapshot that the account's default
// key encrypts. These words are EC2's own, as github.com/hashicorp/packer/issues/7410 and
// github.com/DataDog/stratus-red-team/issues/109 have them. Of a disabled image the reference only says that it
// can't be shared: which code EC2 gives is the laboratory's guess.
func (img *image) sharable(more bool) error {
	if !more {
		return nil
	}
	if img.state == disabledImage {
		return query.Errorf("InvalidAMIID.Unavailable", "The image '%s' is disabled and can't be shared", img.id)
	}
	if slices.ContainsFunc(img.disks, func(d disk) bool { return d.encrypted && defaultKey(d.kms) }) {
		return query.Errorf("InvalidParameter", "Snapshots encrypted with the AWS Managed CMK can't be shared. Specify another snapshot.")
	}
	return nil
}

// disabledImage is the state in which an image cannot be launched, shared or copied.
const disabledImage = "disabled"

// disableImage takes all launch permissions away; those of snapshots stay. That again is no error is the
// laboratory's guess.
func (c *call) disableImage(in *imageOnly) (any, error) {
	img, err := c.own(in.ImageID)
	if err != nil {
		return nil, err
	}
	if img.state != "available" && img.state != disabledImage {
		return nil, query.Errorf("IncorrectState", "The image '%s' is '%s'", img.id, img.state)
	}
	img.state, img.public, img.users, img.orgs = disabledImage, false, nil, nil
	return done{true}, nil
}

// enableImage makes an image launchable again, for its owner alone.
func (c *call) enableImage(in *imageOnly) (any, error) {
	img, err := c.own(in.ImageID)
	if err != nil {
		return nil, err
	}
	if img.state != "available" && img.state != disabledImage {
		return nil, query.Errorf("IncorrectState", "The image '%s' is '%s'", img.id, img.state)
	}
	img.state = "available"
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
