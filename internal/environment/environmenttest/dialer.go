package environmenttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/crypto/ssh"

	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Dialer opens sessions on the World's servers, with the causes that package remote gives.
func (w *World) Dialer() environment.Dialer { return dialer{w} }

type dialer struct{ world *World }

func (d dialer) Path(bastion remote.Bastion) environment.Path {
	return &path{world: d.world, bastion: bastion}
}

func (d dialer) Direct(ctx context.Context, server remote.Server) (remote.Session, error) {
	h, err := d.world.running(ctx, server.Address)
	if err == nil && !d.world.admits(h) {
		err = errDropped
	}
	if err == nil {
		err = d.world.shuts(h, nil)
	}
	if err != nil {
		return nil, onLeg(verdict.Transport, verdict.LegServerPort, server.Name, err)
	}
	return d.world.login(ctx, h, server, false)
}

func (d dialer) Knock(ctx context.Context, address string) bool {
	h, err := d.world.running(ctx, address)
	return err == nil && d.world.admits(h)
}

type path struct {
	world   *World
	bastion remote.Bastion

	mu     sync.Mutex
	closed bool
	boot   string // of the bastion as it was entered
}

// enter logs in to the bastion as admin.
func (p *path) enter(ctx context.Context) (*host, error) {
	b := p.bastion
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return nil, verdict.Errorf(verdict.RemoteBastion, b.Name, "the way to it is closed")
	}
	h, err := p.world.running(ctx, b.Address)
	if err == nil && !p.world.admits(h) {
		err = errDropped
	}
	if err == nil {
		err = p.world.shuts(h, nil)
	}
	if err != nil {
		return nil, onLeg(verdict.RemoteBastion, verdict.LegBastionPort, b.Name, err)
	}
	if b.Factor == nil {
		return nil, verdict.Errorf(verdict.Unexplained, b.Name, "no second factor is given")
	}
	if _, err = p.world.login(ctx, h, remote.Server{
		Name: b.Name, Address: b.Address, HostKeys: b.HostKeys, User: b.User, Signer: b.Signer,
	}, true); err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.boot = h.boot
	p.mu.Unlock()
	return h, nil
}

func (p *path) Bastion(ctx context.Context) (remote.Session, error) {
	h, err := p.enter(ctx)
	if err != nil {
		return nil, err
	}
	return p.world.session(h, p.bastion.User), nil
}

func (p *path) Server(ctx context.Context, server remote.Server) (remote.Session, error) {
	via, err := p.enter(ctx)
	if err != nil {
		return nil, err
	}
	if p.world.closes(via, verdict.LegForwarding) {
		return nil, onLeg(verdict.RemoteBastion, verdict.LegForwarding, p.bastion.Name, fmt.Errorf("it does not forward to %s", server.Name))
	}
	h, err := p.world.running(ctx, server.Address)
	if err == nil && h.network != via.network {
		err = errors.New("it is in another network")
	}
	if err == nil {
		err = p.world.shuts(h, via)
	}
	if err != nil {
		return nil, onLeg(verdict.Transport, verdict.LegServerPort, server.Name, err)
	}
	return p.world.login(ctx, h, server, false)
}

func (p *path) TryLogin(ctx context.Context, attempt remote.Attempt) (remote.Refusal, error) {
	if _, err := p.enter(ctx); err != nil {
		return "", err
	}
	s, err := p.Server(ctx, attempt.Server)
	switch verdict.CauseOf(err) {
	case verdict.None:
		return remote.Accepted, s.Close()
	case verdict.ServerLogin:
		return remote.KeyRefused, nil
	}
	return "", err
}

func (p *path) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return nil
}

// errDropped is silence: a firewall on the way.
var errDropped = errors.New("no answer")

// onLeg is an error as package remote gives it.
func onLeg(cause verdict.Cause, leg verdict.Leg, server string, err error) error {
	e := verdict.Errorf(cause, server, "log in: %w", err)
	e.Leg = leg
	return e
}

// closes reports whether a product that has converged on a host closes a leg there.
func (w *World) closes(h *host, leg verdict.Leg) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settle(h)
	return h.admin && w.trouble[h.name].Closed == leg
}

// shuts tells why no connection to a host is made, from this host or from another one. A host whose leg
// "network between" is closed filters what comes from, or goes out through, the bastion.
func (w *World) shuts(h, from *host) error {
	port := w.closes(h, verdict.LegBastionPort) || w.closes(h, verdict.LegServerPort)
	filters := from != nil && w.bastion(from) && (w.closes(h, verdict.LegNetwork) || w.closes(from, verdict.LegNetwork))
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.trouble[h.name].Lost:
		return errDropped
	case port && !w.trouble[h.name].Silent:
		return fmt.Errorf("connect: %w", syscall.ECONNREFUSED)
	case port, filters:
		return errDropped
	}
	return nil
}

func (w *World) bastion(h *host) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return h.told().bastion
}

// login is what sshd decides.
func (w *World) login(ctx context.Context, h *host, s remote.Server, bastion bool) (remote.Session, error) {
	console, err := w.provider.Console(ctx, h.id)
	if err != nil {
		return nil, err
	}
	if !pinned(s.HostKeys, remote.ParseHostKeys(console)) {
		return nil, verdict.Errorf(verdict.Transport, s.Name, "host key mismatch")
	}
	key := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.Signer.PublicKey())))
	w.mu.Lock()
	defer w.mu.Unlock()
	cause, leg := verdict.ServerLogin, verdict.LegServerKey
	if bastion {
		cause, leg = verdict.RemoteBastion, verdict.LegBastionKey
	}
	closed := verdict.Leg("")
	if h.admin {
		closed = w.trouble[h.name].Closed
	}
	switch {
	case !w.accepts(h, s.User, key), closed == leg:
		return nil, onLeg(cause, leg, s.Name, errors.New("the server refuses the user or the key"))
	case closed == verdict.LegAccount:
		return nil, onLeg(cause, closed, s.Name, errors.New("the server hung up during the login (it says: Your account has expired)"))
	case closed == verdict.LegFactor && bastion:
		return nil, onLeg(verdict.RemoteFactor, closed, s.Name, errors.New("the server refuses the second factor"))
	case closed == verdict.LegFactor:
		return nil, onLeg(cause, closed, s.Name, errors.New("the key is accepted, but the server also wants keyboard-interactive"))
	}
	own := w.session(h, s.User)
	if s.User == environment.BootstrapUser {
		h.inside[own] = struct{}{}
	}
	return own, nil
}

// accepts expects w.mu to be held. The admin is there once Puppet has converged at stage launch.
func (w *World) accepts(h *host, user, key string) bool {
	if user == environment.BootstrapUser {
		w.settle(h)
		w.dialled(h)
		return h.bootstrap != "" && h.bootstrap == key && !h.closed
	}
	t := h.told()
	return h.admin && t.admin.User == user && slices.Contains(t.admin.Keys, key)
}

func pinned(pins, shown []ssh.PublicKey) bool {
	for _, a := range pins {
		for _, b := range shown {
			if bytes.Equal(a.Marshal(), b.Marshal()) {
				return true
			}
		}
	}
	return false
}
