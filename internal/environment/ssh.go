package environment

import (
	"context"
	"net"
	"time"

	"github.com/hallmark-ci/hallmark/internal/remote"
)

// SSH is the real Dialer.
type SSH struct{ Options remote.Options }

var _ Dialer = SSH{}

// Path implements Dialer.
func (s SSH) Path(bastion remote.Bastion) Path { return sshPath{remote.NewPath(bastion, s.Options)} }

// Direct implements Dialer.
func (s SSH) Direct(ctx context.Context, server remote.Server) (remote.Session, error) {
	return remote.Direct(ctx, server, s.Options)
}

// knockWithin is long for a network of one host and a dropped packet's only answer.
const knockWithin = 500 * time.Millisecond

// Knock implements Dialer.
func (s SSH) Knock(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, knockWithin)
	defer cancel()
	dial := s.Options.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

type sshPath struct{ *remote.Path }

// Server implements Path.
func (p sshPath) Server(ctx context.Context, server remote.Server) (remote.Session, error) {
	return p.Open(ctx, server)
}
