package environmenttest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Host is the machine that the World is seen from, as one that tries to get in where it must not:
// it reaches the servers to which the network admits it, and addresses outside of the World really.
type Host struct{ world *World }

// Host gives the World's view of the machine that it runs on.
func (w *World) Host() Host { return Host{w} }

// TryLogin tries a login from outside. At a bastion the key is not enough.
func (h Host) TryLogin(ctx context.Context, attempt remote.Attempt) (remote.Refusal, error) {
	server, err := h.world.running(ctx, attempt.Address)
	if err != nil || !h.world.admits(server) {
		return remote.Unreachable, nil
	}
	s, err := h.world.login(ctx, server, attempt.Server, false)
	if err == nil {
		err = s.Close()
	}
	h.world.mu.Lock()
	bastion, trouble := server.told().bastion, h.world.trouble[server.name]
	h.world.mu.Unlock()
	if bastion && attempt.Code == remote.UsedCode && trouble.Closed == verdict.LegFactor {
		return "", onLeg(verdict.RemoteFactor, trouble.Closed, server.name, errors.New("the fresh code did not let in"))
	}
	switch {
	case verdict.CauseOf(err) == verdict.ServerLogin:
		return remote.KeyRefused, nil
	case err != nil:
		return "", err
	case !bastion:
		return remote.Accepted, nil
	case attempt.Code == remote.NoCode:
		return remote.FactorDemanded, nil
	case trouble.LetsIn == attempt.Code, trouble.LetsIn == remote.ForeignCode:
		return remote.Accepted, nil
	}
	return remote.FactorRefused, nil
}

// Connect reports whether anything answers at an address.
func (h Host) Connect(ctx context.Context, address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	servers, err := h.world.provider.Servers(ctx, cloud.Filter{})
	if err != nil {
		return err
	}
	for _, s := range servers {
		if s.Address != at.Addr() {
			continue
		}
		server, err := h.world.running(ctx, address)
		if err == nil && !h.world.admits(server) {
			err = errors.New("the network drops it")
		}
		return err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("outside of the World: %w", err)
	}
	return conn.Close()
}
