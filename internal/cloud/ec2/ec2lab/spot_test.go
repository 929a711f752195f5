package ec2lab_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
)

// persistent asks for spare capacity by a request that launches again.
func persistent(until time.Time) func(*ec2.RunInstancesInput) {
	return func(in *ec2.RunInstancesInput) {
		o := &types.SpotMarketOptions{
			SpotInstanceType: types.SpotInstanceTypePersistent, InstanceInterruptionBehavior: types.InstanceInterruptionBehaviorStop,
		}
		if !until.IsZero() {
			o.ValidUntil = &until
		}
		in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot, SpotOptions: o}
		in.TagSpecifications = append(in.TagSpecifications, types.TagSpecification{
			ResourceType: types.ResourceTypeSpotInstancesRequest, Tags: []types.Tag{{Key: aws.String("whose"), Value: aws.String("ours")}},
		})
	}
}

func (b *bench) spotRequest(id string) types.SpotInstanceRequest {
	b.Helper()
	out, err := b.api.DescribeSpotInstanceRequests(b.ctx(), &ec2.DescribeSpotInstanceRequestsInput{SpotInstanceRequestIds: []string{id}})
	must(b, err)
	return out.SpotInstanceRequests[0]
}

// requested checks the state of a request and why it is in it.
func (b *bench) requested(id string, state types.SpotInstanceState, status string) {
	b.Helper()
	if q := b.spotRequest(id); q.State != state || *q.Status.Code != status {
		b.Errorf("the request is %s, %s; want %s, %s", q.State, *q.Status.Code, state, status)
	}
}

func (b *bench) cancel(id string) {
	b.Helper()
	out, err := b.api.CancelSpotInstanceRequests(b.ctx(), &ec2.CancelSpotInstanceRequestsInput{SpotInstanceRequestIds: []string{id}})
	must(b, err)
	if s := out.CancelledSpotInstanceRequests; len(s) != 1 || s[0].State != types.CancelSpotInstanceRequestStateCancelled {
		b.Errorf("cancelled: %+v", s)
	}
}

func (b *bench) ended(id string) {
	b.Helper()
	_, err := b.api.TerminateInstances(b.ctx(), &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
	must(b, err)
	b.reaches(id, types.InstanceStateNameTerminated)
}

func (b *bench) living() []types.Instance {
	b.Helper()
	out, err := b.api.DescribeInstances(b.ctx(), &ec2.DescribeInstancesInput{Filters: []types.Filter{{
		Name: aws.String("instance-state-name"), Values: []string{"pending", "running", "stopping", "stopped", "shutting-down"},
	}}})
	must(b, err)
	var all []types.Instance
	for _, r := range out.Reservations {
		all = append(all, r.Instances...)
	}
	return all
}

func TestAPersistentRequestLaunchesAgain(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		i := b.launched(persistent(time.Time{}))
		request := *i.SpotInstanceRequestId
		b.requested(request, types.SpotInstanceStateActive, "fulfilled")
		if q := b.spotRequest(request); *q.InstanceId != *i.InstanceId || len(q.Tags) != 1 || q.Type != types.SpotInstanceTypePersistent {
			t.Errorf("%+v", q)
		}
		b.ended(*i.InstanceId)
		b.requested(request, types.SpotInstanceStateOpen, "pending-evaluation")
		b.script(ec2lab.Fault{Kind: ec2lab.Capacity})
		time.Sleep(30 * time.Second)
		b.requested(request, types.SpotInstanceStateOpen, "capacity-not-available")
		time.Sleep(time.Minute)
		b.requested(request, types.SpotInstanceStateActive, "fulfilled")
		again := b.living()
		if len(again) != 1 || *again[0].SpotInstanceRequestId != request || len(again[0].Tags) != 0 {
			t.Fatalf("launched again: %+v", again)
		}
		b.cancel(request)
		b.cancel(request)
		b.requested(request, types.SpotInstanceStateCancelled, "request-canceled-and-instance-running")
		_, err := b.api.StopInstances(b.ctx(), &ec2.StopInstancesInput{InstanceIds: []string{*again[0].InstanceId}})
		refused(t, err, "IncorrectSpotRequestState")
		b.ended(*again[0].InstanceId)
		time.Sleep(time.Hour - time.Second)
		if left := b.living(); len(left) != 0 {
			t.Errorf("a cancelled request launched %+v", left)
		}
	})
}

