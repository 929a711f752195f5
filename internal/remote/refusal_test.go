package remote

import (
	"context"
	"errors"
	"net"
	"strings"
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
		{"a code, and no factor to make it of", func(_ *twoHops, a *Attempt, _ *Options) { a.Code = OldCode }, "", verdict.Unexplained},
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

// Each wrong code is refused by a bastion that is well, and lets in where the bastion has the defect that it looks for.
func TestRefusedCodes(t *testing.T) {
	const limit = "limits attempts to fewer than the 10 in 30s"
	codes := []Code{ForeignCode, OldCode, UsedCode}
	for _, test := range []struct {
		name   string
		change func(b *behaviour)
		want   map[Code]Refusal // nothing: it could not be tried
		cause  verdict.Cause
		words  string
	}{
		{"well", func(*behaviour) {}, map[Code]Refusal{ForeignCode: FactorRefused, OldCode: FactorRefused, UsedCode: FactorRefused}, "", ""},
		{"used codes do", func(b *behaviour) { b.reuses = true }, map[Code]Refusal{ForeignCode: FactorRefused, OldCode: FactorRefused, UsedCode: Accepted}, "", ""},
		{"old codes do", func(b *behaviour) { b.forgives = oldSteps + 2 }, map[Code]Refusal{ForeignCode: FactorRefused, OldCode: Accepted, UsedCode: FactorRefused}, "", ""},
		{"any six digits do", func(b *behaviour) { b.anyCode, b.reuses = true, true }, map[Code]Refusal{ForeignCode: Accepted, OldCode: Accepted, UsedCode: Accepted}, "", ""},
		{"no code is needed", func(b *behaviour) { b.codes = false }, map[Code]Refusal{ForeignCode: Accepted, OldCode: Accepted, UsedCode: Accepted}, "", ""},
		{"too many attempts", func(b *behaviour) { b.limited = true }, nil, verdict.RemoteFactor, limit},
		{"the key is refused", func(b *behaviour) { b.users = nil }, map[Code]Refusal{ForeignCode: KeyRefused, OldCode: KeyRefused}, verdict.RemoteBastion, "nothing is proved"},
		{"another time", func(b *behaviour) { b.now = time.Now },
			map[Code]Refusal{ForeignCode: FactorRefused, OldCode: FactorRefused}, verdict.RemoteFactor, "nothing is proved of a used code, for the fresh one did not let in"},
		{"hangs up", func(b *behaviour) { b.hangUp = true }, nil, verdict.RemoteBastion, "hung up"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, code := range codes {
				h := newTwoHops(t, Options{})
				h.bastion.set(test.change)
				a := Attempt{Server: h.bastion.server("bastion", "testadmin", h.key), Code: code, Factor: newFactor(t, nil, h.clock)}
				got, err := TryLogin(t.Context(), a, Options{})
				want, cause, words := test.want[code], verdict.Cause(""), ""
				if want == "" {
					cause, words = test.cause, test.words
				}
				if got != want || verdict.CauseOf(err) != cause || err != nil && !strings.Contains(err.Error(), words) {
					t.Errorf("%s: %q, %v; want %q, cause %q, %q", code, got, err, want, cause, words)
				}
			}
		})
	}
}

