package environment

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Reboot gives the steps that reboot every server, all at once, and wait until each is back, proved
// by a changed boot ID, lets an admin in and is healthy.
func (e *Environment) Reboot() []Step {
	steps := []Step{e.step("reboot all", e.rebootAll)}
	for _, m := range e.machines() {
		steps = append(steps, e.backStep(m.Name))
	}
	for _, m := range e.machines() {
		steps = append(steps, e.healthStep(m.Name))
	}
	return steps
}

func (e *Environment) rebootAll(ctx context.Context) error {
	if err := e.change(ctx, func(r *record) {
		for _, m := range r.Servers {
			m.leave(e.site.clock().Now())
		}
	}); err != nil {
		return err
	}
	states, err := e.states(ctx)
	if err != nil {
		return err
	}
	err = e.each(ctx, func(ctx context.Context, m machine) error {
		if states[m.ID] == cloud.Stopped { // a reboot that was cut short
			return e.site.Provider.Start(ctx, m.ID)
		}
		return e.site.Provider.Reboot(ctx, m.ID)
	})
	e.closeSessions() // a connection whose other end vanished takes long to notice
	return err
}

// leave notes that the boot a server is on must not be its next. A boot that was left before stays so.
func (m *machine) leave(now time.Time) {
	if m.Boot != "" {
		m.Left, m.Boot, m.LeftAt = m.Boot, "", now
	}
}

// backStep waits until a server is on another boot than the one it left and lets an admin in.
func (e *Environment) backStep(server string) Step {
	return e.step("back "+server, func(ctx context.Context) error { return e.back(ctx, server) })
}

func (e *Environment) back(ctx context.Context, server string) error {
	m := e.machine(server)
	if m.Boot != "" {
		return nil
	}
	return e.comingUp(ctx, server, func(ctx context.Context) error { return e.awaitBoot(ctx, m) })
}

// awaitBoot waits for a boot that is not the one the server left, and notes it.
func (e *Environment) awaitBoot(ctx context.Context, m machine) error {
	server := m.Name
	var boot string
	look, door := e.watchState(server), e.newDoor(e.ready)
	t := e.site.Timeouts.withDefaults()
	err := e.poll(ctx, t.Boot+t.Login, func(ctx context.Context) (bool, error) {
		began := e.site.clock().Now()
		session, err := e.Session(ctx, server)
		if err == nil {
			boot, err = bootID(ctx, session, server)
		}
		switch {
		case err != nil:
			e.ways.drop(server)
			if gone := look(ctx); gone != nil {
				return true, gone
			}
			return door.shut(ctx, began, err), err
		case boot == m.Left:
			return false, verdict.Errorf(verdict.ServerBoot, server, "is still on the boot that it was to leave")
		}
		return true, nil
	})
	if errors.Is(err, errTimeout) {
		err = e.neverUp(m, err)
	}
	if err != nil {
		return err
	}
	return e.alter(ctx, server, func(m *machine) { m.Boot, m.Left, m.Down = boot, "", false })
}

// bootID is which boot a server is on. It proves root by sudo at the same time.
func bootID(ctx context.Context, session remote.Session, server string) (string, error) {
	r, err := session.Run(ctx, remote.Command{Line: "cat /proc/sys/kernel/random/boot_id", Sudo: true, Timeout: 5 * time.Second})
	if err != nil {
		return "", err
	}
	id := lastLines(r.Stdout, 1)
	if r.Exit != 0 || len(id) != 36 {
		return "", verdict.Errorf(verdict.Unexplained, server, "its boot ID cannot be read: exit %d, %q", r.Exit, id)
	}
	return id, nil
}

// Relaunch gives the steps that replace every server, one after another, without a clean shutdown:
// destroyed, and launched again from its origin with the same name, address and volumes.
func (e *Environment) Relaunch() []Step {
	var steps []Step
	for _, m := range e.machines() {
		steps = append(steps, e.RelaunchServer(m.Name)...)
	}
	return steps
}

// RelaunchServer gives Relaunch's steps for one server.
func (e *Environment) RelaunchServer(server string) []Step {
	steps := []Step{
		e.step("destroy "+server, func(ctx context.Context) error {
			m := e.machine(server)
			if m.ID == "" {
				return nil
			}
			e.ways.drop(server)
			if err := e.site.Provider.Destroy(ctx, m.ID); err != nil {
				return err
			}
			return e.change(ctx, func(r *record) {
				m := r.find(server)
				m.forget()
				m.Life++
				m.Commit = "" // set by the launch
				r.ended(server, e.site.clock().Now())
			})
		}),
		e.step("code for "+server, func(ctx context.Context) error {
			commit := e.Code().Commit
			return e.alter(ctx, server, func(m *machine) { m.Commit = commit })
		}),
		e.launchStep(server),
	}
	steps = append(steps, e.provisionSteps([]machine{e.machine(server)})...)
	return append(steps,
		e.backStep(server),
		e.step("prove that nothing temporary is left on "+server, func(ctx context.Context) error {
			return e.proveBootstrapGone(ctx, e.machine(server))
		}))
}

