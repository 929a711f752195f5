package machines

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// EC2 bounds how far the answer that holds a token travels: its packets have that many hops to live, so that what
// is forwarded from a machine (a proxy at its network, a container with an address of its own) never gets it.
// A Host that serves the metadata address says with each request how its answer is bounded.

type hopsKey struct{}

// WithHops returns a context for one request to the metadata service. Bound is called with the number of hops that
// the answer may travel from there on, 0 for as many as usual; its error says that the answer cannot be bounded.
func WithHops(ctx context.Context, bound func(hops int) error) context.Context {
	return context.WithValue(ctx, hopsKey{}, bound)
}

// BoundHops bounds how far the answer to a request travels: 1 is the machine itself.
func BoundHops(ctx context.Context, hops int) error {
	bound, ok := ctx.Value(hopsKey{}).(func(int) error)
	if !ok {
		return errors.New("nobody knows how far the answer travels")
	}
	return bound(hops)
}

// Away returns a context for a request that is made so many hops away from the metadata service, where there are no
// packets: 1 is a machine itself, 2 a container behind it. An answer that does not travel so far is broken off.
func Away(ctx context.Context, away int) context.Context {
	return WithHops(ctx, func(hops int) error {
		if hops > 0 && away > hops {
			return fmt.Errorf("an answer with %d hops does not travel %d", hops, away)
		}
		return nil
	})
}

// usualHops are Linux' own.
const usualHops = 64

// boundByTTL bounds the answers on a connection by the packets' time to live, as EC2 does. A machine of the laboratory
// is on the bridge of the host that answers: a packet with 1 reaches it, and no router passes it on.
func boundByTTL(ctx context.Context, c net.Conn) context.Context {
	return WithHops(ctx, func(hops int) error {
		if hops == 0 {
			hops = usualHops
		}
		raw, err := c.(syscall.Conn).SyscallConn() // a TCP connection: Serve listens for no other
		if err != nil {
			return fmt.Errorf("bound an answer to %d hops: %w", hops, err)
		}
		var setting error
		err = raw.Control(func(fd uintptr) { setting = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_TTL, hops) })
		if err = errors.Join(err, setting); err != nil {
			return fmt.Errorf("bound an answer to %d hops: %w", hops, err)
		}
		return nil
	})
}
