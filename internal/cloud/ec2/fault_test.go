package ec2_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
)

func (b *bench) script(f ec2lab.Fault) {
	b.Helper()
	must(b, b.lab.Script(f))
}

// zoneOf is the zone of a server's interface.
func (b *bench) zoneOf(address netip.Addr) string {
	b.Helper()
	out, err := b.api.DescribeNetworkInterfaces(b.Context(), &sdk.DescribeNetworkInterfacesInput{})
	must(b, err)
	for _, n := range out.NetworkInterfaces {
		if *n.PrivateIpAddress == address.String() {
			return *n.AvailabilityZone
		}
	}
	b.Fatalf("no interface has %s", address)
	return ""
}

func TestAnotherTypeBeforeAnotherZone(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		n := b.network("web-1")
		b.script(ec2lab.Fault{Kind: ec2lab.Capacity, Type: "t3.small", Times: -1})
		s, err := b.p.Launch(b.Context(), b.spec(n, "web-1"))
		must(b, err)
		if s.Address != n.Addresses["web-1"] {
			b.Errorf("address %s, want the one that was reserved, %s", s.Address, n.Addresses["web-1"])
		}
		if tried := b.wire.all("ec2:RunInstances"); len(tried) != 2 || tried[1].form.Get("InstanceType") != "m7i.large" {
			b.Errorf("tried %d times, then %v", len(tried), tried[len(tried)-1].form.Get("InstanceType"))
		}
	})
}

func TestAnotherZoneAnotherAddress(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		n := b.network("bench")
		must(b, b.p.AllowAdmin(b.Context(), n.ID, []netip.Addr{n.Addresses["bench"]}))
		full := b.zoneOf(n.Addresses["bench"])
		b.script(ec2lab.Fault{Kind: ec2lab.Capacity, Zone: full, Times: -1})
		s, err := b.p.Launch(b.Context(), b.spec(n, "bench"))
		must(b, err)
		if s.Address == n.Addresses["bench"] || b.zoneOf(s.Address) == full {
			b.Errorf("launched at %s in %s, which is full", s.Address, b.zoneOf(s.Address))
		}
		used := map[string]bool{}
		for _, r := range b.wire.all("ec2:RunInstances") {
			used[r.form.Get("ClientToken")] = true
		}
		if len(used) != 3 { // two types there, one here
			b.Errorf("%d tokens for three different requests", len(used))
		}
		again, err := b.p.Launch(b.Context(), b.spec(n, "bench"))
		must(b, err)
		if again.ID != s.ID || again.Address != s.Address {
			b.Errorf("the same token gave %+v, want %+v", again, s)
		}
		// The door moved with it, and a repeated CreateNetwork tells the new address.
		must(b, b.p.AllowAdmin(b.Context(), n.ID, []netip.Addr{s.Address}))
		if again := b.network("bench"); again.Addresses["bench"] != s.Address {
			b.Errorf("the network says %s", again.Addresses["bench"])
		}
		out, err := b.api.DescribeNetworkInterfaces(b.Context(), &sdk.DescribeNetworkInterfacesInput{})
		must(b, err)
		if len(out.NetworkInterfaces) != 1 || len(out.NetworkInterfaces[0].Groups) != 2 {
			b.Errorf("interfaces: %+v", out.NetworkInterfaces)
		}
	})
}

func TestVolumesHoldAServerInItsZone(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		n := b.network("db-1")
		spec := b.spec(n, "db-1")
		v, err := b.p.CreateVolume(b.Context(), cloud.VolumeSpec{Name: "db-1-data", Network: n.ID, SizeMiB: 1500, Tags: start})
		must(b, err)
		spec.Volumes = []cloud.VolumeID{v.ID}
		full := b.zoneOf(spec.Address)
		b.script(ec2lab.Fault{Kind: ec2lab.Capacity, Zone: full, Times: 2})
		_, err = b.p.Launch(b.Context(), spec)
		code(b, err, cloud.CodeCapacity)
		if err == nil || !strings.Contains(err.Error(), full) || !strings.Contains(err.Error(), "m7i.large") {
			b.Errorf("zone and types are not named: %v", err)
		}
		s, err := b.p.Launch(b.Context(), spec) // there is room again
		must(b, err)
		if s.Address != spec.Address {
			b.Errorf("address %s, want %s", s.Address, spec.Address)
		}
	})
}

