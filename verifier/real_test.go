package verifier_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
	"github.com/hallmark-ci/hallmark/verifier"
)

// small is a product of two servers with acme's bastion and acme's ways to log in.
const small = `version: 1
name: small
admin: testadmin
puppet:
  packages: [puppet-agent, puppet-module-puppetlabs-stdlib, puppet-module-puppetlabs-host-core]
roles:
  bastion: {bastion: true}
  app: {health: {command: "echo No space left on device"}}
topology:
  - role: bastion
  - role: app
    after: [bastion]
logs:
  - match: '^sshd\S*: (error: PAM: Authentication failure for acme-limit from 127\.0\.0\.1$|Invalid verification code for acme-limit$|Too many concurrent login attempts \("/var/lib/google-authenticator/acme-limit"\))'
    reason: tests/rate-limit tries wrong codes, and too many, with an account of its own
    role: bastion
`

// onServers launches the small product on Incus.
func onServers(t *testing.T) (*environment.Environment, *product.Product) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: real servers take minutes")
	}
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	provider, err := incus.New(ctx, incus.Config{CacheAddress: environmenttest.Cache.Addr(), CachePort: environmenttest.Cache.Port()})
	must(err)
	base, err := environmenttest.Base(ctx, provider, t.Output())
	must(err)
	code := filepath.Join(t.TempDir(), "small")
	must(os.CopyFS(filepath.Join(code, "puppet"), os.DirFS("../configs/acme/puppet")))
	for _, role := range []string{"db", "web"} { // this product has neither
		must(os.Remove(filepath.Join(code, "puppet/data/role", role+".yaml")))
		must(os.Remove(filepath.Join(code, "puppet/modules/role/manifests", role+".pp")))
	}
	must(os.WriteFile(filepath.Join(code, "hallmark.yaml"), []byte(small), 0o644))
	must(os.WriteFile(filepath.Join(code, "puppet/modules/role/manifests/app.pp"),
		[]byte("# @summary A server that only lets admins in.\nclass role::app {\n  include profile::base\n  include profile::sshd\n  include profile::admin\n}\n"), 0o644))
	must(os.MkdirAll(filepath.Join(code, "suites/smoke"), 0o755))
	must(os.WriteFile(filepath.Join(code, "suites/smoke/all.yaml"), []byte("service: {ssh: {running: true}}\n"), 0o644))
	must(os.CopyFS(filepath.Join(code, "suites/build"), os.DirFS(filepath.Join(code, "suites/smoke"))))
	for file, mode := range map[string]os.FileMode{"suites/build/bastion.yaml": 0o644, "tests/rate-limit": 0o755} {
		text, err := os.ReadFile(filepath.Join("../configs/acme", file))
		must(err)
		must(os.MkdirAll(filepath.Dir(filepath.Join(code, file)), 0o755))
		must(os.WriteFile(filepath.Join(code, file), text, mode))
	}
	const commit = "0000000000000000000000000000000000000001"
	p, err := product.Load(code, commit)
	must(err)
	archive := filepath.Join(t.TempDir(), "code.tar.gz")
	if out, err := exec.CommandContext(ctx, "tar", "-czf", archive, "-C", code, ".").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	l, err := ledger.Open(ctx, filepath.Join(t.TempDir(), "ledger.db"))
	must(err)
	t.Cleanup(func() { l.Close() })
	owner := fmt.Sprintf("verifier-test-%d", os.Getpid())
	site := &environment.Site{Provider: provider, Store: l, Dialer: environment.SSH{}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	e, err := site.Plan(ctx, environment.Spec{
		ID: environment.ID(owner, "trial"), Owner: owner, Run: owner, Name: "trial", Product: p, Commit: commit, Archive: archive,
		Origin: environment.Base, Images: map[string]cloud.ImageID{"bastion": base.ID, "app": base.ID},
		Deadline: time.Now().Add(2 * time.Hour), Lease: time.Now().Add(time.Hour),
	})
	must(err)
	t.Cleanup(func() { must(e.Destroy(context.WithoutCancel(ctx))) })
	for _, s := range e.Up() {
		must(s.Do(ctx))
	}
	return e, p
}

// seeds is where acme's bastion keeps what it knows of its admins' codes.
const seeds = "/var/lib/google-authenticator/"

