package environment

import (
	"bytes"
	"context"

	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// The hand-over is the moment at which a server that has a bootstrap user (see bootstraps) replaces the bootstrap user by the admin.
// The server announces it, closes the door to new logins, waits until Hallmark's sessions are gone, and
// only then removes the user. Hallmark has one session at a time and ends it when the server announces the
// hand-over; the record notes that; from then on the bootstrap user is dialled only by the proof that it
// is gone. See docs/decisions/0009.

// enter logs in with the account that a server has at this moment.
func (e *Environment) enter(ctx context.Context, server string) (remote.Session, error) {
	s, _, err := e.arrive(ctx, server)
	return s, err
}

// arrive is enter, and reports whether the session is the bootstrap user's.
func (e *Environment) arrive(ctx context.Context, server string) (s remote.Session, bootstrap bool, err error) {
	if e.bench() { // it never hands over: sealing removes the user, as the last thing before the stop
		s, err = e.bootstrapSession(ctx, server)
		return s, true, err
	}
	over, err := e.handedOver(ctx, server)
	if err != nil {
		return nil, false, err
	}
	if !over {
		s, err = e.bootstrapSession(ctx, server)
		return s, true, err
	}
	s, err = e.Session(ctx, server)
	return s, false, err
}

// handedOver reports whether a server's bootstrap user must not be dialled any more: there was none, the
// record says so, or the server said so on its console to a process that died before it took note.
func (e *Environment) handedOver(ctx context.Context, server string) (bool, error) {
	m := e.machine(server)
	if !e.bootstraps() || m.handedOver() {
		return true, nil
	}
	if e.ways.open(bootstrapAt(server)) { // the watch inside it will say so
		return false, nil
	}
	console, err := e.console(ctx, m.ID)
	if err != nil {
		return false, err
	}
	if !bytes.Contains(console, []byte(puppet.HandOverPrefix)) {
		return false, nil
	}
	return true, e.leaveBootstrap(ctx, server)
}

// handedOver reports whether the record says that the bootstrap user is on its way out or gone. A server
// that converged, or was on a boot that was proved, has handed over: records of older versions say only that.
func (m *machine) handedOver() bool {
	return m.HandedOver || m.Ready || m.Boot != "" || m.Left != ""
}

// leaveBootstrap notes that a server hands over, and ends the bootstrap user's session: the server waits for that.
func (e *Environment) leaveBootstrap(ctx context.Context, server string) error {
	defer e.ways.leave(bootstrapAt(server))
	return e.alter(ctx, server, func(m *machine) { m.HandedOver = true })
}

// refusedBootstrap takes a refusal of the bootstrap user, on a server that has let it in before, as the
// closed door of a hand-over. Any other error it gives back.
func (e *Environment) refusedBootstrap(ctx context.Context, server string, err error) error {
	if e.bench() || verdict.CauseOf(err) != verdict.ServerLogin {
		return err
	}
	if noted := e.leaveBootstrap(ctx, server); noted != nil {
		return noted
	}
	return err
}
