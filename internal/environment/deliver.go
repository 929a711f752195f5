package environment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// tarball is where code lies on a server between its arrival and its unpacking.
func tarball(commit string) string { return "/root/hallmark-code-" + commit + ".tar.gz" }

// deliverBaseStep carries the code to a server from a base as the bootstrap user and starts the unit.
func (e *Environment) deliverBaseStep(server string) Step {
	return e.step("deliver code to "+server, func(ctx context.Context) error {
		if e.machine(server).Ready {
			return nil
		}
		return e.asBootstrap(ctx, server, func(ctx context.Context, session remote.Session) error {
			if !e.confides() {
				if err := e.bring(ctx, session, server); err != nil {
					return err
				}
			}
			return e.sendCode(ctx, session, server, puppet.DeliverScript)
		})
	})
}

// unpackStep only puts the code there; startUnitStep sets the server to work.
func (e *Environment) unpackStep(server string) Step {
	return e.step("deliver code to "+server, func(ctx context.Context) error {
		return e.asBootstrap(ctx, server, func(ctx context.Context, session remote.Session) error {
			return e.sendCode(ctx, session, server, puppet.UnpackScript)
		})
	})
}

func (e *Environment) startUnitStep(server string) Step {
	return e.step("start provisioning "+server, func(ctx context.Context) error {
		session, err := e.bootstrapSession(ctx, server)
		if err != nil {
			return err
		}
		return shell(ctx, session, server, puppet.StartScript(e.machine(server).Commit), time.Minute)
	})
}

// asBootstrap delivers something as the bootstrap user. It waits until that user is let in, so it comes right after
// boot. A server that has handed over has all of it.
func (e *Environment) asBootstrap(ctx context.Context, server string, deliver func(context.Context, remote.Session) error) error {
	return e.comingUp(ctx, server, func(ctx context.Context) error { return e.tryDelivery(ctx, server, deliver) })
}

func (e *Environment) tryDelivery(ctx context.Context, server string, deliver func(context.Context, remote.Session) error) error {
	var session remote.Session
	look, door := e.watchState(server), e.newDoor(e.ready)
	door.booted = true // its host keys are known
	started := false   // by a process that died before it noted so
	err := e.poll(ctx, e.site.Timeouts.withDefaults().Boot, func(ctx context.Context) (bool, error) {
		began := e.site.clock().Now()
		var err error
		if !e.bench() {
			if started, err = e.handedOver(ctx, server); started {
				return true, err
			}
		}
		if err != nil {
			return false, errors.Join(err, look(ctx))
		}
		if session, err = e.bootstrapSession(ctx, server); err == nil {
			return true, nil
		}
		if verdict.CauseOf(err) == verdict.ServerLogin && e.reported(ctx, server) {
			started = true
			return true, nil
		}
		if gone := look(ctx); gone != nil {
			return true, gone
		}
		return door.shut(ctx, began, err), err
	})
	if err != nil && e.Origin() == Base {
		return beforeProduct(server, err)
	}
	if err != nil {
		return err
	}
	if started {
		return nil
	}
	if !e.bench() {
		// The server is at work now, and may hand over before its turn to be waited for comes.
		defer e.ways.leave(bootstrapAt(server))
	}
	return deliver(ctx, session)
}

// reported reports whether a server has provisioned itself and removed the bootstrap user: then no code can be
// delivered to it, and none has to be.
func (e *Environment) reported(ctx context.Context, server string) bool {
	if e.bench() {
		return false
	}
	admin, err := e.Session(ctx, server)
	if err != nil {
		return false
	}
	s, err := readStatus(ctx, admin)
	return err == nil && s.For(e.machine(server).Commit, puppet.StageLaunch)
}

// beforeProduct takes the blame from the product for a server from a base that has none of it yet.
func beforeProduct(server string, err error) error {
	if named := verdict.ServerOf(err); named != "" && named != server { // the bastion's trouble is its own
		return err
	}
	switch verdict.CauseOf(err) {
	case verdict.ServerLogin, verdict.ServerBoot, verdict.ServerSudo:
		return verdict.Errorf(verdict.Unexplained, server, "before the product's code was on it: %w", err)
	}
	return err
}

// sendCode puts the tarball of the environment's code on a server and runs the script on it.
func (e *Environment) sendCode(ctx context.Context, session remote.Session, server string, script func(commit, tarball string) string) error {
	code := e.Code()
	f, err := os.Open(code.Archive)
	if err != nil {
		return fmt.Errorf("code of %s: %w", code.Commit, err)
	}
	defer f.Close()
	target := tarball(code.Commit)
	if err := session.Put(ctx, target, f, 0o600, true); err != nil {
		return err
	}
	return shell(ctx, session, server, script(code.Commit, target), time.Minute)
}

// shell runs one of our own scripts as root; it not succeeding is our trouble, not the product's.
func shell(ctx context.Context, session remote.Session, server, script string, within time.Duration) error {
	r, err := session.Run(ctx, remote.Command{Line: script, Sudo: true, Timeout: within})
	if err != nil {
		return err
	}
	if r.Exit != 0 {
		return verdict.Errorf(verdict.Unexplained, server, "Hallmark's own script: exit %d: %s", r.Exit, lastLines(r.Stderr, 3))
	}
	return nil
}
