package base_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/base"
	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus"
)

const cache = "http://10.90.0.1:3142"

// report is what a new server says about itself on its console once it has come up.
const report = `#cloud-config
users: [{name: probe, sudo: "ALL=(ALL) NOPASSWD:ALL", shell: /bin/bash}]
write_files:
  - path: /usr/local/sbin/report
    permissions: "0755"
    content: |
      #!/bin/sh
      exec >/run/report 2>&1
      echo "state: $(systemctl is-system-running --wait)"
      echo "units: $(systemctl list-units --failed --plain --no-legend | wc -l)"
      echo "errors: $(journalctl --boot --priority err --quiet --no-pager | tr '\n' '|')"
      echo "root: $(passwd --status root | cut -d' ' -f2)"
      echo "sudo: $(su probe -c 'sudo -n id -u')"
      echo "name: $(hostname) $(getent hosts "$(hostname)" | head -1)"
      echo "apt: $(apt-get -qq -o Acquire::http::Proxy=` + cache + ` update && apt-cache policy bash | grep -c http)"
      echo "ports: $(ss -Hltu | grep -v -e 127.0.0 -e '\[::1\]' | awk '{print $5}' | sort -u | tr '\n' ' ')"
      (cat /run/report; echo REPORT-ENDS) >/dev/console
runcmd:
  - [systemd-run, --no-block, /usr/local/sbin/report]
`

// TestReal makes the real thing, as `hallmark base build` does, launches a server from it and hears
// what that says.
func TestReal(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: a base takes most of a minute")
	}
	ctx := t.Context()
	sources, err := base.HostSources(base.SourcesFile)
	must(t, err)
	recipe, err := base.Debian12(sources)
	must(t, err)
	built, err := base.Builder{Dir: t.TempDir(), Cache: cache}.Build(ctx, recipe, t.Output())
	must(t, err)
	t.Logf("built in %s, %d packages", built.Took.Round(time.Second), len(built.Packages))
	if built.Packages["cloud-init"] == "" || len(built.Packages) < 100 {
		t.Errorf("packages: %v", built.Packages)
	}
	inspect(t, built, sources)

	provider, err := incus.New(ctx, incus.Config{CacheAddress: netip.MustParseAddr("10.90.0.1")})
	must(t, err)
	tags := cloud.Tags{Owner: fmt.Sprintf("base-test-%d", os.Getpid()), Environment: "base-test", Deadline: time.Now().Add(time.Hour)}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(ctx)
		owned, err := provider.Owned(ctx, tags.Owner)
		must(t, err)
		for _, r := range owned {
			if err := provider.Delete(ctx, r); err != nil {
				t.Errorf("delete %s %s: %v", r.Kind, r.Name, err)
			}
		}
	})
	image, err := base.Import(ctx, provider, built, tags)
	must(t, err)
	network, err := provider.CreateNetwork(ctx, cloud.NetworkSpec{Name: tags.Owner, Tags: tags})
	must(t, err)
	address := network.Prefix.Addr()
	for range 11 {
		address = address.Next()
	}
	server, err := provider.Launch(ctx, cloud.ServerSpec{
		Name: "plain", Network: network.ID, Image: image.ID, Address: address, UserData: report, Token: tags.Owner, Tags: tags,
	})
	must(t, err)
	console := listen(t, provider, server.ID)

	key := strings.Index(console, "-----BEGIN SSH HOST KEY KEYS-----")
	if sshd := strings.Index(console, "Started ssh.service"); key < 0 || sshd < key {
		t.Errorf("host keys are on the console at %d, sshd is up at %d: want them before sshd answers", key, sshd)
	}
	for what, want := range map[string]string{
		"state": "running", "units": "0", "errors": "", "root": "L", "sudo": "0",
	} {
		if !strings.Contains(console, what+": "+want+"\n") {
			t.Errorf("%s: want %q", what, want)
		}
	}
	if strings.Contains(console, "apt: 0") || !strings.Contains(console, "ports: 0.0.0.0:ssh") {
		t.Error("want packages through the cache, and sshd as the only open port")
	}
	if t.Failed() {
		t.Log(console)
	}
}

// inspect looks into the tarball for what must not be baked into a base.
func inspect(t *testing.T, built base.Built, sources []string) {
	t.Helper()
	names := output(t, "tar", "--zstd", "-tf", built.Path)
	for _, bad := range []string{"etc/ssh/ssh_host_", "99mmdebstrap", ".deb\n", "/etc/hostname"} {
		if strings.Contains(names, bad) {
			t.Errorf("the base has %s", bad)
		}
	}
	apt := output(t, "tar", "--zstd", "-xOf", built.Path, "./etc/apt")
	if strings.Contains(apt, "3142") {
		t.Error("the base keeps the package cache of its build")
	}
	for _, s := range sources {
		_, mirror, _ := strings.Cut(s, "deb ")
		if !strings.Contains(apt, mirror) {
			t.Errorf("the base lacks the source %q", s)
		}
	}
	if id := output(t, "tar", "--zstd", "-xOf", built.Path, "./etc/machine-id"); id != "" {
		t.Errorf("machine-id %q is baked in", id)
	}
}

// listen waits for the report on a server's console.
func listen(t *testing.T, p cloud.Provider, id cloud.ServerID) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	again := time.NewTicker(250 * time.Millisecond)
	defer again.Stop()
	for {
		text, err := p.Console(ctx, id)
		must(t, err)
		console := strings.ReplaceAll(string(text), "\r", "")
		if strings.Contains(console, "REPORT-ENDS") {
			return console
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("no report on the console:\n%s", text)
		}
	}
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	must(t, err)
	return string(out)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
