package environmenttest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// session is one account on one host, on the boot on which it logged in.
type session struct {
	world *World
	host  *host
	user  string
	boot  string

	closed bool // guarded by world.mu
}

func (w *World) session(h *host, user string) *session {
	return &session{world: w, host: h, user: user, boot: h.boot}
}

// broken gives the error of a connection that did not survive.
func (s *session) broken(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return verdict.Errorf(verdict.Cancelled, s.host.name, "%w", err)
	}
	list, err := s.world.provider.Servers(ctx, cloud.Filter{})
	if err != nil {
		return err
	}
	for _, server := range list {
		if server.ID != s.host.id || server.State != cloud.Running {
			continue
		}
		s.world.mu.Lock()
		defer s.world.mu.Unlock()
		s.world.settle(s.host)
		if s.boot != s.host.boot || s.closed {
			break
		}
		return nil
	}
	return verdict.Errorf(verdict.Transport, s.host.name, "the connection is broken")
}

// ItsSecrets stands in what a test has a server say for all secrets that this server was told, each as it is and
// in base64.
const ItsSecrets = "@ITS-SECRETS@"

// Run is run, by a server that may say its secrets.
func (s *session) Run(ctx context.Context, cmd remote.Command) (remote.Result, error) {
	r, err := s.run(ctx, cmd)
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	for _, out := range []*[]byte{&r.Stdout, &r.Stderr} {
		if bytes.Contains(*out, []byte(ItsSecrets)) {
			var all []string
			for _, secret := range s.host.secrets() {
				all = append(all, secret, base64.StdEncoding.EncodeToString([]byte("user:"+secret)))
			}
			*out = bytes.ReplaceAll(*out, []byte(ItsSecrets), []byte(strings.Join(all, " ")))
		}
	}
	return r, err
}

// run knows what package environment says, and asks World.Shell for the rest.
func (s *session) run(ctx context.Context, cmd remote.Command) (remote.Result, error) {
	if err := s.broken(ctx); err != nil {
		return remote.Result{}, err
	}
	if err := s.barred(cmd); err != nil {
		return remote.Result{Exit: -1}, err
	}
	if strings.Contains(cmd.Line, "reported()") {
		return s.watch(ctx)
	}
	if at := knocks.FindStringSubmatch(cmd.Line); at != nil {
		return s.knock(ctx, at[1]+":22"), nil
	}
	s.world.mu.Lock()
	result, known := s.known(cmd)
	server := Server{s.host.id, s.host.name, s.host.told().role, s.host.told().commit, s.host.boot, maps.Clone(s.host.files)}
	s.world.mu.Unlock()
	if known || s.world.Shell == nil {
		return result, nil
	}
	result, _ = s.world.Shell(server, cmd)
	return result, nil
}

var knocks = regexp.MustCompile(`^: hallmark knocks; .*</dev/tcp/([^/]+)/22`)

// knock connects to the sshd of another server.
func (s *session) knock(ctx context.Context, address string) remote.Result {
	h, err := s.world.running(ctx, address)
	if err == nil {
		err = s.world.shuts(h, s.host)
	}
	if err == nil && s.host.network != h.network {
		err = errDropped
	}
	if err != nil {
		return remote.Result{Exit: 1, Stderr: []byte(err.Error())}
	}
	return remote.Result{}
}

// barred is what the login shell or sudo of an admin says.
func (s *session) barred(cmd remote.Command) error {
	if s.user == environment.BootstrapUser {
		return nil
	}
	switch {
	case s.world.closes(s.host, verdict.LegShell):
		return onLeg(verdict.ServerLogin, verdict.LegShell, s.host.name, errors.New("the login shell does not run commands (exit code 1)"))
	case cmd.Sudo && s.world.closes(s.host, verdict.LegSudo):
		return onLeg(verdict.ServerSudo, verdict.LegSudo, s.host.name, errors.New("sudo does not run commands (exit code 1): sudo: a password is required"))
	}
	return nil
}

// Patience of a watch: as environment's own.
const watchSteps, watchStep = 50, 100 * time.Millisecond

