package ec2_test

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// imageOf makes an image of a stopped instance.
func (w *world) imageOf(i types.Instance, name string) types.Image {
	w.Helper()
	out, err := w.api.CreateImage(w.Context(), &sdk.CreateImageInput{InstanceId: i.InstanceId, Name: &name, TagSpecifications: tagged(name, types.ResourceTypeImage)})
	must(w, err)
	return w.available(w.api, *out.ImageId)
}

func (w *world) image() types.Image {
	w.Helper()
	i := w.instance()
	w.stop(i)
	return w.imageOf(i, w.name())
}

// sharable is an image under a key of one's own.
func (w *world) sharable() types.Image {
	w.Helper()
	in := w.run()
	in.BlockDeviceMappings[0].Ebs.KmsKeyId = aws.String("alias/images")
	i := w.running(in)
	w.stop(i)
	return w.imageOf(i, w.name())
}

func (w *world) available(api *sdk.Client, id string) types.Image {
	w.Helper()
	waiter := sdk.NewImageAvailableWaiter(api, func(o *sdk.ImageAvailableWaiterOptions) { o.MinDelay, o.MaxDelay = often, often })
	out, err := waiter.WaitForOutput(w.Context(), &sdk.DescribeImagesInput{ImageIds: []string{id}}, most)
	must(w, err)
	return out.Images[0]
}

// snapshotOf is the snapshot of an image's root.
func (w *world) snapshotOf(image types.Image) string {
	w.Helper()
	if len(image.BlockDeviceMappings) == 0 || image.BlockDeviceMappings[0].Ebs == nil || image.BlockDeviceMappings[0].Ebs.SnapshotId == nil {
		w.Fatalf("no snapshot in %+v", image)
	}
	return *image.BlockDeviceMappings[0].Ebs.SnapshotId
}

// snapshot is one that belongs to no image.
func (w *world) snapshot(name string) string {
	w.Helper()
	volume := w.volume(w.subnets[0])
	out, err := w.api.CreateSnapshot(w.Context(), &sdk.CreateSnapshotInput{VolumeId: &volume, TagSpecifications: tagged(name, types.ResourceTypeSnapshot)})
	must(w, err)
	waiter := sdk.NewSnapshotCompletedWaiter(w.api, func(o *sdk.SnapshotCompletedWaiterOptions) { o.MinDelay, o.MaxDelay = often, often })
	must(w, waiter.Wait(w.Context(), &sdk.DescribeSnapshotsInput{SnapshotIds: []string{*out.SnapshotId}}, most))
	return *out.SnapshotId
}

func (w *world) listSnapshots(filters []types.Filter) ([]types.Snapshot, error) {
	out, err := w.api.DescribeSnapshots(w.Context(), &sdk.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: filters})
	if err != nil {
		return nil, err
	}
	return out.Snapshots, nil
}

