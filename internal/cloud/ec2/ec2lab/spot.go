package ec2lab

import (
	"context"
	"errors"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// spotRequest is what a spot instance comes from. A persistent one launches again when its instance has
// ended, as long as it is open: until it is cancelled or its time is over.
type spotRequest struct {
	identity
	region     *region
	persistent bool
	behavior   string    // what an interruption does: stop or terminate
	until      time.Time // zero: until it is cancelled
	made       time.Time
	state      spotState
	status     string
	changed    time.Time
	instance   *instance // the newest that it launched
	launch     runInstances
}

// spotState is the state of a request in EC2's words.
type spotState string

const (
	spotOpen      spotState = "open"      // waits for capacity
	spotActive    spotState = "active"    // has an instance
	spotDisabled  spotState = "disabled"  // somebody stopped the instance
	spotClosed    spotState = "closed"    // one-time, and its instance has ended
	spotCancelled spotState = "cancelled" // or its time is over
	spotFailed    spotState = "failed"    // what it would launch with is no longer there
)

const (
	evaluation   = 5 * time.Second // from the end of an instance until its request launches another
	scarcity     = time.Hour       // from an interruption until there is capacity again
	noSpot       = "InvalidSpotInstanceRequestID.NotFound"
	wrongSpot    = "IncorrectSpotRequestState"
	interruption = "Server.SpotInstanceTermination"
)

func (q *spotRequest) over() bool {
	return q.state == spotCancelled || q.state == spotClosed || q.state == spotFailed
}

// spotOptions are RunInstances' InstanceMarketOptions.SpotOptions.
type spotOptions struct {
	MaxPrice                     string
	SpotInstanceType             string
	InstanceInterruptionBehavior string
	ValidUntil                   time.Time
}

// market reads what a launch says of spot capacity; nil: it is on demand.
func (c *call) market(in *runInstances) (*spotRequest, error) {
	m := in.InstanceMarketOptions
	if m == nil {
		return nil, nil
	}
	if _, err := oneOf("MarketType", m.MarketType, "spot"); err != nil {
		return nil, err
	}
	o := spotOptions{}
	if m.SpotOptions != nil {
		o = *m.SpotOptions
	}
	kind, one := oneOf("SpotInstanceType", o.SpotInstanceType, "one-time", "persistent")
	ends, two := oneOf("InstanceInterruptionBehavior", o.InstanceInterruptionBehavior, "terminate", "stop")
	if err := joined(one, two); err != nil {
		return nil, err
	}
	q := &spotRequest{region: c.r, persistent: kind == "persistent", behavior: ends, until: o.ValidUntil, made: c.at, launch: *in}
	switch {
	case q.persistent != (ends == "stop"): // RunInstances has the two together only
		return nil, query.Errorf("InvalidParameterCombination", "The interruption behavior '%s' is not supported for a %s Spot Instance request", ends, kind)
	case !q.persistent && !q.until.IsZero():
		return nil, query.Errorf("InvalidParameterCombination", "validUntil is not supported for a one-time Spot Instance request")
	case !q.until.IsZero() && !q.until.After(c.at):
		return nil, query.Errorf("InvalidParameterValue", "validUntil must be in the future")
	case q.persistent && in.InstanceInitiatedShutdownBehavior == "terminate":
		return nil, query.Errorf("InvalidParameterCombination", "A persistent Spot Instance request does not go with the shutdown behavior 'terminate'")
	}
	// What is launched again has no tags: the request remembers none but its own.
	q.launch.ClientToken, q.launch.TagSpecification = "", nil
	return q, nil
}

// ask registers a request. Called with mu held.
func (c *call) ask(q *spotRequest, tags tagSet) {
	q.identity = c.identify("sir-")
	c.r.spots[q.id] = q
	c.r.tag(q.id, tags)
	if q.until.IsZero() {
		return
	}
	c.task(func(ctx context.Context) {
		c.later(ctx, q.until.Sub(c.cfg.Clock.Now()), func() { c.endRequest(q, "schedule-expired") })
	})
}

func (l *Lab) become(q *spotRequest, s spotState, status string) {
	q.state, q.status, q.changed = s, status, l.now()
	if !q.over() {
		return
	}
	l.spawn(func(ctx context.Context) {
		l.later(ctx, l.cfg.Delays.Forget, func() {
			delete(q.region.spots, q.id)
			delete(q.region.tags, q.id)
		})
	})
}

// follow brings a request after the state of its instance. Called with mu held.
func (l *Lab) follow(i *instance) {
	q := i.request
	if q == nil || q.instance != i {
		return
	}
	if q.over() {
		if i.state == terminated {
			q.status, q.changed = "instance-terminated-by-user", l.now()
		}
		return
	}
	interrupted := i.reason != nil && i.reason.Code == interruption
	switch {
	case i.state == pending || i.state == running:
		l.become(q, spotActive, "fulfilled")
	case i.state == stopping && !interrupted:
		l.become(q, spotDisabled, "instance-stopped-by-user")
	case i.state == stopped && interrupted:
		l.become(q, spotOpen, "instance-stopped-no-capacity")
		l.spawn(func(ctx context.Context) { l.later(ctx, scarcity, func() { l.resume(i) }) })
	case i.state == stopped:
		l.become(q, spotDisabled, "instance-stopped-by-user")
	case i.state == terminated && q.persistent:
		l.become(q, spotOpen, "pending-evaluation")
		l.spawn(func(ctx context.Context) { l.fulfil(ctx, q) })
	case i.state == terminated && interrupted:
		l.become(q, spotClosed, "instance-terminated-no-capacity")
	case i.state == terminated:
		l.become(q, spotClosed, "instance-terminated-by-user")
	}
}

// fulfil launches another instance for a request that is open, as soon as there is room.
func (l *Lab) fulfil(ctx context.Context, q *spotRequest) {
	for wait := evaluation; l.cfg.Clock.Sleep(ctx, wait) == nil; wait = time.Minute {
		open := false
		l.locked(func() {
			if q.state != spotOpen {
				return
			}
			if l.strike(func(f *Fault) bool { return f.Kind == NoSpot }) != nil {
				l.become(q, spotOpen, "capacity-not-available")
				open = true
				return
			}
			c := &call{Lab: l, ctx: ctx, r: q.region, name: "RunInstances", at: l.now()}
			_, err := c.launch(&q.launch, q)
			if err == nil {
				return
			}
			l.cfg.Log.Info("a spot request launches nothing", "request", q.id, "err", err)
			switch {
			case refusedAs(err, "InsufficientInstanceCapacity"):
				l.become(q, spotOpen, "capacity-not-available")
				open = true
			case refusedAs(err, "InvalidNetworkInterface.InUse"):
				open = true
			default:
				l.become(q, spotFailed, "bad-parameters")
			}
		})
		l.settled(ctx)
		if !open {
			return
		}
	}
}

func refusedAs(err error, code string) bool {
	var refusal *query.Error
	return errors.As(err, &refusal) && refusal.Code == code
}

// resume starts an instance that an interruption has stopped. Called with mu held.
func (l *Lab) resume(i *instance) {
	if i.request.state != spotOpen || i.request.instance != i || i.state != stopped {
		return
	}
	l.enter(i, pending, "", nil)
	l.queue(i, true, func(ctx context.Context) {
		err := l.host.Start(ctx, i.id)
		l.afterStart(ctx, i, err)
	})
}

// interrupt takes the capacity away from an instance. One whose request does not wait for more capacity is
// terminated. Called with mu held.
func (l *Lab) interrupt(i *instance) {
	q := i.request
	i.notice = nil
	why := &reason{interruption, interruption + ": Spot instance termination"}
	if q == nil || q.over() || q.behavior != "stop" {
		l.terminate(i, interruption, why, true)
		return
	}
	if i.state != running {
		return
	}
	l.enter(i, stopping, interruption, why)
	l.queue(i, true, func(ctx context.Context) { l.stopped(ctx, i, false) })
}

// endRequest ends a request for good. Its instance goes on if it runs; one that is stopped goes with it.
// Called with mu held.
func (l *Lab) endRequest(q *spotRequest, status string) {
	if q.over() {
		return
	}
	i := q.instance
	switch i.state {
	case pending, running:
		status = "request-canceled-and-instance-running"
	case stopping, stopped:
		defer l.terminate(i, interruption, &reason{interruption, interruption + ": its request was cancelled"}, false)
	}
	l.become(q, spotCancelled, status)
}

type cancelSpot struct {
	dry
	SpotInstanceRequestID []string `query:"required"`
}

func (c *call) cancelSpotRequests(in *cancelSpot) (any, error) {
	list, err := listed(c.r.spots, in.SpotInstanceRequestID, noSpot)
	if err != nil {
		return nil, err
	}
	type view struct {
		ID    string    `xml:"spotInstanceRequestId"`
		State spotState `xml:"state"`
	}
	views := make([]view, 0, len(list))
	for _, q := range list {
		c.endRequest(q, "canceled-before-fulfillment")
		views = append(views, view{q.id, q.state})
	}
	return struct {
		Requests []view `xml:"spotInstanceRequestSet>item"`
	}{views}, nil
}
