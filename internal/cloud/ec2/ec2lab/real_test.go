package ec2lab_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus"
)

const socket = "/var/lib/incus/unix.socket"

// realBase is a reference base of this machine that is there to stay. Without Incus or without one the
// test fails: a skipped real-server test would look like a passed one.
func realBase(t *testing.T) cloud.Image {
	t.Helper()
	p, err := incus.New(t.Context(), incus.Config{Socket: socket})
	if err != nil {
		t.Fatalf("Incus is not set up: run `make host` (%v)", err)
	}
	images, err := p.Images(t.Context(), cloud.Filter{})
	must(t, err)
	var newest cloud.Image
	for _, image := range images {
		if image.Kind == cloud.Base && image.Tags.Deadline.IsZero() && image.Created.After(newest.Created) {
			newest = image
		}
	}
	if newest.ID == "" {
		t.Fatal("no reference base on this machine: run `make base`")
	}
	return newest
}

// realLab starts a lab on the Incus of this machine, reached by HTTP as from anywhere.
func realLab(t *testing.T, name, cidr string) (*ec2lab.Lab, *ec2.Client, ec2lab.Config) {
	t.Helper()
	onServers(t)
	base := realBase(t)
	cfg := ec2lab.Config{
		Name: "test-" + name, Socket: socket, CIDR: netip.MustParsePrefix(cidr),
		Seeds: []ec2lab.Seed{{Name: base.Name, Fingerprint: string(base.ID), Owner: seedOwner}},
		Log:   slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	lab, err := ec2lab.New(t.Context(), cfg)
	must(t, err)
	if !hasTable(t, cfg.Name) {
		t.Errorf("the laboratory has no table %s, so looking for what it leaves proves nothing", tableOf(cfg.Name))
	}
	server := httptest.NewServer(lab.Handler())
	t.Cleanup(func() {
		server.Close()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		defer cancel()
		if err := lab.Close(ctx); err != nil {
			t.Error(err)
		}
		if left := leftovers(t, cfg.Name); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
	sdk, err := awsconfig.LoadDefaultConfig(t.Context(),
		awsconfig.WithRegion("eu-lab-1"), awsconfig.WithBaseEndpoint(server.URL),
		awsconfig.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("AKIDLAB", "secret", "")))
	must(t, err)
	return lab, ec2.NewFromConfig(sdk), cfg
}

// onServers skips a test that needs real machines where there may be none.
func onServers(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs root and Incus: not with -short")
	}
}

// leftovers asks Incus for anything with the lab's name, and the kernel for its rules.
func leftovers(t *testing.T, lab string) string {
	t.Helper()
	var left []string
	for _, question := range []string{
		"incus query /1.0/projects", "incus query /1.0/networks?recursion=1", "incus query /1.0/images?recursion=1",
		"incus query /1.0/storage-pools/hallmark/volumes?all-projects=true",
	} {
		out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "sh", "-c", question).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", question, err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, lab) {
				left = append(left, question+": "+line)
			}
		}
	}
	if hasTable(t, lab) {
		left = append(left, "nft: "+tableOf(lab))
	}
	return strings.Join(left, "")
}

// tableOf is the name of a laboratory's table of rules. Other laboratories may come and go on this machine.
func tableOf(lab string) string {
	sum := sha256.Sum256([]byte(lab))
	return "ec2lab_el" + hex.EncodeToString(sum[:])[:10]
}

// hasTable reports whether the kernel has a laboratory's rules.
func hasTable(t *testing.T, lab string) bool {
	t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "nft", "list", "tables").CombinedOutput()
	if err != nil {
		t.Errorf("nft list tables: %v: %s", err, out)
	}
	return strings.Contains(string(out), tableOf(lab)+"\n")
}

