package environmenttest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

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
		err = errors.New("the network drops it")
	}
	if err != nil {
		return nil, verdict.Errorf(verdict.Transport, server.Name, "log in at %s: %w", server.Address, err)
	}
	return d.world.login(ctx, h, server)
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
		err = errors.New("the network drops it")
	}
	if err == nil && b.Factor == nil {
		err = errors.New("no second factor is given")
	}
	if err == nil {
		_, err = p.world.login(ctx, h, remote.Server{
			Name: b.Name, Address: b.Address, HostKeys: b.HostKeys, User: b.User, Signer: b.Signer,
		})
	}
	if err != nil {
		return nil, verdict.Errorf(verdict.RemoteBastion, b.Name, "log in: %s", strings.ReplaceAll(err.Error(), "[server.login]", ""))
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
	h, err := p.world.running(ctx, server.Address)
	if err == nil && h.network != via.network {
		err = errors.New("it is in another network")
	}
	if err != nil {
		return nil, verdict.Errorf(verdict.Transport, server.Name, "log in at %s: %w", server.Address, err)
	}
	return p.world.login(ctx, h, server)
}

func (p *path) TryLogin(ctx context.Context, attempt remote.Attempt) (remote.Refusal, error) {
	if _, err := p.enter(ctx); err != nil {
		return "", err
	}
	_, err := p.Server(ctx, attempt.Server)
	switch verdict.CauseOf(err) {
	case verdict.None:
		return remote.Accepted, nil
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

// login is what sshd decides.
func (w *World) login(ctx context.Context, h *host, s remote.Server) (remote.Session, error) {
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
	if !w.accepts(h, s.User, key) {
		return nil, verdict.Errorf(verdict.ServerLogin, s.Name, "the server refuses the user or the key")
	}
	return w.session(h, s.User), nil
}

// accepts expects w.mu to be held. The admin is there once Puppet has converged at stage launch.
func (w *World) accepts(h *host, user, key string) bool {
	if user == environment.BootstrapUser {
		return h.bootstrap != "" && h.bootstrap == key
	}
	t := h.told()
	return h.admin && !w.trouble[h.name].Locked && t.admin.User == user && slices.Contains(t.admin.Keys, key)
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
