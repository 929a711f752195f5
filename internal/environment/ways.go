package environment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// BootstrapUser exists on servers from a base until they are provisioned.
const BootstrapUser = "hallmark-bootstrap"

// defaultAdmin is the account tests log in with, if the product names none.
const defaultAdmin = "testadmin"

// ways holds an environment's open connections: one path by the bastion, and on it one session for
// each server and account, shared by all who ask.
type ways struct {
	env *Environment

	mu       sync.Mutex
	path     Path
	pins     string // the bastion's host keys that path was made with
	factor   *remote.Factor
	sessions map[string]*sharedSession
}

// Access is all that is needed to log in as an admin by other means than Session: for tests that
// prove what is refused, and for a person's own SSH.
type Access struct {
	Bastion   remote.Bastion           // it shares the environment's second factor
	Servers   map[string]remote.Server // by name, the bastion too; as the admin
	Bootstrap ssh.Signer               // the key of the bootstrap user, which must not open anything
}

// Access gives the way in. It fails before the bastion's host keys are known.
func (e *Environment) Access() (Access, error) {
	e.ways.mu.Lock()
	defer e.ways.mu.Unlock()
	bastion, err := e.ways.bastion()
	if err != nil {
		return Access{}, err
	}
	a := Access{Bastion: bastion, Servers: map[string]remote.Server{}}
	if a.Bootstrap, err = signer(e.keys.bootstrap); err != nil {
		return Access{}, err
	}
	for _, m := range e.machines() {
		if a.Servers[m.Name], err = e.target(m, false); err != nil {
			return Access{}, err
		}
	}
	return a, nil
}

// TryLogin tries a login from the bastion that ought to be refused, for tests that prove it is.
func (e *Environment) TryLogin(ctx context.Context, attempt remote.Attempt) (remote.Refusal, error) {
	path, err := e.ways.way()
	if err != nil {
		return "", err
	}
	refusal, err := path.TryLogin(ctx, attempt)
	return refusal, e.discreet(err)
}

// adminUser is the account of the product that the environment has.
func (e *Environment) adminUser() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if u := e.rec.Spec.Product.Admin; u != "" {
		return u
	}
	return defaultAdmin
}

// target is a login on one server: as admin, or as the bootstrap user.
func (e *Environment) target(m machine, bootstrap bool) (remote.Server, error) {
	keys, err := parseHostKeys(m.HostKeys)
	if err != nil {
		return remote.Server{}, fmt.Errorf("host keys of %s: %w", m.Name, err)
	}
	t := remote.Server{Name: m.Name, Address: m.Address.String() + ":22", HostKeys: keys, User: e.adminUser()}
	key := e.keys.admin
	if bootstrap {
		t.User, key = BootstrapUser, e.keys.bootstrap
	}
	t.Signer, err = signer(key)
	return t, err
}

// bastion expects w.mu to be held.
func (w *ways) bastion() (remote.Bastion, error) {
	m := w.env.machines()[0]
	if !m.Bastion {
		return remote.Bastion{}, fmt.Errorf("environment %s has no bastion", w.env.ID())
	}
	if w.factor == nil {
		f, err := remote.NewFactor(w.env.keys.seed, claims{w.env}, nil)
		if err != nil {
			return remote.Bastion{}, fmt.Errorf("second factor of %s: %w", m.Name, err)
		}
		w.factor = f
	}
	t, err := w.env.target(m, false)
	if err != nil {
		return remote.Bastion{}, err
	}
	return remote.Bastion{
		Name: t.Name, Address: t.Address, HostKeys: t.HostKeys, User: t.User, Signer: t.Signer, Factor: w.factor,
	}, nil
}

// way gives the shared path. A bastion that was launched anew has new host keys, so the path is
// made anew for it.
func (w *ways) way() (Path, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	pins := fmt.Sprint(w.env.machines()[0].HostKeys)
	if w.path != nil && w.pins == pins {
		return w.path, nil
	}
	b, err := w.bastion()
	if err != nil {
		return nil, err
	}
	if w.path != nil {
		w.env.ignore(w.path.Close())
	}
	w.path, w.pins = w.env.site.Dialer.Path(b), pins
	return w.path, nil
}

// admin opens or shares a session as admin.
func (w *ways) admin(ctx context.Context, server string) (remote.Session, error) {
	return w.shared(adminAt(server), func() (remote.Session, error) {
		m, err := w.env.standing(ctx, server)
		if err != nil {
			return nil, err
		}
		path, err := w.way()
		if err != nil {
			return nil, err
		}
		if m.Bastion {
			return path.Bastion(ctx)
		}
		t, err := w.env.target(m, false)
		if err != nil {
			return nil, err
		}
		return path.Server(ctx, t)
	})
}

// bootstrap opens or shares a session as bootstrap user: directly on the bastion and on a bench,
// else by the bastion.
func (w *ways) bootstrap(ctx context.Context, server string) (remote.Session, error) {
	return w.shared(bootstrapAt(server), func() (remote.Session, error) {
		return w.tryBootstrap(ctx, server)
	})
}

// tryBootstrap logs in anew, past what is shared.
func (w *ways) tryBootstrap(ctx context.Context, server string) (remote.Session, error) {
	m, err := w.env.standing(ctx, server)
	if err != nil {
		return nil, err
	}
	t, err := w.env.target(m, true)
	if err != nil {
		return nil, err
	}
	if m.Bastion || w.env.bench() {
		return w.env.site.Dialer.Direct(ctx, t)
	}
	path, err := w.way()
	if err != nil {
		return nil, err
	}
	return path.Server(ctx, t)
}

