package environment_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/puppet"
)

// slowHandOver is Puppet code that lets an admin in, by acme's own modules, and makes one step of the
// hand-over slow on each server: what hallmark-provision calls is found in /usr/local/sbin first, and PAM
// takes its time for the sessions of the bootstrap user.
const slowHandOver = `
include profile::admin
include profile::sshd
if $facts['hallmark_role'] == 'bastion' {
  include profile::totp
}

# Command => what its arguments must hold to make it slow.
$slow = {
  'web-1' => { '/usr/bin/touch' => 'hand-over', '/usr/bin/rm' => '.ssh' },
  'web-2' => { '/usr/bin/loginctl' => 'show-user', '/usr/bin/systemctl' => 'user@', '/usr/sbin/userdel' => '' },
}[$facts['hallmark']['server']]

pick($slow, {}).each |$command, $when| {
  $name = $command.split('/')[-1]
  file { "/usr/local/sbin/${name}":
    mode    => '0755',
    content => "#!/bin/sh\ncase \"\$*\" in *${when}*) sleep 4 ;; esac\nexec ${command} \"\$@\"\n",
  }
}

if $facts['hallmark']['server'] in ['bastion', 'web-3'] {
  file { '/usr/local/sbin/slow-session':
    mode    => '0755',
    content => "#!/bin/sh\n[ \"\$PAM_USER\" != hallmark-bootstrap ] || sleep 3\n",
  }
  -> file_line { 'PAM takes its time':
    path => '/etc/pam.d/sshd',
    line => 'session optional pam_exec.so quiet /usr/local/sbin/slow-session',
  }
}
`

// slow is a product of a bastion and servers that hand over slowly.
func (r *real) slow(servers int) {
	r.t.Helper()
	const acme, commit = "../../configs/acme", "0000000000000000000000000000000000000004"
	p, err := product.Load(acme, commit)
	must(r.t, err)
	slow := *p
	slow.Roles = map[string]product.Role{"bastion": p.Roles["bastion"], "web": {Name: "web"}}
	slow.Topology = []product.Group{{Role: "bastion", Count: 1}, {Role: "web", Count: servers}}
	slow.Puppet.Packages, slow.Secrets = []string{"puppet-agent", "puppet-module-puppetlabs-stdlib"}, nil
	dir := r.t.TempDir()
	must(r.t, os.CopyFS(filepath.Join(dir, "puppet"), os.DirFS(filepath.Join(acme, "puppet"))))
	must(r.t, os.WriteFile(filepath.Join(dir, "puppet", "manifests", "site.pp"), []byte(slowHandOver), 0o600))
	archive := filepath.Join(dir, "code.tar.gz")
	if out, err := exec.CommandContext(r.t.Context(), "tar", "-czf", archive, "-C", dir, "puppet").CombinedOutput(); err != nil {
		r.t.Fatalf("tar: %v: %s", err, out)
	}
	r.code = environment.Code{Product: &slow, Commit: commit, Archive: archive}
}

// said waits until one of the servers says something on its console.
func (r *real) said(ctx context.Context, what string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		servers, err := r.site.Provider.Servers(ctx, cloud.Filter{Owner: r.owner})
		if err != nil {
			return err
		}
		for _, s := range servers {
			if console, err := r.site.Provider.Console(ctx, s.ID); err == nil && s.Name != "bastion" && bytes.Contains(console, []byte(what)) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

var (
	// What sshd says of a login that somebody tries.
	tried = regexp.MustCompile(`(Accepted \S+ for|authenticating user|[Ii]nvalid user|session opened for user) ` + environment.BootstrapUser)
	// A container may not raise this limit.
	excused = regexp.MustCompile(`pam_limits\(.*\): Could not set limit for 'core'`)
)

// handedOver looks at what a server logged of its hand-over.
func (r *real) handedOver(e *environment.Environment, server string) {
	r.t.Helper()
	for line := range strings.Lines(r.run(e, server, "journalctl -q -b -o short-precise -p err _COMM=sshd + _COMM=sudo + _COMM=systemd-logind + _COMM=systemd + '_COMM=(sd-pam)'")) {
		if !excused.MatchString(line) {
			r.t.Errorf("%s logged an error: %s", server, line)
		}
	}
	journal := r.run(e, server, "journalctl -q -b -o short-precise")
	_, after, begun := strings.Cut(journal, "hand-over: "+environment.BootstrapUser+" has to leave")
	if !begun || !strings.Contains(after, "hand-over: "+environment.BootstrapUser+" is removed") {
		r.t.Errorf("%s: no hand-over in its journal:\n%s", server, journal)
	}
	if strings.Contains(after, "hand-over: still there") {
		r.t.Errorf("%s had to end sessions:\n%s", server, after)
	}
	for line := range strings.Lines(after) {
		if strings.Contains(line, "hand-over: ") {
			r.t.Logf("%s: %s", server, strings.TrimSpace(line))
		}
		if tried.MatchString(line) {
			r.t.Errorf("%s: a login was tried after the hand-over had begun: %s", server, line)
		}
	}
	if left := r.run(e, server, environment.BootstrapTraces); left != "" {
		r.t.Errorf("%s: left of the bootstrap user: %s", server, left)
	}
}

// TestRealHandOver is a hand-over with every step slowed down. The first process ends while a server hands
// over, the second finds all of them somewhere on the way.
func TestRealHandOver(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: real servers take minutes")
	}
	r := newReal(t)
	r.slow(3)
	ctx := t.Context()
	spec := r.spec(environment.Base, map[string]cloud.ImageID{"bastion": r.base.ID, "web": r.base.ID})
	first, err := r.site.Plan(ctx, spec)
	must(t, err)
	defer func() { must(t, first.Destroy(context.WithoutCancel(ctx))) }()

	dying, die := context.WithCancelCause(ctx)
	watched := make(chan error, 1)
	go func() {
		err := r.said(dying, puppet.HandOverPrefix)
		die(errKilled)
		watched <- err
	}()
	err = environment.Do(dying, first.Up())
	die(nil)
	if !errors.Is(err, errKilled) {
		t.Fatalf("up, killed as a server began to hand over: %v", err)
	}
	must(t, <-watched)
	first.Close()

	second, err := (&environment.Site{Provider: r.site.Provider, Store: r.site.Store, Dialer: environment.SSH{}, Log: r.site.Log}).Plan(ctx, spec)
	must(t, err)
	steps := second.Up()
	proof := slices.IndexFunc(steps, func(s environment.Step) bool { return s.Name == "prove that nothing temporary is left" })
	r.do("up", steps[:proof]) // the proof dials the bootstrap user on purpose
	for _, s := range second.Servers() {
		r.handedOver(second, s.Name)
	}
	r.do("up", steps[proof:])
	for _, s := range second.Servers() {
		if r.run(second, s.Name, "journalctl -q -b -p err _COMM=sshd") != "" {
			t.Errorf("%s: the proof left errors in the journal", s.Name)
		}
	}
}
