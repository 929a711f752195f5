package ec2lab_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
)

var twoRegions = []ec2lab.Region{{Name: "eu-lab-1", Zones: []string{"a", "b"}}, {Name: "us-lab-1", Zones: []string{"a"}}}

// imaged makes an available image of an instance that is then terminated.
func (b *bench) imaged(name string) string {
	b.Helper()
	id := b.launched().InstanceId
	out, err := b.api.CreateImage(b.ctx(), &ec2.CreateImageInput{InstanceId: id, Name: &name})
	must(b, err)
	must(b, ec2.NewImageAvailableWaiter(b.api).Wait(b.ctx(), &ec2.DescribeImagesInput{ImageIds: []string{*out.ImageId}}, 10*time.Minute))
	_, err = b.api.TerminateInstances(b.ctx(), &ec2.TerminateInstancesInput{InstanceIds: []string{*id}})
	must(b, err)
	return *out.ImageId
}

func TestPublish(t *testing.T) {
	inBubble(t, ec2lab.Config{Regions: twoRegions, Delays: ec2lab.Delays{Copy: time.Minute, Validate: 5 * time.Second}}, func(b *bench) {
		id := b.imaged("prebuilt")
		_, err := b.api.CreateTags(b.ctx(), &ec2.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{{Key: aws.String("run"), Value: aws.String("r1")}}})
		must(t, err)
		far := ec2.NewFromConfig(config(b.lab, "us-lab-1"))
		in := &ec2.CopyImageInput{
			Name: aws.String("prebuilt"), SourceImageId: &id, SourceRegion: aws.String("eu-lab-1"), Encrypted: aws.Bool(true),
			KmsKeyId: aws.String("alias/images"), CopyImageTags: aws.Bool(true), ClientToken: aws.String("copy"),
		}
		copied, err := far.CopyImage(b.ctx(), in)
		must(t, err)
		again, err := far.CopyImage(b.ctx(), in)
		must(t, err)
		if *copied.ImageId != *again.ImageId || *copied.ImageId == id {
			t.Errorf("copied as %s and %s", *copied.ImageId, *again.ImageId)
		}
		must(t, ec2.NewImageAvailableWaiter(far).Wait(b.ctx(), &ec2.DescribeImagesInput{ImageIds: []string{*copied.ImageId}}, 5*time.Minute))
		out, err := far.DescribeImages(b.ctx(), &ec2.DescribeImagesInput{
			Owners: []string{"self"}, Filters: []types.Filter{{Name: aws.String("tag:run"), Values: []string{"r1"}}},
		})
		must(t, err)
		if len(out.Images) != 1 || !*out.Images[0].BlockDeviceMappings[0].Ebs.Encrypted {
			t.Fatalf("%+v", out.Images)
		}
		snapshot := *out.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId

		org := "arn:aws:organizations::123456789012:organization/o-0123456789"
		_, err = far.ModifyImageAttribute(b.ctx(), &ec2.ModifyImageAttributeInput{
			ImageId: copied.ImageId, LaunchPermission: &types.LaunchPermissionModifications{Add: []types.LaunchPermission{{UserId: aws.String("210987654321")}, {OrganizationArn: &org}}},
		})
		must(t, err)
		_, err = far.ModifyImageAttribute(b.ctx(), &ec2.ModifyImageAttributeInput{
			ImageId: copied.ImageId, LaunchPermission: &types.LaunchPermissionModifications{Add: []types.LaunchPermission{{UserId: aws.String("me")}}},
		})
		refused(t, err, "InvalidAMIAttributeItemValue")
		who, err := far.DescribeImageAttribute(b.ctx(), &ec2.DescribeImageAttributeInput{ImageId: copied.ImageId, Attribute: types.ImageAttributeNameLaunchPermission})
		must(t, err)
		if len(who.LaunchPermissions) != 2 || *who.LaunchPermissions[1].OrganizationArn != org {
			t.Errorf("%+v", who.LaunchPermissions)
		}
		_, err = far.ModifySnapshotAttribute(b.ctx(), &ec2.ModifySnapshotAttributeInput{
			SnapshotId: &snapshot, Attribute: types.SnapshotAttributeNameCreateVolumePermission, OperationType: types.OperationTypeAdd, UserIds: []string{"210987654321"},
		})
		must(t, err)
		_, err = far.EnableImageDeprecation(b.ctx(), &ec2.EnableImageDeprecationInput{ImageId: copied.ImageId, DeprecateAt: aws.Time(time.Now().Add(time.Hour))})
		must(t, err)

		// Removal is refused while it is protected, and takes the snapshots along if asked to.
		_, err = far.EnableImageDeregistrationProtection(b.ctx(), &ec2.EnableImageDeregistrationProtectionInput{ImageId: copied.ImageId})
		must(t, err)
		_, err = far.DeregisterImage(b.ctx(), &ec2.DeregisterImageInput{ImageId: copied.ImageId})
		refused(t, err, "OperationNotPermitted")
		_, err = far.DisableImageDeregistrationProtection(b.ctx(), &ec2.DisableImageDeregistrationProtectionInput{ImageId: copied.ImageId})
		must(t, err)
		_, err = far.DeleteSnapshot(b.ctx(), &ec2.DeleteSnapshotInput{SnapshotId: &snapshot})
		refused(t, err, "InvalidSnapshot.InUse")
		gone, err := far.DeregisterImage(b.ctx(), &ec2.DeregisterImageInput{ImageId: copied.ImageId, DeleteAssociatedSnapshots: aws.Bool(true)})
		must(t, err)
		if len(gone.DeleteSnapshotResults) != 1 {
			t.Errorf("%+v", gone)
		}
		// The other region's image stands on the same image of the host, which must still be there.
		b.launched(func(in *ec2.RunInstancesInput) { in.ImageId = &id })
		_, err = b.api.DeregisterImage(b.ctx(), &ec2.DeregisterImageInput{ImageId: aws.String(b.base())})
		refused(t, err, "AuthFailure")
	})
}

