package incus_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// ask is a program that asks a name server: server, name, type, class. It prints the code of the answer, how
// many records are in it, and the last byte of it, which ends an address.
const ask = `import socket, struct, sys
server, name, kind, of = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
q = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\0" + struct.pack(">2H", kind, of)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(4)
s.sendto(q, (server, 53))
try: a = s.recv(4096)
except OSError: print("silence"); sys.exit()
print(a[3] & 15, struct.unpack(">H", a[6:8])[0], a[-1])
`

// TestNamesOfTheHost: the bridge's name server knows its servers, and nothing of the host; nobody on the host
// hears what a server tells everybody. Where a name server is named, names of the world come from it alone.
func TestNamesOfTheHost(t *testing.T) {
	t.Parallel()
	p, me := provider(t), owner(t)
	image := base(t, p)
	t.Cleanup(func() { clear(t, p, me) })
	tags := cloud.Tags{Owner: me}
	asked := nameServer(t)
	networks := map[string]cloud.Network{
		"closed": network(t, p, cloud.NetworkSpec{Name: me + "-closed", Tags: tags, Egress: []cloud.Egress{{Prefix: netip.MustParsePrefix("192.0.2.7/32"), Port: 443}}}),
		"open":   network(t, p, cloud.NetworkSpec{Name: me + "-open", Tags: tags, Egress: []cloud.Egress{{Prefix: netip.PrefixFrom(cache, 32), Port: 53}}}),
	}
	query := func(n cloud.Network, name string, kind, class int) string {
		return said(t, n, "web-1", fmt.Sprintf("python3 /root/ask.py %s %s %d %d", n.Gateway, name, kind, class))
	}
	const a, txt, internet, chaos = 1, 16, 1, 3
	for _, n := range networks {
		_, err := p.Launch(t.Context(), cloud.ServerSpec{Name: "web-1", Network: n.ID, Image: image.ID, Address: nth(n, 10), Token: "once", Tags: tags})
		must(t, err)
	}
	for _, n := range networks {
		until(t, "web-1 has its address", func() bool { return inside(t, n, "web-1", "ip -4 -o addr show dev eth0 | grep -q inet") })
		write(t, n, "web-1", "/root/ask.py", ask)
		if got := query(n, "web-1.hallmark.internal", a, internet); got != "0 1 11" { // the eleventh of the range
			t.Errorf("a server's own name: %s", got)
		}
		for _, name := range hostNames(t) {
			if got := strings.Fields(query(n, name, a, internet)); len(got) == 3 && got[1] != "0" && got[2] != "99" { // the name server's answer to everything
				t.Errorf("the host's name %s has an address: %s", name, got)
			}
		}
		for _, name := range []string{"version.bind", "servers.bind", "hostname.bind", "cachesize.bind"} {
			if got := strings.Fields(query(n, name, txt, chaos)); len(got) == 3 && got[1] != "0" {
				t.Errorf("%s tells something: %s", name, got)
			}
		}
	}
	if got := strings.Fields(query(networks["closed"], "world.example.org", a, internet)); len(got) == 3 && got[1] != "0" {
		t.Errorf("a name of the world, without a name server: %s", got)
	}
	if got := query(networks["open"], "world.example.org", a, internet); got != "0 1 99" {
		t.Errorf("a name of the world, by the name server: %s", got)
	}
	if got := asked(); !slices.Contains(got, "world.example.org") || slices.ContainsFunc(got, func(name string) bool { return strings.HasSuffix(name, "hallmark.internal") }) {
		t.Errorf("the name server was asked for %q", got)
	}

	heard, err := net.ListenPacket("udp4", ":0") //nolint:gosec // it is what must not be reached
	must(t, err)
	defer heard.Close()
	port := heard.LocalAddr().(*net.UDPAddr).Port
	n := networks["closed"]
	everybody := nth(n, 254)
	for _, to := range []netip.Addr{everybody, nth(n, 0).Prev(), n.Gateway} {
		said(t, n, "web-1", fmt.Sprintf(`python3 -c "import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1); s.sendto(b'from %s', ('%s', %d))"`, to, to, port))
	}
	self, err := net.Dial("udp4", fmt.Sprintf("127.0.0.1:%d", port))
	must(t, err)
	defer self.Close()
	_, err = self.Write([]byte("end"))
	must(t, err)
	for text := make([]byte, 100); ; {
		n, from, err := heard.ReadFrom(text)
		must(t, err)
		if string(text[:n]) == "end" {
			break
		}
		t.Errorf("the host hears %q of %s", text[:n], from)
	}
}

// hostNames are the names that this host keeps in a file, but for those that every host has.
func hostNames(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("/etc/hosts")
	must(t, err)
	var names []string
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		for i, name := range strings.Fields(line) {
			if i > 0 && !strings.HasPrefix(name, "ip6-") && !strings.HasPrefix(name, "localhost") {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		t.Fatal("/etc/hosts has no name of this host, so this proves nothing: add one")
	}
	return names
}

// nameServer answers at the package cache's address that every name is 192.0.2.99, and tells for which it was
// asked.
func nameServer(t *testing.T) (asked func() []string) {
	t.Helper()
	conn, err := net.ListenPacket("udp4", netip.AddrPortFrom(cache, 53).String())
	must(t, err)
	var mu sync.Mutex
	var names []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		question := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(question)
			if err != nil {
				return
			}
			var name []string
			end := 12
			for end < n && question[end] != 0 {
				length := int(question[end])
				if end+1+length > n {
					break
				}
				name = append(name, string(question[end+1:end+1+length]))
				end += 1 + length
			}
			end += 5
			if end > n {
				continue
			}
			mu.Lock()
			names = append(names, strings.Join(name, "."))
			mu.Unlock()
			answer := slices.Clone(question[:end])
			binary.BigEndian.PutUint16(answer[2:], 0x8180)
			for at, count := range map[int]uint16{4: 1, 6: 1, 8: 0, 10: 0} {
				binary.BigEndian.PutUint16(answer[at:], count)
			}
			answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 99)
			if _, err := conn.WriteTo(answer, from); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		must(t, conn.Close())
		<-done
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(names)
	}
}