var imageOpinions = []opinion{
	{
		action: "ec2:DescribeImages", says: "finds a vendor's by account and pattern, with its root device",
		try: func(w *world) error {
			out, err := w.api.DescribeImages(w.Context(), &sdk.DescribeImagesInput{Owners: []string{seedOwner}, Filters: filter("name", "debian-12-*")})
			if err != nil {
				return err
			}
			return expect(len(out.Images) == 1 && out.Images[0].RootDeviceType == types.DeviceTypeEbs && aws.ToString(out.Images[0].RootDeviceName) != "", "%+v", out.Images)
		},
	},
	{
		action: "ec2:DescribeImages", says: "refuses an id that is not there",
		try: func(w *world) error {
			_, err := w.api.DescribeImages(w.Context(), &sdk.DescribeImagesInput{ImageIds: []string{"ami-0123456789abcdef0"}})
			return refused(err, "InvalidAMIID.NotFound")
		},
	},
	{
		action: "ec2:DescribeImages", says: "finds our own by tag and state",
		try: func(w *world) error {
			image := w.image()
			out, err := w.api.DescribeImages(w.Context(), &sdk.DescribeImagesInput{
				Owners: []string{"self"}, Filters: append(filter("tag:which", *image.Name), filter("state", "available")...),
			})
			if err != nil {
				return err
			}
			return expect(len(out.Images) == 1 && *out.Images[0].ImageId == *image.ImageId && aws.ToString(image.CreationDate) != "", "%+v", out.Images)
		},
	},
	{
		action: "ec2:CreateImage", says: "tags the image and its snapshots",
		moto: "fails when it is to tag snapshots", shows: "StatusCode: 500",
		try: func(w *world) error {
			i := w.instance()
			w.stop(i)
			name := w.name()
			out, err := w.api.CreateImage(w.Context(), &sdk.CreateImageInput{
				InstanceId: i.InstanceId, Name: &name, TagSpecifications: tagged(name, types.ResourceTypeImage, types.ResourceTypeSnapshot),
			})
			if err != nil {
				return err
			}
			snapshot := w.snapshotOf(w.available(w.api, *out.ImageId))
			list, err := w.listSnapshots(filter("tag:which", name))
			if err != nil {
				return err
			}
			return expect(len(list) == 1 && *list[0].SnapshotId == snapshot, "%+v", list)
		},
	},
	{
		action: "ec2:CreateImage", says: "makes an image whose root is an EBS volume",
		moto: "says that it is none", shows: "it is standard",
		try: func(w *world) error {
			image := w.image()
			return expect(image.RootDeviceType == types.DeviceTypeEbs, "it is %s", image.RootDeviceType)
		},
	},
	{
		action: "ec2:CreateImage", says: "keeps the size and the encryption of the root volume",
		moto: "has 15 GiB, not encrypted", shows: "15 GiB, encrypted false",
		try: func(w *world) error {
			e := w.image().BlockDeviceMappings[0].Ebs
			return expect(aws.ToInt32(e.VolumeSize) == 20 && aws.ToBool(e.Encrypted), "%d GiB, encrypted %v", aws.ToInt32(e.VolumeSize), aws.ToBool(e.Encrypted))
		},
	},
	{
		action: "ec2:CreateImage", says: "has the data volumes that it is not told to leave out",
		moto: "has none", shows: "told nothing",
		try: func(w *world) error {
			i, _ := w.attached()
			w.stop(i)
			if image := w.imageOf(i, w.name()); len(image.BlockDeviceMappings) != 2 {
				return expect(false, "told nothing: %+v", image.BlockDeviceMappings)
			}
			out, err := w.api.CreateImage(w.Context(), &sdk.CreateImageInput{
				InstanceId: i.InstanceId, Name: aws.String(w.name()),
				BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sdf"), NoDevice: aws.String("")}},
			})
			if err != nil {
				return err
			}
			image := w.available(w.api, *out.ImageId)
			return expect(len(image.BlockDeviceMappings) == 1, "told to leave it out: %+v", image.BlockDeviceMappings)
		},
	},
	{
		action: "ec2:CreateImage", says: "refuses a name that the account has in the region",
		moto: "makes a second one", shows: "and nothing was",
		try: func(w *world) error {
			i := w.instance()
			w.stop(i)
			image := w.imageOf(i, w.name())
			_, err := w.api.CreateImage(w.Context(), &sdk.CreateImageInput{InstanceId: i.InstanceId, Name: image.Name})
			return refused(err, "InvalidAMIName.Duplicate")
		},
	},
	{
		action: "ec2:DeregisterImage", says: "removes an image, and refuses one that is not there",
		try: func(w *world) error {
			in := &sdk.DeregisterImageInput{ImageId: w.image().ImageId}
			if _, err := w.api.DeregisterImage(w.Context(), in); err != nil {
				return err
			}
			_, err := w.api.DeregisterImage(w.Context(), in)
			return refused(err, "InvalidAMIID.Unavailable", "InvalidAMIID.NotFound")
		},
	},
	{
		action: "ec2:DeregisterImage", says: "takes the snapshots along when it is told to",
		moto: "leaves them", shows: "its snapshot is left",
		try: func(w *world) error {
			image := w.image()
			snapshot := w.snapshotOf(image)
			_, err := w.api.DeregisterImage(w.Context(), &sdk.DeregisterImageInput{ImageId: image.ImageId, DeleteAssociatedSnapshots: aws.Bool(true)})
			if err != nil {
				return err
			}
			left, err := w.listSnapshots(filter("snapshot-id", snapshot))
			if err != nil {
				return err
			}
			return expect(len(left) == 0, "its snapshot is left")
		},
	},
	{
		action: "ec2:DescribeSnapshots", says: "finds our own by tag",
		try: func(w *world) error {
			name := w.name()
			id := w.snapshot(name)
			list, err := w.listSnapshots(filter("tag:which", name))
			if err != nil {
				return err
			}
			return expect(len(list) == 1 && *list[0].SnapshotId == id, "%+v", list)
		},
	},
	{
		action: "ec2:DescribeSnapshots", says: "gives none of others when asked for our own",
		moto: "gives those too", shows: "a vendor's snapshot is given",
		try: func(w *world) error {
			others := w.snapshotOf(w.base)
			list, err := w.listSnapshots(filter("snapshot-id", others))
			if err != nil {
				return err
			}
			return expect(len(list) == 0, "a vendor's snapshot is given")
		},
	},
	{
		action: "ec2:DeleteSnapshot", says: "removes a snapshot, and refuses one that is not there",
		try: func(w *world) error {
			id := w.snapshot(w.name())
			in := &sdk.DeleteSnapshotInput{SnapshotId: &id}
			if _, err := w.api.DeleteSnapshot(w.Context(), in); err != nil {
				return err
			}
			_, err := w.api.DeleteSnapshot(w.Context(), in)
			return refused(err, "InvalidSnapshot.NotFound")
		},
	},
	{
		action: "ec2:DeleteSnapshot", says: "refuses a snapshot of an image",
		try: func(w *world) error {
			id := w.snapshotOf(w.image())
			_, err := w.api.DeleteSnapshot(w.Context(), &sdk.DeleteSnapshotInput{SnapshotId: &id})
			return refused(err, "InvalidSnapshot.InUse")
		},
	},
	{
		action: "ec2:DescribeLaunchTemplates", says: "finds by tag key",
		try: func(w *world) error {
			name := w.template()
			out, err := w.api.DescribeLaunchTemplates(w.Context(), &sdk.DescribeLaunchTemplatesInput{Filters: filter("tag-key", "which")})
			if err != nil {
				return err
			}
			for _, t := range out.LaunchTemplates {
				if aws.ToString(t.LaunchTemplateName) == name {
					return nil
				}
			}
			return expect(false, "%+v", out.LaunchTemplates)
		},
	},
	{
		action: "ec2:DescribeLaunchTemplateVersions", says: "gives the latest and the default one with the image they launch",
		try: func(w *world) error {
			name := w.template()
			out, err := w.api.DescribeLaunchTemplateVersions(w.Context(), &sdk.DescribeLaunchTemplateVersionsInput{
				LaunchTemplateName: &name, Versions: []string{"$Latest", "$Default"},
			})
			if err != nil {
				return err
			}
			versions := map[int64]string{}
			for _, v := range out.LaunchTemplateVersions {
				versions[aws.ToInt64(v.VersionNumber)] = aws.ToString(v.LaunchTemplateData.ImageId)
			}
			return expect(len(versions) == 2 && versions[1] == *w.base.ImageId && versions[2] == "ami-0123456789abcdef0", "%v", versions)
		},
	},
}

// template is a launch template with two versions, the first of which is its default.
func (w *world) template() string {
	w.Helper()
	name := w.name()
	_, err := w.api.CreateLaunchTemplate(w.Context(), &sdk.CreateLaunchTemplateInput{
		LaunchTemplateName: &name, LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: w.base.ImageId},
		TagSpecifications: tagged(name, types.ResourceTypeLaunchTemplate),
	})
	must(w, err)
	_, err = w.api.CreateLaunchTemplateVersion(w.Context(), &sdk.CreateLaunchTemplateVersionInput{
		LaunchTemplateName: &name, LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String("ami-0123456789abcdef0")},
	})
	must(w, err)
	return name
}
