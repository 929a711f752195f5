package ec2lab

import (
	"context"
	"net/http"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// state of an instance, by EC2's codes.
type state int

const (
	pending      state = 0
	running      state = 16
	shuttingDown state = 32
	terminated   state = 48
	stopping     state = 64
	stopped      state = 80
)

var stateNames = map[state]string{
	pending: "pending", running: "running", shuttingDown: "shutting-down",
	terminated: "terminated", stopping: "stopping", stopped: "stopped",
}

type stateView struct {
	Code int    `xml:"code"`
	Name string `xml:"name"`
}

func (s state) view() stateView { return stateView{int(s), stateNames[s]} }

// reason says why something is in its state.
type reason struct {
	Code    string `xml:"code"`
	Message string `xml:"message"`
}

type instance struct {
	identity
	region      *region
	reservation string
	image       *image
	kind        *instanceType
	key         *keyPair
	nic         *nic // of a terminated instance: nil
	launched    time.Time
	visible     time.Time // not to be found before
	since       time.Time // when it came into its state
	state       state
	reason      *reason
	transition  string // StateTransitionReason
	userData    []byte
	options     metadataOptions
	profile     string
	shutdown    string       // stop or terminate: what powering itself off does
	request     *spotRequest // that it came from; nil: on demand
	notice      *spotNotice
	keep        bool // DisableAPITermination
	monitored   bool
	token       string
	impaired    time.Time
	events      []event
	console     []byte    // what it said, once the machine is gone
	spoke       time.Time // when console was read

	tail    chan struct{}      // closed when all work that was queued is done
	waiting int                // how much work is queued or goes on
	cancel  context.CancelFunc // of the work that goes on, if it may be broken off
	absent  int                // how often watch has seen it running here and not there
}

type metadataOptions struct {
	tokens   string // optional or required
	endpoint string // enabled or disabled
	hops     int
	tags     string // enabled or disabled
}

const noInstance = "InvalidInstanceID.NotFound"

// instance finds one that is visible to the API already.
func (c *call) instance(id string) (*instance, error) {
	if kindOf(id) != "instance" {
		return nil, query.Errorf("InvalidInstanceID.Malformed", "Invalid id: \"%s\"", id)
	}
	i := c.r.instances[id]
	if i == nil || c.cfg.Clock.Now().Before(i.visible) {
		return nil, query.Errorf(noInstance, "The instance ID '%s' does not exist", id)
	}
	return i, nil
}

func (c *call) chosen(ids []string) ([]*instance, error) {
	list := make([]*instance, 0, len(ids))
	for _, id := range ids {
		i, err := c.instance(id)
		if err != nil {
			return nil, err
		}
		list = append(list, i)
	}
	return list, nil
}

// enter changes the state. Called with mu held.
func (l *Lab) enter(i *instance, s state, transition string, why *reason) {
	i.state, i.since, i.absent = s, l.cfg.Clock.Now(), 0
	i.transition, i.reason = transition, why
	l.follow(i)
}

// queue does work on an instance's machine in the background, after what was queued before. Work that
// may be broken off is, when the instance is terminated. Called with mu held.
func (l *Lab) queue(i *instance, breakable bool, work func(context.Context)) {
	before, done := i.tail, make(chan struct{})
	i.tail = done
	i.waiting++
	l.spawn(func(ctx context.Context) {
		defer close(done)
		if before != nil {
			<-before
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		l.locked(func() {
			if breakable {
				i.cancel = cancel
			}
		})
		work(ctx)
		l.locked(func() {
			i.waiting--
			i.cancel = nil
		})
		l.settled(ctx)
	})
}

// terminate begins the end of an instance; if it runs, with a shutdown where that is to be clean.
// Called with mu held.
func (l *Lab) terminate(i *instance, transition string, why *reason, clean bool) {
	if i.state == shuttingDown || i.state == terminated {
		return
	}
	clean = clean && i.state == running
	l.enter(i, shuttingDown, transition, why)
	if i.cancel != nil {
		i.cancel()
	}
	l.queue(i, false, func(ctx context.Context) {
		if clean {
			if err := l.host.Stop(ctx, i.id, false); err != nil && ctx.Err() == nil {
				l.cfg.Log.Warn("shut down before the end", "instance", i.id, "err", err)
			}
		}
		l.keepConsole(ctx, i)
		l.destroy(ctx, i)
		if l.cfg.Clock.Sleep(ctx, l.cfg.Delays.Stop) != nil {
			return
		}
		l.locked(func() { l.buried(i) })
	})
}

// destroy tries until the machine is gone: volumes are free, and the address is, only then.
func (l *Lab) destroy(ctx context.Context, i *instance) {
	for {
		err := l.host.Destroy(ctx, i.id)
		if err == nil || ctx.Err() != nil {
			return
		}
		l.cfg.Log.Error("destroy; it is tried again", "instance", i.id, "err", err)
		if l.cfg.Clock.Sleep(ctx, time.Second) != nil {
			return
		}
	}
}

// buried ends an instance whose machine is gone: what does not outlive it goes too. Called with mu held.
func (l *Lab) buried(i *instance) {
	r := i.region
	for _, v := range r.volumes {
		a := v.attachment
		if a == nil || a.instance != i {
			continue
		}
		v.attachment = nil
		v.state = "available"
		if a.deletes {
			l.removeVolume(r, v)
		}
	}
	if n := i.nic; n != nil {
		deletes := n.attachment != nil && n.attachment.deletes
		n.attachment = nil
		if deletes {
			r.deleteNic(n)
			l.mutated = true
		}
	}
	i.nic = nil
	l.enter(i, terminated, i.transition, i.reason)
	l.spawn(func(ctx context.Context) {
		l.later(ctx, l.cfg.Delays.Forget, func() {
			delete(r.instances, i.id)
			delete(r.tags, i.id)
		})
	})
}

// capacity is refused where a fault says so.
func (c *call) capacity(kind, zone string) error {
	if c.scarce(kind, zone) {
		return &query.Error{
			Code: "InsufficientInstanceCapacity", Status: http.StatusInternalServerError,
			Message: "We currently do not have sufficient " + kind + " capacity in the Availability Zone you requested (" + zone + "). Our system will be working on provisioning additional capacity.",
		}
	}
	return nil
}
