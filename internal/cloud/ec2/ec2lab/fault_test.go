package ec2lab_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
)

func (b *bench) script(f ec2lab.Fault) {
	b.Helper()
	if err := b.lab.Script(f); err != nil {
		b.Fatal(err)
	}
}

func TestThrottling(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		regions := func() error {
			_, err := b.api.DescribeRegions(b.ctx(), &ec2.DescribeRegionsInput{})
			return err
		}
		b.script(ec2lab.Fault{Kind: ec2lab.Throttle, Action: "DescribeRegions", Times: 2})
		for range 2 {
			refused(t, regions(), "RequestLimitExceeded")
		}
		must(t, regions())
		b.script(ec2lab.Fault{Kind: ec2lab.Throttle, Times: 2})
		patient := ec2.NewFromConfig(config(b.lab, "eu-lab-1"), func(o *ec2.Options) { o.RetryMaxAttempts = 3 })
		_, err := patient.DescribeRegions(b.ctx(), &ec2.DescribeRegionsInput{})
		must(t, err) // the SDK knows the code and tries again
		b.script(ec2lab.Fault{Kind: ec2lab.Refuse, Action: "DescribeRegions", Code: "UnauthorizedOperation", Message: "no"})
		refused(t, regions(), "UnauthorizedOperation")
		must(t, regions())
	})
}

func TestDown(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		for _, kind := range []ec2lab.FaultKind{ec2lab.Down, ec2lab.HangUp} {
			b.script(ec2lab.Fault{Kind: kind, For: time.Minute})
			_, err := b.api.DescribeRegions(b.ctx(), &ec2.DescribeRegionsInput{})
			if err == nil {
				t.Errorf("%s: the API answers", kind)
			}
			time.Sleep(time.Minute)
			_, err = b.api.DescribeRegions(b.ctx(), &ec2.DescribeRegionsInput{})
			must(t, err)
		}
	})
}

func TestCapacity(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		b.script(ec2lab.Fault{Kind: ec2lab.Capacity, Zone: "eu-lab-1a", Type: "t3.small"})
		token := func(in *ec2.RunInstancesInput) { in.ClientToken = aws.String("t") }
		other := b.run(func(in *ec2.RunInstancesInput) { in.SubnetId = aws.String(b.lab.Subnet("eu-lab-1b")) })
		if zone := *other.Placement.AvailabilityZone; zone != "eu-lab-1b" {
			t.Errorf("launched in %s", zone)
		}
		b.run(func(in *ec2.RunInstancesInput) { in.InstanceType = types.InstanceTypeT3Micro })
		_, err := b.tryRun(token)
		refused(t, err, "InsufficientInstanceCapacity")
		b.run(token)
	})
}

func TestLaunchFails(t *testing.T) {
	inBubble(t, ec2lab.Config{Delays: ec2lab.Delays{Launch: 10 * time.Second}}, func(b *bench) {
		b.script(ec2lab.Fault{Kind: ec2lab.LaunchFails, Message: "Internal error on launch"})
		i := b.run()
		b.reaches(*i.InstanceId, types.InstanceStateNameTerminated)
		why := b.describe(*i.InstanceId).StateReason
		if *why.Code != "Server.InternalError" || *why.Message != "Server.InternalError: Internal error on launch" {
			t.Errorf("because of %s: %s", *why.Code, *why.Message)
		}
		err := ec2.NewInstanceRunningWaiter(b.api).Wait(b.ctx(), &ec2.DescribeInstancesInput{InstanceIds: []string{*i.InstanceId}}, time.Minute)
		if err == nil {
			t.Error("the SDK's waiter takes it for running")
		}
		b.launched()
	})
}

