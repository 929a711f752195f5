package product

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/hallmark-ci/hallmark/internal/config"
)

const nobody = 65534

// place is a folder that other users of this machine reach, for what belongs to one of them.
func place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hallmark-product-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// give gives all of a folder to a user.
func give(t *testing.T, dir string, uid int) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "chown", "-R", fmt.Sprintf("%d:%d", uid, uid), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s (this test needs root)", err, out)
	}
}

// A repository of somebody else runs nothing as us, whatever its configuration, attributes and hooks say: neither
// when it is fetched, nor when its commits are checked out, nor when its working copy is checked.
func TestForeignRepositoryRunsNothing(t *testing.T) {
	s := &scratch{t: t, dir: filepath.Join(place(t), "product")}
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.git("init", "-q", "-b", "main")
	commit := s.commit("one", goodTree())
	marks := place(t)
	if err := os.Chmod(marks, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	trap := func(name string) string {
		file := filepath.Join(place(t), name)
		text := fmt.Sprintf("#!/bin/sh\n(id -u; env) >%s/%s.$$\ncat\n", marks, name)
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for _, key := range []string{
		"filter.x.smudge", "filter.x.clean", "filter.x.process", "core.fsmonitor", "core.alternateRefsCommand", "core.sshCommand", "core.pager", "core.editor", "core.askPass",
		"uploadpack.packObjectsHook", "remote.origin.uploadpack", "diff.external", "gpg.program", "credential.helper", "core.gitProxy",
	} {
		s.git("config", key, trap(key))
	}
	s.git("config", "filter.x.required", "true")
	s.git("config", "extensions.partialClone", "origin")
	s.git("config", "remote.origin.url", "ext::"+trap("ext"))
	s.git("config", "protocol.ext.allow", "always")
	s.git("config", "log.showSignature", "true")
	hooks := filepath.Join(s.dir, ".git/hooks")
	for _, hook := range []string{"post-checkout", "reference-transaction", "post-index-change", "pre-receive", "update", "proc-receive", "fsmonitor-watchman", "post-update"} {
		text, err := os.ReadFile(trap(hook))
		if err == nil {
			err = errors.Join(os.MkdirAll(hooks, 0o755), os.WriteFile(filepath.Join(hooks, hook), text, 0o755))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(s.dir, ".git/info"), 0o755), os.WriteFile(filepath.Join(s.dir, ".git/info/attributes"), []byte("* filter=x diff=x ident\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	global := filepath.Join(place(t), "gitconfig")
	if err := os.WriteFile(global, []byte("[filter \"x\"]\nsmudge = "+trap("global")+"\n[core]\nattributesFile = "+filepath.Join(s.dir, ".git/info/attributes")+"\nfsmonitor = "+trap("global-fsmonitor")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GIT_CONFIG_GLOBAL", global)
	t.Setenv("GIT_CONFIG_COUNT", "1")
	t.Setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
	t.Setenv("GIT_CONFIG_VALUE_0", trap("variable"))
	t.Setenv("AWS_SECRET_ACCESS_KEY", "zz")
	give(t, s.dir, nobody)

	r, err := Open(t.Context(), config.Product{Repository: s.dir}, filepath.Join(t.TempDir(), "mirror"))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), commit)
	if err := r.Checkout(t.Context(), commit, dir); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, File)); err != nil || string(text) != goodTree()[File] {
		t.Errorf("%s holds %q, %v", File, text, err)
	}
	for _, ask := range []func() error{
		func() error { _, err := r.Branches(t.Context()); return err },
		func() error { _, err := r.Log(t.Context(), "", commit, 9); return err },
		func() error { _, err := Load(s.dir, "its working copy"); return err },
	} {
		if err := ask(); err != nil {
			t.Error(err)
		}
	}
	left, err := os.ReadDir(marks)
	if err != nil {
		t.Fatal(err)
	}
	for _, mark := range left {
		text, _ := os.ReadFile(filepath.Join(marks, mark.Name()))
		t.Errorf("%s ran:\n%s", mark.Name(), text)
	}
}

// The other side of a fetch is a program of git that reads the repository's own configuration: it runs as the
// owner, with nothing of our environment.
func TestTheOtherSideRunsAsTheOwner(t *testing.T) {
	s := &scratch{t: t, dir: filepath.Join(place(t), "product")}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.git("init", "-q", "-b", "main")
	s.commit("one", goodTree())
	give(t, s.dir, nobody)
	programs := place(t)
	said := filepath.Join(place(t), "said")
	real, err := exec.LookPath("setpriv")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(filepath.Dir(said), 0o777), os.WriteFile(filepath.Join(programs, "setpriv"), []byte("#!/bin/bash\nexec "+real+" \"${@:1:$#-2}\" sh -c '(id -u; id -G; grep -c ^CapEff:.*0000000000000000 /proc/self/status; env | grep -c SECRET) >"+said+"; exec \"$@\"' sh \"${@: -2}\"\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", programs+":"+os.Getenv("PATH"))
	t.Setenv("MY_SECRET", "x")
	if _, err := Open(t.Context(), config.Product{Repository: s.dir}, filepath.Join(t.TempDir(), "mirror")); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(said); err != nil || string(text) != "65534\n65534\n1\n0\n" {
		t.Errorf("the other side ran as %q, %v", text, err)
	}
	// A repository that belongs to several users is that of none of them.
	give(t, filepath.Join(s.dir, ".git"), 1)
	_, err = Open(t.Context(), config.Product{Repository: s.dir}, filepath.Join(t.TempDir(), "mirror"))
	if err == nil || !strings.Contains(err.Error(), "belongs to more than one user") && !strings.Contains(err.Error(), "is no git repository") {
		t.Error(err)
	}
	if _, err = Load(s.dir, "its working copy"); err == nil || !strings.Contains(err.Error(), "belongs to more than one user") {
		t.Error(err)
	}
}

// Who is not root cannot become the owner, and is told what to do.
func TestForeignRepositoryIsRefused(t *testing.T) {
	if dir := os.Getenv("FOREIGN"); dir != "" {
		_, err := Open(t.Context(), config.Product{Repository: dir}, filepath.Join(t.TempDir(), "mirror"))
		wantWrong(t, err, dir, "REPO: belongs to root, and git may run what its owner wrote there; run hallmark as root or as root, or give its address, as ssh://hostREPO")
		_, err = Load(dir, "its working copy")
		wantWrong(t, err, dir, "REPO: belongs to root, and git may run what its owner wrote there; run hallmark as root or as root, or check a clone of your own")
		return
	}
	s := &scratch{t: t, dir: filepath.Join(place(t), "product")}
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.git("init", "-q", "-b", "main")
	s.commit("one", goodTree())
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := place(t)
	tmp := filepath.Join(dir, "tmp")
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "test"), binary, 0o755), os.Mkdir(tmp, 0o755)); err != nil {
		t.Fatal(err)
	}
	give(t, tmp, nobody)
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "test"), "-test.run", "^TestForeignRepositoryIsRefused$", "-test.v")
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + tmp, "FOREIGN=" + s.dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestForeignRepositoryIsRefused")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// A mirror follows its repository: new commits, rewritten and removed branches, branches in the place of folders.
// What a killed git left in it is in nobody's way, and a mirror that was lost is made anew.
func TestMirrorFollows(t *testing.T) {
	s := newScratch(t)
	first := s.commit("first", goodTree())
	s.git("branch", "release")
	mirror := filepath.Join(t.TempDir(), "state", "mirror")
	r, err := Open(t.Context(), config.Product{Repository: s.dir}, mirror)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(mirror); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the mirror is %v, %v", info, err)
	}
	s.git("branch", "-D", "release")
	s.git("branch", "release/1.0")
	second := s.commit("second", tree{"x": "2"})
	for _, lock := range []string{"packed-refs.lock", "refs/heads/main.lock", "config.lock"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(mirror, lock)), 0o700), os.WriteFile(filepath.Join(mirror, lock), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if head, err := r.Head(t.Context(), "main"); err != nil || head != second {
		t.Errorf("head is %s, %v", head, err)
	}
	if branches, err := r.Branches(t.Context()); err != nil || strings.Join(branches, " ") != "main release/1.0" {
		t.Errorf("branches are %q, %v", branches, err)
	}
	s.git("reset", "-q", "--hard", first)
	third := s.commit("third", tree{"x": "3"})
	if head, err := r.Head(t.Context(), "main"); err != nil || head != third {
		t.Errorf("after a forced push head is %s, %v", head, err)
	}
	if on, err := r.OnBranch(t.Context(), second, "main"); err != nil || on {
		t.Errorf("the old commit is on the branch: %v, %v", on, err)
	}
	if err := os.RemoveAll(mirror); err != nil {
		t.Fatal(err)
	}
	if _, err := Mirrored(config.Product{Repository: s.dir}, mirror); err == nil {
		t.Error("there is no mirror, and it was opened")
	}
	if head, err := r.Head(t.Context(), "main"); err != nil || head != third {
		t.Errorf("in a new mirror head is %s, %v", head, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Head(ctx, "main"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// object writes a raw object to a repository, as no git command would make it.
func (s *scratch) object(kind string, raw []byte) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "git", "-C", s.dir, "hash-object", "-t", kind, "-w", "--literally", "--stdin")
	cmd.Stdin = bytes.NewReader(raw)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

type entryOf struct{ mode, name, object string }

// rawTree commits a tree of these entries, whatever they are.
func (s *scratch) rawTree(entries ...entryOf) (tree string) {
	var raw bytes.Buffer
	for _, e := range entries {
		id, err := hex.DecodeString(e.object)
		if err != nil {
			s.t.Fatal(err)
		}
		fmt.Fprintf(&raw, "%s %s\x00%s", e.mode, e.name, id)
	}
	return s.object("tree", raw.Bytes())
}

func (s *scratch) commitTree(tree string) string {
	commit := s.git("commit-tree", "-m", "raw", tree)
	s.git("update-ref", "refs/heads/raw", commit)
	return commit
}

// A commit that no git would make, or that no machine could hold, is the product's fault and told with its path;
// nothing of it lands beside the checkout.
func TestHostileTrees(t *testing.T) {
	s := newScratch(t)
	s.commit("first", goodTree())
	blob := s.object("blob", []byte("x\n"))
	link := s.object("blob", []byte("/tmp"))
	bomb := s.rawTree(entryOf{"100644", "f", blob})
	for range 12 {
		var same []entryOf
		for i := range 10 {
			same = append(same, entryOf{"40000", strconv.Itoa(i), bomb})
		}
		bomb = s.rawTree(same...)
	}
	config := s.object("blob", []byte("[core]\nfsmonitor = touch /tmp/pwned\n"))
	for name, c := range map[string]struct{ tree, want string }{
		"a git of its own": {s.rawTree(entryOf{"40000", ".git", s.rawTree(entryOf{"100644", "config", config})}), ".git/config: is no name of a file that git would commit"},
		"GIT":              {s.rawTree(entryOf{"100644", ".GIT", blob}), ".GIT: is no name"},
		"up":               {s.rawTree(entryOf{"40000", "..", s.rawTree(entryOf{"100644", "x", blob})}), "../x: is no name"},
		"up at once":       {s.rawTree(entryOf{"100644", "../x", blob}), "../x: is no name"},
		"absolute":         {s.rawTree(entryOf{"100644", "/etc/x", blob}), "/etc/x: is no name"},
		"twice":            {s.rawTree(entryOf{"100644", "a", blob}, entryOf{"100644", "a", blob}), "a: is there twice"},
		"through a link":   {s.rawTree(entryOf{"120000", "a", link}, entryOf{"40000", "a", s.rawTree(entryOf{"100644", "x", blob})}), "a: is a file and a folder"},
		"a bomb":           {bomb, "has more than 100000 files"},
		"a long link":      {s.rawTree(entryOf{"120000", "a", s.object("blob", bytes.Repeat([]byte("a"), 5000))}), "a: links to a path that is too long"},
		"a long path":      {s.rawTree(entryOf{"100644", strings.Repeat("a", 5000), blob}), "has a file with a path of more than 4096 bytes"},
	} {
		commit := s.commitTree(c.tree)
		r := s.open()
		dir := filepath.Join(t.TempDir(), "products", commit)
		begin := time.Now()
		err := r.Checkout(t.Context(), commit, dir)
		if _, ok := errors.AsType[Unfit](err); !ok || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) > 0 {
			t.Errorf("%s: left over: %v, %v", name, left, err)
		}
		if took := time.Since(begin); took > time.Minute {
			t.Errorf("%s: it took %v", name, took)
		}
	}
}

// https serves a repository by git's own program, to one user.
func httpsServer(t *testing.T, root string) *httptest.Server {
	out, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"), Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1"}, InheritEnv: []string{"PATH"}}
	return httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if name, password, _ := q.BasicAuth(); name != "ci" || password != "s3cret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, q)
	}))
}

