package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
)

// Server says where a server is and who logs in to it.
type Server struct {
	Name     string          // for messages: "web-1"
	Address  string          // "10.0.0.3:22"
	HostKeys []ssh.PublicKey // pinned; none is an error, for nothing here ignores a host key
	User     string
	Signer   ssh.Signer
}

// Bastion says where an environment is entered, and how.
type Bastion struct {
	Name     string          // for messages; "" is "bastion"
	Address  string          // "10.0.0.2:22"
	HostKeys []ssh.PublicKey // pinned
	User     string
	Signer   ssh.Signer
	Factor   *Factor // all paths with one seed share one Factor
}

// Options are what all connections have in common. The zero value works.
type Options struct {
	Log          *slog.Logger  // nil: nothing is logged
	LoginTimeout time.Duration // for a TCP connection and again for the login on it; 0: 20 s
	KeepAlive    time.Duration // between two questions to an idle connection; 0: 10 s
	Patience     time.Duration // an unanswered question ends the connection after it; 0: 30 s

	// Dial opens connections from this host; nil: the system's TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.LoginTimeout <= 0 {
		o.LoginTimeout = 20 * time.Second
	}
	if o.KeepAlive <= 0 {
		o.KeepAlive = 10 * time.Second
	}
	if o.Patience <= 0 {
		o.Patience = 30 * time.Second
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	return o
}

// coder gives the answer to a question for a second factor.
type coder interface {
	Code(ctx context.Context) (string, error)
}

// account is one login as it will be tried: a Server's or a Bastion's.
type account struct {
	Server
	factor  coder // nil: key only
	bastion bool
}

func (b Bastion) account() account {
	a := account{bastion: true, Server: Server{
		Name: b.Name, Address: b.Address, HostKeys: b.HostKeys, User: b.User, Signer: b.Signer,
	}}
	if a.Name == "" {
		a.Name = "bastion"
	}
	if b.Factor != nil {
		a.factor = b.Factor
	}
	return a
}

// check finds what is missing before anything is dialled.
func (a account) check() error {
	switch {
	case a.Address == "":
		return errors.New("no address is known")
	case len(a.HostKeys) == 0:
		return errors.New("no host key is pinned: learn it from the console first")
	case a.User == "":
		return errors.New("no user is named")
	case a.Signer == nil:
		return errors.New("no key is given to log in with")
	case a.bastion && a.factor == nil:
		return errors.New("no second factor is given")
	}
	if _, _, err := net.SplitHostPort(a.Address); err != nil {
		return fmt.Errorf("address %q: %w", a.Address, err)
	}
	return nil
}
