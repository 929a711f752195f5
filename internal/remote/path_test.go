package remote

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// twoHops is a bastion that wants a code, and a server behind it.
type twoHops struct {
	bastion, web *sshd
	key          ssh.Signer
	clock        *fakeClock
	path         *Path
}

func newTwoHops(t *testing.T, o Options) *twoHops {
	t.Helper()
	key, clock := newSigner(t), newFakeClock()
	h := &twoHops{
		bastion: startSSHD(t, "testadmin", key.PublicKey()), web: startSSHD(t, "testadmin", key.PublicKey()),
		key: key, clock: clock,
	}
	h.bastion.set(func(b *behaviour) { b.codes, b.now = true, clock.Now })
	h.path = NewPath(h.bastion.bastion("testadmin", key, newFactor(t, nil, clock)), o)
	t.Cleanup(func() { h.path.Close() })
	return h
}

func (h *twoHops) server() Server { return h.web.server("web-1", "testadmin", h.key) }

func (h *twoHops) open(t *testing.T) Session {
	t.Helper()
	s, err := h.path.Open(t.Context(), h.server())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func wantCause(t *testing.T, err error, want verdict.Cause) {
	t.Helper()
	if got := verdict.CauseOf(err); got != want {
		t.Errorf("cause %q, want %q, of: %v", got, want, err)
	}
}

func wantLeg(t *testing.T, err error, want verdict.Leg) {
	t.Helper()
	if got := verdict.LegOf(err); got != want {
		t.Errorf("leg %q, want %q, of: %v", got, want, err)
	}
}

func TestManySessionsShareOneLoginAtTheBastion(t *testing.T) {
	h := newTwoHops(t, Options{})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			s, err := h.path.Open(t.Context(), h.server())
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if r, err := s.Run(t.Context(), Command{Line: "echo $AS_ROOT", Sudo: true}); err != nil || string(r.Stdout) != "yes\n" {
				t.Errorf("%q, %v", r.Stdout, err)
			}
		})
	}
	wg.Wait()
	if _, logins := h.bastion.count(); logins != 1 {
		t.Errorf("%d logins at the bastion", logins)
	}
	if _, logins := h.web.count(); logins != 20 {
		t.Errorf("%d logins at the server", logins)
	}
}

