package machines

import (
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestRules lets nft read what the wall writes, without loading it.
func TestRules(t *testing.T) {
	t.Parallel()
	h := newIncus(IncusConfig{Name: "rules", Range: netip.MustParsePrefix("10.92.0.0/16")})
	for _, ends := range [][]End{nil, {
		{Address: netip.MustParseAddr("10.92.0.4"), Network: netip.MustParsePrefix("10.92.0.0/18"), Out: []Rule{{Peers: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}}},
		{Address: netip.MustParseAddr("10.92.64.4"), Network: netip.MustParsePrefix("10.92.64.0/18"), In: []Rule{
			{Protocol: "tcp", From: 22, To: 22, Peers: []netip.Prefix{netip.MustParsePrefix("10.92.0.4/32"), netip.MustParsePrefix("10.0.0.0/8")}},
			{Protocol: "icmp", From: -1, To: -1, Peers: []netip.Prefix{netip.MustParsePrefix("10.92.0.0/16")}}, {Protocol: "udp", From: 1, To: 65535},
		}},
	}} {
		h.ends, h.port = ends, 8080
		rules := h.rules()
		if strings.Count(rules, "{") != strings.Count(rules, "}") {
			t.Errorf("braces do not match:\n%s", rules)
		}
		if os.Geteuid() != 0 {
			continue // nft -c wants to see the kernel's tables
		}
		cmd := exec.CommandContext(t.Context(), "nft", "-c", "-f", "-")
		cmd.Stdin = strings.NewReader(rules)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s\n%s", err, out, rules)
		}
	}
}
