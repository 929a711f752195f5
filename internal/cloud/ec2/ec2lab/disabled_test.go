package ec2lab_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
)

var someone = []types.LaunchPermission{{UserId: aws.String("210987654321")}}

func (b *bench) share(image string) error {
	_, err := b.api.ModifyImageAttribute(b.ctx(), &ec2.ModifyImageAttributeInput{ImageId: &image, LaunchPermission: &types.LaunchPermissionModifications{Add: someone}})
	return err
}

// permissions are those of an image and of its first snapshot.
func (b *bench) permissions(image, snapshot string) (launch, volumes int) {
	b.Helper()
	who, err := b.api.DescribeImageAttribute(b.ctx(), &ec2.DescribeImageAttributeInput{ImageId: &image, Attribute: types.ImageAttributeNameLaunchPermission})
	must(b, err)
	readers, err := b.api.DescribeSnapshotAttribute(b.ctx(), &ec2.DescribeSnapshotAttributeInput{SnapshotId: &snapshot, Attribute: types.SnapshotAttributeNameCreateVolumePermission})
	must(b, err)
	return len(who.LaunchPermissions), len(readers.CreateVolumePermissions)
}

func (b *bench) snapshotOf(image string) string {
	b.Helper()
	out, err := b.api.DescribeImages(b.ctx(), &ec2.DescribeImagesInput{ImageIds: []string{image}, IncludeDisabled: aws.Bool(true)})
	must(b, err)
	return *out.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId
}

// A disabled image is launched, shared, copied and shown by nobody; only its owner may disable it and enable it again,
// and what servers it has launched, and what its snapshots' permissions are, stays.
func TestDisableImage(t *testing.T) {
	inBubble(t, ec2lab.Config{Delays: ec2lab.Delays{Image: time.Minute}}, func(b *bench) {
		image := b.imaged("prebuilt")
		snapshot := b.snapshotOf(image)
		server := b.launched(func(in *ec2.RunInstancesInput) { in.ImageId = &image })
		must(t, b.share(image))
		_, err := b.api.ModifySnapshotAttribute(b.ctx(), &ec2.ModifySnapshotAttributeInput{
			SnapshotId: &snapshot, Attribute: types.SnapshotAttributeNameCreateVolumePermission, OperationType: types.OperationTypeAdd, UserIds: []string{"210987654321"},
		})
		must(t, err)
		disable := func(image string) error {
			_, err := b.api.DisableImage(b.ctx(), &ec2.DisableImageInput{ImageId: &image})
			return err
		}
		refused(t, disable(b.base()), "AuthFailure")
		must(t, disable(image))
		must(t, disable(image))

		shown := func(in ec2.DescribeImagesInput) []types.Image {
			out, err := b.api.DescribeImages(b.ctx(), &in)
			must(t, err)
			return out.Images
		}
		if n := len(shown(ec2.DescribeImagesInput{Owners: []string{"self"}})) + len(shown(ec2.DescribeImagesInput{ImageIds: []string{image}})); n != 0 {
			t.Errorf("it is shown %d times", n)
		}
		disabled := []types.Filter{{Name: aws.String("state"), Values: []string{"disabled"}}}
		_, err = b.api.DescribeImages(b.ctx(), &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: disabled})
		refused(t, err, "InvalidParameter")
		if list := shown(ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: disabled, IncludeDisabled: aws.Bool(true)}); len(list) != 1 || list[0].State != types.ImageStateDisabled {
			t.Errorf("disabled are %+v", list)
		}
		if launch, volumes := b.permissions(image, snapshot); launch != 0 || volumes != 1 {
			t.Errorf("%d may launch it, %d may read its snapshot", launch, volumes)
		}
		_, err = b.tryRun(func(in *ec2.RunInstancesInput) { in.ImageId = &image })
		refused(t, err, "InvalidAMIID.Unavailable")
		refused(t, b.share(image), "InvalidAMIID.Unavailable")
		_, err = b.api.CopyImage(b.ctx(), &ec2.CopyImageInput{Name: aws.String("copy"), SourceImageId: &image, SourceRegion: aws.String("eu-lab-1")})
		refused(t, err, "InvalidRequest")
		_, err = b.api.DeleteSnapshot(b.ctx(), &ec2.DeleteSnapshotInput{SnapshotId: &snapshot})
		refused(t, err, "InvalidSnapshot.InUse")
		if got := b.describe(*server.InstanceId).State.Name; got != types.InstanceStateNameRunning {
			t.Errorf("the server that it launched is %s", got)
		}

		_, err = b.api.EnableImage(b.ctx(), &ec2.EnableImageInput{ImageId: &image})
		must(t, err)
		if launch, _ := b.permissions(image, snapshot); launch != 0 {
			t.Error("others may launch it again")
		}
		b.launched(func(in *ec2.RunInstancesInput) { in.ImageId = &image })
		must(t, disable(image))
		_, err = b.api.DeregisterImage(b.ctx(), &ec2.DeregisterImageInput{ImageId: &image, DeleteAssociatedSnapshots: aws.Bool(true)})
		must(t, err)
	})
}

// What the account's default key encrypts is shared with nobody, under whatever name the key is given.
func TestDefaultKeyIsNotShared(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		source := b.imaged("plain")
		must(t, b.share(source)) // it is not encrypted
		for key, sharable := range map[string]bool{
			"": false, "alias/aws/ebs": false, "arn:aws:kms:eu-lab-1:123456789012:alias/aws/ebs": false,
			"alias/images": true, "arn:aws:kms:eu-lab-1:123456789012:alias/images": true,
		} {
			in := &ec2.CopyImageInput{Name: aws.String("copy" + time.Now().Format("150405")), SourceImageId: &source, SourceRegion: aws.String("eu-lab-1"), Encrypted: aws.Bool(true)}
			if key != "" {
				in.KmsKeyId = &key
			}
			out, err := b.api.CopyImage(b.ctx(), in)
			must(t, err)
			must(t, ec2.NewImageAvailableWaiter(b.api).Wait(b.ctx(), &ec2.DescribeImagesInput{ImageIds: []string{*out.ImageId}}, 10*time.Minute))
			snapshot := b.snapshotOf(*out.ImageId)
			_, reading := b.api.ModifySnapshotAttribute(b.ctx(), &ec2.ModifySnapshotAttributeInput{
				SnapshotId: &snapshot, Attribute: types.SnapshotAttributeNameCreateVolumePermission, OperationType: types.OperationTypeAdd, UserIds: []string{"210987654321"},
			})
			if sharing := b.share(*out.ImageId); sharable {
				must(t, sharing)
				must(t, reading)
			} else {
				refused(t, sharing, "InvalidParameter")
				refused(t, reading, "OperationNotPermitted")
			}
			launch, volumes := b.permissions(*out.ImageId, snapshot)
			if want := map[bool]int{true: 1}[sharable]; launch != want || volumes != want {
				t.Errorf("key %q: %d may launch it, %d may read its snapshot", key, launch, volumes)
			}
			time.Sleep(time.Second) // the bubble's: the next one has another name
		}
	})
}
