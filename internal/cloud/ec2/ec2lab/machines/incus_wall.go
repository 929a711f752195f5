package machines

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

// The wall stands where packets are routed. Machines hang on one bridge whose ports are isolated from
// each other, so that no frame goes from one to another; the host answers ARP for all of them
// (proxy_arp_pvlan, made for private VLANs like this one), gets every packet, and routes it through
// the forward hook, where an inet table can track connections. A filter in the bridge family would
// need the kernel's conntrack for bridges, or would let through everything but a SYN; routed NICs
// would need their addresses written into the machine, where EC2 gives them by DHCP.

// layBridge makes the bridge. DHCP gives each machine its fixed address; DNS knows machines only: a
// name looked up outside would be a way out.
func (h *Incus) layBridge(ctx context.Context, c *incusd.Client) error {
	config := map[string]string{
		tagLab: h.cfg.Name, "ipv4.address": netip.PrefixFrom(h.gateway(), h.cfg.Range.Bits()).String(), "ipv4.nat": "false",
		"ipv6.address": "none", "dns.mode": "managed", "dns.domain": "ec2lab.internal", "raw.dnsmasq": incusd.Resolver(),
	}
	err := incusd.Undisturbed(ctx, func() error { return c.CreateBridge(ctx, h.bridge, "EC2 test lab "+h.cfg.Name, config) })
	if err != nil {
		return fmt.Errorf("create bridge %s: %w", h.bridge, err)
	}
	for _, set := range [][2]string{
		{"conf/" + h.bridge + "/proxy_arp_pvlan", "1"}, {"conf/" + h.bridge + "/send_redirects", "0"}, {"neigh/" + h.bridge + "/proxy_delay", "0"},
	} {
		if err := os.WriteFile(filepath.Join("/proc/sys/net/ipv4", set[0]), []byte(set[1]), 0o644); err != nil { //nolint:gosec // it is the kernel's
			return fmt.Errorf("prepare bridge %s, which takes root: %w", h.bridge, err)
		}
	}
	return nil
}

func (h *Incus) gateway() netip.Addr { return h.cfg.Range.Masked().Addr().Next() }

// Serve implements Host. The service listens on the gateway; packets to the metadata address are sent
// there as they come from the bridge, so that the host's own way to such a service stays as it is.
func (h *Incus) Serve(ctx context.Context, metadata http.Handler) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", netip.AddrPortFrom(h.gateway(), 0).String())
	if err != nil {
		return fmt.Errorf("listen for the metadata service: %w", err)
	}
	h.metadata = &http.Server{Handler: metadata, ReadHeaderTimeout: 10 * time.Second, ConnContext: boundByTTL}
	h.served = make(chan struct{})
	go func() {
		defer close(h.served)
		_ = h.metadata.Serve(listener) // ends with Close
	}()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.port = netip.MustParseAddrPort(listener.Addr().String()).Port()
	return h.load(ctx, h.rules())
}

// Wall implements Host.
func (h *Incus) Wall(ctx context.Context, ends []End) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ends = slices.Clone(ends)
	return h.load(ctx, h.rules())
}

func (h *Incus) raze(ctx context.Context) error {
	return h.load(ctx, fmt.Sprintf("table inet %[1]s\ndelete table inet %[1]s\n", h.table))
}

// load gives rules to the kernel, all or none.
func (h *Incus) load(ctx context.Context, rules string) error {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("load packet filters with nft, which takes root: %w: %s", err, strings.TrimSpace(said.String()))
	}
	return nil
}

