// Package environment turns a topology into living servers and keeps hold of them: network, bastion,
// servers in provisioning order, keys and secrets, the admin's path, reboot, relaunch, snapshots, the
// lease, and the end. Its work comes as lists of idempotent Steps. It owns what must be remembered to
// find an environment again after a crash. What servers do to configure themselves belongs to package
// puppet, how they are reached to remote, where they run to cloud; what is tested on them and what a
// failure means for a run are for its callers.
package environment

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hallmark-ci/hallmark/internal/host"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/mask"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Environment is one isolated, living topology: own network, own bastion, own volumes, own keys and
// a lease with a deadline. It is safe for concurrent use, but its Steps are done one after another.
type Environment struct {
	site *Site
	id   string

	mu     sync.Mutex
	rec    record // as it was last read or written; see change
	body   []byte // rec in the store
	keys   keyring
	state  string               // of ledger.Environment
	closed map[string]closedWay // ways in that a wait found closed, by server

	masked   *mask.Mask // see mask
	maskedOf int        // of how many secrets

	ways        ways
	controlling sync.Mutex // held while there is a control server
}

func (s *Site) newEnvironment(r record, keys keyring, state string) *Environment {
	e := &Environment{site: s, id: r.Spec.ID, rec: r, keys: keys, state: state}
	e.ways.env = e
	return e
}

// Plan gives the environment of spec.ID: the one that is there (then the rest of spec is not looked
// at), or a new one, whose keys and secrets are generated and recorded now. The cloud is not touched.
func (s *Site) Plan(ctx context.Context, spec Spec) (*Environment, error) {
	if spec.Product == nil {
		return nil, fmt.Errorf("environment %s: no product", spec.ID)
	}
	servers := layout(spec.Product, spec.Commit)
	if len(servers) == 0 || !servers[0].Bastion {
		return nil, fmt.Errorf("environment %s: the topology has no bastion", spec.ID)
	}
	return s.plan(ctx, record{Spec: spec, Stage: puppet.StageLaunch, Servers: servers})
}

// Adopt gives an environment that was planned before, by this process or by one that is gone. It is
// ledger.ErrNotFound if there was none. An environment that was destroyed is given too: its Destroy
// does nothing more, and its steps fail with ErrDestroyed.
func (s *Site) Adopt(ctx context.Context, id string) (*Environment, error) {
	return s.claim(id, func() (*Environment, error) { return s.load(ctx, id) })
}

// Server is one server of an environment, as its callers see it.
type Server struct {
	Name    string
	Role    string
	Bastion bool
	Address netip.Addr // invalid before the network was made
	Commit  string     // of the code that it runs, or is on its way to
	Boot    string     // boot ID; "" before it is known
	Down    bool       // crashed on purpose, not started again yet
}

// ID is the environment's id.
func (e *Environment) ID() string { return e.id }

// Origin is what its servers are launched from.
func (e *Environment) Origin() Origin {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rec.Spec.Origin
}

// Code is the product that the environment has; Take changes it.
func (e *Environment) Code() Code {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rec.Spec.code()
}

// Servers gives all servers in provisioning order, the bastion first.
func (e *Environment) Servers() []Server {
	return e.pick(func(*machine) bool { return true })
}

// ByRole gives a role's servers by number.
func (e *Environment) ByRole(role string) []Server {
	return e.pick(func(m *machine) bool { return m.Role == role })
}

func (e *Environment) pick(want func(*machine) bool) []Server {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []Server
	for _, m := range e.rec.Servers {
		if want(m) {
			list = append(list, Server{m.Name, m.Role, m.Bastion, m.Address, m.Commit, m.Boot, m.Down})
		}
	}
	return list
}

// Report is Puppet's report of a server's newest provisioning; false if there was none.
func (e *Environment) Report(server string) (puppet.Report, bool) {
	m := e.machine(server)
	if m.Report == nil {
		return puppet.Report{}, false
	}
	return *m.Report, true
}