func TestParameters(t *testing.T) {
	inBubble(t, ec2lab.Config{Delays: ec2lab.Delays{Validate: 5 * time.Second}}, func(b *bench) {
		store := ssm.NewFromConfig(config(b.lab, "eu-lab-1"))
		put := func(value string, overwrite bool) error {
			_, err := store.PutParameter(b.ctx(), &ssm.PutParameterInput{
				Name: aws.String("/hallmark/web"), Value: &value, Type: ssmtypes.ParameterTypeString, DataType: aws.String("aws:ec2:image"), Overwrite: &overwrite,
			})
			return err
		}
		get := func() (string, error) {
			out, err := store.GetParameter(b.ctx(), &ssm.GetParameterInput{Name: aws.String("/hallmark/web")})
			if err != nil {
				return "", err
			}
			return *out.Parameter.Value, nil
		}
		must(t, put(b.base(), false))
		_, err := get()
		refused(t, err, "ParameterNotFound")
		time.Sleep(6 * time.Second)
		if got, err := get(); err != nil || got != b.base() {
			t.Errorf("%s, %v", got, err)
		}
		refused(t, put(b.base(), false), "ParameterAlreadyExists")
		must(t, put("ami-00000000000000000", true)) // accepted, and found wrong later
		time.Sleep(6 * time.Second)
		if got, err := get(); err != nil || got != b.base() {
			t.Errorf("a value that is no image was taken: %s, %v", got, err)
		}
		vendor, err := store.GetParameter(b.ctx(), &ssm.GetParameterInput{Name: aws.String("/vendor/debian-12")})
		must(t, err)
		if *vendor.Parameter.Value != b.base() {
			t.Errorf("the vendor's parameter says %s", *vendor.Parameter.Value)
		}
		many, err := store.GetParameters(b.ctx(), &ssm.GetParametersInput{Names: []string{"/hallmark/web", "/hallmark/db"}})
		must(t, err)
		if len(many.Parameters) != 1 || len(many.InvalidParameters) != 1 {
			t.Errorf("%+v", many)
		}
		for i := range 12 {
			_, err := store.PutParameter(b.ctx(), &ssm.PutParameterInput{
				Name: aws.String(fmt.Sprintf("/shop/a/%02d", i)), Value: aws.String("x"), Type: ssmtypes.ParameterTypeString,
			})
			must(t, err)
		}
		for path, want := range map[string]int{"/shop": 0, "/shop/a": 12, "/shop/": 0, "/sho": 0, "/hallmark": 1} {
			for _, recursive := range []bool{false, true} {
				if recursive && strings.HasPrefix(path, "/shop") {
					want = 12
				}
				pages, n := ssm.NewGetParametersByPathPaginator(store, &ssm.GetParametersByPathInput{Path: &path, Recursive: &recursive}), 0
				for pages.HasMorePages() {
					out, err := pages.NextPage(b.ctx())
					must(t, err)
					n += len(out.Parameters)
				}
				if n != want {
					t.Errorf("%d parameters below %s (recursive: %v), want %d", n, path, recursive, want)
				}
			}
		}
		_, err = store.DeleteParameter(b.ctx(), &ssm.DeleteParameterInput{Name: aws.String("/hallmark/web")})
		must(t, err)
		_, err = get()
		refused(t, err, "ParameterNotFound")

		who := sts.NewFromConfig(config(b.lab, "eu-lab-1"))
		me, err := who.GetCallerIdentity(b.ctx(), &sts.GetCallerIdentityInput{})
		must(t, err)
		if *me.Account != "123456789012" {
			t.Errorf("I am %s", *me.Account)
		}
		_, err = b.lab.Role("imager", `{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}}`)
		must(t, err)
		role, err := who.AssumeRole(b.ctx(), &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::123456789012:role/imager"), RoleSessionName: aws.String("s")})
		must(t, err)
		if *role.Credentials.AccessKeyId == "" || role.Credentials.Expiration.Before(time.Now()) {
			t.Errorf("%+v", role.Credentials)
		}
	})
}

func TestVolumes(t *testing.T) {
	inBubble(t, ec2lab.Config{Delays: ec2lab.Delays{Volume: time.Second}}, func(b *bench) {
		i := b.launched(func(in *ec2.RunInstancesInput) {
			in.BlockDeviceMappings = []types.BlockDeviceMapping{
				{DeviceName: aws.String("/dev/sdb"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(1), DeleteOnTermination: aws.Bool(false)}},
				{DeviceName: aws.String("/dev/sdc"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(1)}},
			}
		})
		if len(i.BlockDeviceMappings) != 3 {
			t.Fatalf("%d volumes", len(i.BlockDeviceMappings))
		}
		make := func(zone string) string {
			out, err := b.api.CreateVolume(b.ctx(), &ec2.CreateVolumeInput{AvailabilityZone: &zone, Size: aws.Int32(1)})
			must(t, err)
			must(t, ec2.NewVolumeAvailableWaiter(b.api).Wait(b.ctx(), &ec2.DescribeVolumesInput{VolumeIds: []string{*out.VolumeId}}, time.Minute))
			return *out.VolumeId
		}
		attach := func(volume, device string) error {
			_, err := b.api.AttachVolume(b.ctx(), &ec2.AttachVolumeInput{Device: &device, InstanceId: i.InstanceId, VolumeId: &volume})
			return err
		}
		here, there := make("eu-lab-1a"), make("eu-lab-1b")
		refused(t, attach(there, "/dev/sdf"), "InvalidVolume.ZoneMismatch")
		refused(t, attach(here, "/dev/sdb"), "InvalidParameterValue")
		must(t, attach(here, "/dev/sdf"))
		refused(t, attach(here, "/dev/sdg"), "VolumeInUse")
		_, err := b.api.DetachVolume(b.ctx(), &ec2.DetachVolumeInput{VolumeId: i.BlockDeviceMappings[0].Ebs.VolumeId})
		refused(t, err, "OperationNotPermitted")
		_, err = b.api.DetachVolume(b.ctx(), &ec2.DetachVolumeInput{VolumeId: &there})
		refused(t, err, "IncorrectState")
		// An image takes all that is attached along, and a machine of it begins with copies.
		img, err := b.api.CreateImage(b.ctx(), &ec2.CreateImageInput{InstanceId: i.InstanceId, Name: aws.String("with-data")})
		must(t, err)
		must(t, ec2.NewImageAvailableWaiter(b.api).Wait(b.ctx(), &ec2.DescribeImagesInput{ImageIds: []string{*img.ImageId}}, time.Minute))
		twin := b.launched(func(in *ec2.RunInstancesInput) { in.ImageId = img.ImageId })
		if len(twin.BlockDeviceMappings) != 4 {
			t.Errorf("the twin has %d volumes", len(twin.BlockDeviceMappings))
		}
		_, err = b.api.TerminateInstances(b.ctx(), &ec2.TerminateInstancesInput{InstanceIds: []string{*i.InstanceId, *twin.InstanceId}})
		must(t, err)
		b.reaches(*i.InstanceId, types.InstanceStateNameTerminated)
		b.reaches(*twin.InstanceId, types.InstanceStateNameTerminated)
		time.Sleep(time.Second)
		left, err := b.api.DescribeVolumes(b.ctx(), &ec2.DescribeVolumesInput{})
		must(t, err)
		if len(left.Volumes) != 5 { // there, here, sdb, and the twin's copies of the latter two
			for _, v := range left.Volumes {
				t.Errorf("%s %s %s", *v.VolumeId, v.State, aws.ToString(v.SnapshotId))
			}
		}
	})
}
