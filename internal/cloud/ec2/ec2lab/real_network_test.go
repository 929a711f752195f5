package ec2lab_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud/cloudtest"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
)

// cache is where `make host` puts the package cache.
const cache = "10.90.0.1"

// within runs a command on a machine by Incus itself.
func within(t *testing.T, cfg ec2lab.Config, id, command string) (string, bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "incus", "exec", "--project", "ec2lab-"+cfg.Name, id, "--", "sh", "-c", command)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || strings.HasPrefix(string(out), "Error:") {
		t.Fatalf("exec on %s: %v: %s", id, err, out)
	}
	return strings.TrimSpace(string(out)), err == nil
}

// realGroup makes a group with these rules and no other.
func (o *operator) realGroup(name string, in, out []types.IpPermission) string {
	o.Helper()
	group, err := o.api.CreateSecurityGroup(o.Context(), &ec2.CreateSecurityGroupInput{GroupName: &name, Description: &name})
	must(o, err)
	anywhere := fromCIDR("0.0.0.0/0")
	anywhere.IpProtocol = aws.String("-1")
	_, err = o.api.RevokeSecurityGroupEgress(o.Context(), &ec2.RevokeSecurityGroupEgressInput{GroupId: group.GroupId, IpPermissions: []types.IpPermission{anywhere}})
	must(o, err)
	if in != nil {
		_, err = o.api.AuthorizeSecurityGroupIngress(o.Context(), &ec2.AuthorizeSecurityGroupIngressInput{GroupId: group.GroupId, IpPermissions: in})
		must(o, err)
	}
	if out != nil {
		_, err = o.api.AuthorizeSecurityGroupEgress(o.Context(), &ec2.AuthorizeSecurityGroupEgressInput{GroupId: group.GroupId, IpPermissions: out})
		must(o, err)
	}
	return *group.GroupId
}

func (o *operator) launch(image, subnet string, groups ...string) types.Instance {
	o.Helper()
	out, err := o.api.RunInstances(o.Context(), &ec2.RunInstancesInput{
		ImageId: &image, MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: types.InstanceTypeT3Nano,
		SubnetId: &subnet, SecurityGroupIds: groups, UserData: o.userData(),
	})
	must(o, err)
	return out.Instances[0]
}

func tcp(port int32, peer types.IpPermission) []types.IpPermission {
	peer.IpProtocol, peer.FromPort, peer.ToPort = aws.String("tcp"), &port, &port
	return []types.IpPermission{peer}
}