// The first login with a code that will be a used one is a login like others: its code is claimed, and it has
// waited for the next step.
func TestUsedCodeIsClaimed(t *testing.T) {
	h := newTwoHops(t, Options{})
	clock, steps := h.clock, &MemorySteps{}
	f := newFactor(t, steps, clock)
	before, err := f.Code(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h.bastion.used[before] = true
	tried := make(chan error)
	go func() {
		got, err := TryLogin(t.Context(), Attempt{Server: h.bastion.server("bastion", "testadmin", h.key), Code: UsedCode, Factor: f}, Options{})
		if err == nil && got != FactorRefused {
			err = errors.New(string(got))
		}
		tried <- err
	}()
	<-clock.waits
	if dialled, _ := h.bastion.count(); dialled > 0 {
		t.Error("it was dialled before there was a code")
	}
	clock.advance(stepLength)
	if err := <-tried; err != nil {
		t.Error(err)
	}
	if ok, err := steps.Claim(t.Context(), stepOf(clock.Now())); ok || err != nil {
		t.Errorf("the step of the used code could be claimed again: %v, %v", ok, err)
	}
}

// The code that a session has just begun with is a used one: no other is waited for. One that did not let in is none.
func TestUsedCodeOfASession(t *testing.T) {
	h := newTwoHops(t, Options{})
	f := newFactor(t, nil, h.clock)
	path := NewPath(h.bastion.bastion("testadmin", h.key, f), Options{})
	defer path.Close()
	try := func() (Refusal, error) {
		return TryLogin(t.Context(), Attempt{Server: h.bastion.server("bastion", "testadmin", h.key), Code: UsedCode, Factor: f}, Options{})
	}
	if _, err := path.Bastion(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := try(); got != FactorRefused || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if dialled, logins := h.bastion.count(); dialled != 2 || logins != 1 {
		t.Errorf("%d connections and %d logins, want the session and one that is refused", dialled, logins)
	}
	h.bastion.set(func(b *behaviour) { b.reuses = true })
	if got, err := try(); got != Accepted || err != nil {
		t.Errorf("a bastion that takes used codes: %q, %v", got, err)
	}

	path.Close()
	h.bastion.set(func(b *behaviour) { b.reuses, b.limited = false, true })
	h.clock.advance(stepLength)
	if _, err := NewPath(h.bastion.bastion("testadmin", h.key, f), Options{}).Bastion(t.Context()); err == nil {
		t.Error("let in without a code")
	}
	h.bastion.set(func(b *behaviour) { b.limited = false })
	logins := func() int { _, n := h.bastion.count(); return n }
	before := logins()
	if got, err := try(); got != FactorRefused || err != nil || logins() != before+1 {
		t.Errorf("%q, %v, after %d logins", got, err, logins()-before)
	}
}

// A code that is refused once its step is over is refused for its age perhaps, so another is tried.
func TestUsedCodeThatGotOld(t *testing.T) {
	for _, late := range []int{1, reuses} {
		h := newTwoHops(t, Options{})
		clock := h.clock
		var refused int
		h.bastion.set(func(b *behaviour) {
			b.now = func() time.Time { // asked once a login, with the bastion's lock held
				if len(h.bastion.used) > refused {
					if refused++; refused <= late {
						clock.advance(stepLength)
					}
				}
				return clock.Now()
			}
		})
		got, err := TryLogin(t.Context(), Attempt{Server: h.bastion.server("bastion", "testadmin", h.key), Code: UsedCode, Factor: newFactor(t, nil, clock)}, Options{})
		switch {
		case late < reuses && (got != FactorRefused || err != nil):
			t.Errorf("late once: %q, %v", got, err)
		case late == reuses && (got != "" || verdict.CauseOf(err) != verdict.Unexplained):
			t.Errorf("late every time: %q, %v", got, err)
		}
	}
}

// Logins with one seed go one after another: a bastion notes all of an account in one place.
func TestLoginsWithOneSeedTakeTurns(t *testing.T) {
	h := newTwoHops(t, Options{})
	f := newFactor(t, nil, h.clock)
	leave, err := f.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path := NewPath(h.bastion.bastion("testadmin", h.key, f), Options{})
	defer path.Close()
	logins := map[string]func(context.Context) error{
		"attempt": func(ctx context.Context) error {
			_, err := TryLogin(ctx, Attempt{Server: h.bastion.server("bastion", "testadmin", h.key), Code: OldCode, Factor: f}, Options{})
			return err
		},
		"session": func(ctx context.Context) error {
			_, err := path.Bastion(ctx)
			return err
		},
	}
	for name, login := range logins {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if err := login(ctx); err == nil || !strings.Contains(err.Error(), "waiting for another login to end") {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	if dialled, _ := h.bastion.count(); dialled > 0 {
		t.Errorf("%d connections were made", dialled)
	}
	leave()
	for name, login := range logins {
		if err := login(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusedSessionNamesTheRateLimit(t *testing.T) {
	for name, change := range map[string]func(*behaviour){
		"without asking for a code":                              func(b *behaviour) { b.limited = true },
		"the server refuses the second factor (perhaps the seed": func(b *behaviour) { b.now = time.Now },
	} {
		h := newTwoHops(t, Options{})
		h.bastion.set(change)
		_, err := h.path.Bastion(t.Context())
		wantCause(t, err, verdict.RemoteFactor)
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "limits attempts to fewer than the 10 in 30s that Hallmark may need") {
			t.Errorf("error %v", err)
		}
		if leg := verdict.LegOf(err); leg != verdict.LegFactor {
			t.Errorf("leg %q", leg)
		}
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
