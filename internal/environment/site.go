package environment

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/egress"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/remote"
)

// Site is where environments stand: a provider, the way to its servers, and the memory of what was
// put up there. Its exported fields are set once, before first use. It gives one living *Environment
// for an id, so that everybody in this process shares its connections.
type Site struct {
	Provider cloud.Provider
	Store    Store
	Dialer   Dialer
	Clock    Clock        // nil: the machine's
	Log      *slog.Logger // nil: nothing is logged
	Timeouts Timeouts
	Most     product.Most            // what products may ask for, for a server; the zero Most: everything
	Egress   egress.Policy           // what products may reach; the zero Policy: nothing but the package cache
	Records  func(run string) string // directory in which a run keeps what is too large for the Store; nil: that is not kept

	Room func(context.Context) error // says that there is too little disk for servers to work; nil: there is always enough

	mu     sync.Mutex
	living map[string]*Environment
}

// Store remembers environments; *ledger.Ledger is one. It encrypts Environment.Sealed at rest.
type Store interface {
	SaveEnvironment(ctx context.Context, e ledger.Environment) error
	// UpdateEnvironment changes a record in one transaction and gives it as it then is.
	UpdateEnvironment(ctx context.Context, id string, change func(*ledger.Environment)) (ledger.Environment, error)
	// Environment gives a record with its secrets in the clear, or ledger.ErrNotFound.
	Environment(ctx context.Context, id string) (ledger.Environment, error)
}

// Dialer opens connections to servers. SSH is the real one; a fake plays servers in tests.
type Dialer interface {
	// Path is the way admins take into one environment. Nothing is dialled yet.
	Path(bastion remote.Bastion) Path
	// Direct logs in without a bastion: while the bastion itself, or an image, is being built.
	Direct(ctx context.Context, server remote.Server) (remote.Session, error)
	// Knock reports whether anything answers at an address ("10.0.0.2:22") of this host's view.
	Knock(ctx context.Context, address string) bool
}

// Path is one shared connection to a bastion. It connects when it is first used, and again after it
// broke. It is safe for concurrent use.
type Path interface {
	Bastion(ctx context.Context) (remote.Session, error)
	Server(ctx context.Context, server remote.Server) (remote.Session, error)
	// TryLogin tries a login from the bastion that ought to be refused.
	TryLogin(ctx context.Context, attempt remote.Attempt) (remote.Refusal, error)
	Close() error
}

// Clock is time as environments see it.
type Clock interface {
	Now() time.Time
	// Sleep returns after d, or earlier with the context's error.
	Sleep(ctx context.Context, d time.Duration) error
}

// Timeouts bound the waits that no product sets. Zero fields have the defaults that are named.
type Timeouts struct {
	Boot   time.Duration // from launch or reboot to sshd: 3 minutes
	Login  time.Duration // from a converged server to an admin's proved path: 1 minute
	Puppet time.Duration // one provisioning, if the product sets none: 30 minutes
	Health time.Duration // a health check, if the product sets none: 1 minute
}

func (t Timeouts) withDefaults() Timeouts {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&t.Boot, 3 * time.Minute}, {&t.Login, time.Minute}, {&t.Puppet, 30 * time.Minute}, {&t.Health, time.Minute}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return t
}

// systemClock is the machine's own clock.
type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Site) clock() Clock {
	if s.Clock == nil {
		return systemClock{}
	}
	return s.Clock
}

func (s *Site) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

// claim gives the living environment of an id, or makes it by load while others wait. One that was
// destroyed is not kept.
func (s *Site) claim(id string, load func() (*Environment, error)) (*Environment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.living[id]; ok {
		return e, nil
	}
	e, err := load()
	if err != nil {
		return nil, err
	}
	if e.over() {
		return e, nil
	}
	if s.living == nil {
		s.living = map[string]*Environment{}
	}
	s.living[id] = e
	return e, nil
}

// release forgets an environment that was closed.
func (s *Site) release(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.living, id)
}
