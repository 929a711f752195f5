package environment

import (
	"context"
	"errors"
	"fmt"
	"time"

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

// proveBootstrapGone looks for what is left of the bootstrap user, and tries its key.
func (e *Environment) proveBootstrapGone(ctx context.Context, m machine) error {
	session, err := e.Session(ctx, m.Name)
	if err != nil {
		return err
	}
	r, err := session.Run(ctx, remote.Command{
		Line: fmt.Sprintf(`getent passwd %[1]s; ls -d /home/%[1]s 2>/dev/null; grep -rls %[1]s /etc/sudoers /etc/sudoers.d; true`, BootstrapUser),
		Sudo: true, Timeout: 30 * time.Second,
	})
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
	within := check.Within
	if within <= 0 {
		within = e.site.Timeouts.withDefaults().Health
	}
	return e.poll(ctx, within, func(ctx context.Context) (bool, error) {
		session, err := e.Session(ctx, server)
		if err != nil {
			return false, err
		}
		r, err := session.Run(ctx, remote.Command{Line: check.Command, Sudo: true, Timeout: within})
		switch {
		case err != nil:
			return false, err
		case r.Exit != 0:
			return false, verdict.Errorf(verdict.HealthFailed, server, "%q: exit %d after %v: %s", check.Command, r.Exit,
				within, lastLines(append(r.Stdout, r.Stderr...), 3))
		}
		return true, nil
	})
}

// Health waits until one server's health check passes, for as long as its role allows; the cause is
// HealthFailed if it does not.
func (e *Environment) Health(ctx context.Context, server string) error {
	if err := e.health(ctx, server); err != nil {
		return fmt.Errorf("health of %s: %w", server, err)
	}
	return nil
}

// Healthy waits until every server's health check passes.
func (e *Environment) Healthy(ctx context.Context) error {
	return e.each(ctx, func(ctx context.Context, m machine) error {
		if m.Down {
			return nil
		}
		return e.Health(ctx, m.Name)
	})
}
