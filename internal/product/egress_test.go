package product

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/egress"
)

const asks = "version: 1\nname: a\nroles:\n  b: {bastion: true}\n  w: {health: {command: 'true'}}\ntopology:\n  - role: b\n  - role: w\negress:\n"

// Ranges that are each no default route still add up to one.
func TestEgressThatAddsUp(t *testing.T) {
	for _, list := range []string{
		"  - 0.0.0.0/1:443\n  - 128.0.0.0/1:443\n",
		"  - 64.0.0.0/2:443\n",
		"  - 1.0.0.0/8:443\n  - 2.0.0.0/8:443\n",
		"  - 169.254.169.254:80\n",
		"  - '[::1]:22'\n",
	} {
		if _, err := decode([]byte(asks+list), false); err == nil || !strings.Contains(err.Error(), "hallmark.yaml:") || !strings.Contains(err.Error(), "egress") {
			t.Errorf("%q: %v", list, err)
		}
	}
	if _, err := decode([]byte(asks+"  - 192.0.2.7:443\n"), false); err != nil {
		t.Error(err)
	}
}

// What the installation does not allow is told with file, line, key and remedy.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, File), []byte(asks+"  - 192.0.2.7:443\n  - 203.0.113.7:443\n  - 10.91.1.7:443\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &Product{Dir: dir, Egress: []string{"192.0.2.7:443", "203.0.113.7:443", "10.91.1.7:443"}}
	err := p.Refused(egress.Policy{
		Allowed: []egress.Destination{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Port: 443}},
		Never:   []egress.Range{{Prefix: netip.MustParsePrefix("10.91.0.0/16"), What: "other environments"}},
		Host:    func() ([]net.Addr, error) { return nil, nil },
	}, Most{})
	const want = `hallmark.yaml:11: egress[1]: "203.0.113.7:443" is not among what the daemon's configuration allows; remove it, or ask the people who run Hallmark to list it under environment.egress
hallmark.yaml:12: egress[2]: "10.91.1.7:443" reaches other environments, which no environment may; remove it, or ask the people who run Hallmark to list it under environment.egress`
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant\n%s", err, want)
	}
	if err := (&Product{Dir: dir}).Refused(egress.Policy{}, Most{}); err != nil {
		t.Errorf("asks for nothing: %v", err)
	}
}