func TestStoppedSpotInstances(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		i := b.launched(persistent(time.Time{}))
		id, request := []string{*i.InstanceId}, *i.SpotInstanceRequestId
		_, err := b.api.StopInstances(b.ctx(), &ec2.StopInstancesInput{InstanceIds: id})
		must(t, err)
		b.reaches(id[0], types.InstanceStateNameStopped)
		b.requested(request, types.SpotInstanceStateDisabled, "instance-stopped-by-user")
		_, err = b.api.StartInstances(b.ctx(), &ec2.StartInstancesInput{InstanceIds: id})
		must(t, err)
		b.reaches(id[0], types.InstanceStateNameRunning)
		b.requested(request, types.SpotInstanceStateActive, "fulfilled")

		// An interruption stops it, and only EC2 starts it again.
		b.script(ec2lab.Fault{Kind: ec2lab.Spot, Instance: id[0], For: 2 * time.Minute})
		if got := b.ask(*i.PrivateIpAddress, "/latest/meta-data/spot/instance-action", ""); got.Code != 200 {
			t.Errorf("the machine is not told: %d", got.Code)
		}
		b.reaches(id[0], types.InstanceStateNameStopped)
		b.requested(request, types.SpotInstanceStateOpen, "instance-stopped-no-capacity")
		_, err = b.api.StartInstances(b.ctx(), &ec2.StartInstancesInput{InstanceIds: id})
		refused(t, err, "IncorrectSpotRequestState")
		time.Sleep(2 * time.Hour)
		if s := b.describe(id[0]).State.Name; s != types.InstanceStateNameRunning {
			t.Errorf("there is room again, and it is %s", s)
		}

		// Whoever cancels the request of one that is stopped ends it.
		_, err = b.api.StopInstances(b.ctx(), &ec2.StopInstancesInput{InstanceIds: id})
		must(t, err)
		b.reaches(id[0], types.InstanceStateNameStopped)
		b.cancel(request)
		b.reaches(id[0], types.InstanceStateNameTerminated)
		time.Sleep(10 * time.Minute)
		if left := b.living(); len(left) != 0 {
			t.Errorf("left: %+v", left)
		}
	})
}

func TestARequestExpires(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		i := b.launched(persistent(time.Now().Add(time.Hour)))
		time.Sleep(time.Hour + time.Second)
		b.requested(*i.SpotInstanceRequestId, types.SpotInstanceStateCancelled, "request-canceled-and-instance-running")
		b.ended(*i.InstanceId)
		time.Sleep(10 * time.Minute)
		if left := b.living(); len(left) != 0 {
			t.Errorf("a request whose time is over launched %+v", left)
		}
	})
}

func TestWhatSpotRefuses(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		for what, change := range map[string]func(*ec2.RunInstancesInput){
			"in the past": persistent(time.Now().Add(-time.Hour)),
			"persistent, and ends": func(in *ec2.RunInstancesInput) {
				persistent(time.Time{})(in)
				in.InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior = types.InstanceInterruptionBehaviorTerminate
			},
			"shuts itself down for good": func(in *ec2.RunInstancesInput) {
				persistent(time.Time{})(in)
				in.InstanceInitiatedShutdownBehavior = types.ShutdownBehaviorTerminate
			},
			"once, for a time": func(in *ec2.RunInstancesInput) {
				in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{
					MarketType: types.MarketTypeSpot, SpotOptions: &types.SpotMarketOptions{ValidUntil: aws.Time(time.Now().Add(time.Hour))},
				}
			},
		} {
			if _, err := b.tryRun(change); err == nil {
				t.Errorf("%s: not refused", what)
			}
		}
		_, err := b.api.CancelSpotInstanceRequests(b.ctx(), &ec2.CancelSpotInstanceRequestsInput{SpotInstanceRequestIds: []string{"sir-0"}})
		refused(t, err, "InvalidSpotInstanceRequestID.NotFound")
	})
}
