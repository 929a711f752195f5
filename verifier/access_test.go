package verifier_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

func (p *place) Access() (environment.Access, error) {
	if p.noAccess != nil {
		return environment.Access{}, p.noAccess
	}
	server := func(name, address string) remote.Server {
		return remote.Server{Name: name, Address: address, User: "testadmin", Signer: p.admin, HostKeys: []ssh.PublicKey{p.admin.PublicKey()}}
	}
	return environment.Access{Bastion: remote.Bastion{Name: "bastion", Factor: p.factor}, Bootstrap: p.bootstrap, Servers: map[string]remote.Server{
		"bastion": server("bastion", "10.0.0.2:22"), "web-1": server("web-1", p.address),
	}}, nil
}

func (p *place) TryLogin(_ context.Context, a remote.Attempt) (remote.Refusal, error) {
	return p.try("bastion", a)
}

// host is this machine as a test plays it.
type host struct{ place *place }

func (h host) TryLogin(_ context.Context, a remote.Attempt) (remote.Refusal, error) {
	return h.place.try("host", a)
}

// Connect reaches what is said to be alive, and what really listens here.
func (h host) Connect(ctx context.Context, address string) error {
	if h.place.alive[address] {
		return nil
	}
	return dial(ctx, address)
}

func dial(ctx context.Context, address string) error {
	var d net.Dialer
	if !strings.HasPrefix(address, "127.") {
		return errors.New("no route to host")
	}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// try answers as network and sshd of a sound product do.
func (p *place) try(from string, a remote.Attempt) (remote.Refusal, error) {
	leg := strings.TrimSpace("from " + from + " as " + a.User + " at " + a.Name + " " + string(a.Code))
	p.tried = append(p.tried, leg)
	if r, scripted := p.refusals[leg]; scripted {
		return r, nil
	}
	switch {
	case p.noLogin != nil:
		return "", p.noLogin
	case a.User == environment.BootstrapUser && a.Signer != p.bootstrap:
		return "", errors.New("another key than the bootstrap user's proves nothing")
	case from == "bastion" && a.Name == "bastion":
		return "", errors.New("the bastion is no way to itself")
	case from == "host" && a.Name != "bastion":
		return remote.Unreachable, nil
	case a.User != "testadmin" || a.Signer != p.admin:
		return remote.KeyRefused, nil
	case a.Name == "bastion" && a.Code == remote.NoCode:
		return remote.FactorDemanded, nil
	case a.Name == "bastion" && a.Factor != p.factor:
		return "", errors.New("codes of another factor than the environment's prove nothing")
	case a.Name == "bastion":
		return remote.FactorRefused, nil
	}
	return remote.Accepted, nil
}

// Every login is tried in one way only, and only its own refusal is the right one.
func TestLogins(t *testing.T) {
	for _, c := range []struct {
		test, server, leg, address string
		want                       remote.Refusal
	}{
		{"the key alone is refused", "bastion", "from host as testadmin at bastion", "10.0.0.2:22", remote.FactorDemanded},
		{"a code of another seed is refused", "bastion", "from host as testadmin at bastion a code of another seed", "10.0.0.2:22", remote.FactorRefused},
		{"an old code is refused", "bastion", "from host as testadmin at bastion an old code", "10.0.0.2:22", remote.FactorRefused},
		{"a used code is refused", "bastion", "from host as testadmin at bastion a used code", "10.0.0.2:22", remote.FactorRefused},
		{"root is refused", "bastion", "from host as root at bastion", "10.0.0.2:22", remote.KeyRefused},
		{"the bootstrap user is refused", "bastion", "from host as hallmark-bootstrap at bastion", "10.0.0.2:22", remote.KeyRefused},
		{"a direct login is refused by the network", "web-1", "from host as testadmin at web-1", "10.0.0.3:22", remote.Unreachable},
		{"root is refused", "web-1", "from bastion as root at web-1", "10.0.0.3:22", remote.KeyRefused},
		{"the bootstrap user is refused", "web-1", "from bastion as hallmark-bootstrap at web-1", "10.0.0.3:22", remote.KeyRefused},
	} {
		t.Run(c.test+" on "+c.server, func(t *testing.T) {
			p := newPlace(t)
			p.one("access", c.test, c.server, wanted{outcome: ledger.Passed})
			if !slices.Equal(p.tried, []string{c.leg}) {
				t.Errorf("tried %q, want %q", p.tried, c.leg)
			}
			for _, got := range []remote.Refusal{remote.Accepted, remote.Unreachable, remote.KeyRefused, remote.FactorDemanded, remote.FactorRefused} {
				p.refusals[c.leg] = got
				want := wanted{ledger.Failed, verdict.TestFailed, []string{
					c.address, ": " + string(got) + ", expected: " + string(c.want), strings.Fields(c.leg)[3],
				}}
				if _, code, ok := strings.Cut(c.leg, "at bastion "); ok {
					want.words = append(want.words, "with "+code+": ")
				}
				if got == c.want {
					want = wanted{outcome: ledger.Passed}
				}
				p.one("access", c.test, c.server, want)
			}
			p = newPlace(t)
			for _, cause := range []verdict.Cause{verdict.RemoteBastion, verdict.RemoteFactor} { // such as a fresh code that did not let in
				p.noLogin = verdict.Errorf(cause, "bastion", "no answer")
				p.one("access", c.test, c.server, wanted{ledger.Inconclusive, cause, []string{"no answer"}})
			}
			p.noAccess = errors.New("the host keys are not known yet")
			p.one("access", c.test, c.server, wanted{ledger.Inconclusive, verdict.Unexplained, []string{"the host keys are not known yet"}})
		})
	}
}

func TestBootstrapUserIsGone(t *testing.T) {
	const name = "the bootstrap user is gone"
	for _, server := range []string{"bastion", "web-1"} {
		t.Run(server, func(t *testing.T) {
			p := newPlace(t)
			p.one("access", name, server, wanted{outcome: ledger.Passed})
			p.when(server, environment.BootstrapTraces, exits(0, "/home/hallmark-bootstrap\n"))
			p.one("access", name, server, wanted{ledger.Failed, verdict.TestFailed, []string{"still there: /home/hallmark-bootstrap"}})
			p.audit = unclean()
			p.one("access", name, server, wanted{ledger.Inconclusive, verdict.TestFailed, []string{"still there", "web-1 is gone"}})
			p.instead[0].reply = breaks(verdict.Transport)
			p.one("access", name, server, wanted{ledger.Inconclusive, verdict.Transport, []string{"as scripted"}})
			p.instead[0].reply = exits(137, "") // killed, it has not looked
			p.one("access", name, server, wanted{ledger.Inconclusive, verdict.Unexplained, []string{"exit 137"}})
		})
	}
}

const (
	anotherUnreachable = "another environment is unreachable"
	outsideUnreachable = "an address that is not on the allow-list is unreachable"
	sshd               = "/dev/tcp/127.0.0.1/22'"
	next               = "/dev/tcp/192.0.2.9/22'"
)

func TestNeighbour(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*place)
		want  wanted
		asked []string // parts of what the server was asked
	}{
		"unreachable":        {func(*place) {}, wanted{outcome: ledger.Passed}, []string{sshd, next}},
		"refuses at once":    {func(p *place) { p.when("web-1", next, exits(1, "")) }, wanted{outcome: ledger.Passed}, []string{sshd, next}},
		"killed":             {func(p *place) { p.when("web-1", next, exits(137, "")) }, wanted{ledger.Inconclusive, verdict.Unexplained, []string{"exit 137"}}, []string{sshd, next}},
		"reached":            {func(p *place) { p.when("web-1", next, exits(0, "")) }, wanted{ledger.Failed, verdict.TestFailed, []string{"connected to " + neighbour}}, []string{sshd, next}},
		"there is none":      {func(p *place) { p.verifier.Neighbour = "" }, wanted{ledger.Failed, verdict.TestBroken, []string{"no other environment"}}, nil},
		"does not live":      {func(p *place) { delete(p.alive, neighbour) }, wanted{ledger.Inconclusive, verdict.Unexplained, []string{neighbour, "nothing is proved"}}, nil},
		"is no address":      {func(p *place) { p.verifier.Neighbour, p.alive["next door"] = "next door", true }, wanted{ledger.Inconclusive, verdict.Unexplained, []string{"next door"}}, nil},
		"control fails":      {func(p *place) { p.when("web-1", sshd, exits(124, "")) }, wanted{ledger.Failed, verdict.TestBroken, []string{"own sshd", "exit 124"}}, []string{sshd}},
		"control cannot run": {func(p *place) { p.when("web-1", sshd, breaks(verdict.Transport)) }, wanted{ledger.Inconclusive, verdict.Transport, []string{"as scripted"}}, []string{sshd}},
		"cannot be tried":    {func(p *place) { p.when("web-1", next, breaks(verdict.Transport)) }, wanted{ledger.Inconclusive, verdict.Transport, []string{"as scripted"}}, []string{sshd, next}},
		"nobody gets in":     {func(p *place) { p.noSession = verdict.Errorf(verdict.RemoteFactor, "bastion", "no code") }, wanted{ledger.Inconclusive, verdict.RemoteFactor, []string{"no code"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			c.spoil(p)
			p.one("access", anotherUnreachable, "web-1", c.want)
			if !slices.EqualFunc(p.asked, c.asked, strings.Contains) {
				t.Errorf("asked %q, want %q", p.asked, c.asked)
			}
		})
	}
}

