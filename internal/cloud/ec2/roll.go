package ec2

import (
	"context"
	"math"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	scaling "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Roll makes a version of the group's launch template that launches the image, and starts an instance
// refresh to it. Both are adopted: the version by its description, the refresh by the version.
//
// The refresh rolls back by itself. Auto Scaling is the first to know that new servers do not become
// healthy, it knows while Hallmark is down, and so no group stays half of an image that failed. Servers
// are replaced whatever they were launched from (no skip matching), and without a stop in between (no
// checkpoints): whether it goes well the load balancer says. From an image that was revoked there is no way back: then
// the refresh stops where it fails, and the servers that are left go on.
func (p *Provider) Roll(ctx context.Context, roll cloud.Roll) error {
	call := "roll " + roll.Group + " to " + string(roll.Image)
	r, err := p.rolling(ctx, call, roll)
	if err != nil {
		return fail(call, err)
	}
	switch {
	case r.state() != "":
		return nil
	case r.made == "":
		if err = p.rollable(ctx, call, r, roll); err == nil {
			r, err = p.makeVersion(ctx, call, r, roll)
		}
	case r.version() != r.from:
		err = conflict(call, "the group launched version %s of its template when this was prepared, and now version %s", r.from, r.version())
	}
	var revoked bool
	if err == nil {
		revoked, err = p.isDisabled(ctx, r.before)
	}
	if err == nil {
		err = p.refresh(ctx, call, r, roll, r.made, &scaling.RefreshPreferences{AutoRollback: aws.Bool(!revoked), SkipMatching: aws.Bool(false)})
	}
	return fail(call, err)
}

// isDisabled reports whether nobody can launch an image any more, though it is there.
func (p *Provider) isDisabled(ctx context.Context, ami string) (bool, error) {
	found, err := p.describeImage(ctx, p.api, ami)
	if err != nil {
		return false, skipAbsent(err)
	}
	return found.State == types.ImageStateDisabled, nil
}

// makeVersion makes the version, and waits until it can be seen.
func (p *Provider) makeVersion(ctx context.Context, call string, r *rolling, roll cloud.Roll) (*rolling, error) {
	_, err := p.api.CreateLaunchTemplateVersion(ctx, &ec2.CreateLaunchTemplateVersionInput{
		LaunchTemplateId: &r.template, SourceVersion: aws.String(r.version()), ClientToken: aws.String(rollToken(roll)),
		VersionDescription: aws.String(description(roll, r.version())),
		LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String(string(roll.Image))},
	})
	if err != nil {
		return nil, err
	}
	err = p.until(ctx, "the version for "+string(roll.Image)+" is visible", visibleIn, func(ctx context.Context) (bool, error) {
		r, err = p.rolling(ctx, call, roll)
		return err == nil && r.made != "", err
	})
	return r, err
}

