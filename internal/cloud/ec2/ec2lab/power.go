package ec2lab

import (
	"context"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

type instanceIDs struct {
	dry
	InstanceID []string `query:"required"`
}

type change struct {
	ID       string    `xml:"instanceId"`
	Current  stateView `xml:"currentState"`
	Previous stateView `xml:"previousState"`
}

type changes struct {
	Instances []change `xml:"instancesSet>item"`
}

// changed does something to all instances and tells how their states have changed.
func changed(list []*instance, do func(*instance)) changes {
	var all changes
	for _, i := range list {
		before := i.state
		do(i)
		all.Instances = append(all.Instances, change{i.id, i.state.view(), before.view()})
	}
	return all
}

func wrongState(i *instance, verb string) error {
	return query.Errorf("IncorrectInstanceState", "The instance '%s' is not in a state from which it can be %s: it is %s.", i.id, verb, stateNames[i.state])
}

// userReason is what EC2 says of a change that was asked for.
func (c *call) userReason() string {
	return "User initiated (" + c.at.Format("2006-01-02 15:04:05 GMT") + ")"
}

type startInstances instanceIDs

func (c *call) startInstances(in *startInstances) (any, error) {
	list, err := c.chosen(in.InstanceID)
	if err != nil {
		return nil, err
	}
	for _, i := range list {
		if i.state != stopped && i.state != running && i.state != pending {
			return nil, wrongState(i, "started")
		}
		if q := i.request; i.state == stopped && q != nil && q.state != spotDisabled {
			return nil, query.Errorf(wrongSpot, "You can't start the Spot Instance '%s' because the associated Spot Instance request is not in an appropriate state to support start.", i.id)
		}
		if i.state == stopped {
			if err := c.capacity(i.kind.name, i.nic.subnet.zone); err != nil {
				return nil, err
			}
		}
	}
	return changed(list, func(i *instance) {
		if i.state != stopped {
			return
		}
		c.enter(i, pending, "", nil)
		i.launched = c.at
		c.queue(i, true, func(ctx context.Context) {
			err := c.host.Start(ctx, i.id)
			c.afterStart(ctx, i, err)
		})
	}), nil
}

// afterStart is the second half of every start.
func (l *Lab) afterStart(ctx context.Context, i *instance, err error) {
	if err == nil {
		err = l.cfg.Clock.Sleep(ctx, l.cfg.Delays.Launch)
	}
	l.locked(func() {
		switch {
		case i.state != pending: // somebody terminates it
		case err == nil:
			l.enter(i, running, "", nil)
		case ctx.Err() == nil:
			l.cfg.Log.Error("start", "instance", i.id, "err", err)
			l.enter(i, stopped, "Server.InternalError", &reason{"Server.InternalError", "Server.InternalError: Internal error on launch"})
		}
	})
}

type stopInstances struct {
	instanceIDs
	Force, SkipOsShutdown, Hibernate bool
}

func (c *call) stopInstances(in *stopInstances) (any, error) {
	list, err := c.chosen(in.InstanceID)
	if err != nil {
		return nil, err
	}
	if in.Hibernate {
		return nil, query.Errorf("UnsupportedOperation", "The lab does not hibernate")
	}
	for _, i := range list {
		if i.state != running && i.state != stopping && i.state != stopped {
			return nil, wrongState(i, "stopped")
		}
		if q := i.request; q != nil && q.persistent && q.over() {
			return nil, query.Errorf(wrongSpot, "You can't stop the Spot Instance '%s' because the associated Spot Instance request is not in an appropriate state to support stop.", i.id)
		} else if q != nil && !q.persistent {
			return nil, query.Errorf("UnsupportedOperation", "You can't stop the Spot Instance '%s' because it is associated with a one-time Spot Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests.", i.id)
		}
	}
	pull := in.Force || in.SkipOsShutdown
	return changed(list, func(i *instance) {
		if i.state == stopped || i.state == stopping && !pull {
			return
		}
		if i.cancel != nil && pull {
			i.cancel() // a clean shutdown that does not end
		}
		i.impaired = time.Time{}
		c.enter(i, stopping, c.userReason(), &reason{"Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"})
		c.queue(i, true, func(ctx context.Context) { c.stopped(ctx, i, pull) })
	}), nil
}

func (l *Lab) stopped(ctx context.Context, i *instance, force bool) {
	err := l.host.Stop(ctx, i.id, force)
	if err == nil {
		err = l.cfg.Clock.Sleep(ctx, l.cfg.Delays.Stop)
	}
	l.locked(func() {
		switch {
		case i.state != stopping || ctx.Err() != nil:
		case err != nil:
			l.cfg.Log.Error("stop", "instance", i.id, "err", err)
			l.enter(i, running, "", nil)
		default:
			l.enter(i, stopped, i.transition, i.reason)
		}
	})
}

type rebootInstances instanceIDs

func (c *call) rebootInstances(in *rebootInstances) (any, error) {
	list, err := c.chosen(in.InstanceID)
	if err != nil {
		return nil, err
	}
	for _, i := range list {
		if i.state != running {
			return nil, query.Errorf("IncorrectState", "The instance '%s' is not in the 'running' state", i.id)
		}
	}
	for _, i := range list {
		i.impaired, i.events = time.Time{}, nil // a reboot is what such events ask for
		c.queue(i, true, func(ctx context.Context) {
			if err := c.host.Reboot(ctx, i.id); err != nil && ctx.Err() == nil {
				c.cfg.Log.Error("reboot", "instance", i.id, "err", err)
			}
		})
	}
	return done{true}, nil
}

// terminateInstances shuts machines down first, as EC2 does unless SkipOsShutdown says that the plug is
// to be pulled. Force changes nothing here: no instance of the lab is stuck.
type terminateInstances struct {
	instanceIDs
	Force, SkipOsShutdown bool
}

func (c *call) terminateInstances(in *terminateInstances) (any, error) {
	list, err := c.chosen(in.InstanceID)
	if err != nil {
		return nil, err
	}
	for _, i := range list {
		if i.keep && i.state != terminated {
			return nil, query.Errorf("OperationNotPermitted", "The instance '%s' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.", i.id)
		}
	}
	return changed(list, func(i *instance) {
		c.terminate(i, c.userReason(), &reason{"Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"}, !in.SkipOsShutdown)
	}), nil
}