// TestRealWalls shows with real packets what security groups let through, and how machines end by
// themselves.
func TestRealWalls(t *testing.T) {
	lab, api, cfg := realLab(t, "walls", "10.94.0.0/16")
	o := newOperator(t, api)
	images, err := api.DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{seedOwner}})
	must(t, err)
	image := *images.Images[0].ImageId
	vpc := fromCIDR("10.94.0.0/18")

	listener, err := net.Listen("tcp", ":0") //nolint:gosec // it is what must not be reached
	must(t, err)
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port

	bastions := o.realGroup("bastion", tcp(22, fromCIDR(lab.Gateway().String()+"/32")), tcp(22, vpc))
	servers := o.realGroup("server", tcp(22, fromGroup(bastions)), tcp(3142, fromCIDR(cache+"/32")))
	open := o.realGroup("open", nil, []types.IpPermission{{IpProtocol: aws.String("-1"), IpRanges: fromCIDR("0.0.0.0/0").IpRanges}})
	bastion := o.launch(image, lab.Subnet("eu-lab-1a"), bastions)
	neighbour := o.launch(image, lab.Subnet("eu-lab-1a"), servers) // in the bastion's subnet
	web := o.launch(image, lab.Subnet("eu-lab-1b"), servers)
	loose := o.launch(image, lab.Subnet("eu-lab-1c"), open)
	for _, i := range []types.Instance{bastion, neighbour, web, loose} {
		o.state(*i.InstanceId, types.InstanceStateNameRunning)
		o.hostKey(*i.InstanceId)
		o.until("sshd listens", func() bool {
			_, ok := within(t, cfg, *i.InstanceId, "ss -Hltn sport = :22 | grep -q .")
			return ok
		})
	}

	for _, c := range []struct {
		what string
		from *types.Instance // nil: this host
		to   string
		port int
		open bool
	}{
		{"host to bastion", nil, *bastion.PrivateIpAddress, 22, true},
		{"host to a server", nil, *web.PrivateIpAddress, 22, false},
		{"bastion to a server of its subnet", &bastion, *neighbour.PrivateIpAddress, 22, true},
		{"bastion to a server of another", &bastion, *web.PrivateIpAddress, 22, true},
		{"server to bastion", &web, *bastion.PrivateIpAddress, 22, false},
		{"server to its like, in another subnet", &web, *neighbour.PrivateIpAddress, 22, false},
		{"server to the package cache", &web, cache, 3142, true},
		{"bastion to the package cache", &bastion, cache, 3142, false},
		{"server to the host", &web, lab.Gateway().String(), port, false},
		{"server to the host's other address", &web, cache, port, false},
		{"server to the metadata service's other port", &web, "169.254.169.254", 22, false},
		{"open to a server", &loose, *web.PrivateIpAddress, 22, false},
		{"open to the host", &loose, cache, port, true},
		{"open to the DNS of another network", &loose, cache, 53, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			var reached bool
			if c.from == nil {
				conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(netip.MustParseAddr(c.to), uint16(c.port)).String(), time.Second)
				if reached = err == nil; reached {
					conn.Close()
				}
			} else {
				_, reached = within(t, cfg, *c.from.InstanceId, fmt.Sprintf("timeout 2 bash -c '</dev/tcp/%s/%d'", c.to, c.port))
			}
			if reached != c.open {
				t.Errorf("%s:%d open: %v, want %v", c.to, c.port, reached, c.open)
			}
		})
	}
	if _, ok := within(t, cfg, *loose.InstanceId, "timeout 5 getent hosts example.com"); ok {
		t.Error("a machine resolves names of the world: DNS is a way out")
	}
	if out, ok := within(t, cfg, *loose.InstanceId, "curl -s -m 2 http://169.254.169.254/latest/meta-data/instance-id"); !ok || out != *loose.InstanceId {
		t.Errorf("the metadata service says %q", out)
	}
	// A token reaches the machine itself, and nothing behind it: a socket that takes no packet on its last hop stands for
	// a container there, to which the machine would have to pass it on.
	for away, want := range map[int]string{1: "token", 2: "nothing"} {
		if out, _ := within(t, cfg, *loose.InstanceId, fmt.Sprintf("python3 -c '%s' %d", asksForToken, away)); out != want {
			t.Errorf("%d hops away there is %q, want %q", away, out, want)
		}
	}
	// Another's address does not help.
	if _, ok := within(t, cfg, *loose.InstanceId, fmt.Sprintf("ip addr add %s/16 dev eth0 && timeout 2 curl -s --interface %[1]s http://169.254.169.254/latest/meta-data/instance-id", *web.PrivateIpAddress)); ok {
		t.Error("a machine asks the metadata service as another")
	}

	within(t, cfg, *neighbour.InstanceId, "systemctl poweroff")
	o.state(*neighbour.InstanceId, types.InstanceStateNameStopped)
	within(t, cfg, *web.InstanceId, "systemctl reboot")
	o.until("the web server is up again", func() bool {
		out, err := exec.CommandContext(t.Context(), "incus", "exec", "--project", "ec2lab-"+cfg.Name, *web.InstanceId, "--", "ss", "-Hltn", "sport = :22").Output()
		return err == nil && len(out) > 0
	})
	o.state(*web.InstanceId, types.InstanceStateNameRunning)
}

// asksForToken says whether a token comes, with so many hops left at least. 21 is IP_MINTTL, which Python does not name.
const asksForToken = `
import socket, sys
s = socket.socket()
s.setsockopt(socket.IPPROTO_IP, 21, int(sys.argv[1]))
s.settimeout(3)
s.connect(("169.254.169.254", 80))
s.sendall(b"PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\nContent-Length: 0\r\n\r\n")
try:
    print("token" if b" 200 OK" in s.recv(4096) else "refused")
except TimeoutError:
    print("nothing")
`

