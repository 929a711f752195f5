package ec2lab

import (
	"context"
	"net/http"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// FaultKind says what goes wrong.
type FaultKind string

// The kinds of faults, and which fields of a Fault each looks at beside Times.
const (
	Throttle    FaultKind = "throttle"     // Action ("": any) is refused with RequestLimitExceeded
	Refuse      FaultKind = "refuse"       // Action is refused with Code and Message
	Capacity    FaultKind = "capacity"     // launches in Zone of Type ("": any) find no capacity
	LaunchFails FaultKind = "launch-fails" // launches go from pending to terminated, with Code and Message as the reason
	ImageFails  FaultKind = "image-fails"  // CreateImage and CopyImage of Name ("": any) end as failed, with Code and Message
	ImageSlow   FaultKind = "image-slow"   // they stay pending for For longer
	NoSpot      FaultKind = "no-spot"      // spot requests that wait find no capacity
	Hidden      FaultKind = "hidden"       // new instances cannot be found for For, instead of Delays.Visible

	// These begin at once and know no Times.
	Down        FaultKind = "down"        // For long, every request gets 503
	HangUp      FaultKind = "hang-up"     // For long, every connection is closed without an answer
	Spot        FaultKind = "spot"        // Instance is told to end, and after For stopped or terminated, as its request says
	Maintenance FaultKind = "maintenance" // Instance has an event Code ("": system-maintenance) scheduled in For
	Impaired    FaultKind = "impaired"    // Instance's system status check fails, until a reboot or a stop
	Unhealthy   FaultKind = "unhealthy"   // For long (0: ever), load balancers' checks of Instance, or of those launched from an image Name, fail with Code and Message
)

// FaultKinds is the whole list.
func FaultKinds() []FaultKind {
	return []FaultKind{Throttle, Refuse, Capacity, LaunchFails, ImageFails, ImageSlow, NoSpot, Hidden, Down, HangUp, Spot, Maintenance, Impaired, Unhealthy}
}

// Fault is one thing that goes wrong.
type Fault struct {
	Kind     FaultKind
	Times    int // how often; 0: once; below 0: always
	Action   string
	Zone     string
	Type     string
	Name     string
	Instance string
	Code     string
	Message  string
	For      time.Duration

	until time.Time
}

// event is scheduled for an instance.
type event struct {
	ID, Code, Description string
	NotBefore, NotAfter   time.Time
}

// spotNotice is what the metadata service tells of an interruption.
type spotNotice struct {
	at     time.Time
	action string // stop or terminate
}

// Script makes something go wrong, from now on or the next time that it can. An unknown instance is
// an error; everything else is taken as it is.
func (l *Lab) Script(f Fault) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.Times == 0 {
		f.Times = 1
	}
	if f.Code == "" {
		f.Code = "Server.InternalError"
	}
	var i *instance
	for _, r := range l.regions {
		if it := r.instances[f.Instance]; it != nil {
			i = it
		}
	}
	now := l.now()
	switch f.Kind {
	case Spot, Maintenance, Impaired:
		if i == nil {
			return query.Errorf(noInstance, "The instance ID '%s' does not exist", f.Instance)
		}
	case Unhealthy:
		if f.For > 0 {
			f.until = l.cfg.Clock.Now().Add(f.For)
		}
		l.faults = append(l.faults, &f)
		return nil
	case Down, HangUp:
		f.until = l.cfg.Clock.Now().Add(f.For)
		fallthrough
	default:
		l.faults = append(l.faults, &f)
		return nil
	}
	l.struck[f.Kind]++
	switch f.Kind {
	case Spot:
		i.notice = &spotNotice{now.Add(f.For), "terminate"}
		if q := i.request; q != nil && !q.over() {
			i.notice.action = q.behavior
		}
		l.spawn(func(ctx context.Context) { l.later(ctx, f.For, func() { l.interrupt(i) }) })
	case Maintenance:
		e := event{ID: l.newID("instance-event-"), Code: f.Code, Description: f.Message, NotBefore: now.Add(f.For), NotAfter: now.Add(f.For + 2*time.Hour)}
		if e.Code == "Server.InternalError" {
			e.Code = "system-maintenance"
		}
		i.events = append(i.events, e)
	case Impaired:
		i.impaired = now
	}
	return nil
}