// What is tried outside really listens while it is tried, and no longer.
func TestOutside(t *testing.T) {
	p := newPlace(t)
	p.one("access", outsideUnreachable, "web-1", wanted{outcome: ledger.Passed})

	var address string
	p.when("web-1", "/dev/tcp/127.0.0.2/", func(ctx context.Context, cmd remote.Command) (remote.Result, error) {
		_, rest, _ := strings.Cut(cmd.Line, "127.0.0.2/")
		number, _, _ := strings.Cut(rest, "'")
		address = "127.0.0.2:" + number
		if dial(ctx, address) != nil {
			return remote.Result{Exit: 1}, nil
		}
		return remote.Result{}, nil
	})
	p.one("access", outsideUnreachable, "web-1", wanted{ledger.Failed, verdict.TestFailed, []string{"connected to 127.0.0.2:"}})
	if err := dial(t.Context(), address); err == nil {
		t.Errorf("%s still answers", address)
	}

	p.verifier.Outside = netip.Addr{}
	p.one("access", outsideUnreachable, "web-1", wanted{ledger.Inconclusive, verdict.Unexplained, []string{"listen on an address outside"}})
}

// Without a host of its own, a Verifier tries from this machine.
func TestThisHost(t *testing.T) {
	var listen net.ListenConfig
	l, err := listen.Listen(t.Context(), "tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	p := newPlace(t)
	p.verifier.Host, p.verifier.Neighbour, p.address = nil, l.Addr().String(), l.Addr().String()
	p.one("access", anotherUnreachable, "web-1", wanted{outcome: ledger.Passed})
	p.one("access", outsideUnreachable, "web-1", wanted{outcome: ledger.Passed})
	l.Close()
	p.one("access", anotherUnreachable, "web-1", wanted{ledger.Inconclusive, verdict.Unexplained, []string{"does not answer this host either"}})
	p.one("access", "a direct login is refused by the network", "web-1", wanted{outcome: ledger.Passed})
	if len(p.tried) > 0 {
		t.Errorf("the host that was taken away tried %q", p.tried)
	}
}