// Console is what a server said while booting, without the environment's secrets.
func (e *Environment) Console(ctx context.Context, server string) ([]byte, error) {
	m := e.machine(server)
	if m.ID == "" {
		return nil, fmt.Errorf("console of %s: it was not launched", server)
	}
	return e.console(ctx, m.ID)
}

// Extend moves the end of the lease out, at most up to the deadline; one that ends later stays, for a
// person may have asked for it.
func (e *Environment) Extend(ctx context.Context, lease time.Time) error {
	_, err := e.site.Store.UpdateEnvironment(ctx, e.ID(), func(stored *ledger.Environment) {
		if !stored.Deadline.IsZero() && lease.After(stored.Deadline) {
			lease = stored.Deadline
		}
		if lease.After(stored.Lease) {
			stored.Lease = lease
		}
	})
	if err != nil {
		return fmt.Errorf("extend the lease of %s: %w", e.ID(), err)
	}
	return nil
}

// Close ends its connections; the servers live on. The next use connects anew.
func (e *Environment) Close() {
	e.closeSessions()
	e.site.release(e.ID())
}

// machine is a copy of one server's record; an unknown name gives an empty one.
func (e *Environment) machine(name string) machine {
	e.mu.Lock()
	defer e.mu.Unlock()
	if m := e.rec.find(name); m != nil {
		return m.clone()
	}
	return machine{Name: name}
}

// machines are copies of all servers' records.
func (e *Environment) machines() []machine {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]machine, 0, len(e.rec.Servers))
	for _, m := range e.rec.Servers {
		list = append(list, m.clone())
	}
	return list
}

func (m *machine) clone() machine {
	c := *m
	c.Volumes, c.HostKeys = slices.Clone(m.Volumes), slices.Clone(m.HostKeys)
	return c
}

// settings is a copy of what the whole environment has in common.
func (e *Environment) settings() record {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.rec
	r.Servers = nil
	return r
}

// step wraps work with what all steps have in common.
func (e *Environment) step(name string, do func(ctx context.Context) error) Step {
	return Step{Name: name, Do: func(ctx context.Context) error {
		if err := e.refresh(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if e.over() {
			return verdict.Errorf(verdict.CloudLost, "", "%s in environment %s: %w", name, e.ID(), ErrDestroyed)
		}
		began := e.site.clock().Now()
		err := e.discreet(do(ctx)) // also what a provider said
		e.site.log().DebugContext(ctx, "environment step", "env", e.ID(), "step", name,
			"took", e.site.clock().Now().Sub(began), "err", err)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}}
}

func (e *Environment) over() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state == ledger.Destroying || e.state == ledger.Destroyed
}

// Destroyed reports whether nothing of it is left.
func (e *Environment) Destroyed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state == ledger.Destroyed
}

// Pauses of a poll: short at first, for most things happen soon, and never long.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 250 * time.Millisecond
)

// errTimeout says that a poll's time was over; what was met last is joined to it.
var errTimeout = errors.New("time is over")

// timedOut is errTimeout with what was met last, in one line: the first line of an error is what people and
// a fresh attempt go by.
func timedOut(last error) error {
	if last == nil {
		return errTimeout
	}
	return fmt.Errorf("%w: %w", errTimeout, last)
}

// poll tries until it is done, or the host has given it its time (see package host). An error with done
// ends it; one without is kept for the day that time is over.
func (e *Environment) poll(ctx context.Context, within time.Duration, try func(ctx context.Context) (done bool, err error)) error {
	clock, pace := e.site.clock(), host.PaceOf(ctx)
	began := clock.Now()
	for pause := firstPause; ; pause = min(pause*3/2, lastPause) {
		done, err := try(ctx)
		if done {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if pace.Given(began, clock.Now()) >= within {
			return timedOut(err)
		}
		if err := clock.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// role looks a role up in the code that the environment has.
func (e *Environment) role(name string) product.Role {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rec.Spec.Product.Roles[name]
}

// Session is an admin on a server: by the bastion with both factors, then with the key. It is shared
// and connects again after it broke; closing it does nothing. The cause of an error names the leg.
func (e *Environment) Session(ctx context.Context, server string) (remote.Session, error) {
	return e.ways.admin(ctx, server)
}