func TestFetchByHTTPS(t *testing.T) {
	s := newScratch(t)
	commit := s.commit("first", goodTree())
	server := httpsServer(t, filepath.Dir(s.dir))
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	credentials := filepath.Join(t.TempDir(), "it's a file")
	host := strings.TrimPrefix(server.URL, "https://")
	r := &Repository{source: config.Product{Repository: server.URL + "/product/.git", Credentials: credentials}, mirror: filepath.Join(t.TempDir(), "mirror"), ca: ca}
	for text, works := range map[string]bool{"": false, "https://ci:wrong@" + host + "\n": false, "https://ci:s3cret@" + host + "\n": true} {
		if err := os.WriteFile(credentials, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		head, err := r.Head(t.Context(), "main")
		if works && (err != nil || head != commit) || !works && (err == nil || !strings.Contains(err.Error(), "cannot be fetched: ") || !strings.Contains(err.Error(), "product.repository")) {
			t.Errorf("with %q: %s, %v", text, head, err)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("a password is told: %v", err)
		}
	}
	r.ca = ""
	if _, err := r.Head(t.Context(), "main"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server of an unknown authority: %v", err)
	}
}

// sshServer serves git-upload-pack of any path to one key, and gives its address.
func sshServer(t *testing.T, host ssh.Signer, client ssh.PublicKey) string {
	settings := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if !bytes.Equal(key.Marshal(), client.Marshal()) {
			return nil, errors.New("another key")
		}
		return nil, nil
	}}
	settings.AddHostKey(host)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	serve := func(conn net.Conn) {
		_, channels, requests, err := ssh.NewServerConn(conn, settings)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(requests)
		for opened := range channels {
			channel, requests, err := opened.Accept()
			if err != nil {
				return
			}
			go func() {
				for q := range requests {
					var command struct{ Line string }
					if q.Type != "exec" || ssh.Unmarshal(q.Payload, &command) != nil || !strings.HasPrefix(command.Line, "git-upload-pack ") {
						_ = q.Reply(false, nil)
						continue
					}
					_ = q.Reply(true, nil)
					cmd := exec.Command("sh", "-c", command.Line)
					cmd.Stdin, cmd.Stdout, cmd.Stderr = channel, channel, channel.Stderr()
					status := struct{ Code uint32 }{}
					if cmd.Run() != nil {
						status.Code = 1
					}
					_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(status))
					channel.Close()
				}
			}()
		}
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return listener.Addr().String()
}

