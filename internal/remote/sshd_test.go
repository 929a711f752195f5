package remote

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testSeed = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"

// sshd is an SSH server in this process: keys, codes that work once, forwarding, and commands that
// are really run by bash, with a sudo that needs no password or refuses.
type sshd struct {
	listen  net.Listener
	home    string
	wg      sync.WaitGroup
	arrived chan struct{} // gets one for each connection

	mu        sync.Mutex
	behaviour behaviour
	conns     map[net.Conn]bool
	logins    int
	accepted  int
	used      map[string]bool
	sessions  int
	most      int
}

// behaviour of new connections.
type behaviour struct {
	hostKey   ssh.Signer
	users     map[string]ssh.PublicKey
	codes     bool             // whether a second factor is asked for
	limited   bool             // it refuses the second factor without asking
	anyCode   bool             // any six digits do
	reuses    bool             // a used code does
	forgives  uint             // so many steps before and after the current one do; 0: one
	now       func() time.Time // for codes
	banner    string
	path      string // PATH of commands
	hangUp    bool   // instead of an answer to the key
	mute      bool   // no handshake
	noExec    bool
	noForward bool
}

// set changes what the server does from now on.
func (s *sshd) set(change func(*behaviour)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.behaviour)
}

func (s *sshd) does() behaviour {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.behaviour
}

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// startSSHD lets user log in with key; set changes what it does.
func startSSHD(t *testing.T, user string, key ssh.PublicKey) *sshd {
	t.Helper()
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sshd{
		listen: listen, home: t.TempDir(), arrived: make(chan struct{}, 1000),
		conns: map[net.Conn]bool{}, used: map[string]bool{},
		behaviour: behaviour{
			hostKey: newSigner(t), now: time.Now, users: map[string]ssh.PublicKey{user: key},
			path: fakeSudo(t, "shift 2; AS_ROOT=yes exec \"$@\""),
		},
	}
	s.wg.Go(s.serve)
	t.Cleanup(s.stop)
	return s
}

// fakeSudo gives a PATH in which sudo is the given script.
func fakeSudo(t *testing.T, script string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sudo"), []byte("#!/bin/bash\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir + ":" + os.Getenv("PATH")
}

func (s *sshd) address() string { return s.listen.Addr().String() }

func (s *sshd) server(name, user string, key ssh.Signer) Server {
	return Server{Name: name, Address: s.address(), HostKeys: []ssh.PublicKey{s.does().hostKey.PublicKey()}, User: user, Signer: key}
}

func (s *sshd) bastion(user string, key ssh.Signer, factor *Factor) Bastion {
	return Bastion{Address: s.address(), HostKeys: []ssh.PublicKey{s.does().hostKey.PublicKey()}, User: user, Signer: key, Factor: factor}
}

// drop breaks every connection.
func (s *sshd) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

func (s *sshd) stop() {
	s.listen.Close()
	s.drop()
	s.wg.Wait()
}

func (s *sshd) count() (connections, logins int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted, s.logins
}

