package ec2lab

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// reluctance is for how long a group launches nothing after a launch was refused.
const reluctance = 10 * time.Second

// keep tends a group until it is deleted or the lab is closed.
func (l *Lab) keep(ctx context.Context, r *region, g *scalingGroup) {
	for over := false; !over; {
		if l.cfg.Clock.Sleep(ctx, l.cfg.Watch) != nil {
			return
		}
		l.locked(func() { over = l.tend(ctx, r, g) })
		l.settled(ctx)
	}
}

// tend is one look at a group: what has changed, and what is to be done about it. It reports whether the
// group is gone. Called with mu held.
func (l *Lab) tend(ctx context.Context, r *region, g *scalingGroup) bool {
	now := l.cfg.Clock.Now()
	g.members = slices.DeleteFunc(g.members, func(m *grouped) bool { return m.instance.state == terminated })
	for _, m := range g.members {
		switch {
		case m.state == "Terminating":
			if !now.Before(m.goes) {
				l.terminate(m.instance, "", &reason{"Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"}, true)
			}
		case m.instance.state == shuttingDown:
			l.dismiss(r, g, m, "an instance was taken out of service in response to an EC2 health check indicating it has been terminated or stopped.")
		case m.state == "Pending" && m.instance.state == running:
			m.state, m.at = "InService", now
			for _, pool := range l.poolsOf(r, g) {
				if pool.kind == "instance" {
					pool.register(m.id, 0, now)
				} else {
					pool.register(m.address().String(), 0, now)
				}
			}
		case m.state == "InService":
			if why := l.unfit(r, g, m); why != "" {
				m.ill = true
				l.dismiss(r, g, m, why)
			}
		}
	}
	if g.ends {
		for _, m := range g.living() {
			l.dismiss(r, g, m, "the group was deleted.")
		}
		if len(g.members) == 0 {
			delete(r.scaling, g.name)
		}
		return len(g.members) == 0
	}
	if f := g.refreshing(); f != nil {
		l.advance(ctx, r, g, f)
		return false
	}
	for _, m := range g.surplus() {
		l.dismiss(r, g, m, "an instance was taken out of service in response to a difference between desired and actual capacity, shrinking the capacity.")
	}
	for missing := g.wanted - len(g.living()); missing > 0; missing-- {
		l.add(ctx, r, g, g.number())
	}
	return false
}

// poolsOf are the target groups of a group that are there.
func (l *Lab) poolsOf(r *region, g *scalingGroup) []*targetGroup {
	var list []*targetGroup
	for _, arn := range g.pools {
		if p := r.pools[arn]; p != nil {
			list = append(list, p)
		}
	}
	return list
}

// membership of an instance in a target group; nil: none.
func (g *targetGroup) membership(m *grouped) *target {
	if g.kind == "instance" {
		return g.target(m.id, 0)
	}
	return g.target(m.address().String(), 0)
}

// unfit says why an instance is to be replaced; "" if it is not.
func (l *Lab) unfit(r *region, g *scalingGroup, m *grouped) string {
	if m.instance.state != running {
		return "an instance was taken out of service in response to an EC2 health check indicating it has been terminated or stopped."
	}
	if g.checks != "ELB" || l.cfg.Clock.Now().Before(m.at.Add(g.grace)) {
		return ""
	}
	for _, p := range l.poolsOf(r, g) {
		if l.health(r, p, p.membership(m)).State == "unhealthy" {
			return "an instance was taken out of service in response to an ELB system health check failure."
		}
	}
	return ""
}

// ready reports whether an instance serves, and has been in service for the warm-up.
func (l *Lab) ready(r *region, g *scalingGroup, m *grouped, warmup time.Duration) bool {
	if m.state != "InService" || m.ill || l.cfg.Clock.Now().Before(m.at.Add(warmup)) {
		return false
	}
	if g.checks != "ELB" {
		return true
	}
	for _, p := range l.poolsOf(r, g) {
		if l.health(r, p, p.membership(m)).State != "healthy" {
			return false
		}
	}
	return true
}