func TestImageFaults(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		id := b.launched().InstanceId
		create := func(name string) string {
			out, err := b.api.CreateImage(b.ctx(), &ec2.CreateImageInput{InstanceId: id, Name: &name, NoReboot: aws.Bool(true)})
			must(t, err)
			return *out.ImageId
		}
		state := func(id string) types.Image {
			out, err := b.api.DescribeImages(b.ctx(), &ec2.DescribeImagesInput{ImageIds: []string{id}})
			must(t, err)
			return out.Images[0]
		}
		b.script(ec2lab.Fault{Kind: ec2lab.ImageFails, Name: "bad-*", Code: "Client.InternalError", Message: "the snapshot failed"})
		b.script(ec2lab.Fault{Kind: ec2lab.ImageSlow, Name: "slow", For: time.Hour})
		bad, slow, good := create("bad-1"), create("slow"), create("good")
		b.until("the image fails", func() bool { return state(bad).State == types.ImageStateFailed })
		if why := state(bad).StateReason; *why.Message != "the snapshot failed" {
			t.Errorf("because of %s", *why.Message)
		}
		b.until("the good one is there", func() bool { return state(good).State == types.ImageStateAvailable })
		time.Sleep(50 * time.Minute)
		if s := state(slow).State; s != types.ImageStatePending {
			t.Errorf("the slow one is %s", s)
		}
		time.Sleep(11 * time.Minute)
		if s := state(slow).State; s != types.ImageStateAvailable {
			t.Errorf("the slow one is %s", s)
		}
	})
}

func TestScheduled(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		spot := b.launched(func(in *ec2.RunInstancesInput) {
			in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot}
		})
		if spot.InstanceLifecycle != types.InstanceLifecycleTypeSpot {
			t.Error("it is no spot instance")
		}
		plain := b.launched()
		status := func() types.InstanceStatus {
			out, err := b.api.DescribeInstanceStatus(b.ctx(), &ec2.DescribeInstanceStatusInput{InstanceIds: []string{*plain.InstanceId}})
			must(t, err)
			return out.InstanceStatuses[0]
		}
		time.Sleep(2 * time.Second)
		if s := status(); s.SystemStatus.Status != types.SummaryStatusOk || len(s.Events) != 0 {
			t.Errorf("%+v", s)
		}
		b.script(ec2lab.Fault{Kind: ec2lab.Maintenance, Instance: *plain.InstanceId, Code: "system-reboot", For: 24 * time.Hour})
		b.script(ec2lab.Fault{Kind: ec2lab.Impaired, Instance: *plain.InstanceId})
		if s := status(); s.SystemStatus.Status != types.SummaryStatusImpaired || s.Events[0].Code != types.EventCodeSystemReboot {
			t.Errorf("%+v", s)
		}
		_, err := b.api.RebootInstances(b.ctx(), &ec2.RebootInstancesInput{InstanceIds: []string{*plain.InstanceId}})
		must(t, err)
		if s := status(); s.SystemStatus.Status != types.SummaryStatusOk || len(s.Events) != 0 {
			t.Errorf("after a reboot: %+v", s)
		}
		b.script(ec2lab.Fault{Kind: ec2lab.Spot, Instance: *spot.InstanceId, For: 2 * time.Minute})
		if got := b.ask(*spot.PrivateIpAddress, "/latest/meta-data/spot/instance-action", ""); got.Code != 200 {
			t.Errorf("the machine is not told: %d", got.Code)
		}
		b.reaches(*spot.InstanceId, types.InstanceStateNameTerminated)
		if why := b.describe(*spot.InstanceId).StateReason; *why.Code != "Server.SpotInstanceTermination" {
			t.Errorf("because of %s", *why.Code)
		}
		if err := b.lab.Script(ec2lab.Fault{Kind: ec2lab.Impaired, Instance: "i-0"}); err == nil {
			t.Error("a fault for an instance that does not exist is taken")
		}
	})
}

func TestHidden(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		b.script(ec2lab.Fault{Kind: ec2lab.Hidden, For: 30 * time.Second})
		i := b.run()
		in := &ec2.DescribeInstancesInput{InstanceIds: []string{*i.InstanceId}}
		_, err := b.api.DescribeInstances(b.ctx(), in)
		refused(t, err, "InvalidInstanceID.NotFound")
		all, err := b.api.DescribeInstances(b.ctx(), &ec2.DescribeInstancesInput{})
		must(t, err)
		if len(all.Reservations) != 0 {
			t.Errorf("it is listed: %+v", all.Reservations)
		}
		time.Sleep(30 * time.Second)
		_, err = b.api.DescribeInstances(b.ctx(), in)
		must(t, err)
	})
}

func TestFaultKindsAreAll(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "fault.go", nil, 0)
	must(t, err)
	declared := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "FaultKind" {
				declared += len(spec.Names)
			}
		}
		return true
	})
	if listed := len(ec2lab.FaultKinds()); declared == 0 || listed != declared {
		t.Errorf("%d kinds are listed, %d declared", listed, declared)
	}
}
