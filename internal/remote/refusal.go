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

// Attempt is a login that ought to be refused.
type Attempt struct {
	Server
	Code string // answer to the question for a second factor; "": it is not answered
}

// wrongCode answers with a code that was made up.
type wrongCode string

func (c wrongCode) Code(context.Context) (string, error) { return string(c), nil }

// TryLogin tries a login from this host and says how it was refused. An error means that it could
// not be tried, so nothing is proved: another host key, a connection that broke, a cancelled
// context. Unreachable proves something only of a server that is known to be up: see to that. With
// a network that drops, it takes Options.LoginTimeout.
func TryLogin(ctx context.Context, t Attempt, o Options) (Refusal, error) {
	a, o := t.account(), o.withDefaults()
	if err := a.check(); err != nil {
		return "", verdict.Errorf(verdict.Unexplained, a.Name, "try to log in: %w", err)
	}
	l, err := dial(ctx, a, o)
	return refusal(ctx, a, l, err)
}

// TryLogin tries a login from the bastion: see the function TryLogin.
func (p *Path) TryLogin(ctx context.Context, t Attempt) (Refusal, error) {
	a := t.account()
	if err := a.check(); err != nil {
		return "", verdict.Errorf(verdict.Unexplained, a.Name, "try to log in: %w", err)
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

func (t Attempt) account() account {
	a := account{Server: t.Server}
	if t.Code != "" {
		a.factor = wrongCode(t.Code)
	}
	return a
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
			return FactorRefused, nil
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
