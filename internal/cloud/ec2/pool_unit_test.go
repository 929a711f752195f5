package ec2

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Only what the balancer found by asking the server is the product's.
func TestWhoseFaultAnUnhealthyTargetIs(t *testing.T) {
	for reason, want := range map[types.TargetHealthReasonEnum]verdict.Cause{
		types.TargetHealthReasonEnumResponseCodeMismatch: verdict.HealthFailed, types.TargetHealthReasonEnumTimeout: verdict.HealthFailed,
		types.TargetHealthReasonEnumFailedHealthChecks: verdict.HealthFailed,
		types.TargetHealthReasonEnumNotInUse:           verdict.CloudRefused, types.TargetHealthReasonEnumInvalidState: verdict.CloudRefused,
		types.TargetHealthReasonEnumIpUnusable: verdict.CloudRefused, types.TargetHealthReasonEnumHealthCheckDisabled: verdict.CloudRefused,
		types.TargetHealthReasonEnumInternalError: verdict.CloudDown, types.TargetHealthReasonEnumInitialHealthChecking: verdict.CloudDown,
		types.TargetHealthReasonEnumRegistrationInProgress: verdict.CloudDown,
	} {
		err := unwell("put i-1 into web", "i-1", &types.TargetHealth{State: types.TargetHealthStateEnumUnhealthy, Reason: reason}, time.Minute)
		if got := verdict.CauseOf(err); got != want || (cloud.CodeOf(err) == "") != (want == verdict.HealthFailed) {
			t.Errorf("%s: %s, want %s: %v", reason, got, want, err)
		}
	}
	if err := unwell("put i-1 into web", "i-1", nil, time.Minute); cloud.CodeOf(err) != cloud.CodeConflict {
		t.Errorf("taken out by somebody: %v", err)
	}
}

func TestServicesAreNamedAsInPolicies(t *testing.T) {
	for id, want := range map[string]string{"EC2": "ec2", "Auto Scaling": "autoscaling", "Elastic Load Balancing v2": "elasticloadbalancing", "SSM": "ssm"} {
		if got := service(id); got != want {
			t.Errorf("%s: %s", id, got)
		}
	}
}