func sshKey(t *testing.T) (private ed25519.PrivateKey, signer ssh.Signer, file string) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	if signer, err = ssh.NewSignerFromKey(private); err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "a key")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return private, signer, file
}

func TestFetchBySSH(t *testing.T) {
	s := newScratch(t)
	commit := s.commit("first", goodTree())
	_, host, _ := sshKey(t)
	private, client, key := sshKey(t)
	_, stranger, otherKey := sshKey(t)
	address := sshServer(t, host, client.PublicKey())
	known := func(key ssh.PublicKey) string {
		file := filepath.Join(t.TempDir(), "known hosts")
		if err := os.WriteFile(file, []byte(knownhosts.Line([]string{knownhosts.Normalize(address)}, key)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	keys := agent.NewKeyring()
	if err := keys.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(place(t), "agent")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(keys, conn) }()
		}
	}()
	repository := "ssh://git@" + address + s.dir
	for name, c := range map[string]struct {
		source config.Product
		want   string // in the error
	}{
		"a key":            {config.Product{SSHKey: key, KnownHosts: known(host.PublicKey())}, ""},
		"an agent":         {config.Product{SSHAgent: socket, KnownHosts: known(host.PublicKey())}, ""},
		"a stranger's key": {config.Product{SSHKey: otherKey, KnownHosts: known(host.PublicKey())}, "Permission denied"},
		"neither":          {config.Product{KnownHosts: known(host.PublicKey())}, "Permission denied"},
		"another host":     {config.Product{SSHKey: key, KnownHosts: known(stranger.PublicKey())}, "Host key verification failed"},
		"an unknown host":  {config.Product{SSHKey: key, KnownHosts: filepath.Join(t.TempDir(), "none")}, "Host key verification failed"},
	} {
		c.source.Repository = repository
		t.Setenv("SSH_AUTH_SOCK", socket) // of whoever starts hallmark: not named, not used
		r, err := Open(t.Context(), c.source, filepath.Join(t.TempDir(), "mirror"))
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if head, err := r.Head(t.Context(), "main"); err != nil || head != commit {
			t.Errorf("%s: head is %s, %v", name, head, err)
		}
	}
}

// A branch that points to a commit that is not there, as in a mirror that is being fetched, is known and has no
// head; it costs the others nothing.
func TestBrokenBranch(t *testing.T) {
	s := newScratch(t)
	s.commit("first", goodTree())
	r := s.open()
	second := s.commit("second", tree{"x": "2"})
	for i, branch := range []string{"broken", "other"} {
		if err := os.WriteFile(filepath.Join(s.dir, ".git/refs/heads", branch), []byte(strings.Repeat("0", 39)+strconv.Itoa(i+1)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if head, err := r.Head(t.Context(), "main"); err != nil || head != second {
		t.Errorf("head is %s, %v", head, err)
	}
	if branches, err := r.Branches(t.Context()); err != nil || strings.Join(branches, " ") != "broken main other" {
		t.Errorf("branches are %q, %v", branches, err)
	}
	if head, err := r.Head(t.Context(), "broken"); err == nil || !strings.Contains(err.Error(), "which is not there") {
		t.Errorf("head is %s, %v", head, err)
	}
}
