package ec2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// fail makes a *cloud.Error of whatever a call gave; nil stays nil, a *cloud.Error stays as it is.
// The end of a context is kept for errors.Is.
func fail(call string, err error) error {
	if err == nil {
		return nil
	}
	if cloud.CodeOf(err) != "" {
		return err
	}
	return &cloud.Error{Call: call, Code: classify(err), Err: plain(err)}
}

// refuse is what EC2 need not even be asked.
func refuse(call, format string, args ...any) error {
	return &cloud.Error{Call: call, Code: cloud.CodeRefused, Err: fmt.Errorf(format, args...)}
}

// conflict says that a name is taken by something different, or that something is not ours.
func conflict(call, format string, args ...any) error {
	return &cloud.Error{Call: call, Code: cloud.CodeConflict, Err: fmt.Errorf(format, args...)}
}

// lost says that something is not there.
func lost(call, format string, args ...any) error {
	return &cloud.Error{Call: call, Code: cloud.CodeNotFound, Err: fmt.Errorf(format, args...)}
}

// absent reports whether something is not there, or not to be seen yet.
func absent(err error) bool { return err != nil && classify(err) == cloud.CodeNotFound }

func skipAbsent(err error) error {
	if absent(err) {
		return nil
	}
	return err
}

// gone ends a removal. Where rights depend on tags, AWS denies a call on what is not there any more, for
// that has none, instead of saying that it is not there: so whoever is denied looks again.
func gone[T any](ctx context.Context, err error, look func(context.Context) ([]T, error)) error {
	if !is(err, "UnauthorizedOperation", "AccessDeniedException") {
		return skipAbsent(err)
	}
	if found, again := look(ctx); len(found) == 0 && skipAbsent(again) == nil {
		return nil
	}
	return err
}

// noRoom are the codes of a lack of capacity in one zone: another zone or type may have room.
var noRoom = []string{"InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientCapacity", "UnfulfillableCapacity", "SpotMaxPriceTooLow"}

// unsupported is what EC2 says of a type that a zone does not have at all.
const unsupported = "Unsupported"

// quotas are the codes of limits that an account has.
var quotas = []string{
	"VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded", "VolumeLimitExceeded", "SnapshotLimitExceeded",
	"MaxIOPSLimitExceeded", "AttachmentLimitExceeded", "NetworkInterfaceLimitExceeded", "SecurityGroupLimitExceeded",
	"RulesPerSecurityGroupLimitExceeded", "SecurityGroupsPerInterfaceLimitExceeded", "ResourceLimitExceeded",
	"InsufficientFreeAddressesInSubnet", "InsufficientAddressCapacity", "InsufficientVolumeCapacity", "ImageLimitExceeded", "AMIQuotaExceeded",
	"TooManyRegistrationsForTargetId", "TooManyTargets", "LimitExceeded",
	"ResourceCountExceeded", "ParameterLimitExceeded", "PendingSnapshotLimitExceeded", "ConcurrentSnapshotLimitExceeded", "TagLimitExceeded",
}

var throttles = []string{
	"RequestLimitExceeded", "Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException", "RequestThrottled",
	"EC2ThrottledException", "SnapshotCreationPerVolumeRateExceeded", "CopySnapshotRateExceeded", "TooManyUpdates", "PriorRequestNotComplete",
}

var conflicts = []string{
	"InvalidGroup.Duplicate", "InvalidAMIName.Duplicate", "IdempotentParameterMismatch", "InvalidNetworkInterface.InUse", "VolumeInUse",
	"InvalidIPAddress.InUse", "InvalidSnapshot.InUse", "DependencyViolation", "ParameterAlreadyExists", "IncorrectModificationState",
	"InstanceRefreshInProgress", "ScalingActivityInProgress",
}

