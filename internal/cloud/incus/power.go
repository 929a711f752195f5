package incus

import (
	"context"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

// Reboot shuts down cleanly and starts again; a system that does not shut down within Config.Grace
// is reset. It returns when the system has been started, not when it is up.
func (p *Provider) Reboot(ctx context.Context, id cloud.ServerID) error {
	return p.power(ctx, "reboot "+string(id), id, incusd.StateChange{Action: "restart"}, incusd.Running)
}

// Stop shuts down cleanly, or pulls the plug at once (force) or after Config.Grace. Stopping a
// stopped server is no error.
func (p *Provider) Stop(ctx context.Context, id cloud.ServerID, force bool) error {
	return p.power(ctx, "stop "+string(id), id, incusd.StateChange{Action: "stop", Force: force}, incusd.Stopped)
}

// Start starts a stopped server. Starting a running one is no error.
func (p *Provider) Start(ctx context.Context, id cloud.ServerID) error {
	return p.power(ctx, "start "+string(id), id, incusd.StateChange{Action: "start"}, incusd.Running)
}

func (p *Provider) power(ctx context.Context, call string, id cloud.ServerID, put incusd.StateChange, goal incusd.Status) error {
	c, in, err := p.lookup(ctx, id)
	if err != nil {
		return fail(call, err)
	}
	if put.Action == "restart" && in.StatusCode != incusd.Running {
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
		state, lost := c.InstanceState(ctx, in.Name)
		if lost != nil {
			return fail(call, lost)
		}
		if state.StatusCode == incusd.Stopped { // down after all; a restart may have broken off between its halves
			if goal == incusd.Stopped {
				return nil
			}
			return fail(call, p.switchTo(ctx, c, in.Name, incusd.StateChange{Action: "start"}))
		}
		p.cfg.Log.Warn("the state did not change as asked", "server", id, "call", call, "force", try.Force, "err", err)
	}
	return fail(call, err)
}

// tries lists what is to be done for a change of state, one after the other until one succeeds.
func (p *Provider) tries(put incusd.StateChange) []incusd.StateChange {
	if put.Action == "start" || put.Force {
		return []incusd.StateChange{put}
	}
	pull := put
	pull.Force = true
	put.Timeout = p.cfg.Grace
	return []incusd.StateChange{put, pull}
}

// switchTo changes the state of an instance; while something else works on it, it waits.
func (p *Provider) switchTo(ctx context.Context, c *incusd.Client, name string, put incusd.StateChange) error {
	return incusd.Patiently(ctx, c, name, func() error {
		if put.Action != "start" && !put.Force {
			defer incusd.Remind(ctx, c, name)()
		}
		return c.ChangeState(ctx, name, put)
	})
}

// Destroy pulls the plug and removes the container, with its console and logs. Devices go with it, volumes
// do not.
func (p *Provider) Destroy(ctx context.Context, id cloud.ServerID) error {
	call := "destroy " + string(id)
	c, in, err := p.lookup(ctx, id)
	if err != nil {
		return skipAbsent(fail(call, err)) // what a crash left in the logs goes with the network
	}
	name := in.Name
	err = incusd.Patiently(ctx, c, name, func() error {
		state, err := c.InstanceState(ctx, name)
		if err != nil {
			return err
		}
		if state.StatusCode != incusd.Stopped {
			err := c.ChangeState(ctx, name, incusd.StateChange{Action: "stop", Force: true})
			if err != nil && !strings.Contains(err.Error(), "already stopped") {
				return err
			}
		}
		return c.DeleteInstance(ctx, name)
	})
	if err := skipAbsent(fail(call, err)); err != nil {
		return err
	}
	return fail(call, incusd.RemoveInstanceLogs(p.cfg.LogDir, in.Project, name))
}

func skipAbsent(err error) error {
	if cloud.CodeOf(err) == cloud.CodeNotFound {
		return nil
	}
	return err
}

// publishing selects captures of any instance: Incus 6.0 does not say of which, and calls them so.
func publishing(op incusd.Operation) bool { return op.Description == "Downloading image" }
