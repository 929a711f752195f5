package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Path is the way into one environment: one connection to its bastion that everybody shares. It is
// dialled when first needed and again after it broke. It is safe for concurrent use.
//
// A session to a server lives no longer than the connection that it was opened over; one on the
// bastion itself goes over to the next. Whoever made the Path closes it.
type Path struct {
	bastion account
	options Options

	mu     sync.Mutex
	closed bool
	live   *link
	flight *flight
}

// flight is one dial that several callers wait for.
type flight struct {
	done      chan struct{}
	cancel    context.CancelFunc
	link      *link
	err       error
	abandoned bool // its caller gave up: the next one in line dials
}

// NewPath describes a way; nothing is dialled yet.
func NewPath(b Bastion, o Options) *Path {
	return &Path{bastion: b.account(), options: o.withDefaults()}
}

// Open logs in to a server behind the bastion. The cause of an error is RemoteBastion or RemoteFactor
// (the bastion could not be entered), Transport (nothing to talk to at the server's address),
// ServerLogin (the server refuses this user or key) or Cancelled. The caller closes the Session.
func (p *Path) Open(ctx context.Context, s Server) (Session, error) {
	a := account{Server: s}
	if err := a.check(); err != nil {
		return nil, verdict.Errorf(verdict.Unexplained, a.Name, "log in: %w", err)
	}
	hop, err := p.connect(ctx)
	if err != nil {
		return nil, err
	}
	l, err := hop.through(ctx, a, p.options)
	if err != nil {
		return nil, p.blameHop(ctx, hop, a, err)
	}
	p.options.Log.DebugContext(ctx, "logged in", "server", a.Name, "user", a.User)
	return &shell{server: a.Name, connect: fixed(l), end: l.Close}, nil
}

// Bastion gives a session on the bastion itself, over the shared connection. Closing it leaves that
// connection as it is.
func (p *Path) Bastion(ctx context.Context) (Session, error) {
	if _, err := p.connect(ctx); err != nil {
		return nil, err
	}
	return &shell{server: p.bastion.Name, connect: p.connect, end: func() error { return nil }}, nil
}

// Close ends the connection to the bastion and every session over it. It may be called twice.
func (p *Path) Close() error {
	p.mu.Lock()
	p.closed = true
	l, f := p.live, p.flight
	p.live = nil
	p.mu.Unlock()
	if f != nil {
		f.cancel()
		<-f.done
	}
	if l != nil {
		return l.Close()
	}
	return nil
}

// blameHop tells trouble on the bastion's side from trouble on the server's.
func (p *Path) blameHop(ctx context.Context, hop *link, a account, err error) error {
	var refused *ssh.OpenChannelError
	switch {
	case ctx.Err() != nil:
	case !hop.alive():
		return verdict.Errorf(verdict.RemoteBastion, p.bastion.Name, "the connection broke on the way to %s: %w", a.Name, err)
	case errors.As(err, &refused) && refused.Reason != ssh.ConnectionFailed:
		closed := verdict.Errorf(verdict.RemoteBastion, p.bastion.Name, "does not forward to %s at %s: %w", a.Name, a.Address, err)
		closed.Leg = verdict.LegForwarding
		return closed
	}
	return a.blame(ctx, err)
}

// connect gives the live connection to the bastion, dialling it if there is none.
func (p *Path) connect(ctx context.Context) (*link, error) {
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return nil, p.closedError()
		}
		if p.live != nil && p.live.alive() {
			defer p.mu.Unlock()
			return p.live, nil
		}
		if f := p.flight; f != nil {
			p.mu.Unlock()
			select {
			case <-f.done:
			case <-ctx.Done():
				return nil, p.bastion.blame(ctx, fmt.Errorf("given up: %w", context.Cause(ctx)))
			}
			if f.abandoned {
				continue
			}
			return f.link, f.err
		}
		dialling, cancel := context.WithCancel(ctx)
		f := &flight{done: make(chan struct{}), cancel: cancel}
		old := p.live
		p.live, p.flight = nil, f
		p.mu.Unlock()

		if old != nil {
			_ = old.Close()
		}
		l, err := p.dial(dialling)
		cancel()
		p.land(f, l, err, ctx.Err() != nil)
		return f.link, f.err
	}
}

// land ends a flight: it publishes the outcome, unless the path was closed in the meantime.
func (p *Path) land(f *flight, l *link, err error, gaveUp bool) {
	p.mu.Lock()
	p.flight = nil
	closed := p.closed
	if err == nil && !closed {
		p.live = l
	}
	p.mu.Unlock()
	if closed {
		if err == nil {
			_ = l.Close()
		}
		l, err, gaveUp = nil, p.closedError(), false
	}
	f.link, f.err, f.abandoned = l, err, err != nil && gaveUp
	close(f.done)
}

func (p *Path) dial(ctx context.Context) (*link, error) {
	if err := p.bastion.check(); err != nil {
		return nil, verdict.Errorf(verdict.Unexplained, p.bastion.Name, "log in: %w", err)
	}
	f, coded := p.bastion.factor.(*Factor)
	if coded {
		leave, err := f.enter(ctx)
		if err != nil {
			return nil, p.bastion.blame(ctx, fmt.Errorf("given up waiting for another login to end: %w", err))
		}
		defer leave()
		if err := f.wait(ctx); err != nil {
			return nil, p.bastion.blame(ctx, fmt.Errorf("given up waiting for the next TOTP step: %w", err))
		}
	}
	l, err := dial(ctx, p.bastion, p.options)
	if err != nil {
		return nil, p.bastion.blame(ctx, err)
	}
	if coded {
		f.admit()
	}
	p.options.Log.InfoContext(ctx, "entered by the bastion", "server", p.bastion.Name, "address", p.bastion.Address)
	return l, nil
}

func (p *Path) closedError() error {
	return verdict.Errorf(verdict.RemoteBastion, p.bastion.Name, "the way to it is closed: %w", net.ErrClosed)
}

// Direct logs in to a server without a bastion: to the bastion itself before it is provisioned, and
// to image builders. Errors are as those of Path.Open. The caller closes the Session.
func Direct(ctx context.Context, s Server, o Options) (Session, error) {
	a, o := account{Server: s}, o.withDefaults()
	if err := a.check(); err != nil {
		return nil, verdict.Errorf(verdict.Unexplained, a.Name, "log in: %w", err)
	}
	l, err := dial(ctx, a, o)
	if err != nil {
		return nil, a.blame(ctx, err)
	}
	o.Log.DebugContext(ctx, "logged in", "server", a.Name, "user", a.User)
	return &shell{server: a.Name, connect: fixed(l), end: l.Close}, nil
}

// fixed is how a session finds a connection that is its own.
func fixed(l *link) func(context.Context) (*link, error) {
	return func(context.Context) (*link, error) { return l, nil }
}