// plants are troubles of a product of its own, in words that Hallmark's own doings have.
const (
	// A user vanishes while it logs in, as the bootstrap user did. %q is its key.
	plantPAM = `set -e; set -- %q
useradd -m -s /bin/bash ghost
install -d -o ghost -m 700 /home/ghost/.ssh
install -o ghost -m 600 <(echo "$1") /home/ghost/.ssh/authorized_keys
printf '#!/bin/sh\n[ "$PAM_USER" != ghost ] || sed -i /^ghost:/d /etc/passwd\n' >/usr/local/sbin/vanish
chmod 755 /usr/local/sbin/vanish
sed -i '0,/^session/s//session optional pam_exec.so \/usr\/local\/sbin\/vanish\nsession/' /etc/pam.d/sshd`
	// A job that may not use sudo.
	plantSudo = `set -e
printf 'Defaults:games !authenticate\ngames ALL=(ALL) /usr/bin/id\n' >/etc/sudoers.d/games
systemd-run --quiet --wait --uid=games sudo -n /usr/bin/true || true`
	// A daemon that ends well and is started again.
	plantLoop = `printf '[Service]\nExecStart=/bin/true\nRestart=always\nRestartSec=3\n' >/etc/systemd/system/loop.service
systemctl daemon-reload && systemctl start loop`
	// A daemon that writes more than journald takes.
	plantFlood = `set -e
mkdir -p /run/systemd/journald.conf.d
printf '[Journal]\nRateLimitIntervalSec=1s\nRateLimitBurst=20\n' >/run/systemd/journald.conf.d/plant.conf
systemctl restart systemd-journald
systemd-run --quiet --wait --unit=flood bash -c 'seq 1 2000; sleep 2; echo end'`
)

