package environment

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/host"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// auditWithin bounds an audit: it comes after trouble, when nothing can be relied on.
const auditWithin = 3 * time.Minute

// Audit looks at the environment after trouble on some servers; with none, at all of them. It looks at
// what the trouble depends on: these servers, the bastion, and what the topology provisions before them.
// A server that was not launched yet is no finding, nor is a boot that was never known.
//
// It looks from outside: what the provider says; and from inside: boot IDs, the package sources. Where
// no admin is let in by a server that has converged, it finds out whether the product closes the way:
// by what that server itself said, or, where nothing says anything, with a control server in the same
// network. It looks at this host, too, for a time-out may be its fault. It never fails: what could not be found out leaves Done false, and says so in Findings.
func (e *Environment) Audit(ctx context.Context, servers ...string) verdict.Audit {
	ctx, cancel := host.WithTimeout(ctx, auditWithin, nil)
	defer cancel()
	stale := e.refresh(ctx)
	x := &examination{env: e, subjects: servers, scope: e.dependencies(servers)}
	if stale != nil {
		x.find("%v", stale)
		return x.Audit
	}
	states, err := e.states(ctx)
	if err != nil {
		x.find("the provider cannot be asked: %v", err)
		return x.Audit
	}
	x.lookAtStates(states)
	x.lookInside(ctx)
	x.lookForLockout(ctx)
	x.trySources(ctx)
	x.lookAtHost(ctx)
	slices.Sort(x.Findings)
	return x.Audit
}

// dependencies are the launched servers that trouble on some servers may come from. Names that are none
// of the environment's stand for all servers.
func (e *Environment) dependencies(servers []string) []machine {
	all := e.machines()
	wanted := map[string]bool{}
	for _, m := range all {
		wanted[m.Name] = m.Bastion || slices.Contains(servers, m.Name)
	}
	known := slices.ContainsFunc(all, func(m machine) bool { return slices.Contains(servers, m.Name) })
	after := map[string][]string{} // by role
	for _, g := range e.Code().Product.Topology {
		after[g.Role] = append(after[g.Role], g.After...)
	}
	for again := known; again; {
		again = false
		for _, m := range all {
			if !wanted[m.Name] {
				continue
			}
			for _, other := range all {
				if !wanted[other.Name] && (other.Role == m.Role || slices.Contains(after[m.Role], other.Role)) {
					wanted[other.Name], again = true, true
				}
			}
		}
	}
	return slices.DeleteFunc(all, func(m machine) bool { return m.ID == "" || known && !wanted[m.Name] })
}

// examination is one audit as it goes on.
type examination struct {
	verdict.Audit
	env      *Environment
	subjects []string  // the servers that had the trouble
	scope    []machine // these, and what they depend on

	mu     sync.Mutex
	inside []string             // servers that let us in
	closed map[string]closedWay // by where the way ends
	mute   bool                 // one that had the trouble runs, and has not shown that it booted
}

// find notes what does not hold, for people.
func (x *examination) find(format string, args ...any) {
	x.Findings = append(x.Findings, x.env.mask().String(fmt.Sprintf(format, args...))) // it may quote a provider
}

func (x *examination) lookAtStates(states map[cloud.ServerID]cloud.State) {
	x.Done, x.AllRunning = true, true
	for _, m := range x.scope {
		state, listed := states[m.ID]
		switch {
		case state == cloud.Running, m.Down && state == cloud.Stopped:
			continue
		case !listed:
			x.find("%s is gone", m.Name)
		default:
			x.find("%s is %s", m.Name, state)
		}
		x.AllRunning = false
		if state == cloud.Stopped && x.Stopped == "" {
			x.Stopped = m.Name
		}
	}
}

// lookInside reads boot IDs, and notes which way in is closed.
func (x *examination) lookInside(ctx context.Context) {
	x.ExpectedBoots, x.closed = true, map[string]closedWay{}
	var all sync.WaitGroup
	for _, m := range x.scope {
		switch {
		case m.Down:
		case len(m.HostKeys) == 0:
			x.mute = x.mute || slices.Contains(x.subjects, m.Name)
		default:
			all.Go(func() {
				boot, closed, err := x.env.tryWay(ctx, m)
				x.mu.Lock()
				defer x.mu.Unlock()
				x.met(m, boot, closed, err)
			})
		}
	}
	all.Wait()
}

