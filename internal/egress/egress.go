// Package egress decides which destinations outside an environment its servers may reach. A product asks (egress: of
// its hallmark.yaml), the daemon's configuration allows (environment.egress), and some addresses nobody can allow.
// Opening what is allowed, and nothing else, is the provider's.
package egress

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Destination is what one entry names: TCP to one port of a range of addresses.
type Destination struct {
	Prefix netip.Prefix
	Port   uint16
}

// String is the entry as people write it.
func (d Destination) String() string { return fmt.Sprintf("%s:%d", d.Prefix, d.Port) }

// Parse reads one entry: address/prefix:port, or address:port for a single address; an IPv6 address may stand in
// brackets. Everything that reads entries reads them by this. An error completes the sentence "this entry …".
func Parse(text string) (Destination, error) {
	var none Destination
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return none, fmt.Errorf("names no port")
	}
	port, err := strconv.ParseUint(text[i+1:], 10, 16)
	if err != nil || port == 0 {
		return none, fmt.Errorf("names no port from 1 to 65535")
	}
	host := text[:i]
	if inside, ok := strings.CutPrefix(host, "["); ok && strings.HasSuffix(inside, "]") { // as URLs write IPv6
		host = inside[:len(inside)-1]
	}
	prefix, err := netip.ParsePrefix(host)
	if address, notOne := netip.ParseAddr(host); notOne == nil {
		prefix, err = netip.PrefixFrom(address, address.BitLen()), nil
		if address.Zone() != "" {
			return none, fmt.Errorf("has a zone, which means nothing on another machine")
		}
	}
	switch {
	case err == nil && prefix.Addr().Is4In6():
		return none, fmt.Errorf("writes an IPv4 address as IPv6, %s was probably meant", prefix.Addr().Unmap())
	case err != nil:
		return none, fmt.Errorf("names no address or prefix")
	case prefix != prefix.Masked():
		return none, fmt.Errorf("has bits beyond its prefix, %s was probably meant", prefix.Masked())
	case prefix.Bits() == 0:
		return none, fmt.Errorf("opens everything, which would end the isolation from production")
	}
	d := Destination{prefix, uint16(port)}
	if what := overlap(prefix, never); what != "" {
		return none, fmt.Errorf("reaches %s, which no environment may", what)
	}
	return d, nil
}

// Range is addresses with what they are.
type Range struct {
	Prefix netip.Prefix
	What   string
}

