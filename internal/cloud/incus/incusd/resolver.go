package incusd

import (
	"net/netip"
	"strings"
)

// Resolver is the configuration (raw.dnsmasq) of a bridge's name server that tells nothing of its host: neither
// the host's own names, nor what it is asked for elsewhere, nor what program it is. It knows the servers of its
// bridge. Names outside it asks the given name servers for, and nobody else; without any it knows none.
func Resolver(servers ...netip.Addr) string {
	lines := []string{"no-hosts", "no-resolv", "no-poll", "no-ident", "bogus-priv"}
	for _, s := range servers {
		lines = append(lines, "server="+s.String())
	}
	return strings.Join(lines, "\n")
}
