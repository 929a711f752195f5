package ec2

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elasticloadbalancing "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// drainIn bounds how long a target may take to leave: the longest delay that a target group can have is
// an hour.
const drainIn = 70 * time.Minute

// pool is a target group.
type pool struct {
	arn, name string
	port      int32
	kind      types.TargetTypeEnum
	tags      tags
}

// pool finds a target group by its name or ARN, whosever it is.
func (p *Provider) pool(ctx context.Context, name string) (*pool, error) {
	call := "look at target group " + name
	in := &elasticloadbalancing.DescribeTargetGroupsInput{Names: []string{name}}
	if strings.HasPrefix(name, "arn:") {
		in.Names, in.TargetGroupArns = nil, in.Names
	}
	out, err := p.balancing.DescribeTargetGroups(ctx, in)
	if err != nil {
		return nil, fail(call, err)
	}
	if len(out.TargetGroups) == 0 {
		return nil, lost(call, "there is no such target group")
	}
	g := out.TargetGroups[0]
	found := &pool{arn: aws.ToString(g.TargetGroupArn), name: aws.ToString(g.TargetGroupName), port: aws.ToInt32(g.Port), kind: g.TargetType, tags: tags{}}
	labels, err := p.balancing.DescribeTags(ctx, &elasticloadbalancing.DescribeTagsInput{ResourceArns: []string{found.arn}})
	if err != nil {
		return nil, fail(call, err)
	}
	for _, d := range labels.TagDescriptions {
		for _, t := range d.Tags {
			found.tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
	}
	if k := found.kind; k != types.TargetTypeEnumInstance && k != types.TargetTypeEnumIp {
		return nil, refuse(call, "its targets are of type %s: servers are of type instance or ip", k)
	}
	return found, nil
}

// target is what a pool calls a server. The pool has to belong to whom the server belongs to.
func (p *Provider) target(ctx context.Context, call string, g *pool, id cloud.ServerID) (string, error) {
	in, err := p.find(ctx, id)
	if err != nil {
		return "", err
	}
	if err := ours(call, g.tags, read(in.Tags)[tagOwner]); err != nil {
		return "", err
	}
	if g.kind == types.TargetTypeEnumIp {
		return aws.ToString(in.PrivateIpAddress), nil
	}
	return string(id), nil
}

// Leave deregisters an instance from a target group and waits until its connections are drained or the
// group's deregistration delay is over.
func (p *Provider) Leave(ctx context.Context, name string, id cloud.ServerID) error {
	call := "take " + string(id) + " out of " + name
	g, err := p.pool(ctx, name)
	if err != nil {
		return fail(call, err)
	}
	if err := ours(call, g.tags, ""); err != nil {
		return err
	}
	target, err := p.target(ctx, call, g, id)
	if absent(err) && g.kind == types.TargetTypeEnumInstance {
		return nil // EC2 takes an instance that has ended out of its groups
	}
	if err != nil {
		return fail(call, err)
	}
	asked := false
	return fail(call, p.until(ctx, string(id)+" is drained", drainIn, func(ctx context.Context) (bool, error) {
		registered, draining, err := p.membership(ctx, call, g, target)
		if err != nil || registered == nil {
			return !draining, err
		}
		if asked {
			return false, nil
		}
		asked = true
		_, err = p.balancing.DeregisterTargets(ctx, &elasticloadbalancing.DeregisterTargetsInput{TargetGroupArn: &g.arn, Targets: g.describe(target)})
		return false, err
	}))
}

// Join registers a running instance with a target group and waits until the group calls it healthy.
func (p *Provider) Join(ctx context.Context, name string, id cloud.ServerID, patience time.Duration) error {
	call := "put " + string(id) + " into " + name
	g, err := p.pool(ctx, name)
	if err != nil {
		return fail(call, err)
	}
	target, err := p.target(ctx, call, g, id)
	if err != nil {
		return fail(call, err)
	}
	var last *types.TargetHealth
	asked := map[bool]bool{} // by whether it was draining: one that is registered while it drains may still go
	err = p.until(ctx, name+" calls "+string(id)+" healthy", patience, func(ctx context.Context) (bool, error) {
		registered, draining, err := p.membership(ctx, call, g, target)
		last = registered // nil also if somebody has taken it out again
		if err != nil || registered != nil {
			return registered != nil && registered.State == types.TargetHealthStateEnumHealthy, err
		}
		if asked[draining] {
			return false, nil
		}
		asked[draining] = true
		_, err = p.balancing.RegisterTargets(ctx, &elasticloadbalancing.RegisterTargetsInput{TargetGroupArn: &g.arn, Targets: g.describe(target)})
		return false, err
	})
	if errors.Is(err, errLate) {
		return unwell(call, id, last, patience)
	}
	return fail(call, err)
}

// describe names a target as it is registered: on the group's own port.
func (g *pool) describe(target string) []types.TargetDescription {
	return []types.TargetDescription{{Id: &target}}
}

// membership is the health of a registered target, nil if it is not registered, and whether it is just
// leaving. It looks through all targets: asked for one, EC2 gives that on the group's own port only.
func (p *Provider) membership(ctx context.Context, call string, g *pool, target string) (registered *types.TargetHealth, draining bool, err error) {
	out, err := p.balancing.DescribeTargetHealth(ctx, &elasticloadbalancing.DescribeTargetHealthInput{TargetGroupArn: &g.arn})
	if err != nil {
		return nil, false, err
	}
	for _, d := range out.TargetHealthDescriptions {
		if d.Target == nil || d.TargetHealth == nil || aws.ToString(d.Target.Id) != target {
			continue
		}
		switch d.TargetHealth.State {
		case types.TargetHealthStateEnumDraining, types.TargetHealthStateEnumUnhealthyDraining:
			draining = true
			continue
		}
		if d.TargetHealth.Reason == types.TargetHealthReasonEnumNotRegistered {
			continue
		}
		if port := aws.ToInt32(d.Target.Port); port != g.port {
			return nil, false, refuse(call, "it is registered on port %d and the group has %d: it could not be put back like that", port, g.port)
		}
		registered = d.TargetHealth
	}
	return registered, draining, nil
}

// unwell is why a target did not become healthy in its time. What the balancer found by asking the target
// is the product's; that it could not ask, or nobody asks it to, is not.
func unwell(call string, id cloud.ServerID, h *types.TargetHealth, patience time.Duration) error {
	if h == nil {
		return conflict(call, "it was registered, and somebody has taken it out again")
	}
	said := string(h.State)
	for _, more := range []string{string(h.Reason), aws.ToString(h.Description)} {
		if more != "" {
			said += ": " + more
		}
	}
	switch h.Reason {
	case types.TargetHealthReasonEnumResponseCodeMismatch, types.TargetHealthReasonEnumTimeout, types.TargetHealthReasonEnumFailedHealthChecks:
		return verdict.Errorf(verdict.HealthFailed, string(id), "%s: after %s it is %s", call, patience, said)
	case types.TargetHealthReasonEnumNotInUse, types.TargetHealthReasonEnumInvalidState, types.TargetHealthReasonEnumIpUnusable,
		types.TargetHealthReasonEnumHealthCheckDisabled:
		return refuse(call, "it is %s", said)
	}
	return &cloud.Error{Call: call, Code: cloud.CodeDown, Err: fmt.Errorf("%w %s: it is %s", errLate, patience, said)}
}
