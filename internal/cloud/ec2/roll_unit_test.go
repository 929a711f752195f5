package ec2

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	scaling "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/hallmark-ci/hallmark/internal/verdict"
)

func TestWhatActivitiesTell(t *testing.T) {
	launched := map[string]bool{"i-00": true}
	const elb = "At 2026-11-25T03:00:00Z an instance was taken out of service in response to an ELB system health check failure."
	for _, c := range []struct {
		name, did, cause, said string
		status                 scaling.ScalingActivityStatusCode
		want                   verdict.Cause
	}{
		{"no room", "Launching a new EC2 instance.  Status Reason: We currently do not have sufficient m7i.large capacity in the zone.", "",
			"We currently do not have sufficient m7i.large capacity in the zone.", scaling.ScalingActivityStatusCodeFailed, verdict.CloudCapacity},
		{"not allowed", "Launching a new EC2 instance.  Status Reason: You are not authorized.", "", "You are not authorized.",
			scaling.ScalingActivityStatusCodeFailed, verdict.CloudRefused},
		{"a new one is unhealthy", "Terminating EC2 instance: i-00", elb, "", scaling.ScalingActivityStatusCodeSuccessful, verdict.HealthFailed},
		{"an old one is unhealthy", "Terminating EC2 instance: i-11", elb, "", scaling.ScalingActivityStatusCodeSuccessful, verdict.None},
		{"a new one is lost", "Terminating EC2 instance: i-00", "At 2026-11-25T03:00:00Z an instance was taken out of service in response to an EC2 health check indicating it has been terminated or stopped.",
			"", scaling.ScalingActivityStatusCodeSuccessful, verdict.CloudLost},
		{"as it should be", "Launching a new EC2 instance: i-00", "", "", scaling.ScalingActivityStatusCodeSuccessful, verdict.None},
		{"the refresh itself", "Terminating EC2 instance: i-00", "At 2026-11-25T03:00:00Z an instance was taken out of service in response to an instance refresh.", "",
			scaling.ScalingActivityStatusCodeSuccessful, verdict.None},
	} {
		if got, _ := told(scaling.Activity{Description: &c.did, Cause: &c.cause, StatusMessage: &c.said, StatusCode: c.status}, launched); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestHowManyServeInBetween(t *testing.T) {
	for healthy, want := range map[int][2]int32{0: {100, 110}, 100: {100, 110}, 60: {60, 100}} {
		if least, most := bounds(healthy); aws.ToInt32(least) != want[0] || aws.ToInt32(most) != want[1] {
			t.Errorf("%d: %d to %d, want %v", healthy, *least, *most, want)
		}
	}
}