// TestRealData captures a machine that runs, with its data volume, and finds both in its twin.
func TestRealData(t *testing.T) {
	lab, api, cfg := realLab(t, "walls", "10.94.0.0/16")
	o := newOperator(t, api)
	ctx := t.Context()
	images, err := api.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{seedOwner}})
	must(t, err)
	out, err := api.RunInstances(ctx, &ec2.RunInstancesInput{
		ImageId: images.Images[0].ImageId, MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: types.InstanceTypeT3Nano,
		SubnetId: aws.String(lab.Subnet("eu-lab-1a")), UserData: o.userData(),
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sdf"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(1)}}},
	})
	must(t, err)
	id := *out.Instances[0].InstanceId
	o.state(id, types.InstanceStateNameRunning)
	o.hostKey(id)
	const folder = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol*"
	if said, ok := within(t, cfg, id, "cd "+folder+" && echo kept | tee data /root/data && sync"); !ok {
		t.Fatal(said)
	}
	boot, _ := within(t, cfg, id, "cat /proc/sys/kernel/random/boot_id")
	image, err := api.CreateImage(ctx, &ec2.CreateImageInput{InstanceId: &id, Name: aws.String("with data"), NoReboot: aws.Bool(true)})
	must(t, err)
	must(t, ec2.NewImageAvailableWaiter(api, func(w *ec2.ImageAvailableWaiterOptions) { w.MinDelay = time.Second }).Wait(ctx,
		&ec2.DescribeImagesInput{ImageIds: []string{*image.ImageId}}, time.Minute))
	if now, _ := within(t, cfg, id, "cat /proc/sys/kernel/random/boot_id"); now != boot {
		t.Error("it was rebooted although it was not to be")
	}
	twin := o.launch(*image.ImageId, lab.Subnet("eu-lab-1a"))
	o.state(*twin.InstanceId, types.InstanceStateNameRunning)
	if said, _ := within(t, cfg, *twin.InstanceId, "cat "+folder+"/data /root/data"); said != "kept\nkept" {
		t.Errorf("the twin has %q", said)
	}

	// The volume goes from one machine that runs to another.
	described, err := api.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	must(t, err)
	volume := *described.Reservations[0].Instances[0].BlockDeviceMappings[1].Ebs.VolumeId
	path := "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_" + strings.ReplaceAll(volume, "-", "")
	_, err = api.DetachVolume(ctx, &ec2.DetachVolumeInput{VolumeId: &volume})
	must(t, err)
	must(t, ec2.NewVolumeAvailableWaiter(api, func(w *ec2.VolumeAvailableWaiterOptions) { w.MinDelay = time.Second }).Wait(ctx,
		&ec2.DescribeVolumesInput{VolumeIds: []string{volume}}, time.Minute))
	if said, there := within(t, cfg, id, "cat "+path+"/data"); there {
		t.Errorf("what was detached still says %q", said)
	}
	_, err = api.AttachVolume(ctx, &ec2.AttachVolumeInput{Device: aws.String("/dev/sdg"), InstanceId: twin.InstanceId, VolumeId: &volume})
	must(t, err)
	o.until("the twin has the volume, too", func() bool {
		said, _ := within(t, cfg, *twin.InstanceId, "cat "+path+"/data")
		return said == "kept"
	})
}

// TestRealSuccession: a lab has its name for itself, and one that died leaves it to the next, which
// removes what is left.
func TestRealSuccession(t *testing.T) {
	onServers(t)
	lab, api, cfg := realLab(t, "walls", "10.94.0.0/16")
	o := newOperator(t, api)
	images, err := api.DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{seedOwner}})
	must(t, err)
	i := o.launch(*images.Images[0].ImageId, lab.Subnet("eu-lab-1a"))
	o.state(*i.InstanceId, types.InstanceStateNameRunning)
	if _, err := ec2lab.New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "at work") {
		t.Errorf("a second lab of the same name: %v", err)
	}
	lab.Die()
	next, err := ec2lab.New(t.Context(), cfg)
	must(t, err)
	left, err := exec.CommandContext(t.Context(), "incus", "query", "/1.0/instances?project=ec2lab-"+cfg.Name).Output()
	if err != nil || strings.TrimSpace(string(left)) != "[]" {
		t.Errorf("machines of the one that died: %v, %s", err, left)
	}
	must(t, next.Close(t.Context()))
	if left := leftovers(t, cfg.Name); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
}

// TestRealPassingInterfaces: the laboratory comes and goes whatever other interfaces do meanwhile.
func TestRealPassingInterfaces(t *testing.T) {
	if testing.Short() {
		t.Skip("needs root and Incus: not with -short")
	}
	cloudtest.PassingInterfaces(t)
	for range 3 {
		t.Run("a laboratory", func(t *testing.T) { realLab(t, "walls", "10.94.0.0/16") })
	}
}
