package puppet

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// apt gives a package system of its own with one package source, a folder, and the environment that
// makes apt-get work on it. Its lists are up to date, and hallmark-provision has kept its configuration
// aside.
func apt(t *testing.T) (root string, env []string) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("no apt-get here")
	}
	root = t.TempDir()
	for _, dir := range []string{"source", "lists/partial", "cache/archives/partial", "etc/apt/sources.list.d", "etc/apt/apt.conf.d"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The source is not signed, and only who runs the test can read it.
	for name, text := range map[string]string{
		"source/Packages":                     "",
		"etc/apt/sources.list":                fmt.Sprintf("deb [trusted=yes] file:%s/source ./\n", root),
		"etc/apt/apt.conf.d/01hallmark-cache": "Acquire::http::Proxy \"http://cache.invalid:3142\";\n",
		"etc/apt/apt.conf": fmt.Sprintf("Dir::State::Lists %[1]q;\nDir::Cache %[2]q;\nDir::State::Status \"/dev/null\";\nAPT::Sandbox::User \"root\";\n"+
			"#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n", root+"/lists", root+"/cache"),
		"apt.conf": fmt.Sprintf("Dir::Etc \"%s/etc/apt\";\n", root),
	} {
		write(t, filepath.Join(root, name), text)
	}
	env = append(os.Environ(), "APT_CONFIG="+root+"/apt.conf", "TMPDIR="+t.TempDir())
	if out, err := call(root, env, `update 60`); err != nil {
		t.Fatalf("apt-get update: %v: %s", err, out)
	}
	if out, err := call(root, env, `keep_sources`); err != nil {
		t.Fatalf("keep_sources: %v: %s", err, out)
	}
	return root, env
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// call runs a function of hallmark-provision on a server that is a folder.
func call(root string, env []string, function string) (string, error) {
	text := strings.NewReplacer("=/etc/apt ", "="+root+"/etc/apt ", "=/opt/hallmark/apt ", "="+root+"/kept ",
		"=/etc/hallmark ", "="+root+"/etc/hallmark ").Replace(script)
	text = text[:strings.Index(text, "\ncase ${1:-} in")]
	cmd := exec.Command("bash", "-s")
	cmd.Stdin, cmd.Env = strings.NewReader(text+"\n"+function+"\n"), env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// askSources is SourcesCommand.
func askSources(root string, env []string) (string, error) { return call(root, env, "sources 60") }

// Two audits at a time, apt-daily or the product may hold the lock; it says nothing about the sources.
func TestSourcesAnswerWhileOthersHoldTheLists(t *testing.T) {
	root, env := apt(t)
	lock, err := os.OpenFile(root+"/lists/lock", os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.FcntlFlock(lock.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK}); err != nil {
		t.Fatal(err)
	}
	if out, err := askSources(root, env); err != nil {
		t.Errorf("sources: %v: %s", err, out)
	}
	if left, _ := filepath.Glob(tempOf(env) + "/*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func tempOf(env []string) string { return strings.TrimPrefix(env[len(env)-1], "TMPDIR=") }

func TestSourcesDoNotAnswer(t *testing.T) {
	root, env := apt(t)
	if err := os.RemoveAll(root + "/source"); err != nil {
		t.Fatal(err)
	}
	if out, err := askSources(root, env); err == nil {
		t.Errorf("a source that is gone answers: %s", out)
	}
	if lists, _ := filepath.Glob(root + "/lists/*Packages"); len(lists) != 1 {
		t.Errorf("the server's own lists are now %v", lists)
	}
}

// A source of the product's, or what it makes of apt, says nothing about Hallmark's own.
func TestSourcesOfTheProductAreNotAsked(t *testing.T) {
	for name, file := range map[string]struct{ path, text string }{
		"a source with a typo": {"etc/apt/sources.list.d/acme.list", "deb [trusted=yes] file:/no/such/repositroy ./\n"},
		"its own sources.list": {"etc/apt/sources.list", "deb [trusted=yes] file:/no/such/repositroy ./\n"},
		"a proxy":              {"etc/apt/apt.conf.d/99proxy", "Acquire::file::Proxy \"x\";\nDir::Etc::sourcelist \"/no/such/list\";\n"},
		"broken configuration": {"etc/apt/apt.conf.d/99broken", "Acquire {\n"},
	} {
		t.Run(name, func(t *testing.T) {
			root, env := apt(t)
			write(t, filepath.Join(root, file.path), file.text)
			if out, err := askSources(root, env); err != nil {
				t.Errorf("Hallmark's own source does not answer: %v: %s", err, out)
			}
			if err := os.RemoveAll(root + "/source"); err != nil {
				t.Fatal(err)
			}
			if out, err := askSources(root, env); err == nil {
				t.Errorf("a source that is gone answers: %s", out)
			}
		})
	}
}

// What was put aside is the base's, once and for all; the way to the cache is told anew at each launch.
func TestSourcesAreKeptOnce(t *testing.T) {
	root, env := apt(t)
	if _, err := os.Stat(root + "/kept/apt.conf.d/01hallmark-cache"); err == nil {
		t.Error("the way to the cache was kept")
	}
	write(t, root+"/etc/apt/sources.list", "deb [trusted=yes] file:/product ./\n")
	if out, err := call(root, env, "keep_sources"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if list, err := os.ReadFile(root + "/kept/sources.list"); err != nil || strings.Contains(string(list), "product") {
		t.Errorf("kept: %s, %v", list, err)
	}
}

// Hallmark's own source is asked by the cache that the launch names, and by no proxy of the product's.
func TestSourcesAreAskedByTheCache(t *testing.T) {
	root, env := apt(t)
	var asked atomic.Int32
	cache := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Host != "packages.invalid" || r.URL.Path != "/./Packages" {
			http.NotFound(w, r)
		}
	}))
	defer cache.Close()
	write(t, root+"/kept/sources.list", "deb [trusted=yes] http://packages.invalid ./\n")
	write(t, root+"/etc/apt/apt.conf.d/99proxy", "Acquire::http::Proxy \"http://127.0.0.1:1\";\n")
	if err := os.MkdirAll(root+"/etc/hallmark", 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, root+"/etc/hallmark/provision.env", Launch{CacheURL: cache.URL}.settings())
	if out, err := askSources(root, append(env, "http_proxy=http://127.0.0.1:1")); err != nil || asked.Load() == 0 {
		t.Errorf("%v, asked %d times: %s", err, asked.Load(), out)
	}
}

// Package lists that cannot be updated are blamed on the source that does not answer.
func TestListsAreJudgedByHallmarksOwnSource(t *testing.T) {
	for name, c := range map[string]struct {
		gone  bool // Hallmark's own source, too
		cause string
	}{"the product's": {false, "puppet.failed"}, "Hallmark's": {true, "packages.unreachable"}} {
		t.Run(name, func(t *testing.T) {
			root, env := apt(t)
			write(t, root+"/etc/apt/sources.list.d/acme.list", "deb [trusted=yes] file:/no/such/repositroy ./\n")
			if c.gone {
				if err := os.RemoveAll(root + "/source"); err != nil {
					t.Fatal(err)
				}
			}
			out, _ := call(root, env, `
				finish() { echo "finish $3: $4"; exit; }
				sleep() { :; }
				deadline=$((SECONDS + 60))
				update_lists`)
			if !strings.Contains(out, "finish "+c.cause+": ") || !strings.Contains(out, "repositroy") {
				t.Errorf("want %s: %s", c.cause, out)
			}
		})
	}
}
