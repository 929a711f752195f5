package ec2

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Reboot shuts down cleanly and starts again; EC2 pulls the plug after four minutes. It returns when
// EC2 has taken the order.
func (p *Provider) Reboot(ctx context.Context, id cloud.ServerID) error {
	call := "reboot " + string(id)
	in, err := p.find(ctx, id)
	if err != nil {
		return fail(call, err)
	}
	if in.State.Name != types.InstanceStateNameRunning {
		return refuse(call, "it is %s", in.State.Name)
	}
	_, err = p.api.RebootInstances(ctx, &ec2.RebootInstancesInput{InstanceIds: []string{string(id)}})
	return fail(call, err)
}

// Stop asks for a clean shutdown and returns. With force it leaves the system no time for one, and
// returns when the server is stopped: whoever crashes a server expects it to be down.
func (p *Provider) Stop(ctx context.Context, id cloud.ServerID, force bool) error {
	call := "stop " + string(id)
	in, err := p.settled(ctx, id, types.InstanceStateNamePending)
	if err != nil {
		return fail(call, err)
	}
	switch s := in.State.Name; {
	case s == types.InstanceStateNameStopped, s == types.InstanceStateNameStopping && !force:
		return nil
	}
	order := &ec2.StopInstancesInput{InstanceIds: []string{string(id)}}
	if force {
		order.Force, order.SkipOsShutdown = aws.Bool(true), aws.Bool(true)
	}
	if _, err := p.api.StopInstances(ctx, order); err != nil || !force {
		return fail(call, err)
	}
	_, err = p.settled(ctx, id, types.InstanceStateNameRunning, types.InstanceStateNameStopping)
	return fail(call, err)
}

// Start starts a stopped server, also one that is still shutting down. Starting a running one is no
// error.
func (p *Provider) Start(ctx context.Context, id cloud.ServerID) error {
	call := "start " + string(id)
	in, err := p.settled(ctx, id, types.InstanceStateNameStopping)
	if err != nil {
		return fail(call, err)
	}
	if in.State.Name != types.InstanceStateNameStopped {
		return nil
	}
	_, err = p.api.StartInstances(ctx, &ec2.StartInstancesInput{InstanceIds: []string{string(id)}})
	return fail(call, err)
}

// settled waits until an instance has left these states, and gives it then.
func (p *Provider) settled(ctx context.Context, id cloud.ServerID, leaves ...types.InstanceStateName) (*types.Instance, error) {
	var in *types.Instance
	err := p.until(ctx, string(id)+" is no longer "+string(leaves[len(leaves)-1]), stateIn, func(ctx context.Context) (bool, error) {
		var err error
		if in, err = p.find(ctx, id); err != nil {
			return false, err
		}
		for _, s := range leaves {
			if in.State.Name == s {
				return false, nil
			}
		}
		return true, nil
	})
	return in, err
}

// Destroy terminates an instance without a clean shutdown, and returns when its interface and its
// volumes are free again.
func (p *Provider) Destroy(ctx context.Context, id cloud.ServerID) error {
	call := "destroy " + string(id)
	if isRequest(id) {
		return fail(call, p.endRequest(ctx, call, string(id)))
	}
	in, err := p.find(ctx, id)
	if in == nil {
		return skipAbsent(fail(call, err))
	}
	if skipAbsent(err) != nil {
		return fail(call, err)
	}
	if request := aws.ToString(in.SpotInstanceRequestId); request != "" {
		// First: it would launch another one, and may have if this one has ended by itself.
		last, err := p.cancelRequest(ctx, request)
		if err == nil && last != "" && last != string(id) {
			err = p.terminate(ctx, last)
		}
		if err != nil {
			return fail(call, err)
		}
	}
	return fail(call, p.terminate(ctx, string(id)))
}

// terminate ends an instance, if it has not ended, and waits until nothing is attached to it any more.
func (p *Provider) terminate(ctx context.Context, id string) error {
	_, err := p.api.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}, SkipOsShutdown: aws.Bool(true)})
	err = gone(ctx, err, func(ctx context.Context) ([]types.Instance, error) {
		return p.instances(ctx, []types.Filter{has("instance-id", id), living})
	})
	if err != nil {
		return err
	}
	_, err = p.ending(ctx, id, true)
	return err
}

// ending waits until an instance that is ending has let go of all that outlives it; false if it does not
// end. One that cannot be seen may be ending or just begun: it is looked at each time unless it is known to end.
func (p *Provider) ending(ctx context.Context, id string, known bool) (ends bool, err error) {
	err = p.until(ctx, "nothing is attached to "+id, stateIn, func(ctx context.Context) (bool, error) {
		if !known {
			there, err := p.instances(ctx, []types.Filter{has("instance-id", id), living})
			if err != nil || len(there) > 0 {
				return true, err
			}
		}
		holds, err := p.holding.holds(ctx, p.cfg.Clock, p.cfg.Poll/4, id)
		ends = err == nil && !holds
		return ends, err
	})
	return ends, err
}
