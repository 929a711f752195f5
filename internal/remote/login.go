package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// stage is how far a login came before it ended.
type stage string

const (
	stageConnect   stage = "connection"                // no connection
	stageHandshake stage = "handshake"                 // connected, but nobody was asked to log in
	stageHostKey   stage = "host key"                  // another host key than the pinned ones
	stageKey       stage = "key refused"               // the user or the key is not accepted
	stageDropped   stage = "dropped after the key"     // hung up while logging in: account refused, booting, …
	stageDemanded  stage = "second factor demanded"    // the key is accepted, but is not enough
	stageFactor    stage = "second factor refused"     // the key is accepted, the code is not
	stageNoFactor  stage = "second factor not asked"   // let in by the key alone where two are expected
	stageOurs      stage = "not tried: our own reason" // cancelled, or no code to be had
)

// loginError is a login that did not succeed.
type loginError struct {
	at       stage
	answered bool   // a code was sent
	banner   string // what the server had to say, for people
	err      error
}

func (e *loginError) Error() string {
	if e.banner == "" {
		return e.err.Error()
	}
	return fmt.Sprintf("%v (it says: %s)", e.err, e.banner)
}

func (e *loginError) Unwrap() error { return e.err }

// blame names the leg that broke. A bastion that lets an admin in without a second factor is a fault
// of what it was configured with, and no trouble with the way.
func (a account) blame(ctx context.Context, err error) error {
	var e *loginError
	if !errors.As(err, &e) {
		e = &loginError{at: stageConnect, err: err}
	}
	var cause verdict.Cause
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		cause = verdict.Cancelled
	case e.at == stageOurs && ctx.Err() == nil:
		cause = verdict.Unexplained
	case e.at == stageNoFactor:
		cause = verdict.ServerLogin
	case a.bastion && e.at == stageFactor:
		cause = verdict.RemoteFactor
	case a.bastion:
		cause = verdict.RemoteBastion
	case e.at == stageKey, e.at == stageDropped, e.at == stageDemanded, e.at == stageFactor:
		cause = verdict.ServerLogin
	default:
		cause = verdict.Transport
	}
	blamed := verdict.Errorf(cause, a.Name, "log in as %s at %s: %w", a.User, a.Address, err)
	if ctx.Err() == nil { // else it came to no end of its own
		if blamed.Leg = a.leg(e.at); e.at == stageFactor && accountClosed.MatchString(e.banner) {
			blamed.Leg = verdict.LegAccount
		}
	}
	return blamed
}

// accountClosed is what PAM tells of an account that was let in by all factors and may not log in (pam_unix(8)).
var accountClosed = regexp.MustCompile(`(?i)account (has|is) (expired|locked|disabled)`)

// leg is the part of an admin's way that a login found closed; "" if it came to no end that says so.
func (a account) leg(at stage) verdict.Leg {
	switch at {
	case stageConnect, stageHandshake:
		if a.bastion {
			return verdict.LegBastionPort
		}
		return verdict.LegServerPort
	case stageKey:
		if a.bastion {
			return verdict.LegBastionKey
		}
		return verdict.LegServerKey
	case stageDropped:
		return verdict.LegAccount
	case stageDemanded, stageFactor, stageNoFactor:
		return verdict.LegFactor
	}
	return ""
}

// attempt is the state of one login. The callbacks run one after another.
type attempt struct {
	account     account
	interactive ssh.AuthMethod // answers with a code
	limit       time.Duration
	grace       *time.Timer // ends the login; stopped while waiting for a code

	interacted bool // the server was asked to ask
	answered   bool // a code was sent
	at         stage
	err        error
	banner     string
}

// next picks the method to try. Two nils end the login with whatever the last one met.
func (t *attempt) next(c *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	const key, interactive = "publickey", "keyboard-interactive"
	switch {
	case slices.Contains(c.PartialSuccessMethods, key):
		switch {
		case t.account.factor == nil:
			t.at = stageDemanded
			return nil, fmt.Errorf("the key is accepted, but the server also wants %s", strings.Join(c.AllowedMethods, " or "))
		case slices.Contains(c.TriedMethods, interactive):
			if t.err != nil {
				return nil, t.err
			}
			t.at = stageFactor
			return nil, nil
		case !slices.Contains(c.AllowedMethods, interactive):
			t.at = stageFactor
			return nil, fmt.Errorf("the key is accepted, but instead of a code the server wants %s", strings.Join(c.AllowedMethods, " or "))
		}
		t.at, t.interacted = stageFactor, true
		return t.interactive, nil
	case slices.Contains(c.TriedMethods, key):
		return nil, nil
	}
	t.at = stageKey
	return ssh.PublicKeys(t.account.Signer), nil
}

