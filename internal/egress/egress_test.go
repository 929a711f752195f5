package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.7:443":       "192.0.2.7/32:443",
		"192.0.2.0/24:25":     "192.0.2.0/24:25",
		"2001:db8::/32:443":   "2001:db8::/32:443",
		"192.0.2.7/32:65535":  "192.0.2.7/32:65535",
		"2001:db8::7:443":     "2001:db8::7/128:443",
		"[2001:db8::7]:443":   "2001:db8::7/128:443",
		"[2001:db8::]/32:443": "",
		"[2001:db8::7:443":    "",
		"fe80::1%eth0:443":    "",
		"::ffff:192.0.2.7:25": "",
		"192.0.2.7/32:65536":  "",
		"192.0.2.7/33:1":      "",
		"192.0.2.7/24:1":      "",
		"host.example.org:80": "",
		"":                    "",

		// What nobody may allow, also inside a wider range.
		"0.0.0.0/0:22": "", "0.0.0.0/1:22": "", "128.0.0.0/1:22": "", "127.0.0.1:22": "", "169.254.169.254:80": "", "169.0.0.0/8:80": "",
		"168.63.129.16:80": "", "224.0.0.1:1": "", "255.255.255.255:9": "", "::/0:22": "", "::/1:22": "", "8000::/1:22": "", "[::1]:22": "",
		"fe80::1:22": "", "fd00:ec2::254:80": "", "[64:ff9b::a9fe:a9fe]:80": "", "2002::/16:80": "",
	} {
		d, err := Parse(text)
		if got := fmt.Sprint(d); (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
}

func destinations(t *testing.T, entries ...string) []Destination {
	t.Helper()
	var all []Destination
	for _, e := range entries {
		d, err := Parse(e)
		if err != nil {
			t.Fatal(e, err)
		}
		all = append(all, d)
	}
	return all
}

// A list of modest ranges may still be everything.
func TestTooWide(t *testing.T) {
	var all []string
	for i := 1; i < 20; i++ {
		all = append(all, fmt.Sprintf("%d.0.0.0/8:443", i))
	}
	halves := []string{"20.0.0.0/9:443", "20.128.0.0/9:443"}
	for name, c := range map[string]struct {
		entries []string
		wide    bool
	}{
		"nothing":           {nil, false},
		"nineteen /8":       {all, true},
		"one /8":            {all[:1], false},
		"one /7":            {[]string{"2.0.0.0/7:443"}, true},
		"one, twice":        {[]string{all[0], all[0], "1.0.0.0/8:80", "1.2.3.4:80"}, false},
		"the inner first":   {[]string{"1.2.3.4:80", "1.0.0.0/8:80"}, false},
		"two halves":        {halves, false},
		"two halves and 1":  {append(halves, "192.0.2.7:80"), true},
		"IPv6":              {[]string{"2001:db8::/32:443", "2003::/24:443"}, true},
		"one of each":       {[]string{"2001:db8::/32:443", all[0]}, false},
		"most of IPv6":      {[]string{"3000::/4:443"}, true},
		"documentation net": {[]string{"192.0.2.0/24:443", "198.51.100.0/24:443"}, false},
	} {
		if got := TooWide(destinations(t, c.entries...)); (got != "") != c.wide {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestPolicy(t *testing.T) {
	host := func() ([]net.Addr, error) {
		return []net.Addr{&net.IPNet{IP: net.ParseIP("198.51.100.9"), Mask: net.CIDRMask(24, 32)}, &net.IPNet{IP: net.ParseIP("2001:db8::9"), Mask: net.CIDRMask(64, 128)}}, nil
	}
	p := Policy{
		Allowed: destinations(t, "192.0.2.0/24:443", "198.51.100.0/24:443", "10.91.3.0/24:443", "2001:db8::/32:443"),
		Never:   []Range{{netip.MustParsePrefix("10.91.0.0/16"), "other environments"}},
		Host:    host,
	}
	for entry, want := range map[string]string{
		"192.0.2.7:443":       "",
		"192.0.2.0/25:443":    "",
		"192.0.2.0/24:443":    "",
		"198.51.100.8:443":    "",
		"2001:db8::8:443":     "",
		"192.0.2.7:444":       "not among",
		"192.0.2.0/23:443":    "not among",
		"203.0.113.7:443":     "not among",
		"198.51.100.9:443":    "Hallmark's host (198.51.100.9)",
		"198.51.100.8/31:443": "Hallmark's host",
		"2001:db8::/64:443":   "Hallmark's host (2001:db8::9)",
		"10.91.3.4:443":       "other environments",
		"198.51.100.255:443":  "everybody in a network of Hallmark's host (198.51.100.0/24)",
		"198.51.100.0:443":    "everybody in a network of Hallmark's host",
	} {
		why, err := p.Refusal(destinations(t, entry)[0])
		if err != nil || (why == "") != (want == "") || !strings.Contains(why, want) {
			t.Errorf("%s: %q, %v; want %q", entry, why, err, want)
		}
	}
	if why, err := (Policy{}).Refusal(destinations(t, "192.0.2.7:443")[0]); err != nil || why == "" {
		t.Errorf("the zero policy: %q, %v", why, err)
	}
	p.Host = func() ([]net.Addr, error) { return nil, errors.New("no interfaces") }
	if _, err := p.Refusal(destinations(t, "192.0.2.7:443")[0]); err == nil {
		t.Error("a host whose addresses are not known has none")
	}
}

// The addresses of the machine that this runs on are asked for.
func TestThisHost(t *testing.T) {
	p := Policy{}
	ranges, err := p.host()
	if err != nil || overlap(netip.MustParsePrefix("127.0.0.1/32"), ranges) == "" {
		t.Errorf("%v, %v", ranges, err)
	}
}