func (s *sshd) serve() {
	for {
		c, err := s.listen.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		s.accepted++
		s.mu.Unlock()
		s.arrived <- struct{}{}
		s.wg.Go(func() {
			s.talk(c)
			c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}

func (s *sshd) auth(c net.Conn, b behaviour) *ssh.ServerConfig {
	config := &ssh.ServerConfig{
		BannerCallback: func(ssh.ConnMetadata) string { return b.banner },
		PublicKeyCallback: func(m ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if want := b.users[m.User()]; want == nil || !slices.Equal(want.Marshal(), key.Marshal()) {
				return nil, errors.New("no such key")
			}
			if b.hangUp {
				c.Close()
			}
			if !b.codes {
				return nil, nil
			}
			return nil, &ssh.PartialSuccessError{Next: ssh.ServerAuthCallbacks{KeyboardInteractiveCallback: s.askCode}}
		},
	}
	config.AddHostKey(b.hostKey)
	return config
}

// askCode is what PAM does: one question, and a last round without any.
func (s *sshd) askCode(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
	if s.does().limited {
		return nil, errors.New("too many attempts")
	}
	answers, err := ask("", "", []string{"Verification code: "}, []bool{false})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.behaviour
	valid, _ := totp.ValidateCustom(answers[0], testSeed, b.now(), totp.ValidateOpts{Period: 30, Skew: max(1, b.forgives), Digits: 6})
	if !valid && !b.anyCode || s.used[answers[0]] && !b.reuses {
		return nil, errors.New("wrong or used code")
	}
	s.used[answers[0]] = true
	_, err = ask("", "", nil, nil)
	return nil, err
}

func (s *sshd) talk(c net.Conn) {
	b := s.does()
	if b.mute {
		_, _ = io.Copy(io.Discard, c)
		return
	}
	conn, channels, requests, err := ssh.NewServerConn(c, s.auth(c, b))
	if err != nil {
		return
	}
	s.mu.Lock()
	s.logins++
	s.mu.Unlock()
	s.wg.Go(func() { ssh.DiscardRequests(requests) })
	var open sync.WaitGroup
	for n := range channels {
		open.Go(func() {
			switch n.ChannelType() {
			case "session":
				s.session(n, s.does())
			case "direct-tcpip":
				s.forward(n, s.does())
			default:
				_ = n.Reject(ssh.UnknownChannelType, "")
			}
		})
	}
	open.Wait()
	conn.Close()
}

func (s *sshd) forward(n ssh.NewChannel, b behaviour) {
	if b.noForward {
		_ = n.Reject(ssh.Prohibited, "administratively prohibited")
		return
	}
	var to struct {
		Host  string
		Port  uint32
		From  string
		FromP uint32
	}
	if ssh.Unmarshal(n.ExtraData(), &to) != nil {
		return
	}
	target, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", (&net.TCPAddr{IP: net.ParseIP(to.Host), Port: int(to.Port)}).String())
	if err != nil {
		_ = n.Reject(ssh.ConnectionFailed, "Connection refused")
		return
	}
	channel, requests, err := n.Accept()
	if err != nil {
		target.Close()
		return
	}
	go ssh.DiscardRequests(requests)
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(target, channel); target.Close() })
	both.Go(func() { _, _ = io.Copy(channel, target); channel.Close() })
	both.Wait()
}

// session does as OpenSSH does: a command outlives its channel, but reads the end of its input.
func (s *sshd) session(n ssh.NewChannel, b behaviour) {
	s.mu.Lock()
	s.sessions++
	s.most = max(s.most, s.sessions)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.sessions--
		s.mu.Unlock()
	}()
	channel, requests, err := n.Accept()
	if err != nil {
		return
	}
	defer channel.Close()
	for r := range requests {
		if r.Type != "exec" || b.noExec {
			_ = r.Reply(false, nil)
			continue
		}
		var line struct{ Command string }
		_ = ssh.Unmarshal(r.Payload, &line)
		_ = r.Reply(true, nil)
		go ssh.DiscardRequests(requests)
		s.exec(channel, line.Command, b.path)
		return
	}
}

func (s *sshd) exec(channel ssh.Channel, line, path string) {
	cmd := exec.Command("bash", "-c", line)
	cmd.Env = []string{"PATH=" + path, "HOME=" + s.home}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
	stdin, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return
	}
	var input sync.WaitGroup
	input.Go(func() { _, _ = io.Copy(stdin, channel); stdin.Close() })
	state, err := cmd.Process.Wait()
	if err != nil {
		return
	}
	if w := state.Sys().(syscall.WaitStatus); w.Signaled() {
		name := map[syscall.Signal]string{syscall.SIGKILL: "KILL", syscall.SIGTERM: "TERM"}[w.Signal()]
		_, _ = channel.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Name       string
			CoreDumped bool
			Message    string
			Language   string
		}{Name: name}))
	} else {
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(state.ExitCode())}))
	}
	stdin.Close()
	_ = cmd.Wait() // for the output
	channel.Close()
	input.Wait()
}
