package machines

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// The kernel of this host decides, without a router: a socket with IP_MINTTL drops what has fewer hops left, as if it
// stood so far away.
func TestHops(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		hops, err := strconv.Atoi(req.URL.Query().Get("hops"))
		if err == nil {
			err = BoundHops(req.Context(), hops)
		}
		if err != nil {
			t.Error(err)
		}
		fmt.Fprint(w, "a token")
	}))
	server.Config.ConnContext = boundByTTL
	server.Start()
	defer server.Close()
	for _, c := range []struct {
		hops, away int
		want       string
	}{{1, 1, "a token"}, {1, 2, ""}, {2, 2, "a token"}, {2, 3, ""}, {0, 64, "a token"}} {
		dialer := &net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
			var setting error
			err := raw.Control(func(fd uintptr) {
				setting = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_MINTTL, c.away)
			})
			if err != nil {
				return err
			}
			return setting
		}}
		transport := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}
		client := &http.Client{Transport: transport, Timeout: 2 * time.Second}
		got := ""
		if answer, err := client.Get(fmt.Sprintf("%s/?hops=%d", server.URL, c.hops)); err == nil {
			text, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Error(err)
			}
			_ = answer.Body.Close()
			got = string(text)
		}
		if got != c.want {
			t.Errorf("bounded to %d hops, %d away: %q, want %q", c.hops, c.away, got, c.want)
		}
	}
	if err := BoundHops(t.Context(), 1); err == nil {
		t.Error("an answer that nobody bounds")
	}
}
