package ec2lab_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
)

// TestLife is a server's life as a provider leads it: launched, stopped, captured, terminated, and
// launched again from the image with the same interface and volume.
func TestLife(t *testing.T) {
	slow := ec2lab.Delays{Launch: 20 * time.Second, Stop: 30 * time.Second, Image: 5 * time.Minute, Volume: 3 * time.Second, Visible: 2 * time.Second}
	inBubble(t, ec2lab.Config{Delays: slow}, func(b *bench) {
		nic, err := b.api.CreateNetworkInterface(b.ctx(), &ec2.CreateNetworkInterfaceInput{
			SubnetId: aws.String(b.lab.Subnet("eu-lab-1a")), PrivateIpAddress: aws.String("10.92.0.20"),
		})
		must(t, err)
		volume, err := b.api.CreateVolume(b.ctx(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String("eu-lab-1a"), Size: aws.Int32(2), Encrypted: aws.Bool(true)})
		must(t, err)
		if volume.State != types.VolumeStateCreating {
			t.Errorf("a new volume is %s", volume.State)
		}
		withNic := func(in *ec2.RunInstancesInput) {
			in.SubnetId = nil
			in.NetworkInterfaces = []types.InstanceNetworkInterfaceSpecification{{
				DeviceIndex: aws.Int32(0), NetworkInterfaceId: nic.NetworkInterface.NetworkInterfaceId, DeleteOnTermination: aws.Bool(false),
			}}
		}
		first := b.run(withNic)
		id := *first.InstanceId
		if first.State.Name != types.InstanceStateNamePending || *first.PrivateIpAddress != "10.92.0.20" {
			t.Errorf("launched as %s at %s", first.State.Name, *first.PrivateIpAddress)
		}
		_, err = b.api.DescribeInstances(b.ctx(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
		refused(t, err, "InvalidInstanceID.NotFound")
		time.Sleep(2 * time.Second)
		b.reaches(id, types.InstanceStateNameRunning)

		_, err = b.api.AttachVolume(b.ctx(), &ec2.AttachVolumeInput{Device: aws.String("/dev/sdf"), InstanceId: &id, VolumeId: volume.VolumeId})
		must(t, err)
		waiter := ec2.NewVolumeInUseWaiter(b.api)
		must(t, waiter.Wait(b.ctx(), &ec2.DescribeVolumesInput{VolumeIds: []string{*volume.VolumeId}}, time.Minute))
		_, err = b.api.DeleteVolume(b.ctx(), &ec2.DeleteVolumeInput{VolumeId: volume.VolumeId})
		refused(t, err, "VolumeInUse")

		_, err = b.api.StopInstances(b.ctx(), &ec2.StopInstancesInput{InstanceIds: []string{id}})
		must(t, err)
		if s := b.describe(id).State.Name; s != types.InstanceStateNameStopping {
			t.Errorf("after StopInstances it is %s", s)
		}
		must(t, ec2.NewInstanceStoppedWaiter(b.api).Wait(b.ctx(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}}, time.Minute))

		img, err := b.api.CreateImage(b.ctx(), &ec2.CreateImageInput{
			InstanceId: &id, Name: aws.String("prebuilt"),
			BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sdf"), NoDevice: aws.String("")}},
			TagSpecifications: []types.TagSpecification{
				{ResourceType: types.ResourceTypeImage, Tags: []types.Tag{{Key: aws.String("owner"), Value: aws.String("me")}}},
				{ResourceType: types.ResourceTypeSnapshot, Tags: []types.Tag{{Key: aws.String("owner"), Value: aws.String("me")}}},
			},
		})
		must(t, err)
		_, err = b.api.CreateImage(b.ctx(), &ec2.CreateImageInput{InstanceId: &id, Name: aws.String("prebuilt")})
		refused(t, err, "InvalidAMIName.Duplicate")
		_, err = b.tryRun(func(in *ec2.RunInstancesInput) { in.ImageId = img.ImageId })
		refused(t, err, "InvalidAMIID.Unavailable")
		began := time.Now()
		must(t, ec2.NewImageAvailableWaiter(b.api).Wait(b.ctx(), &ec2.DescribeImagesInput{ImageIds: []string{*img.ImageId}}, 10*time.Minute))
		if time.Since(began) < slow.Image {
			t.Error("the image was there too soon")
		}
		snapshots, err := b.api.DescribeSnapshots(b.ctx(), &ec2.DescribeSnapshotsInput{
			OwnerIds: []string{"self"}, Filters: []types.Filter{{Name: aws.String("tag:owner"), Values: []string{"me"}}},
		})
		must(t, err)
		if len(snapshots.Snapshots) != 1 || snapshots.Snapshots[0].State != types.SnapshotStateCompleted {
			t.Errorf("snapshots: %+v", snapshots.Snapshots)
		}

		_, err = b.api.TerminateInstances(b.ctx(), &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
		must(t, err)
		must(t, ec2.NewInstanceTerminatedWaiter(b.api).Wait(b.ctx(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}}, time.Minute))
		must(t, ec2.NewVolumeAvailableWaiter(b.api).Wait(b.ctx(), &ec2.DescribeVolumesInput{VolumeIds: []string{*volume.VolumeId}}, time.Minute))

		second := b.launchedLate(slow.Visible, withNic, func(in *ec2.RunInstancesInput) { in.ImageId = img.ImageId })
		if *second.PrivateIpAddress != "10.92.0.20" || *second.InstanceId == id {
			t.Errorf("launched again as %s at %s", *second.InstanceId, *second.PrivateIpAddress)
		}
		time.Sleep(time.Hour)
		_, err = b.api.DescribeInstances(b.ctx(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
		refused(t, err, "InvalidInstanceID.NotFound") // forgotten
	})
}

func (b *bench) launchedLate(hidden time.Duration, change ...func(*ec2.RunInstancesInput)) types.Instance {
	b.Helper()
	id := *b.run(change...).InstanceId
	time.Sleep(hidden)
	b.reaches(id, types.InstanceStateNameRunning)
	return b.describe(id)
}

func TestRunInstances(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		token := func(in *ec2.RunInstancesInput) { in.ClientToken = aws.String("once") }
		first, again := b.run(token), b.run(token)
		if *first.InstanceId != *again.InstanceId {
			t.Error("one token launched two instances")
		}
		_, err := b.tryRun(token, func(in *ec2.RunInstancesInput) { in.InstanceType = types.InstanceTypeT3Micro })
		refused(t, err, "IdempotentParameterMismatch")
		for code, change := range map[string]func(*ec2.RunInstancesInput){
			"InvalidAMIID.NotFound":    func(in *ec2.RunInstancesInput) { in.ImageId = aws.String("ami-0") },
			"InvalidAMIID.Malformed":   func(in *ec2.RunInstancesInput) { in.ImageId = aws.String("debian") },
			"InvalidSubnetID.NotFound": func(in *ec2.RunInstancesInput) { in.SubnetId = aws.String("subnet-0") },
			"InvalidGroup.NotFound":    func(in *ec2.RunInstancesInput) { in.SecurityGroupIds = []string{"sg-0"} },
			"InvalidKeyPair.NotFound":  func(in *ec2.RunInstancesInput) { in.KeyName = aws.String("nobody") },
			"InvalidIPAddress.InUse":   func(in *ec2.RunInstancesInput) { in.PrivateIpAddress = first.PrivateIpAddress },
			"UnsupportedOperation":     func(in *ec2.RunInstancesInput) { in.MaxCount = aws.Int32(2) },
			"UnknownParameter": func(in *ec2.RunInstancesInput) {
				in.EnclaveOptions = &types.EnclaveOptionsRequest{Enabled: aws.Bool(true)}
			},
			"DryRunOperation": func(in *ec2.RunInstancesInput) { in.DryRun = aws.Bool(true) },
			"InvalidParameterValue": func(in *ec2.RunInstancesInput) {
				in.UserData = aws.String(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 16<<10+1))))
			},
		} {
			_, err := b.tryRun(change)
			refused(t, err, code)
		}
		out, err := b.api.DescribeInstances(b.ctx(), &ec2.DescribeInstancesInput{Filters: []types.Filter{
			{Name: aws.String("tag:Name"), Values: []string{"web-*"}}, {Name: aws.String("instance-state-name"), Values: []string{"pending", "running"}},
		}})
		must(t, err)
		if len(out.Reservations) != 1 {
			t.Errorf("%d reservations", len(out.Reservations))
		}
		_, err = b.api.DescribeInstances(b.ctx(), &ec2.DescribeInstancesInput{Filters: []types.Filter{{Name: aws.String("colour"), Values: []string{"red"}}}})
		refused(t, err, "InvalidParameterValue")
		_, err = b.api.TerminateInstances(b.ctx(), &ec2.TerminateInstancesInput{InstanceIds: []string{*first.InstanceId}})
		must(t, err)
		b.reaches(*first.InstanceId, types.InstanceStateNameTerminated)
		_, err = b.tryRun(token)
		refused(t, err, "IdempotentInstanceTerminated")
	})
}