func TestABrokenPathIsDialledAgainWithANewCode(t *testing.T) {
	h := newTwoHops(t, Options{})
	s := h.open(t)
	hop, err := h.path.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h.bastion.drop()
	<-hop.done
	_, err = s.Run(t.Context(), Command{Line: "true"})
	wantCause(t, err, verdict.Transport)

	opened := make(chan error)
	go func() {
		s, err := h.path.Open(t.Context(), h.server())
		if err == nil {
			s.Close()
		}
		opened <- err
	}()
	<-h.clock.waits // for the next step, before it dials: the bastion counts the seconds
	if n, _ := h.bastion.count(); n != 1 {
		t.Errorf("%d connections to the bastion while waiting for a code", n)
	}
	h.clock.advance(stepLength)
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

func TestASessionOnTheBastionOutlivesAConnection(t *testing.T) {
	h := newTwoHops(t, Options{})
	s, err := h.path.Bastion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hop, _ := h.path.connect(t.Context())
	h.bastion.drop()
	<-hop.done
	h.clock.advance(stepLength)
	if r, err := s.Run(t.Context(), Command{Line: "echo here"}); err != nil || string(r.Stdout) != "here\n" {
		t.Errorf("%q, %v", r.Stdout, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	_, err = s.Run(t.Context(), Command{Line: "true"})
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if hop, err := h.path.connect(t.Context()); err != nil || !hop.alive() {
		t.Errorf("the shared connection went with the session: %v", err)
	}
}

func TestACallerWhoGivesUpLeavesTheDialToTheNext(t *testing.T) {
	h := newTwoHops(t, Options{})
	if _, err := h.path.bastion.factor.Code(t.Context()); err != nil { // so that the dial has to wait
		t.Fatal(err)
	}
	first, cancel := context.WithCancel(t.Context())
	gaveUp, opened := make(chan error), make(chan error)
	go func() {
		_, err := h.path.connect(first)
		gaveUp <- err
	}()
	<-h.clock.waits
	go func() {
		_, err := h.path.connect(t.Context())
		opened <- err
	}()
	cancel()
	wantCause(t, <-gaveUp, verdict.Cancelled)
	<-h.clock.waits
	h.clock.advance(stepLength)
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

func TestCloseEndsADialUnderWay(t *testing.T) {
	h := newTwoHops(t, Options{})
	h.bastion.set(func(b *behaviour) { b.mute = true })
	failed := make(chan error)
	go func() {
		_, err := h.path.Open(context.Background(), h.server())
		failed <- err
	}()
	<-h.bastion.arrived // and hangs in the handshake
	for range 2 {
		if err := h.path.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-failed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v", err)
	}
	_, err := h.path.Open(t.Context(), h.server())
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// closedLegs is what errors of TestLegs say of an admin's way, and whether the far end said it itself.
var closedLegs = map[string]struct {
	leg      verdict.Leg
	answered bool
}{
	"bastion: nothing listens":  {verdict.LegBastionPort, true},
	"bastion: no handshake":     {verdict.LegBastionPort, true},
	"bastion: silence":          {verdict.LegBastionPort, false},
	"bastion: key":              {verdict.LegBastionKey, true},
	"bastion: hangs up":         {verdict.LegAccount, true},
	"bastion: code":             {verdict.LegFactor, true},
	"bastion: account":          {verdict.LegAccount, true},
	"bastion: no second factor": {verdict.LegFactor, true},
	"bastion: no forwarding":    {verdict.LegForwarding, true},
	"server: nothing listens":   {verdict.LegServerPort, true},
	"server: no handshake":      {verdict.LegServerPort, true},
	"server: user":              {verdict.LegServerKey, true},
	"server: key":               {verdict.LegServerKey, true},
	"server: hangs up":          {verdict.LegAccount, true},
	"server: wants a code":      {verdict.LegFactor, true},
}

// Every leg that can break, and what it is called.
func TestLegs(t *testing.T) {
	other := newSigner(t)
	for _, test := range []struct {
		name  string
		harm  func(h *twoHops, s *Server)
		cause verdict.Cause
		says  string
	}{
		{"bastion: nothing listens", func(h *twoHops, _ *Server) { h.bastion.listen.Close() }, verdict.RemoteBastion, "refused"},
		{"bastion: no handshake", func(h *twoHops, _ *Server) { h.bastion.set(func(b *behaviour) { b.mute = true }) }, verdict.RemoteBastion, "no SSH handshake within 100ms"},
		{"bastion: silence", func(h *twoHops, _ *Server) {
			h.path.options.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		}, verdict.RemoteBastion, "no answer within 100ms"},
		{"bastion: key", func(h *twoHops, _ *Server) { h.bastion.set(func(b *behaviour) { b.users = nil }) }, verdict.RemoteBastion, "refuses the user or the key"},
		{"bastion: hangs up", func(h *twoHops, _ *Server) { h.bastion.set(func(b *behaviour) { b.hangUp = true }) }, verdict.RemoteBastion, "hung up during the login"},
		{"bastion: host key", func(h *twoHops, _ *Server) { h.bastion.set(func(b *behaviour) { b.hostKey = other }) }, verdict.RemoteBastion, "host key mismatch: bastion"},
		{"bastion: code", func(h *twoHops, _ *Server) { h.bastion.set(func(b *behaviour) { b.now = time.Now }) }, verdict.RemoteFactor, "refuses the second factor"},
		{"bastion: account", func(h *twoHops, _ *Server) {
			h.bastion.set(func(b *behaviour) {
				b.now, b.banner = time.Now, "Your account has expired; please contact your system administrator.\n"
			})
		}, verdict.RemoteFactor, "account has expired"},
		{"bastion: no second factor", func(h *twoHops, _ *Server) { h.bastion.set(func(b *behaviour) { b.codes = false }) }, verdict.ServerLogin, "by the key alone"},
		{"bastion: no forwarding", func(h *twoHops, _ *Server) { h.bastion.set(func(b *behaviour) { b.noForward = true }) }, verdict.RemoteBastion, "does not forward to web-1"},
		{"bastion: no pinned key", func(h *twoHops, _ *Server) { h.path.bastion.HostKeys = nil }, verdict.Unexplained, "no host key is pinned"},
		{"server: nothing listens", func(h *twoHops, _ *Server) { h.web.listen.Close() }, verdict.Transport, "refused"},
		{"server: no handshake", func(h *twoHops, _ *Server) { h.web.set(func(b *behaviour) { b.mute = true }) }, verdict.Transport, "no SSH handshake within 100ms"},
		{"server: host key", func(h *twoHops, _ *Server) { h.web.set(func(b *behaviour) { b.hostKey = other }) }, verdict.Transport, "host key mismatch: web-1"},
		{"server: user", func(_ *twoHops, s *Server) { s.User = "root" }, verdict.ServerLogin, "log in as root"},
		{"server: key", func(_ *twoHops, s *Server) { s.Signer = other }, verdict.ServerLogin, "refuses the user or the key"},
		{"server: hangs up", func(h *twoHops, _ *Server) {
			h.web.set(func(b *behaviour) { b.hangUp, b.banner = true, "System is booting up.\n" })
		}, verdict.ServerLogin, "it says: System is booting up."},
		{"server: wants a code", func(h *twoHops, _ *Server) { h.web.set(func(b *behaviour) { b.codes = true }) }, verdict.ServerLogin, "also wants keyboard-interactive"},
		{"server: no pinned key", func(_ *twoHops, s *Server) { s.HostKeys = nil }, verdict.Unexplained, "no host key is pinned"},
		{"server: no address", func(_ *twoHops, s *Server) { s.Address = "" }, verdict.Unexplained, "no address"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newTwoHops(t, Options{})
			s := h.server()
			test.harm(h, &s)
			if strings.Contains(test.name, "handshake") || strings.Contains(test.name, "silence") {
				h.path.options.LoginTimeout = 100 * time.Millisecond
			}
			_, err := h.path.Open(t.Context(), s)
			wantCause(t, err, test.cause)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("says %v, want %q in it", err, test.says)
			}
			var coded *verdict.Error
			if !errors.As(err, &coded) || coded.Server == "" || strings.Contains(err.Error(), testSeed) {
				t.Errorf("error %#v", err)
			}
			want := closedLegs[test.name]
			if got := verdict.LegOf(err); got != want.leg || Answered(err) != want.answered {
				t.Errorf("leg %q, answered %v, want %+v, of: %v", got, Answered(err), want, err)
			}
		})
	}
}

func TestHostKeyOfATypeThatIsNotPinned(t *testing.T) {
	h := newTwoHops(t, Options{})
	s := h.server()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pinned, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	s.HostKeys = []ssh.PublicKey{pinned}
	_, err = h.path.Open(t.Context(), s)
	var mismatch *HostKeyError
	if !errors.As(err, &mismatch) || mismatch.Got != nil || !strings.Contains(err.Error(), "pinned type") {
		t.Errorf("error %v", err)
	}
}

func TestALoginThatIsCancelled(t *testing.T) {
	h := newTwoHops(t, Options{})
	h.web.set(func(b *behaviour) { b.mute = true })
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := h.path.connect(ctx); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		_, err := h.path.Open(ctx, h.server())
		failed <- err
	}()
	<-h.web.arrived
	cancel()
	wantCause(t, <-failed, verdict.Cancelled)
}

// A peer that vanished without a word is found out by the questions that it does not answer.
func TestKeepAliveEndsAMuteConnection(t *testing.T) {
	key := newSigner(t)
	web := startSSHD(t, "testadmin", key.PublicKey())
	var stuck *stuckConn
	s, err := Direct(t.Context(), web.server("web-1", "testadmin", key), Options{
		KeepAlive: 5 * time.Millisecond, Patience: 50 * time.Millisecond,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, address)
			stuck = &stuckConn{Conn: c, open: make(chan struct{})}
			return stuck, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Run(t.Context(), Command{Line: "true"}); err != nil {
		t.Fatal(err)
	}
	stuck.mu.Lock()
	stuck.mute = true
	stuck.mu.Unlock()
	_, err = s.Run(t.Context(), Command{Line: "true"})
	wantCause(t, err, verdict.Transport)
}

// stuckConn swallows what is written, once it is mute.
type stuckConn struct {
	net.Conn
	mu   sync.Mutex
	mute bool
	open chan struct{}
}

func (c *stuckConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mute {
		return len(p), nil
	}
	return c.Conn.Write(p)
}