// surplus are the members that are too many; those of another version than the group's go first, then the
// oldest.
func (g *scalingGroup) surplus() []*grouped {
	list, current := g.living(), g.number()
	slices.SortStableFunc(list, func(a, b *grouped) int {
		switch {
		case a.version != current && b.version == current:
			return -1
		case a.version == current && b.version != current:
			return 1
		}
		return a.born - b.born
	})
	return list[:max(0, len(list)-g.wanted)]
}

// dismiss takes a member out of the target groups and ends it when they have let it go.
func (l *Lab) dismiss(r *region, g *scalingGroup, m *grouped, cause string) {
	now := l.cfg.Clock.Now()
	m.goes = now
	for _, p := range l.poolsOf(r, g) {
		if t := p.membership(m); t != nil {
			p.drain(t, now)
			m.goes = latest(m.goes, t.leaves)
		}
	}
	m.state, m.at = "Terminating", now
	l.did(g, "Terminating EC2 instance: "+m.id, cause, "")
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// add launches an instance from a version of the group's template, in the next of its subnets.
func (l *Lab) add(ctx context.Context, r *region, g *scalingGroup, version int) {
	if l.cfg.Clock.Now().Before(g.pause) {
		return
	}
	const cause = "an instance was started in response to a difference between desired and actual capacity, increasing the capacity."
	i, err := l.launchFor(ctx, r, g, version)
	if err != nil {
		g.pause = l.cfg.Clock.Now().Add(reluctance)
		_, message, _ := strings.Cut(err.Error(), ": ")
		l.did(g, "Launching a new EC2 instance.  Status Reason: "+message+" Launching EC2 instance failed.", cause, message+" Launching EC2 instance failed.")
		return
	}
	g.members = append(g.members, &grouped{instance: i, version: version, state: "Pending", at: l.cfg.Clock.Now()})
	l.did(g, "Launching a new EC2 instance: "+i.id, cause, "")
}

// launching is the request for an instance of a group, as Auto Scaling makes it for the one that it is
// made from.
func (c *call) launching(ref templateRef, place string) (*call, error) {
	n := &call{Lab: c.Lab, ctx: c.ctx, r: c.r, who: c.who, service: service{name: "ec2"}, name: "RunInstances", at: c.at, form: url.Values{
		"LaunchTemplate.Version": {ref.Version}, "MinCount": {"1"}, "MaxCount": {"1"},
	}}
	if ref.LaunchTemplateID != "" {
		n.form.Set("LaunchTemplate.LaunchTemplateId", ref.LaunchTemplateID)
	} else {
		n.form.Set("LaunchTemplate.LaunchTemplateName", ref.LaunchTemplateName)
	}
	n.given = tops(n.form)
	n.given["SubnetId"] = true
	if err := n.expand(n.form); err != nil {
		return nil, err
	}
	if n.form.Has("NetworkInterface.1.DeviceIndex") {
		n.form.Set("NetworkInterface.1.SubnetId", place)
	} else {
		n.form.Set("SubnetId", place)
	}
	return n, nil
}

func (c *call) decoded() (*runInstances, error) {
	in := new(runInstances)
	return in, query.Decode(c.form, in)
}

func (l *Lab) launchFor(ctx context.Context, r *region, g *scalingGroup, version int) (*instance, error) {
	place := g.subnets[g.turn%len(g.subnets)].id
	g.turn++
	root := &call{Lab: l, ctx: ctx, r: r, at: l.now()}
	c, err := root.launching(templateRef{LaunchTemplateID: g.template.id, Version: strconv.Itoa(version)}, place)
	if err != nil {
		return nil, err
	}
	in, err := c.decoded()
	if err != nil {
		return nil, err
	}
	id, err := c.launch(in, nil)
	if err != nil {
		return nil, err
	}
	made := r.instances[id]
	tags := tagSet{"aws:autoscaling:groupName": g.name, "aws:ec2launchtemplate:id": g.template.id, "aws:ec2launchtemplate:version": strconv.Itoa(version)}
	for _, t := range g.tags {
		if t.PropagateAtLaunch {
			tags[t.Key] = t.Value
		}
	}
	for k, v := range r.tags[made.id] {
		tags[k] = v
	}
	r.tags[made.id] = tags
	return made, nil
}