// refresh starts an instance refresh to a version, and waits until it can be seen.
func (p *Provider) refresh(ctx context.Context, call string, r *rolling, roll cloud.Roll, to string, how *scaling.RefreshPreferences) error {
	how.MinHealthyPercentage, how.MaxHealthyPercentage = bounds(roll.Healthy)
	if roll.Warmup > 0 {
		how.InstanceWarmup = aws.Int32(int32(min(math.Ceil(roll.Warmup.Seconds()), math.MaxInt32)))
	}
	out, err := p.scaling[p.cfg.Region].StartInstanceRefresh(ctx, &autoscaling.StartInstanceRefreshInput{
		AutoScalingGroupName: &roll.Group, Strategy: scaling.RefreshStrategyRolling, Preferences: how,
		DesiredConfiguration: &scaling.DesiredConfiguration{LaunchTemplate: &scaling.LaunchTemplateSpecification{LaunchTemplateId: &r.template, Version: &to}},
	})
	if is(err, "InstanceRefreshInProgress") { // ours, if another process was faster
		if r, again := p.rolling(ctx, call, roll); again == nil && (r.back != nil && to == r.from && active(r.back) || r.there != nil && to == r.made && active(r.there)) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	return p.until(ctx, "the refresh of "+roll.Group+" is visible", visibleIn, func(ctx context.Context) (bool, error) {
		r, err := p.rolling(ctx, call, roll)
		if err != nil {
			return false, err
		}
		for _, f := range []*scaling.InstanceRefresh{r.there, r.back} {
			if f != nil && aws.ToString(f.InstanceRefreshId) == aws.ToString(out.InstanceRefreshId) {
				return true, nil
			}
		}
		return false, nil
	})
}

// bounds are how few and how many of a group's servers may be there in between. Where the upper one is
// given, Auto Scaling launches before it terminates if it cannot keep within both.
func bounds(healthy int) (least, most *int32) {
	if healthy <= 0 || healthy >= 100 {
		return aws.Int32(100), aws.Int32(110)
	}
	return aws.Int32(int32(healthy)), aws.Int32(100)
}

// active reports whether a refresh goes on, and forwards.
func active(f *scaling.InstanceRefresh) bool {
	switch f.Status {
	case scaling.InstanceRefreshStatusPending, scaling.InstanceRefreshStatusInProgress, scaling.InstanceRefreshStatusBaking:
		return true
	}
	return false
}

// Unroll rolls a refresh back that goes on. From one that has ended, in whatever way, another leads back
// to the version before; that one leaves alone the servers that are of it still.
func (p *Provider) Unroll(ctx context.Context, roll cloud.Roll) error {
	call := "roll " + roll.Group + " back from " + string(roll.Image)
	return fail(call, p.until(ctx, roll.Group+" can be rolled back", visibleIn, func(ctx context.Context) (bool, error) {
		r, err := p.rolling(ctx, call, roll)
		if err != nil {
			return false, err
		}
		switch r.state() {
		case "", cloud.RollBack, cloud.RollUndone:
			return true, nil
		case cloud.RollGoing:
			if !active(r.there) { // somebody cancels it at this moment
				return false, nil
			}
			if err := p.mayReturn(ctx, call, r); err != nil {
				return false, err
			}
			_, err := p.scaling[p.cfg.Region].RollbackInstanceRefresh(ctx, &autoscaling.RollbackInstanceRefreshInput{AutoScalingGroupName: &roll.Group})
			if is(err, "ActiveInstanceRefreshNotFound") { // it ended at this moment
				return false, nil
			}
			return true, err
		}
		if v := r.version(); v != r.made && v != r.from {
			return false, conflict(call, "the group was changed since: it launches version %s of its template", v)
		}
		if err := p.mayReturn(ctx, call, r); err != nil {
			return false, err
		}
		return true, p.refresh(ctx, call, r, roll, r.from, &scaling.RefreshPreferences{SkipMatching: aws.Bool(true)})
	}))
}

// mayReturn refuses to lead a group back to an image that was revoked: it would lose servers and launch none.
func (p *Provider) mayReturn(ctx context.Context, call string, r *rolling) error {
	revoked, err := p.isDisabled(ctx, r.before)
	if err == nil && revoked {
		return refuse(call, "%s, which version %s of its template launches, is disabled, because its set was revoked, or by hand: roll it to another image", r.before, r.from)
	}
	return err
}

// Rolled tells the state of the refresh, and what the group's activities say of why it failed.
func (p *Provider) Rolled(ctx context.Context, roll cloud.Roll) (cloud.RollProgress, error) {
	call := "look at the roll of " + roll.Group
	r, err := p.rolling(ctx, call, roll)
	if err != nil {
		return cloud.RollProgress{}, fail(call, err)
	}
	progress := cloud.RollProgress{State: r.state(), Percent: r.percent()}
	switch progress.State {
	case "":
		return cloud.RollProgress{}, lost(call, "it was not begun")
	case cloud.RollGoing, cloud.RollDone:
		return progress, nil
	}
	progress.Cause, progress.Reason, err = p.blame(ctx, r)
	return progress, fail(call, err)
}

// state is where the group is on its way; "" if it has not begun.
func (r *rolling) state() cloud.RollState {
	switch {
	case r.back != nil:
		switch {
		case active(r.back), r.back.Status == scaling.InstanceRefreshStatusCancelling:
			return cloud.RollBack
		case r.back.Status == scaling.InstanceRefreshStatusSuccessful:
			return cloud.RollUndone
		}
		return cloud.RollStuck
	case r.there == nil && r.made != "" && r.version() == r.made: // Auto Scaling forgets refreshes after some weeks
		return cloud.RollDone
	case r.there == nil:
		return ""
	}
	switch r.there.Status {
	case scaling.InstanceRefreshStatusSuccessful:
		return cloud.RollDone
	case scaling.InstanceRefreshStatusRollbackInProgress:
		return cloud.RollBack
	case scaling.InstanceRefreshStatusRollbackSuccessful:
		return cloud.RollUndone
	case scaling.InstanceRefreshStatusFailed, scaling.InstanceRefreshStatusCancelled, scaling.InstanceRefreshStatusRollbackFailed:
		return cloud.RollStuck
	}
	return cloud.RollGoing
}

// percent is how much of the group is new.
func (r *rolling) percent() int {
	there := 100
	if r.there != nil && r.there.Status != scaling.InstanceRefreshStatusSuccessful {
		there = int(aws.ToInt32(r.there.PercentageComplete))
	}
	if r.back == nil {
		return there
	}
	if r.back.Status == scaling.InstanceRefreshStatusSuccessful {
		return 0
	}
	return there * (100 - int(aws.ToInt32(r.back.PercentageComplete))) / 100
}

// began is when the roll began; zero if nobody remembers.
func (r *rolling) began() time.Time {
	if r.there == nil {
		return time.Time{}
	}
	return aws.ToTime(r.there.StartTime)
}