func (e *Environment) bootstrapSession(ctx context.Context, server string) (remote.Session, error) {
	return e.ways.bootstrap(ctx, server)
}

// standing gives a server that can be reached at all, as the newest record has it.
func (e *Environment) standing(ctx context.Context, server string) (machine, error) {
	if err := e.refresh(ctx); err != nil && ctx.Err() == nil {
		return machine{}, err
	}
	m := e.machine(server)
	switch {
	case e.over():
		return m, verdict.Errorf(verdict.CloudLost, server, "environment %s: %w", e.ID(), ErrDestroyed)
	case m.Role == "":
		return m, fmt.Errorf("environment %s has no server %q", e.ID(), server)
	case m.ID == "" || len(m.HostKeys) == 0:
		return m, fmt.Errorf("environment %s: %s is not up yet", e.ID(), server)
	}
	return m, nil
}

// shared gives the session of that name, or opens it. Two who open it at the same time get the same.
func (w *ways) shared(name string, open func() (remote.Session, error)) (remote.Session, error) {
	w.mu.Lock()
	s := w.sessions[name]
	w.mu.Unlock()
	if s != nil {
		return s, nil
	}
	opened, err := open()
	if err != nil {
		return nil, w.env.discreet(err)
	}
	opened = discreetSession{opened, w.env}
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.sessions[name]; s != nil {
		w.env.ignore(opened.Close())
		return s, nil
	}
	if w.sessions == nil {
		w.sessions = map[string]*sharedSession{}
	}
	s = &sharedSession{inner: opened, ways: w, name: name}
	w.sessions[name] = s
	return s, nil
}

// drop ends the sessions on a server, or all of them for "".
func (w *ways) drop(server string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, s := range w.sessions {
		if server == "" || name == adminAt(server) || name == bootstrapAt(server) {
			delete(w.sessions, name)
			w.env.ignore(s.inner.Close())
		}
	}
}

// leave ends one session by name: at once, or when the last command that still runs in it has ended.
func (w *ways) leave(name string) {
	w.mu.Lock()
	s := w.sessions[name]
	delete(w.sessions, name)
	idle := s != nil && s.running == 0
	if s != nil {
		s.left = true
	}
	w.mu.Unlock()
	if idle {
		w.env.ignore(s.inner.Close())
	}
}

// open reports whether there is a session of that name.
func (w *ways) open(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sessions[name] != nil
}

// Names of shared sessions.
func adminAt(server string) string     { return "admin@" + server }
func bootstrapAt(server string) string { return "bootstrap@" + server }

// closeSessions ends all connections.
func (e *Environment) closeSessions() {
	e.ways.drop("")
	e.ways.mu.Lock()
	defer e.ways.mu.Unlock()
	if e.ways.path != nil {
		e.ignore(e.ways.path.Close())
		e.ways.path = nil
	}
}

// ignore is for connections that are given up: what they say to that changes nothing.
func (e *Environment) ignore(err error) {
	if err != nil {
		e.site.log().Debug("close a connection", "env", e.ID(), "err", e.discreet(err))
	}
}

// sharedSession is forgotten when its connection breaks, so that the next who asks gets a new one.
type sharedSession struct {
	inner remote.Session
	ways  *ways
	name  string

	running int  // commands and transfers under way; guarded by ways.mu
	left    bool // it ends with the last of them
}

func (s *sharedSession) Run(ctx context.Context, cmd remote.Command) (remote.Result, error) {
	defer s.use()()
	r, err := s.inner.Run(ctx, cmd)
	s.noticed(err)
	return r, err
}

func (s *sharedSession) Put(ctx context.Context, path string, content io.Reader, mode uint32, sudo bool) error {
	defer s.use()()
	err := s.inner.Put(ctx, path, content, mode, sudo)
	s.noticed(err)
	return err
}

// use counts work under way, until the function that it gives is called.
func (s *sharedSession) use() (done func()) {
	s.ways.mu.Lock()
	s.running++
	s.ways.mu.Unlock()
	return func() {
		s.ways.mu.Lock()
		s.running--
		ends := s.left && s.running == 0
		s.ways.mu.Unlock()
		if ends {
			s.ways.env.ignore(s.inner.Close())
		}
	}
}

// Close leaves the session to the others who share it.
func (s *sharedSession) Close() error { return nil }

func (s *sharedSession) noticed(err error) {
	switch verdict.CauseOf(err) {
	case verdict.Transport, verdict.RemoteBastion, verdict.RemoteFactor, verdict.ServerLogin:
	default:
		return
	}
	s.ways.mu.Lock()
	defer s.ways.mu.Unlock()
	if s.ways.sessions[s.name] == s {
		delete(s.ways.sessions, s.name)
		s.ways.env.ignore(s.inner.Close())
	}
}

// claims keeps the use of TOTP steps in the environment's record, so that a restarted process does
// not use a code again.
type claims struct{ env *Environment }

func (c claims) Claim(ctx context.Context, step int64) (bool, error) {
	claimed := false
	err := c.env.change(ctx, func(r *record) {
		claimed = false
		if step > r.Claimed {
			r.Claimed, claimed = step, true
		}
	})
	return claimed && err == nil, err
}

func parseHostKeys(lines []string) ([]ssh.PublicKey, error) {
	var keys []ssh.PublicKey
	for _, line := range lines {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("none are known")
	}
	return keys, nil
}