// never are the addresses that mean the host itself, its link or the service that hands out a cloud's credentials,
// wherever servers run; and those by which an IPv4 address is reached in disguise.
var never = []Range{
	{netip.MustParsePrefix("0.0.0.0/8"), "the host itself (0.0.0.0/8)"},
	{netip.MustParsePrefix("127.0.0.0/8"), "the host itself (127.0.0.0/8)"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local and metadata addresses (169.254.0.0/16)"},
	{netip.MustParsePrefix("168.63.129.16/32"), "a metadata address (168.63.129.16)"},
	{netip.MustParsePrefix("100.100.100.200/32"), "a metadata address (100.100.100.200)"},
	{netip.MustParsePrefix("192.0.0.192/32"), "a metadata address (192.0.0.192)"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast addresses (224.0.0.0/4)"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved and broadcast addresses (240.0.0.0/4)"},
	{netip.MustParsePrefix("::/127"), "the host itself (::1)"},
	{netip.MustParsePrefix("fe80::/10"), "link-local addresses (fe80::/10)"},
	{netip.MustParsePrefix("fd00:ec2::/32"), "metadata addresses (fd00:ec2::/32)"},
	{netip.MustParsePrefix("ff00::/8"), "multicast addresses (ff00::/8)"},
	{netip.MustParsePrefix("64:ff9b::/96"), "IPv4 addresses in disguise (64:ff9b::/96)"},
	{netip.MustParsePrefix("2002::/16"), "IPv4 addresses in disguise (2002::/16)"},
}

func overlap(p netip.Prefix, ranges []Range) string {
	for _, r := range ranges {
		if r.Prefix.IsValid() && r.Prefix.Overlaps(p) {
			return r.What
		}
	}
	return ""
}

// The widest that a list may be in all: the size of such a prefix.
const (
	widest4 = 8
	widest6 = 24
)

// TooWide says that a list of destinations reaches so much that it is no list any more, "" if it does not. It looks
// at all together: ranges that are each modest add up.
func TooWide(list []Destination) string {
	var distinct []netip.Prefix
	for _, d := range list {
		if !slices.ContainsFunc(distinct, func(p netip.Prefix) bool { return p.Bits() <= d.Prefix.Bits() && p.Overlaps(d.Prefix) }) {
			distinct = slices.DeleteFunc(distinct, func(p netip.Prefix) bool { return p.Overlaps(d.Prefix) })
			distinct = append(distinct, d.Prefix)
		}
	}
	for _, family := range []struct {
		name         string
		bits, widest int
	}{{"IPv4", 32, widest4}, {"IPv6", 128, widest6}} {
		sum := new(big.Int)
		for _, p := range distinct {
			if p.Addr().BitLen() == family.bits {
				sum.Add(sum, new(big.Int).Lsh(big.NewInt(1), uint(family.bits-p.Bits())))
			}
		}
		if sum.Cmp(new(big.Int).Lsh(big.NewInt(1), uint(family.bits-family.widest))) > 0 {
			return fmt.Sprintf("reaches more %s addresses in all than a /%d has, which would end the isolation from production", family.name, family.widest)
		}
	}
	return ""
}

// Policy is what one installation allows. The zero Policy allows nothing.
type Policy struct {
	Allowed []Destination
	Never   []Range                    // beside those that no installation may allow
	Host    func() ([]net.Addr, error) // addresses of this host; nil: asked of the kernel
}

// Refusal says why servers may not reach a destination; "" if they may. It completes the sentence "the entry …".
// An error means that nobody knows.
func (p Policy) Refusal(d Destination) (string, error) {
	host, err := p.host()
	if err != nil {
		return "", fmt.Errorf("addresses of this host: %w", err)
	}
	for _, ranges := range [][]Range{never, p.Never, host} {
		if what := overlap(d.Prefix, ranges); what != "" {
			return "reaches " + what + ", which no environment may", nil
		}
	}
	for _, a := range p.Allowed {
		if a.Port == d.Port && a.Prefix.Bits() <= d.Prefix.Bits() && a.Prefix.Overlaps(d.Prefix) {
			return "", nil
		}
	}
	return "is not among what the daemon's configuration allows", nil
}

func (p Policy) host() ([]Range, error) {
	ask := p.Host
	if ask == nil {
		ask = net.InterfaceAddrs
	}
	addresses, err := ask()
	if err != nil {
		return nil, err
	}
	var ranges []Range
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok {
			if address, ok := netip.AddrFromSlice(n.IP); ok {
				address = address.Unmap()
				ranges = append(ranges, Range{netip.PrefixFrom(address, address.BitLen()), fmt.Sprintf("an address of Hallmark's host (%s)", address)})
				length, _ := n.Mask.Size()
				ranges = append(ranges, everybody(netip.PrefixFrom(address, length))...)
			}
		}
	}
	return ranges, nil
}

// everybody are the addresses of a network by which all of its hosts are reached at once, Hallmark's among them. A
// network of one or two addresses has none, nor has one of IPv6.
func everybody(network netip.Prefix) []Range {
	if !network.IsValid() || !network.Addr().Is4() || network.Bits() > 30 {
		return nil
	}
	first := network.Masked().Addr()
	bits := first.As4()
	last := binary.BigEndian.Uint32(bits[:]) | (1<<(32-network.Bits()) - 1)
	binary.BigEndian.PutUint32(bits[:], last)
	what := fmt.Sprintf("everybody in a network of Hallmark's host (%s)", network.Masked())
	return []Range{{netip.PrefixFrom(first, 32), what}, {netip.PrefixFrom(netip.AddrFrom4(bits), 32), what}}
}
