package environment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// proveAdmin logs in to every server as admins do, becomes root, and notes the boot that it is on.
func (e *Environment) proveAdmin(ctx context.Context) error {
	return e.each(ctx, func(ctx context.Context, m machine) error { return e.back(ctx, m.Name) })
}

// proveClosed makes sure that what was temporary is gone: the rule, and the bootstrap user.
func (e *Environment) proveClosed(ctx context.Context) error {
	if err := e.admit(ctx, e.machines()[0].Name); err != nil {
		return err
	}
	return e.each(ctx, func(ctx context.Context, m machine) error {
		if !m.Bastion && e.site.Dialer.Knock(ctx, m.Address.String()+":22") {
			return verdict.Errorf(verdict.Unexplained, m.Name, "the network lets this host in past the bastion")
		}
		return e.proveBootstrapGone(ctx, m)
	})
}

// BootstrapTraces is a command for root that prints what is left of the bootstrap user on a server:
// account, home, and lines of sudo's configuration. It ends with 0 whether or not there is any.
const BootstrapTraces = "getent passwd " + BootstrapUser + "; ls -d /home/" + BootstrapUser + " 2>/dev/null; " +
	"grep -rls " + BootstrapUser + " /etc/sudoers /etc/sudoers.d; true"

// proveBootstrapGone looks for what is left of the bootstrap user, and tries its key.
func (e *Environment) proveBootstrapGone(ctx context.Context, m machine) error {
	session, err := e.Session(ctx, m.Name)
	if err != nil {
		return err
	}
	r, err := session.Run(ctx, remote.Command{Line: BootstrapTraces, Sudo: true, Timeout: 30 * time.Second})
	if err != nil {
		return err
	}
	if r.Exit != 0 || len(r.Stdout) > 0 {
		return verdict.Errorf(verdict.Unexplained, m.Name, "left of the bootstrap user: %s", lastLines(r.Stdout, 5))
	}
	opened, err := e.ways.tryBootstrap(ctx, m.Name)
	switch {
	case err == nil:
		return errors.Join(verdict.Errorf(verdict.Unexplained, m.Name, "the bootstrap key still opens it"), opened.Close())
	case verdict.CauseOf(err) == verdict.ServerLogin:
		return nil
	}
	return err
}

// healthStep waits until a server's health check passes; without one, a converged server is healthy.
func (e *Environment) healthStep(server string) Step {
	return e.step("health of "+server, func(ctx context.Context) error { return e.health(ctx, server) })
}

func (e *Environment) health(ctx context.Context, server string) error {
	check := e.role(e.machine(server).Role).Health
	if check == nil {
		return nil
	}
	return e.Check(ctx, server, *check)
}

// Check waits until a health check passes on a server, for as long as the check allows; the cause is
// HealthFailed if it does not.
func (e *Environment) Check(ctx context.Context, server string, check product.Health) error {
	within := check.Within
	if within <= 0 {
		within = e.site.Timeouts.withDefaults().Health
	}
	door := e.newDoor(e.ready)
	return e.poll(ctx, within, func(ctx context.Context) (bool, error) {
		began := e.site.clock().Now()
		session, err := e.Session(ctx, server)
		if err != nil {
			return door.shut(ctx, began, err), err
		}
		r, err := session.Run(ctx, remote.Command{Line: check.Command, Sudo: true, Timeout: within})
		switch {
		case err != nil:
			return door.shut(ctx, began, err), err
		case r.Exit != 0:
			return false, verdict.Errorf(verdict.HealthFailed, server, "%q: exit %d after %v: %s", check.Command, r.Exit,
				within, lastLines(append(r.Stdout, r.Stderr...), 3))
		}
		return true, nil
	})
}

// Healthy waits until every server's health check passes.
func (e *Environment) Healthy(ctx context.Context) error {
	return e.each(ctx, func(ctx context.Context, m machine) error {
		if m.Down {
			return nil
		}
		if err := e.health(ctx, m.Name); err != nil {
			return fmt.Errorf("health of %s: %w", m.Name, err)
		}
		return nil
	})
}
