package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"

	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Refusal is how a login was turned down.
type Refusal string

// Refusals. Accepted is none: it is what such a test looks for.
const (
	Accepted       Refusal = "accepted"               // it was let in
	Unreachable    Refusal = "unreachable"            // the network: no answer, connection refused, no route to the host
	KeyRefused     Refusal = "key refused"            // the user or its key
	FactorDemanded Refusal = "second factor demanded" // the key is accepted, and is not enough
	FactorRefused  Refusal = "second factor refused"  // the key is accepted, the code is not
)

// Code is what an Attempt answers to the question for a second factor.
type Code string

// Codes. None of them may let anybody in.
const (
	NoCode      Code = ""                       // the question is not answered
	UsedCode    Code = "a used code"            // one that let the admin in a moment ago
	OldCode     Code = "an old code"            // one of five minutes ago
	ForeignCode Code = "a code of another seed" // six digits, and right for another seed
)

// Attempt is a login that ought to be refused.
type Attempt struct {
	Server
	Code   Code
	Factor *Factor // what codes are made of, and whose turn is waited for; needed for all but NoCode
}

// given answers with a code that is known already.
type given string

func (c given) Code(context.Context) (string, error) { return string(c), nil }

// TryLogin tries a login from this host and says how it was refused. An error means that it could
// not be tried, so nothing is proved: another host key, a connection that broke, a cancelled
// context, a code that was never asked for, a used code that did not let in the first time. Unreachable
// proves something only of a server that is known to be up: see to that. With a network that drops, it takes
// Options.LoginTimeout. For UsedCode it uses up a code first, and waits for that as Factor.Code does, if
// the current one has not let in yet.
func TryLogin(ctx context.Context, t Attempt, o Options) (Refusal, error) {
	a, o := account{Server: t.Server}, o.withDefaults()
	if t.Code == NoCode {
		return try(ctx, a, o)
	}
	if a.bastion = true; t.Factor != nil {
		a.factor = t.Factor
	}
	if err := a.check(); err != nil {
		return "", notTried(a, err)
	}
	leave, err := t.Factor.enter(ctx)
	if err != nil {
		return "", a.blame(ctx, fmt.Errorf("given up waiting for another login to end: %w", err))
	}
	defer leave()
	var code string
	switch t.Code {
	case UsedCode:
		return reuse(ctx, a, t.Factor, o)
	case OldCode:
		code, err = t.Factor.old()
	case ForeignCode:
		code, err = t.Factor.foreign()
	default:
		err = fmt.Errorf("%q is no kind of code", t.Code)
	}
	if err != nil {
		return "", notTried(a, err)
	}
	a.factor = given(code)
	return try(ctx, a, o)
}

// reuses is how often reuse begins anew if a step ends meanwhile.
const reuses = 3

// reuse tries a code that let in: the current one, if a session has just begun with it, else one that it logs in
// with itself. It does so in the code's own step, or tries another: later a code might be refused for its age.
func reuse(ctx context.Context, a account, f *Factor, o Options) (Refusal, error) {
	for range reuses {
		if f.spent() != stepOf(f.clock.Now()) {
			if err := f.wait(ctx); err != nil {
				return "", a.blame(ctx, fmt.Errorf("given up waiting for the next TOTP step: %w", err))
			}
			a.factor = f
			l, err := dial(ctx, a, o)
			if err != nil {
				var e *loginError
				if errors.As(err, &e) && e.at == stageNoFactor && ctx.Err() == nil {
					return Accepted, nil // no code is needed at all
				}
				return "", a.blame(ctx, fmt.Errorf("nothing is proved of a used code, for the fresh one did not let in: %w", err))
			}
			f.admit()
			_ = l.Close()
		}
		step := f.spent()
		code, err := codeOf(*f.seed, step)
		if err != nil {
			return "", notTried(a, err)
		}
		a.factor = given(code)
		refusal, err := try(ctx, a, o)
		if refusal == FactorRefused && stepOf(f.clock.Now()) != step {
			continue
		}
		return refusal, err
	}
	return "", notTried(a, fmt.Errorf("logging in took longer than the %v of one code, %d times", stepLength, reuses))
}

// try logs in with what an account has.
func try(ctx context.Context, a account, o Options) (Refusal, error) {
	if err := a.check(); err != nil {
		return "", notTried(a, err)
	}
	l, err := dial(ctx, a, o)
	return refusal(ctx, a, l, err)
}

func notTried(a account, err error) error {
	return verdict.Errorf(verdict.Unexplained, a.Name, "try to log in: %w", err)
}

// TryLogin tries a login from the bastion, where no code is asked for: see the function TryLogin.
func (p *Path) TryLogin(ctx context.Context, t Attempt) (Refusal, error) {
	a := account{Server: t.Server}
	if t.Code != NoCode {
		return "", notTried(a, errors.New("codes are for the bastion, which is no way to itself"))
	}
	if err := a.check(); err != nil {
		return "", notTried(a, err)
	}
	hop, err := p.connect(ctx)
	if err != nil {
		return "", err
	}
	l, err := hop.through(ctx, a, p.options)
	if err != nil && (ctx.Err() != nil || !hop.alive()) {
		return "", p.blameHop(ctx, hop, a, err)
	}
	return refusal(ctx, a, l, err)
}

func refusal(ctx context.Context, a account, l *link, err error) (Refusal, error) {
	if err == nil {
		_ = l.Close()
		return Accepted, nil
	}
	var e *loginError
	if errors.As(err, &e) && ctx.Err() == nil {
		switch e.at {
		case stageConnect:
			if unreachable(err) {
				return Unreachable, nil
			}
		case stageKey:
			return KeyRefused, nil
		case stageDemanded:
			return FactorDemanded, nil
		case stageFactor:
			if e.answered {
				return FactorRefused, nil
			}
		case stageNoFactor:
			return Accepted, nil
		}
	}
	return "", a.blame(ctx, fmt.Errorf("it could not be tried whether that is refused: %w", err))
}

// unreachable tells a network that refuses from a fault of this host's own, such as having no route.
func unreachable(err error) bool {
	var refused *ssh.OpenChannelError
	if errors.As(err, &refused) {
		return refused.Reason == ssh.ConnectionFailed
	}
	// The dialler may notice its deadline a moment before the context says that it is over.
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		return true
	}
	for _, e := range []error{errNoAnswer, syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ETIMEDOUT} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Answered reports whether the far end itself said no to a login or a command: its kernel with a reset,
// its sshd, its login shell or its sudo. It is false for silence, which anything between may cause, and
// for another host key, which anything may have.
func Answered(err error) bool {
	switch verdict.LegOf(err) {
	case "":
		return false
	case verdict.LegBastionPort, verdict.LegServerPort, verdict.LegNetwork:
	default:
		return true
	}
	var login *loginError
	if errors.As(err, &login) && login.at == stageHandshake { // the connection was made
		return true
	}
	var channel *ssh.OpenChannelError
	if errors.As(err, &channel) { // sshd hands on what its system said (RFC 4254, section 5.1)
		return strings.Contains(strings.ToLower(channel.Message), syscall.ECONNREFUSED.Error())
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