// On real servers, nothing of what Hallmark does is held against a product, and everything of the same
// kind that a product does is.
func TestWhoCausedWhat(t *testing.T) {
	e, p := onServers(t)
	ctx := t.Context()
	v := &verifier.Verifier{Probe: buildProbe(t), Timeout: 5 * time.Minute, Now: time.Now}
	root := func(server, line string) string {
		t.Helper()
		s, err := e.Session(ctx, server)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		r, err := s.Run(ctx, remote.Command{Line: line, Sudo: true})
		if err != nil || r.Exit != 0 {
			t.Fatalf("%s: %s: exit %d, %v: %s%s", server, line, r.Exit, err, r.Stdout, r.Stderr)
		}
		return string(r.Stdout)
	}
	tests, err := v.Plan(p, e, verifier.Build)
	if err != nil {
		t.Fatal(err)
	}
	results := func(suite, name, server string) ledger.Result {
		t.Helper()
		for _, test := range tests {
			if test.Suite == suite && test.Name == name && test.Server == server {
				return v.Run(ctx, test, e)[0]
			}
		}
		t.Fatalf("%s: no test %q of suite %s", server, name, suite)
		return ledger.Result{}
	}
	passes := func(suite, name, server string) {
		t.Helper()
		if r := results(suite, name, server); r.Outcome != ledger.Passed {
			t.Errorf("%s: %s is %s (%s): %s\n%s", server, name, r.Outcome, r.Cause, r.Message, r.Lines)
		} else if r.Lines != "" {
			t.Logf("%s: %s: %s", server, name, r.Lines)
		}
	}

	// Hallmark knocks, is refused, asks for servers that are away, and hangs up in the midst of it all.
	for _, s := range e.Servers() {
		for _, name := range []string{"the key alone is refused", "a code of another seed is refused", "an old code is refused", "a used code is refused", "root is refused", "the bootstrap user is refused"} {
			if s.Bastion || strings.HasPrefix(name, "root") || strings.HasPrefix(name, "the boot") {
				passes("access", name, s.Name)
			}
		}
	}
	// Acme tries its rate limit, and Hallmark's sessions and attempts go on.
	for _, test := range tests {
		if test.Name != "goss bastion" {
			continue
		}
		for _, r := range v.Run(ctx, test, e) {
			if t.Logf("%s: %s in %v", r.Test, r.Outcome, r.Duration); r.Outcome != ledger.Passed {
				t.Errorf("%s is %s (%s): %s\n%s", r.Test, r.Outcome, r.Cause, r.Message, r.Lines)
			}
		}
	}
	passes("access", "a used code is refused", "bastion")
	access, err := e.Access()
	if err != nil {
		t.Fatal(err)
	}
	away := access.Servers["app-1"]
	away.Address = netip.AddrPortFrom(netip.MustParseAddrPort(away.Address).Addr().Next(), 22).String()
	if refusal, err := e.TryLogin(ctx, remote.Attempt{Server: away}); err != nil || refusal != remote.Unreachable {
		t.Errorf("a login where there is no server: %s, %v", refusal, err)
	}
	for range 3 {
		if conn, err := new(net.Dialer).DialContext(ctx, "tcp", access.Bastion.Address); err != nil {
			t.Error(err)
		} else {
			conn.Close()
		}
	}
	for _, s := range e.Servers() {
		passes("system", "no failed units", s.Name)
		passes("system", "clean logs", s.Name)
	}
	said := root("app-1", "journalctl -b -t sudo -o cat --grep COMMAND=")
	for line := range strings.Lines(said) {
		if strings.Contains(line, "coproc") {
			t.Errorf("sudo's record has more in it than the command: %s", line)
		}
	}
	if !strings.Contains(said, "COMMAND=/usr/bin/bash -s -- 'echo No space left on device'\n") {
		t.Errorf("sudo's record of the health command is not the command:\n%s", said)
	}

	// A bastion that takes used codes, or old ones, is found.
	for name, defect := range map[string]string{"a used code is refused": "/DISALLOW_REUSE/d", "an old code is refused": "s/WINDOW_SIZE 3/WINDOW_SIZE 31/"} {
		root("bastion", "sed -i.kept '"+defect+"' "+seeds+"testadmin")
		if r := results("access", name, "bastion"); r.Outcome != ledger.Failed || r.Cause != verdict.TestFailed || !strings.Contains(r.Message, "accepted, expected: second factor refused") {
			t.Errorf("%s: %s is %s (%s): %s", defect, name, r.Outcome, r.Cause, r.Message)
		}
		root("bastion", "mv "+seeds+"testadmin.kept "+seeds+"testadmin")
	}
	// A rate limit that is missing, or forgets, is found, and nothing is left of the trial's account.
	for _, plant := range []struct{ make, undo, want string }{
		{"sed -i.kept '/RATE_LIMIT/d' " + seeds + "testadmin", "mv " + seeds + "testadmin.kept " + seeds + "testadmin", "testadmin has no RATE_LIMIT"},
		{`sed -i.kept '1i auth optional pam_exec.so quiet /usr/bin/sed -i s/\\(RATE_LIMIT.10.30\\).*/\\1/ ` + seeds + `acme-limit' /etc/pam.d/sshd`,
			"mv /etc/pam.d/sshd.kept /etc/pam.d/sshd", "attempts were made, and the limit has counted 1"},
	} {
		root("bastion", plant.make)
		said := root("bastion", "/opt/hallmark/product/"+p.Commit+"/tests/rate-limit testadmin 2>&1 && echo passed; true")
		if strings.Contains(said, "passed") || !strings.Contains(said, plant.want) {
			t.Errorf("%s: the rate limit's test says %q, want %q", plant.make, said, plant.want)
		}
		root("bastion", plant.undo)
		if left := root("bastion", "getent passwd acme-limit; ls -d "+seeds+"acme-limit* /home/acme-limit 2>/dev/null; pgrep -lu acme-limit; true"); left != "" {
			t.Errorf("left of the trial's account: %s", left)
		}
	}

	// The product's own, in the same words.
	key := root("bastion", "ssh-keygen -q -t ed25519 -N '' -f /root/ghost && cat /root/ghost.pub")
	root("app-1", fmt.Sprintf(plantPAM, strings.TrimSpace(key)))
	root("bastion", "ssh -i /root/ghost -o BatchMode=yes -o StrictHostKeyChecking=accept-new ghost@app-1 true || true")
	root("app-1", plantSudo)
	root("app-1", plantLoop)
	r := results("system", "clean logs", "app-1")
	if r.Outcome != ledger.Failed || r.Cause != verdict.TestFailed {
		t.Errorf("clean logs is %s (%s): %s", r.Outcome, r.Cause, r.Message)
	}
	for _, words := range []string{"pam_motd(sshd:session): Unable to drop privileges", "pam_env(sshd:session): No such user!?", "games : command not allowed"} {
		if !strings.Contains(r.Lines, words) {
			t.Errorf("clean logs does not find %q:\n%s", words, r.Lines)
		}
	}
	r = results("system", "no failed units", "app-1")
	if r.Outcome != ledger.Failed || r.Cause != verdict.TestFailed || !strings.Contains(r.Message, "is started again and again") || !strings.Contains(r.Message, "loop.service") {
		t.Errorf("no failed units is %s (%s): %s", r.Outcome, r.Cause, r.Message)
	}
	root("bastion", plantFlood)
	r = results("system", "clean logs", "bastion")
	if r.Outcome != ledger.Failed || r.Cause != verdict.TestBroken || !strings.Contains(r.Message, "journald lost messages: Suppressed") {
		t.Errorf("clean logs is %s (%s): %s\n%s", r.Outcome, r.Cause, r.Message, r.Lines)
	}
}

// buildProbe builds the binary that is delivered to servers.
func buildProbe(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hallmark-probe")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", file, "../cmd/hallmark-probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the probe: %v: %s", err, out)
	}
	return file
}
