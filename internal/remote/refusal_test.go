package remote

import (
	"context"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/hallmark-ci/hallmark/internal/verdict"
)

func TestRefusals(t *testing.T) {
	other := newSigner(t)
	silence := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	noRoute := func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: syscall.ENETUNREACH}
	}
	for _, test := range []struct {
		name   string
		change func(h *twoHops, a *Attempt, o *Options)
		want   Refusal
		cause  verdict.Cause // of what could not be tried
	}{
		{"key only", func(*twoHops, *Attempt, *Options) {}, FactorDemanded, ""},
		{"key only is enough", func(h *twoHops, _ *Attempt, _ *Options) { h.bastion.set(func(b *behaviour) { b.codes = false }) }, Accepted, ""},
		{"wrong code", func(_ *twoHops, a *Attempt, _ *Options) { a.Code = "000000" }, FactorRefused, ""},
		{"wrong code, none asked for", func(h *twoHops, a *Attempt, _ *Options) {
			a.Code = "000000"
			h.bastion.set(func(b *behaviour) { b.codes = false })
		}, Accepted, ""},
		{"root", func(_ *twoHops, a *Attempt, _ *Options) { a.User = "root" }, KeyRefused, ""},
		{"another key", func(_ *twoHops, a *Attempt, _ *Options) { a.Signer = other }, KeyRefused, ""},
		{"nothing listens", func(h *twoHops, _ *Attempt, _ *Options) { h.bastion.listen.Close() }, Unreachable, ""},
		{"no answer", func(_ *twoHops, _ *Attempt, o *Options) { o.Dial, o.LoginTimeout = silence, 10*time.Millisecond }, Unreachable, ""},
		{"no route of our own", func(_ *twoHops, _ *Attempt, o *Options) { o.Dial = noRoute }, "", verdict.Transport},
		{"another host key", func(_ *twoHops, a *Attempt, _ *Options) { a.HostKeys = []ssh.PublicKey{other.PublicKey()} }, "", verdict.Transport},
		{"hangs up", func(h *twoHops, _ *Attempt, _ *Options) { h.bastion.set(func(b *behaviour) { b.hangUp = true }) }, "", verdict.ServerLogin},
		{"no handshake", func(h *twoHops, _ *Attempt, o *Options) {
			o.LoginTimeout = 10 * time.Millisecond
			h.bastion.set(func(b *behaviour) { b.mute = true })
		}, "", verdict.Transport},
		{"nothing pinned", func(_ *twoHops, a *Attempt, _ *Options) { a.HostKeys = nil }, "", verdict.Unexplained},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newTwoHops(t, Options{})
			a, o := Attempt{Server: h.bastion.server("bastion", "testadmin", h.key)}, Options{}
			test.change(h, &a, &o)
			got, err := TryLogin(t.Context(), a, o)
			if got != test.want || verdict.CauseOf(err) != test.cause {
				t.Errorf("%q, %v; want %q, cause %q", got, err, test.want, test.cause)
			}
		})
	}
}

func TestALoginThatWasNotTriedProvesNothing(t *testing.T) {
	h := newTwoHops(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got, err := TryLogin(ctx, Attempt{Server: h.server()}, Options{})
	wantCause(t, err, verdict.Cancelled)
	if got != "" {
		t.Errorf("refusal %q", got)
	}
}

func TestRefusalsFromTheBastion(t *testing.T) {
	h := newTwoHops(t, Options{})
	try := func(change func(*Attempt)) (Refusal, error) {
		a := Attempt{Server: h.server()}
		change(&a)
		return h.path.TryLogin(t.Context(), a)
	}
	for want, change := range map[Refusal]func(*Attempt){
		Accepted:    func(*Attempt) {},
		KeyRefused:  func(a *Attempt) { a.User = "root" },
		Unreachable: func(a *Attempt) { a.Address = "127.0.0.1:1" },
	} {
		if got, err := try(change); got != want || err != nil {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	h.bastion.set(func(b *behaviour) { b.noForward = true })
	if got, err := try(func(*Attempt) {}); got != "" || err == nil {
		t.Errorf("a bastion that forwards nothing proves %q", got)
	}
}
