package ec2_test

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// volumeIn asks for a volume as the provider does.
func (w *world) volumeIn(subnet types.Subnet) *sdk.CreateVolumeInput {
	name := w.name()
	return &sdk.CreateVolumeInput{
		AvailabilityZone: subnet.AvailabilityZone, Size: aws.Int32(1), VolumeType: types.VolumeTypeGp3, Encrypted: aws.Bool(true),
		ClientToken: &name, TagSpecifications: tagged(name, types.ResourceTypeVolume),
	}
}

func (w *world) volume(subnet types.Subnet) string {
	w.Helper()
	out, err := w.api.CreateVolume(w.Context(), w.volumeIn(subnet))
	must(w, err)
	w.free(*out.VolumeId)
	return *out.VolumeId
}

func (w *world) free(volume string) {
	w.Helper()
	waiter := sdk.NewVolumeAvailableWaiter(w.api, func(o *sdk.VolumeAvailableWaiterOptions) { o.MinDelay, o.MaxDelay = often, often })
	must(w, waiter.Wait(w.Context(), &sdk.DescribeVolumesInput{VolumeIds: []string{volume}}, most))
}

// attached gives an instance and a volume that it has.
func (w *world) attached() (types.Instance, string) {
	w.Helper()
	i, volume := w.instance(), w.volume(w.subnets[0])
	_, err := w.api.AttachVolume(w.Context(), &sdk.AttachVolumeInput{VolumeId: &volume, InstanceId: i.InstanceId, Device: aws.String("/dev/sdf")})
	must(w, err)
	waiter := sdk.NewVolumeInUseWaiter(w.api, func(o *sdk.VolumeInUseWaiterOptions) { o.MinDelay, o.MaxDelay = often, often })
	must(w, waiter.Wait(w.Context(), &sdk.DescribeVolumesInput{VolumeIds: []string{volume}}, most))
	return i, volume
}

func (w *world) listVolumes(filters []types.Filter) ([]types.Volume, error) {
	out, err := w.api.DescribeVolumes(w.Context(), &sdk.DescribeVolumesInput{Filters: filters})
	if err != nil {
		return nil, err
	}
	return out.Volumes, nil
}

var volumeOpinions = []opinion{
	{
		action: "ec2:CreateVolume", says: "makes an encrypted gp3 volume in the zone",
		try: func(w *world) error {
			out, err := w.api.CreateVolume(w.Context(), w.volumeIn(w.subnets[1]))
			if err != nil {
				return err
			}
			return expect(aws.ToBool(out.Encrypted) && out.VolumeType == types.VolumeTypeGp3 && *out.AvailabilityZone == *w.subnets[1].AvailabilityZone && len(out.Tags) == 1,
				"%+v", out)
		},
	},
	{
		action: "ec2:CreateVolume", says: "gives the same volume for the same token",
		moto: "makes a second one", shows: "two volumes",
		try: func(w *world) error {
			in := w.volumeIn(w.subnets[0])
			one, err := w.api.CreateVolume(w.Context(), in)
			must(w, err)
			two, err := w.api.CreateVolume(w.Context(), in)
			if err != nil {
				return err
			}
			return expect(*one.VolumeId == *two.VolumeId, "two volumes")
		},
	},
	{
		action: "ec2:DescribeVolumes", says: "finds by tag, and by the instance",
		try: func(w *world) error {
			i, volume := w.attached()
			all, err := w.listVolumes(filter("attachment.instance-id", *i.InstanceId))
			if err != nil {
				return err
			}
			var name string
			for _, v := range all {
				if *v.VolumeId == volume && len(v.Tags) == 1 && len(v.Attachments) == 1 && *v.Attachments[0].InstanceId == *i.InstanceId {
					name = *v.Tags[0].Value
				}
			}
			if len(all) != 2 || name == "" { // its root volume as well
				return expect(false, "by its instance %+v", all)
			}
			tagged, err := w.listVolumes(filter("tag:which", name))
			if err != nil {
				return err
			}
			return expect(len(tagged) == 1 && *tagged[0].VolumeId == volume, "by its tag %+v", tagged)
		},
	},
	{
		action: "ec2:AttachVolume", says: "gives a volume to an instance under the device's name",
		try: func(w *world) error {
			i, volume := w.attached()
			now := w.describe(*i.InstanceId)
			for _, m := range now.BlockDeviceMappings {
				if *m.DeviceName == "/dev/sdf" && *m.Ebs.VolumeId == volume {
					return nil
				}
			}
			return expect(false, "%+v", now.BlockDeviceMappings)
		},
	},
	{
		action: "ec2:AttachVolume", says: "refuses a volume of another zone",
		moto: "attaches it", shows: "and nothing was",
		try: func(w *world) error {
			volume := w.volume(w.subnets[1])
			_, err := w.api.AttachVolume(w.Context(), &sdk.AttachVolumeInput{VolumeId: &volume, InstanceId: w.instance().InstanceId, Device: aws.String("/dev/sdf")})
			return refused(err, "InvalidVolume.ZoneMismatch")
		},
	},
	{
		action: "ec2:AttachVolume", says: "refuses a volume that another instance has",
		moto: "takes it from that one", shows: "and nothing was",
		try: func(w *world) error {
			_, volume := w.attached()
			_, err := w.api.AttachVolume(w.Context(), &sdk.AttachVolumeInput{VolumeId: &volume, InstanceId: w.instance().InstanceId, Device: aws.String("/dev/sdf")})
			return refused(err, "VolumeInUse")
		},
	},
	{
		action: "ec2:DetachVolume", says: "takes a volume from whichever instance has it",
		moto: "fails unless the instance is named", shows: "StatusCode: 500",
		try: func(w *world) error {
			_, volume := w.attached()
			if _, err := w.api.DetachVolume(w.Context(), &sdk.DetachVolumeInput{VolumeId: &volume}); err != nil {
				return err
			}
			w.free(volume)
			return nil
		},
	},
	{
		action: "ec2:DetachVolume", says: "refuses a volume that is not attached",
		try: func(w *world) error {
			i, volume := w.instance(), w.volume(w.subnets[0])
			_, err := w.api.DetachVolume(w.Context(), &sdk.DetachVolumeInput{VolumeId: &volume, InstanceId: i.InstanceId})
			return refused(err, "IncorrectState", "InvalidAttachment.NotFound")
		},
	},
	{
		action: "ec2:DeleteVolume", says: "removes a volume, and refuses one that is not there",
		try: func(w *world) error {
			volume := w.volume(w.subnets[0])
			in := &sdk.DeleteVolumeInput{VolumeId: &volume}
			if _, err := w.api.DeleteVolume(w.Context(), in); err != nil {
				return err
			}
			waiter := sdk.NewVolumeDeletedWaiter(w.api, func(o *sdk.VolumeDeletedWaiterOptions) { o.MinDelay, o.MaxDelay = often, often })
			if err := waiter.Wait(w.Context(), &sdk.DescribeVolumesInput{VolumeIds: []string{volume}}, most); err != nil {
				return err
			}
			_, err := w.api.DeleteVolume(w.Context(), in)
			return refused(err, "InvalidVolume.NotFound")
		},
	},
	{
		action: "ec2:DeleteVolume", says: "refuses a volume that is attached",
		try: func(w *world) error {
			_, volume := w.attached()
			_, err := w.api.DeleteVolume(w.Context(), &sdk.DeleteVolumeInput{VolumeId: &volume})
			return refused(err, "VolumeInUse")
		},
	},
}