func TestNoCapacityAnywhere(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		n := b.network("web-1")
		b.script(ec2lab.Fault{Kind: ec2lab.Capacity, Times: 6})
		_, err := b.p.Launch(b.Context(), b.spec(n, "web-1"))
		code(b, err, cloud.CodeCapacity)
		if got := b.wire.count("ec2:RunInstances"); got != 6 {
			b.Errorf("asked %d times, want two types in three zones, once each", got)
		}
		_, err = b.p.Launch(b.Context(), b.spec(n, "web-1"))
		must(b, err)
	})
}

func TestThrottling(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.script(ec2lab.Fault{Kind: ec2lab.Throttle, Times: 3})
		n := b.network("web-1")
		b.script(ec2lab.Fault{Kind: ec2lab.Throttle, Action: "RunInstances", Times: 20})
		_, err := b.p.Launch(b.Context(), b.spec(n, "web-1"))
		code(b, err, cloud.CodeThrottled)
		if got := b.wire.count("ec2:RunInstances"); got < 3 {
			b.Errorf("gave up after %d requests", got)
		}
	})
}

func TestDown(t *testing.T) {
	for name, kind := range map[string]ec2lab.FaultKind{"answers 503": ec2lab.Down, "hangs up": ec2lab.HangUp} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(b *bench) {
				b.script(ec2lab.Fault{Kind: kind, For: time.Hour})
				_, err := b.p.Servers(b.Context(), cloud.Filter{})
				code(b, err, cloud.CodeDown)
				time.Sleep(time.Hour) // the bubble's
				_, err = b.p.Servers(b.Context(), cloud.Filter{})
				must(b, err)
			})
		})
	}
}

func TestNotYetVisible(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		n := b.network("web-1")
		b.script(ec2lab.Fault{Kind: ec2lab.Hidden, For: 40 * time.Second})
		s, err := b.p.Launch(b.Context(), b.spec(n, "web-1"))
		must(b, err)
		_, err = b.p.Console(b.Context(), s.ID)
		must(b, err)
		list, err := b.p.Servers(b.Context(), cloud.Filter{Owner: "test"})
		if err != nil || len(list) != 1 {
			b.Errorf("servers after launch: %v, %v", list, err)
		}
	})
}

func TestALaunchThatFailsLater(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		n := b.network("web-1")
		b.script(ec2lab.Fault{Kind: ec2lab.LaunchFails, Code: "Client.VolumeLimitExceeded", Message: "Client.VolumeLimitExceeded: Volume limit exceeded"})
		s, err := b.p.Launch(b.Context(), b.spec(n, "web-1"))
		must(b, err)
		time.Sleep(time.Minute) // the bubble's
		list, err := b.p.Servers(b.Context(), cloud.Filter{Owner: "test"})
		if err != nil || len(list) != 0 {
			b.Errorf("servers: %v, %v", list, err)
		}
		_, err = b.p.Console(b.Context(), s.ID)
		code(b, err, cloud.CodeNotFound)
		if err == nil || !strings.Contains(err.Error(), "Volume limit exceeded") {
			b.Errorf("EC2's reason is lost: %v", err)
		}
		again, err := b.p.Launch(b.Context(), b.spec(n, "web-1"))
		must(b, err)
		if again.ID == s.ID || again.Address != s.Address {
			b.Errorf("launched again: %+v after %+v", again, s)
		}
		b.await(again.ID, cloud.Running)
	})
}