// strike finds a fault that is due and counts it. Called with mu held.
func (l *Lab) strike(due func(*Fault) bool) *Fault {
	for n, f := range l.faults {
		if !due(f) {
			continue
		}
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				l.faults = append(l.faults[:n:n], l.faults[n+1:]...)
			}
		}
		l.struck[f.Kind]++
		return f
	}
	return nil
}

// Struck is how often a kind of fault has taken effect so far: one that was scripted and never due proves
// nothing.
func (l *Lab) Struck(kind FaultKind) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.struck[kind]
}

// isDown says whether requests are refused, and whether without an answer.
func (l *Lab) isDown() (hangsUp, down bool) {
	l.ending.Lock()
	down = l.closed
	l.ending.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.cfg.Clock.Now()
	for _, f := range l.faults {
		if (f.Kind == Down || f.Kind == HangUp) && now.Before(f.until) {
			hangsUp = hangsUp || f.Kind == HangUp
			down = true
			l.struck[f.Kind]++
		}
	}
	return hangsUp, down
}

// scripted refuses an action that a fault is for.
func (l *Lab) scripted(action string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.strike(func(f *Fault) bool {
		return (f.Kind == Throttle || f.Kind == Refuse) && (f.Action == "" || f.Action == action)
	})
	switch {
	case f == nil:
		return nil
	case f.Kind == Throttle:
		return &query.Error{Code: "RequestLimitExceeded", Message: "Request limit exceeded.", Status: http.StatusServiceUnavailable}
	}
	return query.Errorf(f.Code, "%s", f.Message)
}

// ails gives the fault that makes a target's checks fail; nil: none. Called with mu held.
func (l *Lab) ails(i *instance) *Fault {
	now := l.cfg.Clock.Now()
	for _, f := range l.faults {
		if f.Kind == Unhealthy && (f.until.IsZero() || now.Before(f.until)) && (f.Instance == i.id || f.Instance == "" && (f.Name == "" || glob(f.Name, i.image.name))) {
			return f
		}
	}
	return nil
}

// scarce says whether a launch finds no capacity. Called with mu held.
func (l *Lab) scarce(kind, zone string) bool {
	return l.strike(func(f *Fault) bool {
		return f.Kind == Capacity && (f.Zone == "" || f.Zone == zone) && (f.Type == "" || f.Type == kind)
	}) != nil
}

// hidden is for how long a new instance cannot be found. Called with mu held.
func (l *Lab) hidden() time.Duration {
	if f := l.strike(func(f *Fault) bool { return f.Kind == Hidden }); f != nil {
		return f.For
	}
	return l.cfg.Delays.Visible
}

// imageFault is that of an image which is being made; nil: none. Called with mu held.
func (l *Lab) imageFault(name string) *Fault {
	return l.strike(func(f *Fault) bool {
		return (f.Kind == ImageFails || f.Kind == ImageSlow) && (f.Name == "" || glob(f.Name, name))
	})
}

// launchFault is why a launch came to nothing.
type launchFault reason

func (f *launchFault) Error() string { return f.Code + ": " + f.Message }

// failsLaunch gives the fault of a launch; nil: none.
func (l *Lab) failsLaunch(i *instance) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.strike(func(f *Fault) bool {
		return f.Kind == LaunchFails && (f.Type == "" || f.Type == i.kind.name) && (f.Zone == "" || f.Zone == i.nic.subnet.zone)
	})
	if f == nil {
		return nil
	}
	return &launchFault{f.Code, f.Code + ": " + f.Message}
}
