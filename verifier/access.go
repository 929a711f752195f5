package verifier

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// refusalTime is how long a login that the network drops is waited for.
const refusalTime = 4 * time.Second

// accessTests prove on every environment that nobody gets in but an admin by the bastion with both
// factors, and nothing gets out but what is allowed (DESIGN.md section 4).
func (v *Verifier) accessTests(place Place) []Test {
	var tests []Test
	for _, s := range place.Servers() {
		add := func(name string, find func(context.Context, Place, environment.Server) (string, error)) {
			tests = append(tests, Test{Tier: Build, Suite: accessSuite, Name: name, Server: s.Name, run: asked(name, s, find)})
		}
		if s.Bastion {
			add("the key alone is refused", v.login(fromOutside, asAdmin, remote.NoCode, remote.FactorDemanded))
			add("a code of another seed is refused", v.login(fromOutside, asAdmin, remote.ForeignCode, remote.FactorRefused))
			add("an old code is refused", v.login(fromOutside, asAdmin, remote.OldCode, remote.FactorRefused))
			add("a used code is refused", v.login(fromOutside, asAdmin, remote.UsedCode, remote.FactorRefused))
			add("root is refused", v.login(fromOutside, asRoot, remote.NoCode, remote.KeyRefused))
			add("the bootstrap user is refused", v.login(fromOutside, asBootstrap, remote.NoCode, remote.KeyRefused))
		} else {
			add("a direct login is refused by the network", v.login(fromOutside, asAdmin, remote.NoCode, remote.Unreachable))
			add("root is refused", v.login(fromBastion, asRoot, remote.NoCode, remote.KeyRefused))
			add("the bootstrap user is refused", v.login(fromBastion, asBootstrap, remote.NoCode, remote.KeyRefused))
		}
		add("the bootstrap user is gone", bootstrapGone)
		add("another environment is unreachable", v.neighbourUnreachable)
		add("an address that is not on the allow-list is unreachable", v.outsideUnreachable)
	}
	return tests
}

// asked makes one result of a question whose answer is "" if all is well.
func asked(name string, s environment.Server, find func(context.Context, Place, environment.Server) (string, error)) func(context.Context, Place) ([]ledger.Result, error) {
	return func(ctx context.Context, place Place) ([]ledger.Result, error) {
		wrong, err := find(ctx, place, s)
		if err != nil {
			return nil, err
		}
		r := ledger.Result{ResultKey: ledger.ResultKey{Test: name}, Outcome: ledger.Passed}
		if wrong != "" {
			r.Outcome, r.Message = ledger.Failed, wrong
		}
		return []ledger.Result{r}, nil
	}
}

// Host is the machine that Hallmark runs on, as one that tries to get in where it must not.
type Host interface {
	// TryLogin tries a login past the bastion, or one at the bastion that ought to be refused.
	TryLogin(ctx context.Context, attempt remote.Attempt) (remote.Refusal, error)
	// Connect reports whether anything answers at an address:port.
	Connect(ctx context.Context, address string) error
}

func (v *Verifier) host() Host {
	if v.Host == nil {
		return thisHost{}
	}
	return v.Host
}

// thisHost is the real one.
type thisHost struct{}

func (thisHost) TryLogin(ctx context.Context, attempt remote.Attempt) (remote.Refusal, error) {
	var o remote.Options
	if attempt.Code == remote.NoCode { // else it is for a bastion, which is up
		o.LoginTimeout = refusalTime
	}
	return remote.TryLogin(ctx, attempt, o)
}

