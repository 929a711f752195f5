package host_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// listener is a server of the world that notes who reaches it.
type listener struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
}

func listen(t *testing.T) *listener {
	l := &listener{}
	l.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.asked = append(l.asked, r.Method+" "+r.RequestURI)
		if strings.Contains(r.URL.Path, "redirect") {
			http.Redirect(w, r, "http://"+r.Header.Get("X-Elsewhere")+"/debian/pool/main/s/stolen_1_all.deb", http.StatusFound)
			return
		}
		fmt.Fprint(w, "content")
	}))
	_ = l.Listener.Close()
	l.Listener = low(t)
	l.Start()
	t.Cleanup(l.Close)
	return l
}

// low listens on a port that apt-cacher-ng understands: it knows none above 32767.
func low(t *testing.T) net.Listener {
	t.Helper()
	for port := 20000; ; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return l
		}
		if port > 30000 {
			t.Fatal(err)
		}
	}
}

// take gives what was asked since the last call.
func (l *listener) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	asked := l.asked
	l.asked = nil
	return asked
}

func (l *listener) address() string { return l.Listener.Addr().String() }

// cacheOf starts a package cache, configured by setup.sh as for a machine whose packages come from a mirror, and
// gives its address.
func cacheOf(t *testing.T, mirror string) string {
	t.Helper()
	const program = "/usr/sbin/apt-cacher-ng"
	if testing.Short() {
		t.Skip("needs root and a package cache: not with -short")
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("no package cache on this machine: run `make host` (%v)", err)
	}
	dir := t.TempDir()
	free := low(t)
	address := free.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.CommandContext(t.Context(), "bash", "-c", functions(t)+`
SOURCES="$1 bookworm main" CACHE_ADDRESS=127.0.0.1 CACHE_PORT=$2
cache_config | sed "s|$CACHE_DATA|$3/data|; s|$LOGS/apt-cacher-ng|$3/log|; s|$CACHE_PID|$3/pid|; /^Proxy:/d"`, "bash", mirror, port, dir)
	cmd.Env = append(os.Environ(), "http_proxy=")
	config, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "acng.conf"), append(config, "SocketPath: "+dir+"/socket\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	cache := exec.Command(program, "-c", dir, "ForeGround=1")
	if who, err := user.Lookup("apt-cacher-ng"); err == nil && os.Geteuid() == 0 {
		uid, _ := strconv.Atoi(who.Uid)
		gid, _ := strconv.Atoi(who.Gid)
		cache.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		for path := dir; path != os.TempDir(); path = filepath.Dir(path) {
			if err := errors.Join(os.Chown(path, uid, gid), os.Chmod(path, 0o755)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chown(filepath.Join(dir, "acng.conf"), uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	if err := cache.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cache.Process.Kill()
		_ = cache.Wait()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			_ = conn.Close()
			return address
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the package cache does not answer: %v\n%s", err, config)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// request sends one, word by word, and gives the status of the answer; 0 for none.
func request(t *testing.T, cache, text string) int {
	t.Helper()
	conn, err := net.Dial("tcp", cache)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(text)); err != nil {
		return 0
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

// TestCacheFetchesPackagesOnly: whatever a server asks the package cache for, it fetches packages and indices of
// the machine's own sources.
func TestCacheFetchesPackagesOnly(t *testing.T) {
	mirror, other := listen(t), listen(t)
	cache := cacheOf(t, "http://"+mirror.address()+"/debian")
	get := func(url, host string) string {
		return fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nX-Elsewhere: %s\r\nConnection: close\r\n\r\n", url, host, other.address())
	}
	m, o := mirror.address(), other.address()
	for _, path := range []string{
		"dists/bookworm/InRelease", "dists/bookworm-updates/Release", "dists/bookworm/Release.gpg", "dists/bookworm-security/main/binary-amd64/Packages.xz",
		"dists/bookworm/main/source/Sources.gz", "dists/bookworm/main/i18n/Translation-en.bz2", "dists/bookworm/main/Contents-amd64.gz", "dists/bookworm/main/dep11/Components-amd64.yml.xz",
		"dists/bookworm/main/binary-amd64/by-hash/SHA256/" + strings.Repeat("0123456789abcdef", 4), "dists/bookworm/main/binary-amd64/Packages.diff/Index",
		"pool/main/a/acl/acl_2.3.1-3_amd64.deb", "pool/main/a/apt/apt_2.6.1.dsc", "pool/main/g/g++/g++_12.2.0%2b1-3_amd64.deb",
	} {
		if status := request(t, cache, get("http://"+m+"/debian/"+path, m)); status != http.StatusOK || len(mirror.take()) != 1 {
			t.Errorf("%s is not served: %d", path, status)
		}
	}
	for what, text := range map[string]string{
		"another port":                    get("http://"+o+"/debian/pool/main/a/acl/acl_1_amd64.deb", o),
		"another host":                    get("http://localhost:"+port(o)+"/debian/pool/main/a/acl/acl_1_amd64.deb", o),
		"another host, by path":           get("/"+o+"/debian/pool/main/a/acl/acl_1_amd64.deb", cache),
		"another host, by header":         get("/debian/pool/main/b/b/b_1_amd64.deb", o),
		"another host, in a user's name":  get("http://"+m+"@"+o+"/debian/pool/main/a/acl/acl_1_amd64.deb", o),
		"another host, by HTTPS":          get("https://"+o+"/debian/pool/main/a/acl/acl_1_amd64.deb", o),
		"another host, by acng's HTTPS":   get("/HTTPS///"+o+"/debian/pool/main/a/acl/acl_1_amd64.deb", cache),
		"another folder":                  get("http://"+m+"/private/pool/main/a/acl/acl_1_amd64.deb", m),
		"a folder that begins the same":   get("http://"+m+"/debian-private/pool/main/a/acl/acl_1_amd64.deb", m),
		"a folder above":                  get("http://"+m+"/debian/../private/pool/x_1_amd64.deb", m),
		"a folder above, in the pool":     get("http://"+m+"/debian/pool/../../private/pool/x_1_amd64.deb", m),
		"a folder above, in disguise":     get("http://"+m+"/debian/pool/%2e%2e/%2e%2e/private/x_1_amd64.deb", m),
		"a folder above, in the indices":  get("http://"+m+"/debian/dists/%2e%2e/%2e%2e/private/dists/x/InRelease", m),
		"a file that is no package":       get("http://"+m+"/debian/README", m),
		"a page":                          get("http://"+m+"/debian/pool/index.html", m),
		"a changelog":                     get("http://"+m+"/debian/pool/main/a/changelog", m),
		"an installer":                    get("http://"+m+"/debian/dists/bookworm/main/installer-amd64/current/images/netboot/mini.iso", m),
		"a program":                       get("http://"+m+"/debian/fonts/final/arial32.exe", m),
		"a package beside the pool":       get("http://"+m+"/debian/x/x_1_amd64.deb", m),
		"a package with a message":        get("http://"+m+"/debian/pool/main/a/acl/acl_1_amd64.deb?secret", m),
		"an index with a message":         get("http://"+m+"/debian/dists/bookworm/InRelease?secret", m),
		"an administrator's page":         get("/acng-report.html", cache),
		"an administrator's page, by URL": get("http://"+cache+"/acng-report.html?doExpire=Start", cache),
		"documentation":                   get("/acng-doc/html/index.html", cache),
		"a tunnel":                        "CONNECT " + o + " HTTP/1.1\r\nHost: " + o + "\r\n\r\n",
		"a tunnel to the mirror":          "CONNECT " + m + " HTTP/1.1\r\nHost: " + m + "\r\n\r\n",
		"a tunnel to bug reports":         "CONNECT bugs.debian.org:443 HTTP/1.1\r\nHost: bugs.debian.org:443\r\n\r\n",
		"a message to bug reports":        "POST http://bugs.debian.org:80/cgi-bin/soap.cgi HTTP/1.1\r\nHost: bugs.debian.org\r\nContent-Length: 1\r\n\r\nx",
		"a message to the mirror":         "POST http://" + m + "/debian/pool/main/a/acl/acl_1_amd64.deb HTTP/1.1\r\nHost: " + m + "\r\nContent-Length: 1\r\n\r\nx",
	} {
		status := request(t, cache, text)
		if status/100 != 4 && status != 0 { // 5xx: it tried
			t.Errorf("%s: not refused: %d", what, status)
		}
		if asked := append(mirror.take(), other.take()...); len(asked) > 0 {
			t.Errorf("%s: %d, and this was fetched: %q", what, status, asked)
		}
	}
	request(t, cache, get("http://"+m+"/debian/pool/main/r/redirect/redirect_1_all.deb", m))
	if asked := other.take(); len(asked) > 0 {
		t.Errorf("the mirror sent the cache elsewhere, and it went: %q", asked)
	}
}

func port(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}