func TestPowerOff(t *testing.T) {
	for behaviour, end := range map[types.ShutdownBehavior]types.InstanceStateName{
		types.ShutdownBehaviorStop: types.InstanceStateNameStopped, types.ShutdownBehaviorTerminate: types.InstanceStateNameTerminated,
	} {
		t.Run(string(behaviour), func(t *testing.T) {
			inBubble(t, ec2lab.Config{}, func(b *bench) {
				id := *b.launched(func(in *ec2.RunInstancesInput) { in.InstanceInitiatedShutdownBehavior = behaviour }).InstanceId
				b.host.PowerOff(id)
				b.reaches(id, end)
				if why := b.describe(id).StateReason; *why.Code != "Client.InstanceInitiatedShutdown" {
					t.Errorf("because of %s", *why.Code)
				}
				if end == types.InstanceStateNameStopped {
					_, err := b.api.StartInstances(b.ctx(), &ec2.StartInstancesInput{InstanceIds: []string{id}})
					must(t, err)
					b.reaches(id, types.InstanceStateNameRunning)
				}
			})
		})
	}
}

func TestPages(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		for range 12 {
			b.run()
		}
		seen := map[string]bool{}
		pages := ec2.NewDescribeInstancesPaginator(b.api, &ec2.DescribeInstancesInput{MaxResults: aws.Int32(5)})
		n := 0
		for ; pages.HasMorePages(); n++ {
			out, err := pages.NextPage(b.ctx())
			must(t, err)
			for _, r := range out.Reservations {
				seen[*r.Instances[0].InstanceId] = true
			}
		}
		if len(seen) != 12 || n != 3 {
			t.Errorf("%d instances on %d pages", len(seen), n)
		}
	})
}
