package incus

import (
	"context"
	"strings"
	"time"

	client "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

// Reboot shuts down cleanly and starts again; a system that does not shut down within Config.Grace
// is reset. It returns when the system has been started, not when it is up.
func (p *Provider) Reboot(ctx context.Context, id cloud.ServerID) error {
	return p.power(ctx, "reboot "+string(id), id, api.InstanceStatePut{Action: "restart"}, api.Running)
}

// Stop shuts down cleanly, or pulls the plug at once (force) or after Config.Grace. Stopping a
// stopped server is no error.
func (p *Provider) Stop(ctx context.Context, id cloud.ServerID, force bool) error {
	return p.power(ctx, "stop "+string(id), id, api.InstanceStatePut{Action: "stop", Force: force}, api.Stopped)
}

// Start starts a stopped server. Starting a running one is no error.
func (p *Provider) Start(ctx context.Context, id cloud.ServerID) error {
	return p.power(ctx, "start "+string(id), id, api.InstanceStatePut{Action: "start"}, api.Running)
}

func (p *Provider) power(ctx context.Context, call string, id cloud.ServerID, put api.InstanceStatePut, goal api.StatusCode) error {
	c, in, err := p.lookup(ctx, id)
	if err != nil {
		return fail(call, err)
	}
	if put.Action == "restart" && in.StatusCode != api.Running {
		return refuse(call, "it is %s", strings.ToLower(in.Status))
	}
	if put.Action != "restart" && in.StatusCode == goal {
		return nil
	}
	for _, try := range p.tries(put) {
		err = p.switchTo(ctx, c, in.Name, try)
		if err == nil || ctx.Err() != nil || absent(err) {
			return fail(call, err)
		}
		state, _, lost := c.GetInstanceState(in.Name)
		if lost != nil {
			return fail(call, lost)
		}
		if state.StatusCode == api.Stopped { // down after all; a restart may have broken off between its halves
			if goal == api.Stopped {
				return nil
			}
			return fail(call, p.switchTo(ctx, c, in.Name, api.InstanceStatePut{Action: "start", Timeout: -1}))
		}
		p.cfg.Log.Warn("the state did not change as asked", "server", id, "call", call, "force", try.Force, "err", err)
	}
	return fail(call, err)
}

// tries lists what is to be done for a change of state, one after the other until one succeeds.
func (p *Provider) tries(put api.InstanceStatePut) []api.InstanceStatePut {
	put.Timeout = -1
	if put.Action == "start" || put.Force {
		return []api.InstanceStatePut{put}
	}
	pull := put
	pull.Force = true
	put.Timeout = max(1, int(p.cfg.Grace/time.Second))
	return []api.InstanceStatePut{put, pull}
}

// switchTo changes the state of an instance; while something else works on it, it waits.
func (p *Provider) switchTo(ctx context.Context, c client.InstanceServer, name string, put api.InstanceStatePut) error {
	return incusd.Patiently(ctx, c, name, func() error {
		if put.Action != "start" && !put.Force {
			defer incusd.Remind(ctx, c, name)()
		}
		op, err := c.UpdateInstanceState(name, put, "")
		_, err = incusd.Finish(c, op, err)
		return err
	})
}

// Destroy pulls the plug and removes the container. Devices go with it, volumes do not.
func (p *Provider) Destroy(ctx context.Context, id cloud.ServerID) error {
	call := "destroy " + string(id)
	c, in, err := p.lookup(ctx, id)
	if err != nil {
		return skipAbsent(fail(call, err))
	}
	name := in.Name
	err = incusd.Patiently(ctx, c, name, func() error {
		state, _, err := c.GetInstanceState(name)
		if err != nil {
			return err
		}
		if state.StatusCode != api.Stopped {
			op, err := c.UpdateInstanceState(name, api.InstanceStatePut{Action: "stop", Force: true, Timeout: -1}, "")
			if _, err := incusd.Finish(c, op, err); err != nil && !strings.Contains(err.Error(), "already stopped") {
				return err
			}
		}
		op, err := c.DeleteInstance(name)
		_, err = incusd.Finish(c, op, err)
		return err
	})
	return skipAbsent(fail(call, err))
}

func skipAbsent(err error) error {
	if cloud.CodeOf(err) == cloud.CodeNotFound {
		return nil
	}
	return err
}

// publishing selects captures of any instance: Incus 6.0 does not say of which, and calls them so.
func publishing(op api.Operation) bool { return op.Description == "Downloading image" }