// Crash pulls a server's plug. It stays down until Start.
func (e *Environment) Crash(ctx context.Context, server string) error {
	m, err := e.standing(ctx, server)
	if err != nil {
		return err
	}
	if err := e.alter(ctx, server, func(m *machine) { m.leave(e.site.clock().Now()); m.Down = true }); err != nil {
		return err
	}
	e.ways.drop(server)
	if err := e.site.Provider.Stop(ctx, m.ID, true); err != nil {
		return e.discreet(fmt.Errorf("crash %s: %w", server, err))
	}
	return nil
}

// Start brings a server back that Crash or Halt took down, and returns once an admin is let in.
func (e *Environment) Start(ctx context.Context, server string) error {
	m, err := e.standing(ctx, server)
	if err != nil {
		return err
	}
	if err := e.alter(ctx, server, func(m *machine) { m.LeftAt = e.site.clock().Now() }); err != nil {
		return err
	}
	if err := e.site.Provider.Start(ctx, m.ID); err != nil {
		return e.discreet(fmt.Errorf("start %s: %w", server, err))
	}
	if err := e.back(ctx, server); err != nil {
		return e.discreet(fmt.Errorf("start %s: %w", server, err))
	}
	return nil
}

// halt shuts a server down and waits until it is stopped.
func (e *Environment) halt(ctx context.Context, server string) error {
	m := e.machine(server)
	if m.ID == "" {
		return fmt.Errorf("stop %s: it was not launched", server)
	}
	stopped := func(ctx context.Context) (bool, error) {
		states, err := e.states(ctx)
		return err != nil || states[m.ID] == cloud.Stopped, err
	}
	if done, err := stopped(ctx); done {
		return err
	}
	if err := e.site.Provider.Stop(ctx, m.ID, false); err != nil {
		return fmt.Errorf("stop %s: %w", server, err)
	}
	err := e.poll(ctx, e.site.Timeouts.withDefaults().Boot, stopped)
	if errors.Is(err, errTimeout) {
		if err = e.site.Provider.Stop(ctx, m.ID, true); err == nil {
			err = e.poll(ctx, time.Minute, stopped)
		}
	}
	if err != nil {
		return fmt.Errorf("stop %s: %w", server, err)
	}
	return nil
}

// Snapshots reports whether Snapshot and Restore work here.
func (e *Environment) Snapshots() bool {
	return cloud.CapabilitiesOf(e.site.Provider).Snapshotter != nil
}

// Snapshot gives the steps that note the state of every server under a name. Volumes are not part
// of it.
func (e *Environment) Snapshot(name string) []Step {
	return e.snapshots("snapshot", func(ctx context.Context, s cloud.Snapshotter, m machine) error {
		return s.Snapshot(ctx, m.ID, name)
	})
}

// Restore gives the steps that take every server back to a snapshot, and wait until each is up.
func (e *Environment) Restore(name string) []Step {
	steps := e.snapshots("restore", func(ctx context.Context, s cloud.Snapshotter, m machine) error {
		if err := e.alter(ctx, m.Name, func(m *machine) { m.leave(e.site.clock().Now()) }); err != nil {
			return err
		}
		e.ways.drop(m.Name)
		return s.Restore(ctx, m.ID, name)
	})
	for _, m := range e.machines() {
		steps = append(steps, e.backStep(m.Name))
	}
	for _, m := range e.machines() {
		steps = append(steps, e.healthStep(m.Name))
	}
	return steps
}

func (e *Environment) snapshots(verb string, do func(context.Context, cloud.Snapshotter, machine) error) []Step {
	var steps []Step
	for _, m := range e.machines() {
		steps = append(steps, e.step(verb+" "+m.Name, func(ctx context.Context) error {
			s := cloud.CapabilitiesOf(e.site.Provider).Snapshotter
			if s == nil {
				return verdict.Errorf(verdict.CloudRefused, m.Name, "the provider has no snapshots")
			}
			return do(ctx, s, e.machine(m.Name))
		}))
	}
	return steps
}

// each does something with every server at the same time.
func (e *Environment) each(ctx context.Context, do func(context.Context, machine) error) error {
	if err := e.refresh(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, m := range e.machines() {
		group.Go(func() error { return do(ctx, m) })
	}
	return group.Wait()
}

// admit lets this host in to one server, and to no other.
func (e *Environment) admit(ctx context.Context, server string) error {
	m := e.machine(server)
	return e.site.Provider.AllowAdmin(ctx, e.settings().Network.ID, []netip.Addr{m.Address})
}
