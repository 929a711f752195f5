package ec2lab

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// target is an instance or an address in a target group, on one port.
type target struct {
	id     string
	port   int
	since  time.Time // when it was registered
	leaves time.Time // when it has drained; zero: it is registered
}

type targetDescription struct {
	ID   string `query:"required"`
	Port int
}

type targetsOf struct {
	poolARN
	Targets []targetDescription
}

// registerTargets takes running instances, and addresses of the VPC. One that drains is registered anew.
func (c *call) registerTargets(in *targetsOf) (any, error) {
	g, err := find(c.r.pools, in.TargetGroupArn, noPool)
	if err != nil {
		return nil, err
	}
	for _, d := range in.Targets {
		if err := c.acceptable(g, d.ID); err != nil {
			return nil, err
		}
	}
	for _, d := range in.Targets {
		g.register(d.ID, d.Port, c.cfg.Clock.Now())
	}
	return struct{}{}, nil
}

func (c *call) acceptable(g *targetGroup, id string) error {
	if g.kind == "ip" {
		a, err := netip.ParseAddr(id)
		if err != nil || !c.r.vpc.cidr.Contains(a) {
			return query.Errorf("ValidationError", "The IP address '%s' is not a valid IPv4 address of the VPC", id)
		}
		return nil
	}
	if i := c.r.instances[id]; i == nil {
		return query.Errorf("InvalidTarget", "The following targets are not valid instances: '%s'", id)
	} else if i.state != running {
		return query.Errorf("InvalidTarget", "The following targets are not in a running state and cannot be registered: '%s'", id)
	}
	return nil
}

func (g *targetGroup) register(id string, port int, now time.Time) {
	if port == 0 {
		port = g.port
	}
	t := g.target(id, port)
	if t == nil {
		t = &target{id: id, port: port}
		g.targets = append(g.targets, t)
	} else if t.leaves.IsZero() {
		return
	}
	t.since, t.leaves = now, time.Time{}
}

// target finds one; port 0 is the group's own.
func (g *targetGroup) target(id string, port int) *target {
	if port == 0 {
		port = g.port
	}
	if i := slices.IndexFunc(g.targets, func(t *target) bool { return t.id == id && t.port == port }); i >= 0 {
		return g.targets[i]
	}
	return nil
}

func (c *call) deregisterTargets(in *targetsOf) (any, error) {
	g, err := find(c.r.pools, in.TargetGroupArn, noPool)
	if err != nil {
		return nil, err
	}
	for _, d := range in.Targets {
		if t := g.target(d.ID, d.Port); t != nil {
			g.drain(t, c.cfg.Clock.Now())
		}
	}
	return struct{}{}, nil
}

func (g *targetGroup) drain(t *target, now time.Time) {
	if t.leaves.IsZero() {
		t.leaves = now.Add(g.delay)
	}
}

// settleTargets forgets targets that have drained, and instances that have ended. Called with mu held.
func (l *Lab) settleTargets(r *region, g *targetGroup) {
	now := l.cfg.Clock.Now()
	g.targets = slices.DeleteFunc(g.targets, func(t *target) bool {
		gone := false
		if g.kind == "instance" {
			i := r.instances[t.id]
			gone = i == nil || i.state == terminated
		}
		return gone || !t.leaves.IsZero() && !now.Before(t.leaves)
	})
}

// targetHealth is what a target group says of a target.
type targetHealth struct {
	State       string
	Reason      string `xml:",omitempty"`
	Description string `xml:",omitempty"`
}

// health judges a target by one check: thresholds are not kept. What it would answer nobody asks it; a
// fault says that it answers wrongly. Called with mu held.
func (l *Lab) health(r *region, g *targetGroup, t *target) targetHealth {
	if t == nil {
		return targetHealth{"unused", "Target.NotRegistered", "Target is not registered to the target group"}
	}
	if !t.leaves.IsZero() {
		return targetHealth{"draining", "Target.DeregistrationInProgress", "Target deregistration is in progress"}
	}
	i := r.targeted(t.id)
	if i != nil && i.state != running {
		return targetHealth{"unused", "Target.InvalidState", "Target is in the " + stateNames[i.state] + " state"}
	}
	if l.cfg.Clock.Now().Before(t.since.Add(g.interval)) {
		return targetHealth{"initial", "Elb.RegistrationInProgress", "Target registration is in progress"}
	}
	if i == nil {
		return targetHealth{"unhealthy", "Target.Timeout", "Request timed out"}
	}
	if f := l.ails(i); f != nil {
		h := targetHealth{"unhealthy", f.Code, f.Message}
		if !strings.HasPrefix(h.Reason, "Target.") && !strings.HasPrefix(h.Reason, "Elb.") {
			h.Reason = "Target.ResponseCodeMismatch"
		}
		if h.Description == "" {
			h.Description = "Health checks failed with these codes: [503]"
		}
		return h
	}
	return targetHealth{State: "healthy"}
}

// targeted finds the instance behind a target, by its id or address; nil: none.
func (r *region) targeted(id string) *instance {
	for _, i := range r.instances {
		if i.id == id || i.state != terminated && i.address().IsValid() && i.address().String() == id {
			return i
		}
	}
	return nil
}

type describeTargetHealth struct {
	poolARN
	Targets []targetDescription
}

func (c *call) describeTargetHealth(in *describeTargetHealth) (any, error) {
	g, err := find(c.r.pools, in.TargetGroupArn, noPool)
	if err != nil {
		return nil, err
	}
	c.settleTargets(c.r, g)
	type description struct {
		ID     string       `xml:"Target>Id"`
		Port   int          `xml:"Target>Port,omitempty"`
		Check  string       `xml:"HealthCheckPort,omitempty"`
		Health targetHealth `xml:"TargetHealth"`
	}
	all := []description{}
	for _, d := range in.Targets {
		t := g.target(d.ID, d.Port)
		all = append(all, description{ID: d.ID, Port: d.Port, Health: c.health(c.r, g, t)})
	}
	if len(in.Targets) == 0 {
		for _, t := range g.targets {
			all = append(all, description{ID: t.id, Port: t.port, Health: c.health(c.r, g, t)})
		}
	}
	return struct {
		Descriptions []description `xml:"TargetHealthDescriptions>member"`
	}{all}, nil
}