// watch waits on the server for a report, by the World's clock.
func (s *session) watch(ctx context.Context) (remote.Result, error) {
	for range watchSteps {
		s.world.mu.Lock()
		s.world.settle(s.host)
		t, status := s.host.told(), s.host.status
		leave := s.host.announced && s.user == environment.BootstrapUser
		dies := s.world.trouble[s.host.name].Dies && !s.host.began.IsZero()
		s.world.mu.Unlock()
		if err := s.broken(ctx); err != nil {
			return remote.Result{}, err
		}
		switch {
		case status != nil && status.For(t.commit, t.stage):
			return text(encode(status)), nil
		case leave:
			return remote.Result{Exit: 77}, nil
		case dies:
			return remote.Result{Exit: 76}, nil
		}
		if err := s.world.clock.Sleep(ctx, watchStep); err != nil {
			return remote.Result{}, verdict.Errorf(verdict.Cancelled, s.host.name, "%w", err)
		}
	}
	return remote.Result{Exit: 75}, nil
}

func encode(status *puppet.Status) string {
	body, err := json.Marshal(status)
	if err != nil {
		return err.Error()
	}
	return string(body)
}

func text(s string) remote.Result { return remote.Result{Stdout: []byte(s)} }

var unpacked = regexp.MustCompile(`code=/opt/hallmark/product/(\S+) tarball=(\S+)`)

// known expects the World to be locked.
func (s *session) known(cmd remote.Command) (remote.Result, bool) {
	h, w := s.host, s.world
	switch {
	case strings.Contains(cmd.Line, "boot_id"):
		return text(h.boot + "\n"), true
	case cmd.Line == puppet.SourcesCommand:
		if w.closed {
			return remote.Result{Exit: 100, Stderr: []byte("package sources do not answer\n")}, true
		}
		return remote.Result{}, true
	case strings.HasPrefix(cmd.Line, "getent passwd "+environment.BootstrapUser):
		if h.bootstrap == "" {
			return remote.Result{}, true
		}
		return text(environment.BootstrapUser + ":x:1000:1000::/home/" + environment.BootstrapUser + ":/bin/bash\n"), true
	case cmd.Line == "cat "+puppet.StatusPath:
		if h.status == nil {
			return remote.Result{Exit: 1}, true
		}
		return text(encode(h.status)), true
	case cmd.Line == "cat "+puppet.ReportPath:
		return text(w.report(h)), true
	case strings.HasPrefix(cmd.Line, "tail ") && strings.Contains(cmd.Line, puppet.LogPath):
		return text("hallmark-provision: at work\n"), true
	}
	m := unpacked.FindStringSubmatch(cmd.Line)
	starts := strings.Contains(cmd.Line, "systemctl start --no-block "+puppet.Unit)
	if m != nil {
		if h.files[m[2]] == "" && h.files[codePath(m[1])] == "" {
			return remote.Result{Exit: 2, Stderr: []byte("tar: " + m[2] + ": Cannot open\n")}, true
		}
		delete(h.files, m[2])
		h.files[codePath(m[1])] = "code"
	}
	if starts {
		if t := h.told(); h.status == nil || !h.status.For(t.commit, t.stage) {
			if h.began.IsZero() || h.status != nil {
				h.start(w.clock.Now())
			}
		}
	}
	return remote.Result{}, m != nil || starts
}

// report is Puppet's last_run_report.yaml, as far as anybody reads it.
func (w *World) report(h *host) string {
	status, failed := "changed", ""
	if t := w.trouble[h.name]; t.Puppet != nil {
		status = "failed"
		failed = fmt.Sprintf("  %s:\n    file: %s\n    line: %d\n    failed: true\n    events:\n    - {message: %q, status: failure}\n",
			t.Puppet.Title, t.Puppet.File, t.Puppet.Line, t.Puppet.Message)
	}
	return fmt.Sprintf("report_format: 12\nstatus: %s\npuppet_version: 7.23.0\ntime: %s\nresource_statuses:\n"+
		"  File[/etc/motd]:\n    file: /opt/hallmark/product/x/puppet/manifests/site.pp\n    line: 3\n    changed: true\n    evaluation_time: 0.1\n%s",
		status, w.clock.Now().UTC().Format(time.RFC3339Nano), failed)
}

// Put keeps the content; there are no permissions in this World.
func (s *session) Put(ctx context.Context, path string, content io.Reader, _ uint32, _ bool) error {
	if err := s.broken(ctx); err != nil {
		return err
	}
	body, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	s.host.files[path] = string(body)
	return nil
}

// Close ends it; a server that hands over goes on then.
func (s *session) Close() error {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	s.world.hangUp(s)
	return nil
}