// answer gives a code to the one question for it. PAM may ask nothing at all in a last round.
func (t *attempt) answer(ctx context.Context, instruction string, questions []string) ([]string, error) {
	t.say(instruction)
	switch {
	case len(questions) == 0:
		return nil, nil
	case len(questions) > 1 || t.answered:
		// Never a second code: asking again is how PAM says no.
		t.err = fmt.Errorf("the bastion refuses the code, or asks for more than one: %q", questions)
		return nil, t.err
	}
	t.grace.Stop()
	code, err := t.account.factor.Code(ctx)
	t.grace.Reset(t.limit)
	if err != nil {
		t.at, t.err = stageOurs, fmt.Errorf("get a TOTP code: %w", err)
		return nil, t.err
	}
	t.answered = true
	return []string{code}, nil
}

// say keeps what the server tells people, such as "System is booting up".
func (t *attempt) say(text string) {
	text = strings.Join(strings.Fields(text), " ")
	if text != "" && len(t.banner) < 300 {
		t.banner = strings.TrimSpace(t.banner + " " + text[:min(len(text), 300)])
	}
}

// login authenticates on conn, which it closes on failure. Errors are *loginError.
func login(ctx context.Context, conn net.Conn, a account, o Options) (*ssh.Client, error) {
	watched := &watchedConn{Conn: conn}
	var expired atomic.Bool
	t := &attempt{
		account: a,
		limit:   o.LoginTimeout,
		at:      stageHandshake,
		grace: time.AfterFunc(o.LoginTimeout, func() {
			expired.Store(true)
			conn.Close()
		}),
	}
	t.interactive = ssh.KeyboardInteractive(func(_, instruction string, questions []string, _ []bool) ([]string, error) {
		return t.answer(ctx, instruction, questions)
	})
	defer t.grace.Stop()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	c, channels, requests, err := ssh.NewClientConn(watched, a.Address, &ssh.ClientConfig{
		User:              a.User,
		HostKeyCallback:   a.pinned,
		HostKeyAlgorithms: a.hostKeyAlgorithms(),
		AuthCallback:      t.next,
		BannerCallback:    func(text string) error { t.say(text); return nil },
	})
	if err != nil {
		conn.Close()
		return nil, t.failed(ctx, err, watched.broken.Load(), expired.Load())
	}
	client := ssh.NewClient(c, channels, requests)
	if a.factor != nil && !t.answered {
		_ = client.Close()
		return nil, &loginError{at: stageNoFactor, err: errors.New("let in by the key alone: no second factor was asked for")}
	}
	return client, nil
}

// failed says in words of ours how the login ended.
func (t *attempt) failed(ctx context.Context, err error, broken, expired bool) error {
	e := &loginError{at: t.at, answered: t.answered, banner: t.banner, err: err}
	var mismatch *HostKeyError
	var negotiation *ssh.AlgorithmNegotiationError
	switch {
	case ctx.Err() != nil:
		e.at, e.err = stageOurs, fmt.Errorf("given up: %w", context.Cause(ctx))
	case errors.As(err, &mismatch):
		e.at, e.err = stageHostKey, mismatch
	case errors.As(err, &negotiation) && negotiation.What == "host key":
		e.at, e.err = stageHostKey, &HostKeyError{Server: t.account.Name, Address: t.account.Address, Want: t.account.HostKeys}
	case t.at == stageOurs:
		e.err = t.err
	case expired && t.at == stageHandshake:
		e.err = fmt.Errorf("no SSH handshake within %v", t.limit)
	case expired:
		e.at, e.err = stageDropped, fmt.Errorf("no answer to the login within %v", t.limit)
	case broken && t.at != stageHandshake && !strings.Contains(err.Error(), "unable to authenticate"):
		e.at, e.err = stageDropped, fmt.Errorf("the server hung up during the login: %w", err)
	case t.at == stageKey:
		e.err = errors.New("the server refuses the user or the key")
	case t.at == stageFactor && t.err == nil && t.answered:
		e.err = errors.New("the server refuses the second factor" + t.perhaps("the seed or a clock is another one, or "))
	case t.at == stageFactor && t.err == nil && t.interacted:
		e.err = errors.New("the key is accepted, and the server refuses the second factor without asking for a code" + t.perhaps(""))
	}
	return e
}

// Attempts is how many attempts in AttemptsWithin a bastion has to grant one admin, if it limits them, in
// which the admin is asked for a second factor. Hallmark makes eight at worst (docs/design.md, section 4).
const (
	Attempts       = 10
	AttemptsWithin = 30 * time.Second
)

// perhaps names reasons for which a bastion may refuse its own admin.
func (t *attempt) perhaps(others string) string {
	if !t.account.bastion {
		return ""
	}
	return fmt.Sprintf(" (perhaps %sit limits attempts to fewer than the %d in %v that Hallmark may need: see its RATE_LIMIT or the like)", others, Attempts, AttemptsWithin)
}

// watchedConn notes whether the connection itself failed, for package ssh reports a login that was
// cut off and one that was refused much alike.
type watchedConn struct {
	net.Conn
	closed, broken atomic.Bool
}

// Close is ours, so what fails after it says nothing.
func (c *watchedConn) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && !c.closed.Load() {
		c.broken.Store(true)
	}
	return n, err
}

func (c *watchedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil && !c.closed.Load() {
		c.broken.Store(true)
	}
	return n, err
}