// rules writes the whole table, replacing the one before in one step. Established connections go on
// whatever the rules say now, as EC2's do. In a machine's chains, what is allowed returns and goes on
// to the next question, and what is left is dropped.
func (h *Incus) rules() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("table inet %[1]s\ndelete table inet %[1]s\ntable inet %[1]s {", h.table)
	var pairs, addresses, outs, ins []string
	var networks []netip.Prefix
	for _, e := range h.ends {
		pairs = append(pairs, hardwareAddress(e.Address)+" . "+e.Address.String())
		addresses = append(addresses, e.Address.String())
		outs = append(outs, e.Address.String()+" : jump "+chain("out", e.Address))
		ins = append(ins, e.Address.String()+" : jump "+chain("in", e.Address))
		if !slices.Contains(networks, e.Network) {
			networks = append(networks, e.Network)
		}
	}
	set := func(name, kind string, elements []string) {
		line("set %s { type %s", name, kind)
		if len(elements) > 0 {
			line("elements = { %s }", strings.Join(elements, ", "))
		}
		line("}")
	}
	set("known", "ether_addr . ipv4_addr", pairs)
	set("ends", "ipv4_addr", addresses)
	for _, e := range h.ends {
		chainOf(line, chain("out", e.Address), "daddr", e.Out)
		chainOf(line, chain("in", e.Address), "saddr", e.In)
	}
	ask := func(field string, jumps []string) {
		if len(jumps) > 0 {
			line("ip %s vmap { %s }", field, strings.Join(jumps, ", "))
		}
		line("ip %s != @ends drop", field)
	}

	line("chain leave {\nct state established,related accept\nether saddr . ip saddr != @known drop")
	for _, n := range networks {
		line("ip saddr %[1]s ip daddr %[2]s ip daddr != %[1]s drop", n, h.cfg.Range)
	}
	ask("saddr", outs)
	line("}")
	line("chain arrive {\nct state established,related accept")
	ask("daddr", ins)
	line("accept\n}")
	line("chain local {\nudp sport 68 udp dport 67 accept\nct state established,related accept\nether saddr . ip saddr != @known drop")
	line("ip daddr %[1]s meta l4proto { tcp, udp } th dport 53 accept", h.gateway())
	if h.port != 0 {
		line("ip daddr %s tcp dport %d ct original ip daddr 169.254.169.254 accept", h.gateway(), h.port)
	}
	line("meta l4proto { tcp, udp } th dport 53 drop") // Incus would let through the DNS of every bridge
	ask("saddr", outs)
	line("accept\n}")
	line("chain host {\nct state established,related accept\nicmp type redirect drop\nudp sport 67 udp dport 68 accept")
	ask("daddr", ins)
	line("accept\n}")

	br := strconv.Quote(h.bridge)
	if h.port != 0 {
		line("chain metadata { type nat hook prerouting priority dstnat; policy accept;")
		line("iifname %s ip daddr 169.254.169.254 tcp dport 80 dnat ip to %s:%d\n}", br, h.gateway(), h.port)
	}
	line("chain forward { type filter hook forward priority filter; policy accept;")
	line("iifname %[1]s oifname != %[1]s drop\niifname != %[1]s oifname %[1]s drop", br)
	line("iifname %[1]s meta nfproto ipv6 drop\niifname %[1]s jump leave\noifname %[1]s jump arrive\n}", br)
	line("chain input { type filter hook input priority filter; policy accept;")
	line("iifname %[1]s meta nfproto ipv6 drop\niifname %[1]s jump local\n}", br)
	line("chain output { type filter hook output priority filter; policy accept;")
	line("oifname %[1]s meta nfproto ipv6 drop\noifname %[1]s jump host\n}", br)
	line("}")
	return b.String()
}

func chain(way string, a netip.Addr) string {
	return way + "_" + strings.ReplaceAll(a.String(), ".", "_")
}

func chainOf(line func(string, ...any), name, peer string, rules []Rule) {
	line("chain %s {", name)
	for _, r := range rules {
		what := ""
		switch r.Protocol {
		case "tcp", "udp":
			what = fmt.Sprintf("%s dport %d-%d ", r.Protocol, r.From, r.To)
		case "icmp":
			what = "meta l4proto icmp "
		}
		for _, p := range r.Peers {
			if p.Bits() == 0 {
				line("%sreturn", what)
			} else {
				line("ip %s %s %sreturn", peer, p, what)
			}
		}
	}
	line("drop\n}")
}