func (thisHost) Connect(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{Timeout: refusalTime}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

type account int

const (
	asAdmin account = iota
	asRoot
	asBootstrap
)

const (
	fromOutside = true
	fromBastion = false
)

// login tries one and wants it to be refused in one way.
func (v *Verifier) login(outside bool, as account, code remote.Code, want remote.Refusal) func(context.Context, Place, environment.Server) (string, error) {
	return func(ctx context.Context, place Place, s environment.Server) (string, error) {
		access, err := place.Access()
		if err != nil {
			return "", err
		}
		attempt := remote.Attempt{Server: access.Servers[s.Name], Code: code, Factor: access.Bastion.Factor}
		switch as {
		case asRoot:
			attempt.User = "root"
		case asBootstrap:
			attempt.User, attempt.Signer = environment.BootstrapUser, access.Bootstrap
		}
		var got remote.Refusal
		if outside {
			got, err = v.host().TryLogin(ctx, attempt)
		} else {
			got, err = place.TryLogin(ctx, attempt)
		}
		if err != nil || got == want {
			return "", err
		}
		with := ""
		if code != remote.NoCode {
			with = " with " + string(code)
		}
		return fmt.Sprintf("login of %s at %s%s: %s, expected: %s", attempt.User, attempt.Address, with, got, want), nil
	}
}

func bootstrapGone(ctx context.Context, place Place, s environment.Server) (string, error) {
	out, err := as(ctx, place, s.Name, environment.BootstrapTraces)
	if err != nil {
		return "", err
	}
	if out.Exit != 0 {
		return "", verdict.Errorf(verdict.Unexplained, s.Name, "looking for the bootstrap user: exit %d", out.Exit)
	}
	if found := strings.TrimSpace(string(out.Stdout)); found != "" {
		return "still there: " + found, nil
	}
	return "", nil
}

func as(ctx context.Context, place Place, server, line string) (remote.Result, error) {
	s, err := place.Session(ctx, server)
	if err != nil {
		return remote.Result{}, err
	}
	defer s.Close()
	return s.Run(ctx, remote.Command{Line: line, Sudo: true})
}

// neighbourUnreachable tries a server of another environment that this host reaches.
func (v *Verifier) neighbourUnreachable(ctx context.Context, place Place, s environment.Server) (string, error) {
	if v.Neighbour == "" {
		return "", verdict.Errorf(verdict.TestBroken, s.Name, "there is no other environment to try")
	}
	return v.unreachable(ctx, place, s, v.Neighbour)
}

// outsideUnreachable tries a port that listens on the very host that has the package cache.
func (v *Verifier) outsideUnreachable(ctx context.Context, place Place, s environment.Server) (string, error) {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", netip.AddrPortFrom(v.Outside, 0).String())
	if err != nil {
		return "", verdict.Errorf(verdict.Unexplained, s.Name, "listen on an address outside: %w", err)
	}
	defer l.Close()
	return v.unreachable(ctx, place, s, l.Addr().String())
}

// unreachable proves that a server can't connect to an address that is alive: this host connects.
func (v *Verifier) unreachable(ctx context.Context, place Place, s environment.Server, address string) (string, error) {
	if err := v.host().Connect(ctx, address); err != nil {
		return "", verdict.Errorf(verdict.Unexplained, s.Name, "%s does not answer this host either, so nothing is proved: %w", address, err)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	// The control: the same way of trying must reach something that listens.
	const try = "timeout 3 bash -c ': </dev/tcp/%s/%s' 2>/dev/null"
	control, err := as(ctx, place, s.Name, fmt.Sprintf(try, "127.0.0.1", "22"))
	if err != nil {
		return "", err
	}
	if control.Exit != 0 {
		return "", verdict.Errorf(verdict.TestBroken, s.Name, "trying to connect does not even reach the server's own sshd (exit %d)", control.Exit)
	}
	out, err := as(ctx, place, s.Name, fmt.Sprintf(try, host, port))
	if err != nil {
		return "", err
	}
	switch out.Exit {
	case 0:
		return "connected to " + address, nil
	case refusedBash, ranOutOfTime:
		return "", nil
	}
	return "", verdict.Errorf(verdict.Unexplained, s.Name, "trying to connect to %s: exit %d", address, out.Exit)
}

// How an attempt to connect ends that fails: bash's own, and timeout's.
const (
	refusedBash  = 1
	ranOutOfTime = 124
)
