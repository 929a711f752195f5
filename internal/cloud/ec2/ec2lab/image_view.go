package ec2lab

import (
	"slices"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

type ebsView struct {
	Snapshot  string `xml:"snapshotId,omitempty"`
	Size      int    `xml:"volumeSize"`
	Kind      string `xml:"volumeType"`
	Encrypted bool   `xml:"encrypted"`
	KMS       string `xml:"kmsKeyId,omitempty"`
	Deletes   bool   `xml:"deleteOnTermination"`
}

type mappingView struct {
	Device string  `xml:"deviceName"`
	Ebs    ebsView `xml:"ebs"`
}

type imageView struct {
	ID           string        `xml:"imageId"`
	Location     string        `xml:"imageLocation"`
	State        string        `xml:"imageState"`
	Owner        string        `xml:"imageOwnerId"`
	Made         string        `xml:"creationDate"`
	Public       bool          `xml:"isPublic"`
	Architecture string        `xml:"architecture"`
	Type         string        `xml:"imageType"`
	Name         string        `xml:"name"`
	Description  string        `xml:"description,omitempty"`
	RootType     string        `xml:"rootDeviceType"`
	RootDevice   string        `xml:"rootDeviceName"`
	Virtual      string        `xml:"virtualizationType"`
	Hypervisor   string        `xml:"hypervisor"`
	ENA          bool          `xml:"enaSupport"`
	Platform     string        `xml:"platformDetails"`
	Why          *reason       `xml:"stateReason"`
	Deprecated   string        `xml:"deprecationTime,omitempty"`
	Protection   string        `xml:"deregistrationProtection"`
	Imds         string        `xml:"imdsSupport,omitempty"`
	Instance     string        `xml:"sourceInstanceId,omitempty"`
	Source       string        `xml:"sourceImageId,omitempty"`
	SourceRegion string        `xml:"sourceImageRegion,omitempty"`
	Disks        []mappingView `xml:"blockDeviceMapping>item"`
	Tags         []tag         `xml:"tagSet>item"`
}

// stamp is how images say times.
func stamp(at time.Time) string { return at.Format("2006-01-02T15:04:05.000Z") }

func (c *call) imageView(img *image) imageView {
	v := imageView{
		ID: img.id, Location: img.owner + "/" + img.name, State: img.state, Owner: img.owner, Made: stamp(img.made), Public: img.public,
		Architecture: "x86_64", Type: "machine", Name: img.name, Description: img.description, RootType: "ebs", RootDevice: img.disks[0].device,
		Virtual: "hvm", Hypervisor: "xen", ENA: true, Platform: "Linux/UNIX", Why: img.why, Protection: img.protection,
		Instance: img.instance, Source: img.source, SourceRegion: img.sourceRegion, Tags: c.r.tags[img.id].view(),
	}
	if img.tokens {
		v.Imds = imdsV2
	}
	if !img.deprecated.IsZero() {
		v.Deprecated = stamp(img.deprecated)
	}
	for _, d := range img.disks {
		v.Disks = append(v.Disks, mappingView{d.device, ebsView{d.snapshot, d.size, d.kind, d.encrypted, d.kms, d.deletes}})
	}
	return v
}

type describeImages struct {
	dry
	pages
	ImageID           []string
	Owner             []string
	ExecutableBy      []string
	IncludeDeprecated bool
	IncludeDisabled   bool
	Filter            []filter
}

func (c *call) describeImages(in *describeImages) (any, error) {
	for _, id := range in.ImageID {
		if _, err := c.image(id); err != nil {
			return nil, err
		}
	}
	list, err := listed(c.r.images, in.ImageID, noImage)
	if err != nil {
		return nil, err
	}
	for _, owner := range in.Owner {
		if !accountID.MatchString(owner) && !slices.Contains([]string{"self", "amazon", "aws-marketplace"}, owner) {
			return nil, query.Errorf("InvalidUserID.Malformed", "Invalid user id: \"%s\"", owner)
		}
	}
	// Seen at EC2: github.com/turbot/steampipe-plugin-aws/issues/2276.
	if !in.IncludeDisabled && slices.ContainsFunc(in.Filter, func(f filter) bool { return f.Name == "state" && slices.Contains(f.Value, disabledImage) }) {
		return nil, query.Errorf("InvalidParameter", "When filtering by the 'disabled' state, 'IncludeDisabled' must be set to 'true' in the request.")
	}
	list = slices.DeleteFunc(list, func(img *image) bool { return !c.shows(in, img) })
	list, err = sift(c, in.Filter, list, func(img *image) attributes {
		a := attributes{
			"image-id": attr(img.id), "name": attr(img.name), "description": attr(img.description), "state": attr(img.state),
			"owner-id": attr(img.owner), "is-public": attr(yes(img.public)), "architecture": attr("x86_64"), "root-device-type": attr("ebs"),
			"virtualization-type": attr("hvm"), "image-type": attr("machine"), "ena-support": attr("true"), "hypervisor": attr("xen"),
			"source-instance-id": attr(img.instance), "source-image-id": attr(img.source), "creation-date": attr(stamp(img.made)),
			"root-device-name": nil, "block-device-mapping.snapshot-id": nil, "owner-alias": nil, "platform-details": attr("Linux/UNIX"),
		}
		for _, d := range img.disks {
			a["block-device-mapping.snapshot-id"] = append(a["block-device-mapping.snapshot-id"], d.snapshot)
			a["root-device-name"] = attr(img.disks[0].device)
		}
		return a
	})
	if err != nil {
		return nil, err
	}
	list, next, err := page(list, in.pages)
	views := make([]imageView, 0, len(list))
	for _, img := range list {
		views = append(views, c.imageView(img))
	}
	return struct {
		Images []imageView `xml:"imagesSet>item"`
		Next   string      `xml:"nextToken,omitempty"`
	}{views, next}, err
}

// shows applies the request's own ways to choose. Those who do not own a deprecated image do not see
// it unless they ask; nobody sees a disabled one unless they ask, also by its id (the reference says "by default").
func (c *call) shows(in *describeImages, img *image) bool {
	mine := img.owner == c.cfg.Account
	if img.state == disabledImage && !in.IncludeDisabled {
		return false
	}
	if !img.deprecated.IsZero() && img.deprecated.Before(c.at) && !mine && !in.IncludeDeprecated && len(in.ImageID) == 0 {
		return false
	}
	if len(in.Owner) > 0 && !slices.Contains(in.Owner, img.owner) && (!mine || !slices.Contains(in.Owner, "self")) {
		return false
	}
	if len(in.ExecutableBy) == 0 {
		return true
	}
	return slices.ContainsFunc(in.ExecutableBy, func(who string) bool {
		return who == "all" && img.public || who == "self" && (mine || img.public) || slices.Contains(img.users, who)
	})
}