// met notes how the way to a server ended. It expects x.mu to be held.
func (x *examination) met(m machine, boot string, closed *closedWay, err error) {
	switch {
	case closed != nil:
		x.closed[closed.server] = *closed
	case err != nil && m.Boot != "":
		x.ExpectedBoots = false
		x.find("%s: its boot cannot be read: %v", m.Name, err)
	case err != nil:
		if leg := verdict.LegOf(err); leg == verdict.LegBastionPort || leg == verdict.LegServerPort {
			x.mute = x.mute || slices.Contains(x.subjects, m.Name)
		}
		x.find("%s: no admin can log in: %v", m.Name, err)
	case m.Boot != "" && boot != m.Boot:
		x.ExpectedBoots = false
		x.find("%s is on boot %s, expected is %s", m.Name, boot, m.Boot)
	}
	if err == nil && closed == nil {
		x.inside = append(x.inside, m.Name)
		x.Control = x.Control || slices.Contains(x.subjects, m.Name)
	}
}

// lookForLockout finds out who closes the ways that are closed. The bastion's comes first: the others
// lead through it.
func (x *examination) lookForLockout(ctx context.Context) {
	var way *closedWay
	for _, m := range x.scope {
		if w, ok := x.closed[m.Name]; ok && (way == nil || m.Bastion) {
			way = &w
		}
	}
	switch {
	case way != nil && way.answered:
		x.lockedOut(ctx, verdict.Lockout{Leg: way.leg, Server: way.server, Said: way.said})
	case way != nil, x.mute && x.AllRunning:
		if err := x.env.withControl(ctx, func(c control) {
			x.Control = true
			if way == nil {
				return
			}
			lockout, err := c.blame(ctx, *way)
			if err != nil {
				x.find("%s: %s; whose doing that is cannot be told: %v", way.server, way.said, err)
				return
			}
			x.lockedOut(ctx, lockout)
		}); err != nil {
			x.find("whether the network works cannot be told: %v", err)
		}
	}
	if way != nil && x.Lockout.Leg == "" {
		x.ExpectedBoots = false
	}
}

// lockedOut takes a lock-out for the product's if the server that closes the way has converged: before
// that, it is not the product's yet.
func (x *examination) lockedOut(ctx context.Context, l verdict.Lockout) {
	if !x.env.hasReported(ctx, l.Server) {
		x.find("%s: no admin can log in, and the product's code has not converged there yet: leg %q: %s", l.Server, l.Leg, l.Said)
		return
	}
	x.Lockout = l
}

// trySources asks servers that let us in for the package sources.
func (x *examination) trySources(ctx context.Context) {
	slices.Sort(x.inside)
	if slices.Contains(x.subjects, x.Lockout.Server) {
		return // known to be the product's, and no cause that it stands for depends on packages
	}
	if len(x.inside) == 0 {
		// hallmark-provision blames Puppet only after it tried the package sources.
		x.PackageSources = slices.ContainsFunc(x.scope, func(m machine) bool {
			return m.Status != nil && m.Status.Cause == verdict.PuppetFailed
		})
		if !x.PackageSources {
			x.find("no server lets an admin in, so the package sources cannot be tried")
		}
		return
	}
	var said []string
	for _, server := range x.inside[:min(2, len(x.inside))] { // one that is broken itself proves nothing
		trouble := x.env.trySources(ctx, server)
		if trouble == "" {
			x.PackageSources = true
			return
		}
		said = append(said, trouble)
	}
	x.find("package sources: %s", strings.Join(said, "; "))
}

// trySources is "" if the package sources answer on a server.
func (e *Environment) trySources(ctx context.Context, server string) string {
	session, err := e.enter(ctx, server)
	if err != nil {
		return err.Error()
	}
	r, err := session.Run(ctx, remote.Command{Line: puppet.SourcesCommand, Sudo: true, Timeout: 90 * time.Second})
	if err != nil {
		return err.Error()
	}
	if r.Exit != 0 {
		return fmt.Sprintf("%s: exit %d: %s", server, r.Exit, lastLines(r.Stderr, 2))
	}
	return ""
}