var missing = []string{
	"InvalidAMIID.Malformed", "InvalidAMIID.Unavailable", "InvalidInstanceID.Malformed", "InvalidVolumeID.Malformed", "InvalidVolumeID.Duplicate",
	"InvalidSnapshotID.Malformed", "InvalidNetworkInterfaceId.Malformed", "InvalidGroupId.Malformed", "ParameterNotFound", "ParameterVersionNotFound",
	"TargetGroupNotFound",
}

// forbidden are the codes of what the credentials do not allow.
var forbidden = []string{
	"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "AuthFailure", "OptInRequired", "InvalidClientTokenId", "ExpiredToken",
	"ExpiredTokenException", "UnrecognizedClientException", "SignatureDoesNotMatch", "Blocked", "PendingVerification",
}

func classify(err error) cloud.Code {
	if code := cloud.CodeOf(err); code != "" {
		return code
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return cloud.CodeDown
	}
	var said smithy.APIError
	if errors.As(err, &said) {
		code := said.ErrorCode()
		switch {
		case slices.Contains(throttles, code):
			return cloud.CodeThrottled
		case slices.Contains(noRoom, code), slices.Contains(quotas, code), code == unsupported:
			return cloud.CodeCapacity
		case slices.Contains(conflicts, code):
			return cloud.CodeConflict
		case slices.Contains(missing, code), strings.HasSuffix(code, ".NotFound"):
			return cloud.CodeNotFound
		case strings.HasPrefix(code, "Server."), code == "InternalError", code == "InternalFailure", code == "ServiceUnavailable", code == "Unavailable", code == "InternalServerError",
			code == "ResourceContention":
			return cloud.CodeDown
		}
	}
	var spent ratelimit.QuotaExceededError
	if errors.As(err, &spent) || errors.Is(err, errPaced) { // the SDK has slowed down as far as it goes
		return cloud.CodeThrottled
	}
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) && answer.HTTPStatusCode() >= http.StatusInternalServerError {
		return cloud.CodeDown
	}
	var sent *smithy.OperationError // never answered, or not understood
	if said == nil && errors.As(err, &sent) && !credentialTrouble(err) {
		return cloud.CodeDown
	}
	return cloud.CodeRefused
}

// credentialTrouble reports whether a request could not even be signed.
func credentialTrouble(err error) bool {
	return strings.Contains(err.Error(), "get identity") || strings.Contains(err.Error(), "failed to refresh cached credentials")
}

// plain says what a person can do something about: EC2's encoded authorization messages fill screens,
// and the SDK wraps its errors in request ids and attempts.
func plain(err error) error {
	var said smithy.APIError
	sent := innermost(err)
	if sent == nil || !errors.As(err, &said) {
		return err
	}
	action := service(sent.Service()) + ":" + sent.Operation()
	if slices.Contains(forbidden, said.ErrorCode()) {
		message, _, _ := strings.Cut(said.ErrorMessage(), " Encoded authorization failure message")
		return &refusal{text: fmt.Sprintf("the credentials do not allow %s (%s: %s); docs/ec2.md has the policy that is needed", action, said.ErrorCode(), message), err: err}
	}
	return &refusal{text: fmt.Sprintf("%s: %s: %s", action, said.ErrorCode(), said.ErrorMessage()), err: err}
}

// service is the SDK's name of a service as policies spell it.
func service(id string) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimSuffix(id, " v2"), " ", ""))
}

// innermost is the call that went wrong: a role is assumed within another call. Nil if there is none.
func innermost(err error) (found *smithy.OperationError) {
	for sent := new(smithy.OperationError); errors.As(err, &sent); err = sent.Err {
		found = sent
	}
	return found
}

// refusal is an error of the SDK in fewer words.
type refusal struct {
	text string
	err  error
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.err }

// is reports whether EC2 said one of these codes.
func is(err error, codes ...string) bool {
	var said smithy.APIError
	return errors.As(err, &said) && slices.Contains(codes, said.ErrorCode())
}

// because gives EC2's reason for a state.
func because(code, message *string) string {
	if message == nil && code == nil {
		return "EC2 gives no reason"
	}
	if message == nil {
		return aws.ToString(code)
	}
	return *message
}
