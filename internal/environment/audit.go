package environment

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// auditWithin bounds an audit: it comes after trouble, when nothing can be relied on.
const auditWithin = 3 * time.Minute

// Audit looks at the environment after trouble: does every server run, on the boot that we expect,
// and do the package sources answer from inside? A server whose boot was never known is not held to
// one. It never fails: what could not be found out leaves Done false, and says so in Findings.
func (e *Environment) Audit(ctx context.Context) verdict.Audit {
	ctx, cancel := context.WithTimeout(ctx, auditWithin)
	defer cancel()
	a := verdict.Audit{}
	states, err := e.states(ctx)
	if err != nil {
		a.Findings = append(a.Findings, fmt.Sprintf("the provider cannot be asked: %v", err))
		return a
	}
	a.AllRunning = true
	for _, m := range e.machines() {
		state, listed := states[m.ID]
		switch {
		case m.ID == "", m.Down && (state == cloud.Stopped || state == cloud.Running), state == cloud.Running:
		case !listed:
			a.AllRunning = false
			a.Findings = append(a.Findings, m.Name+" is gone")
		default:
			a.AllRunning = false
			a.Findings = append(a.Findings, fmt.Sprintf("%s is %s", m.Name, state))
		}
	}
	e.lookInside(ctx, &a)
	return a
}

// lookInside reads boot IDs, and tries the package sources from the servers that let us in.
func (e *Environment) lookInside(ctx context.Context, a *verdict.Audit) {
	var (
		mu      sync.Mutex
		inside  []string // servers that let us in
		boots   = true
		sources string // what was said where they do not answer
	)
	note := func(format string, args ...any) {
		a.Findings = append(a.Findings, fmt.Sprintf(format, args...))
	}
	err := e.each(ctx, func(ctx context.Context, m machine) error {
		if m.ID == "" || m.Down {
			return nil
		}
		boot, err := e.bootNow(ctx, m.Name)
		if err != nil {
			boot, err = e.bootNow(ctx, m.Name) // the first may only have found that its connection is gone
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err != nil && m.Boot != "":
			boots = false
			note("%s: its boot cannot be read: %v", m.Name, err)
		case err != nil:
			note("%s lets nobody in: %v", m.Name, err)
		case m.Boot != "" && boot != m.Boot:
			boots = false
			note("%s is on boot %s, expected is %s", m.Name, boot, m.Boot)
		}
		if err == nil {
			inside = append(inside, m.Name)
		}
		return nil
	})
	a.ExpectedBoots = boots && err == nil
	if len(inside) == 0 {
		// hallmark-provision blames Puppet only after it tried the package sources.
		for _, m := range e.machines() {
			if m.Status != nil && m.Status.Cause == verdict.PuppetFailed {
				a.Done, a.PackageSources = true, true
				return
			}
		}
		note("no server lets anybody in, so the package sources cannot be tried")
		return
	}
	slices.Sort(inside)
	for _, server := range inside[:min(2, len(inside))] { // one that is broken itself proves nothing
		if sources = e.trySources(ctx, server); sources == "" {
			break
		}
	}
	a.PackageSources = sources == ""
	if sources != "" {
		note("package sources: %s", sources)
	}
	a.Done = true
}

// bootNow reads a server's boot ID with whatever account it has at this moment.
func (e *Environment) bootNow(ctx context.Context, server string) (string, error) {
	session, err := e.enter(ctx, server)
	if err != nil {
		return "", err
	}
	return bootID(ctx, session, server)
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