func TestIllServers(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		deadline := time.Now().Add(8 * time.Hour)
		n := b.network("web-1", "web-2", "web-3")
		ids := map[string]cloud.ServerID{}
		for _, name := range []string{"web-1", "web-2", "web-3"} {
			spec := b.spec(n, name)
			spec.Tags.Deadline = deadline
			s, err := b.p.Launch(b.Context(), spec)
			must(b, err)
			b.await(s.ID, cloud.Running)
			ids[name] = s.ID
		}
		b.script(ec2lab.Fault{Kind: ec2lab.Impaired, Instance: string(ids["web-1"])})
		b.script(ec2lab.Fault{Kind: ec2lab.Maintenance, Instance: string(ids["web-2"]), Code: "instance-retirement", For: time.Hour})
		b.script(ec2lab.Fault{Kind: ec2lab.Maintenance, Instance: string(ids["web-3"]), Code: "instance-retirement", For: 48 * time.Hour})
		b.await(ids["web-1"], cloud.Broken)
		b.await(ids["web-2"], cloud.Broken)
		b.await(ids["web-3"], cloud.Running) // it will not live that long
		b.wire.forget()
		for range 10 {
			_, err := b.p.Servers(b.Context(), cloud.Filter{Owner: "test"})
			must(b, err)
		}
		if got := b.wire.count("ec2:DescribeInstanceStatus"); got > 0 {
			b.Errorf("ten looks in a row asked %d times for status checks", got)
		}
	})
}

func TestNothingOfOthers(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		base := b.base()
		out, err := b.api.RunInstances(b.Context(), &sdk.RunInstancesInput{
			ImageId: aws.String(string(base.ID)), MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: "t3.small", SubnetId: &b.cfg.Subnets[0],
		})
		must(b, err)
		time.Sleep(time.Minute) // the bubble's
		theirs := cloud.ServerID(*out.Instances[0].InstanceId)
		volume, err := b.api.CreateVolume(b.Context(), &sdk.CreateVolumeInput{AvailabilityZone: aws.String(region + "a"), Size: aws.Int32(1)})
		must(b, err)
		time.Sleep(time.Minute) // the bubble's
		for what, err := range map[string]error{
			"destroy": b.p.Destroy(b.Context(), theirs), "stop": b.p.Stop(b.Context(), theirs, true), "reboot": b.p.Reboot(b.Context(), theirs),
			"delete volume": b.p.DeleteVolume(b.Context(), cloud.VolumeID(*volume.VolumeId)),
			"delete image":  b.p.DeleteImage(b.Context(), base.ID),
		} {
			if cloud.CodeOf(err) != cloud.CodeConflict {
				b.Errorf("%s of something that is not ours: %v", what, err)
			}
		}
		_, err = b.api.TerminateInstances(b.Context(), &sdk.TerminateInstancesInput{InstanceIds: []string{string(theirs)}})
		must(b, err)
		_, err = b.api.DeleteVolume(b.Context(), &sdk.DeleteVolumeInput{VolumeId: volume.VolumeId})
		must(b, err)
		time.Sleep(time.Minute) // the bubble's
	})
}

// What a process that died has ordered to end is waited for, as what this one has.
func TestRemovalWaitsForWhatIsEnding(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		n := b.network("db-1")
		spec := b.spec(n, "db-1")
		v, err := b.p.CreateVolume(b.Context(), cloud.VolumeSpec{Name: "db-1-data", Network: n.ID, SizeMiB: 64, Tags: start})
		must(b, err)
		spec.Volumes = []cloud.VolumeID{v.ID}
		s, err := b.p.Launch(b.Context(), spec)
		must(b, err)
		code(b, b.p.DeleteVolume(b.Context(), v.ID), cloud.CodeConflict)
		code(b, b.p.DeleteNetwork(b.Context(), n.ID), cloud.CodeRefused)
		_, err = b.api.TerminateInstances(b.Context(), &sdk.TerminateInstancesInput{InstanceIds: []string{string(s.ID)}})
		must(b, err)
		must(b, b.p.DeleteVolume(b.Context(), v.ID))
		must(b, b.p.DeleteNetwork(b.Context(), n.ID))
	})
}
