package fault

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
)

// Inject gives p with the script's faults, which must be valid; the time of From begins now. A lost
// server is really destroyed, with the first call after its moment. The capabilities of p stay.
func Inject(p cloud.Provider, script Script, c clock.Clock) cloud.Provider {
	i := &injector{
		inner: p, script: script, clock: c, start: c.Now(), counts: make([]int, len(script)),
		servers: map[cloud.ServerID]*fate{},
	}
	around := cloud.Intercept(p, i.around)
	return cloud.With(injected{around, i}, cloud.CapabilitiesOf(around))
}

// fate is what is known of a server, and what awaits it. A zero time: nothing.
type fate struct {
	name    string
	pending time.Time // reported pending until then
	lost    time.Time
	broken  time.Time
}

type injector struct {
	inner  cloud.Provider
	script Script
	clock  clock.Clock
	start  time.Time

	mu      sync.Mutex
	counts  []int // of matching calls, beside script
	servers map[cloud.ServerID]*fate
}

// injected is the provider with the two calls whose answers change.
type injected struct {
	cloud.Provider
	i *injector
}

// Launch notes the server, for it may have a fate.
func (p injected) Launch(ctx context.Context, spec cloud.ServerSpec) (cloud.Server, error) {
	call := cloud.Call{Verb: cloud.VerbLaunch, Subject: spec.Name}
	struck, err := p.i.before(ctx, call)
	if err != nil {
		return cloud.Server{}, err
	}
	server, err := p.i.inner.Launch(ctx, spec)
	if err != nil {
		return server, err
	}
	p.i.after(server.ID, spec.Name, struck)
	return p.i.masked(server), nil
}

// Servers reports slow and broken servers as what they pretend to be.
func (p injected) Servers(ctx context.Context, filter cloud.Filter) ([]cloud.Server, error) {
	list, err := p.Provider.Servers(ctx, filter)
	for n, server := range list {
		p.i.after(server.ID, server.Name, nil)
		list[n] = p.i.masked(server)
	}
	return list, err
}

// around is every call but Launch.
func (i *injector) around(ctx context.Context, call cloud.Call, do func(context.Context) error) error {
	struck, err := i.before(ctx, call)
	if err != nil {
		return err
	}
	if err := do(ctx); err != nil {
		return err
	}
	if struck != nil && slices.Contains(onServers, call.Verb) {
		i.after(cloud.ServerID(call.Subject), "", struck)
	}
	return nil
}

// before lets due losses happen and gives the fault that strikes this call, nil if none, or its error.
func (i *injector) before(ctx context.Context, call cloud.Call) (*Fault, error) {
	if err := i.lose(ctx); err != nil {
		return nil, err
	}
	struck := i.count(call)
	if struck == nil {
		return nil, nil
	}
	if code, fails := codes[struck.Do]; fails {
		return nil, &cloud.Error{Call: call.String(), Code: code, Err: fmt.Errorf("scripted fault: %s", struck.Do)}
	}
	if struck.Do == Slow && !boots(call.Verb) {
		if err := i.clock.Sleep(ctx, struck.Delay); err != nil {
			return nil, fmt.Errorf("%s: %w", call, err)
		}
	}
	return struck, nil
}

func boots(verb cloud.Verb) bool {
	return verb == cloud.VerbLaunch || verb == cloud.VerbStart || verb == cloud.VerbReboot
}

// count counts the call for every fault that it matches and gives the first that strikes.
func (i *injector) count(call cloud.Call) *Fault {
	i.mu.Lock()
	defer i.mu.Unlock()
	subject := call.Subject
	if f := i.servers[cloud.ServerID(subject)]; f != nil && f.name != "" {
		subject = f.name
	}
	since := i.clock.Now().Sub(i.start)
	var struck *Fault
	for n, f := range i.script {
		if !f.matches(call.Verb, subject, since) {
			continue
		}
		i.counts[n]++
		if struck == nil && f.strikes(i.counts[n]) {
			struck = &i.script[n]
		}
	}
	return struck
}

// after notes a server's name and what the fault does to it.
func (i *injector) after(id cloud.ServerID, name string, struck *Fault) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f := i.servers[id]
	if f == nil {
		f = &fate{}
		i.servers[id] = f
	}
	if name != "" {
		f.name = name
	}
	if struck == nil {
		return
	}
	at := i.clock.Now().Add(struck.Delay)
	switch struck.Do {
	case Slow:
		f.pending = at
	case Lose:
		f.lost = at
	case Break:
		f.broken = at
	}
}

// masked is a server as the script wants it seen.
func (i *injector) masked(s cloud.Server) cloud.Server {
	i.mu.Lock()
	defer i.mu.Unlock()
	f, now := i.servers[s.ID], i.clock.Now()
	switch {
	case f == nil:
	case !f.broken.IsZero() && !now.Before(f.broken):
		s.State = cloud.Broken
	case now.Before(f.pending):
		s.State = cloud.Pending
	}
	return s
}

// lose destroys the servers whose moment has come.
func (i *injector) lose(ctx context.Context) error {
	i.mu.Lock()
	var due []cloud.ServerID
	for id, f := range i.servers {
		if !f.lost.IsZero() && !i.clock.Now().Before(f.lost) {
			due = append(due, id)
		}
	}
	i.mu.Unlock()
	for _, id := range due {
		if err := i.inner.Destroy(ctx, id); err != nil {
			return err
		}
		i.mu.Lock()
		delete(i.servers, id)
		i.mu.Unlock()
	}
	return nil
}