// TestRealMachine leads a real machine through its life. The real tests follow each other: each looks
// for what it left behind.
func TestRealMachine(t *testing.T) {
	lab, api, _ := realLab(t, "machine", "10.96.0.0/16")
	o := newOperator(t, api)
	ctx := t.Context()
	began := time.Now()
	lap := func(what string) {
		t.Helper()
		t.Logf("%6.1f s %s", time.Since(began).Seconds(), what)
		began = time.Now()
	}

	images, err := api.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{seedOwner}})
	must(t, err)
	group, err := api.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("web"), Description: aws.String("web")})
	must(t, err)
	anywhere := types.IpPermission{IpProtocol: aws.String("-1"), IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}}
	_, err = api.RevokeSecurityGroupEgress(ctx, &ec2.RevokeSecurityGroupEgressInput{GroupId: group.GroupId, IpPermissions: []types.IpPermission{anywhere}})
	must(t, err)
	admin := []types.IpPermission{{
		IpProtocol: aws.String("tcp"), FromPort: aws.Int32(22), ToPort: aws.Int32(22),
		IpRanges: []types.IpRange{{CidrIp: aws.String(lab.Gateway().String() + "/32")}},
	}}
	_, err = api.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: group.GroupId, IpPermissions: admin})
	must(t, err)
	nic, err := api.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{
		SubnetId: aws.String(lab.Subnet("eu-lab-1a")), Groups: []string{*group.GroupId},
	})
	must(t, err)
	address := *nic.NetworkInterface.PrivateIpAddress
	volume, err := api.CreateVolume(ctx, &ec2.CreateVolumeInput{AvailabilityZone: aws.String("eu-lab-1a"), Size: aws.Int32(1)})
	must(t, err)
	device := "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_" + strings.ReplaceAll(*volume.VolumeId, "-", "")
	run := func(image string) string {
		out, err := api.RunInstances(ctx, &ec2.RunInstancesInput{
			ImageId: &image, MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: types.InstanceTypeT3Micro, UserData: o.userData(),
			MetadataOptions: &types.InstanceMetadataOptionsRequest{HttpTokens: types.HttpTokensStateRequired},
			NetworkInterfaces: []types.InstanceNetworkInterfaceSpecification{{
				DeviceIndex: aws.Int32(0), NetworkInterfaceId: nic.NetworkInterface.NetworkInterfaceId, DeleteOnTermination: aws.Bool(false),
			}},
		})
		must(t, err)
		id := *out.Instances[0].InstanceId
		o.state(id, types.InstanceStateNameRunning)
		return id
	}
	attach := func(id string) {
		_, err := api.AttachVolume(ctx, &ec2.AttachVolumeInput{Device: aws.String("/dev/sdf"), InstanceId: &id, VolumeId: volume.VolumeId})
		must(t, err)
		o.until("the volume is attached", func() bool {
			out, err := api.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{*volume.VolumeId}})
			must(t, err)
			a := out.Volumes[0].Attachments
			return len(a) == 1 && a[0].State == types.VolumeAttachmentStateAttached
		})
	}

	id := run(*images.Images[0].ImageId)
	lap("pending → running")
	pinned := o.hostKey(id)
	lap("→ host keys on the console")
	if got := o.says(address, pinned, "cat /etc/from-user-data; hostname"); got != "yes\nip-"+strings.ReplaceAll(address, ".", "-") {
		t.Errorf("after cloud-init: %q", got)
	}
	lap("→ login")
	if got := o.says(address, pinned, "cat /run/cloud-init/cloud-id"); got != "aws" {
		t.Errorf("cloud-init takes the machine for one of %s", got)
	}
	if got := o.says(address, pinned, "curl -s -o /dev/null -w %{http_code} http://169.254.169.254/latest/meta-data/instance-id"); got != "401" {
		t.Errorf("without a token the metadata service says %s", got)
	}
	const asked = `t=$(curl -sf -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 60" http://169.254.169.254/latest/api/token) && curl -sf -H "X-aws-ec2-metadata-token: $t" http://169.254.169.254/latest/meta-data/instance-id`
	if got := o.says(address, pinned, asked); got != id {
		t.Errorf("the metadata service says the instance is %q, not %s", got, id)
	}
	lap("→ metadata asked")

	attach(id)
	o.says(address, pinned, "echo kept | sudo tee "+device+"/data")
	boot := o.says(address, pinned, "cat /proc/sys/kernel/random/boot_id")
	lap("→ volume attached and written")
	_, err = api.RebootInstances(ctx, &ec2.RebootInstancesInput{InstanceIds: []string{id}})
	must(t, err)
	o.until("the boot id changes", func() bool {
		now, err := o.run(address, pinned, "cat /proc/sys/kernel/random/boot_id; cat "+device+"/data")
		return err == nil && !strings.Contains(now, boot) && strings.Contains(now, "kept")
	})
	lap("→ rebooted, volume there")

	_, err = api.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: group.GroupId, IpPermissions: admin})
	must(t, err)
	if out, err := o.run(address, pinned, "true"); err == nil {
		t.Errorf("login after its rule was revoked: %s", out)
	}
	_, err = api.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: group.GroupId, IpPermissions: admin})
	must(t, err)
	o.says(address, pinned, "true")
	lap("→ rule revoked and authorized")

	_, err = api.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{id}})
	must(t, err)
	o.state(id, types.InstanceStateNameStopped)
	lap("→ stopped")
	img, err := api.CreateImage(ctx, &ec2.CreateImageInput{
		InstanceId: &id, Name: aws.String("prebuilt"),
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sdf"), NoDevice: aws.String("")}},
	})
	must(t, err)
	o.until("the image is available", func() bool {
		out, err := api.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{*img.ImageId}})
		must(t, err)
		if out.Images[0].State == types.ImageStateFailed {
			t.Fatal(*out.Images[0].StateReason.Message)
		}
		return out.Images[0].State == types.ImageStateAvailable
	})
	lap("→ image available")
	_, err = api.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
	must(t, err)
	o.state(id, types.InstanceStateNameTerminated)
	lap("→ terminated")

	again := run(*img.ImageId)
	lap("pending → running, from the image")
	attach(again)
	next := o.hostKey(again)
	if bytes.Equal(next.Marshal(), pinned.Marshal()) {
		t.Error("the machine of the captured image has the old host key: cloud-init did not see a new instance")
	}
	if got := o.says(address, next, fmt.Sprintf("cat %s/data /etc/from-user-data", device)); got != "kept\nyes" {
		t.Errorf("after relaunch: %q", got)
	}
	lap("→ login, data found")
}
