package environment_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

var everyLockout = flag.Bool("lockouts", false, "try every way in which a product can lock admins out on real servers, not only a few (make faults)")

// mistake is one way in which a product locks admins out: what its Puppet code does wrong on a role.
type mistake struct {
	name   string
	role   string // "bastion" or "app"
	code   string // shell, run by Puppet as the last thing it does
	leg    verdict.Leg
	common bool // tried by every make test
	reboot bool // it shows after a reboot
}

const seeds = "/var/lib/google-authenticator"

// A firewall that lets established connections go on, as most do, or the mistake would be met earlier.
const firewall = "nft -f - <<'END'\ntable inet f {\nchain c {\ntype filter hook %s priority 0; policy drop;\nct state established,related accept\nmeta l4proto icmp accept\n%s\n}\n}\nEND"

var mistakes = []mistake{
	{"none", "app", "true", "", true, false},

	{"sshd does not start", "bastion", "echo Nonsense yes >>/etc/ssh/sshd_config; systemctl restart ssh; true", verdict.LegBastionPort, false, false},
	{"keys are refused", "bastion", "echo PubkeyAcceptedAlgorithms rsa-sha2-512 >>/etc/ssh/sshd_config.d/10-small.conf; systemctl restart ssh", verdict.LegBastionKey, false, false},
	{"the key alone is enough", "bastion", "sed -i s/AuthenticationMethods.*/AuthenticationMethods\\ publickey/ /etc/ssh/sshd_config.d/10-small.conf; systemctl restart ssh", verdict.LegFactor, true, false},
	{"another seed", "bastion", "sed -i '1s/.*/ABCDEFGHIJKLMNOPQRSTUVWXYZ234567/' " + seeds + "/testadmin", verdict.LegFactor, false, false},
	{"no seed", "bastion", "rm " + seeds + "/testadmin", verdict.LegFactor, false, false},
	{"a PAM module that is missing", "bastion", "sed -i s/pam_google_authenticator/pam_absent/ /etc/pam.d/sshd", verdict.LegFactor, false, false},
	{"the disk with the seeds is full", "bastion", "cp -a " + seeds + " /root/s; mount -t tmpfs -o size=64k,mode=0700 none " + seeds + "; cp -a /root/s/. " + seeds +
		"; dd if=/dev/zero of=" + seeds + "/full bs=4k; true", verdict.LegFactor, false, false},
	{"the account is expired", "bastion", "chage -E 0 testadmin", verdict.LegAccount, false, false},
	{"no forwarding", "bastion", "sed -i s/AllowTcpForwarding.*/AllowTcpForwarding\\ no/ /etc/ssh/sshd_config.d/10-small.conf; systemctl restart ssh", verdict.LegForwarding, false, false},
	{"the firewall drops", "bastion", fmt.Sprintf(firewall, "input", ""), verdict.LegBastionPort, false, false},
	{"the firewall lets nothing out", "bastion", fmt.Sprintf(firewall, "output", "tcp dport 3142 accept"), verdict.LegNetwork, false, false},
	{"sudo asks for a password", "bastion", "echo 'testadmin ALL=(ALL) ALL' >/etc/sudoers.d/testadmin", verdict.LegSudo, false, false},
	{"no shell", "bastion", "usermod -s /bin/false testadmin", verdict.LegShell, false, false},

	{"sshd does not start", "app", "echo Nonsense yes >>/etc/ssh/sshd_config; systemctl restart ssh; true", verdict.LegServerPort, false, false},
	{"the wrong address of the bastion in sshd", "app", "echo 'Match Address *,!192.0.2.9\n DenyUsers *' >>/etc/ssh/sshd_config; systemctl restart ssh", verdict.LegServerKey, false, false},
	{"the wrong address of the bastion in the firewall", "app", fmt.Sprintf(firewall, "input", "ip saddr 192.0.2.9 accept"), verdict.LegServerPort, true, false},
	{"the firewall drops the bastion", "app", "bastion=$(sed -n 's/.*\"bastion\": *\"\\([^\"]*\\).*/\\1/p' /etc/facter/facts.d/hallmark.json)\nnft -f - <<END\ntable inet f {\nchain c {\ntype filter hook input priority 0;\nip saddr $bastion tcp dport 22 ct state new drop\n}\n}\nEND", verdict.LegNetwork, false, false},
	{"no keys", "app", "rm ~testadmin/.ssh/authorized_keys", verdict.LegServerKey, false, false},
	{"no home", "app", "rm -r ~testadmin", verdict.LegServerKey, false, false},
	{"a home that anybody may write", "app", "chmod 0777 ~testadmin", verdict.LegServerKey, false, false},
	{"a shell that is missing", "app", "usermod -s /bin/absent testadmin", verdict.LegServerKey, false, false},
	{"nologin as the shell", "app", "usermod -s /usr/sbin/nologin testadmin", verdict.LegShell, false, false},
	{"no account", "app", "userdel testadmin", verdict.LegServerKey, false, false},
	{"the account is expired", "app", "chage -E 0 testadmin", verdict.LegAccount, false, false},
	{"PAM lets no account in", "app", "sed -i '1i account required pam_deny.so' /etc/pam.d/sshd", verdict.LegAccount, false, false},
	{"a code is wanted", "app", "sed -i 's/AuthenticationMethods.*/AuthenticationMethods publickey,password/; s/PasswordAuthentication.*/PasswordAuthentication yes/' /etc/ssh/sshd_config.d/10-small.conf; systemctl restart ssh", verdict.LegFactor, false, false},
	{"sshd is started and not enabled", "app", "systemctl disable ssh", verdict.LegServerPort, false, true},
	{"sshd is started and not enabled", "bastion", "systemctl disable ssh", verdict.LegBastionPort, false, true},
	{"sudo asks for a password", "app", "echo 'testadmin ALL=(ALL) ALL' >/etc/sudoers.d/testadmin", verdict.LegSudo, true, false},
	{"not in sudoers", "app", "rm /etc/sudoers.d/testadmin", verdict.LegSudo, false, false},
}

// sitePP is the small product: a bastion with one-time codes, and a server behind it.
const sitePP = `$launched = $facts['hallmark_stage'] == 'launch'
$bastion = $facts['hallmark_role'] == 'bastion'
if $launched {
  $methods = $bastion ? { true => 'publickey,keyboard-interactive', default => 'publickey' }
  file { '/etc/ssh/sshd_config.d/10-small.conf':
    content => "PermitRootLogin no\nPubkeyAuthentication yes\nPasswordAuthentication no\nKbdInteractiveAuthentication yes\nAuthenticationMethods ${methods}\nAllowTcpForwarding yes\nMaxStartups 50:30:100\n",
  }
  -> exec { '/bin/systemctl reload ssh': }
  -> user { 'testadmin': ensure => present, managehome => true, home => '/home/testadmin', shell => '/bin/bash' }
  -> file { '/etc/sudoers.d/testadmin': content => "testadmin ALL=(ALL) NOPASSWD:ALL\n", mode => '0440' }
  -> file { '/home/testadmin/.ssh': ensure => directory, owner => 'testadmin', mode => '0700' }
  -> file { '/home/testadmin/.ssh/authorized_keys':
    owner => 'testadmin', mode => '0600', content => join($facts['hallmark']['admin']['keys'] + [''], "\n"),
  }
  -> exec { 'the mistake': command => "/bin/bash /opt/hallmark/product/${facts['hallmark_commit']}/puppet/${facts['hallmark_role']}.sh" }
  if $bastion {
    file { '/var/lib/google-authenticator': ensure => directory, mode => '0700' }
    -> file { '/var/lib/google-authenticator/testadmin':
      mode => '0400', content => Sensitive("${lookup('secret::totp_seed')}\n\" WINDOW_SIZE 3\n\" DISALLOW_REUSE\n\" TOTP_AUTH\n"),
    }
    -> exec { '/bin/sed -i "s/^@include common-auth/auth required pam_google_authenticator.so secret=\/var\/lib\/google-authenticator\/\${USER} user=root/" /etc/pam.d/sshd': }
    -> Exec['/bin/systemctl reload ssh']
  }
}
`

// small makes the product that has a mistake.
func (r *real) small(m mistake) {
	r.t.Helper()
	dir := r.t.TempDir()
	must(r.t, os.MkdirAll(filepath.Join(dir, "puppet", "manifests"), 0o755))
	scripts := map[string]string{"bastion": "true", "app": "true"}
	scripts[m.role] = m.code
	commit := "0000000000000000000000000000000000000001"
	for name, text := range map[string]string{
		"hiera.yaml":        "version: 5\ndefaults: {data_hash: yaml_data}\nhierarchy: [{name: Secrets, datadir: /etc/hallmark, path: secrets.yaml}]\n",
		"manifests/site.pp": strings.ReplaceAll(sitePP, "${facts['hallmark_commit']}", commit),
		"bastion.sh":        scripts["bastion"] + "\n", "app.sh": scripts["app"] + "\n",
	} {
		must(r.t, os.WriteFile(filepath.Join(dir, "puppet", name), []byte(text), 0o644))
	}
	archive := filepath.Join(dir, "code.tar.gz")
	if out, err := exec.CommandContext(r.t.Context(), "tar", "-czf", archive, "-C", dir, "puppet").CombinedOutput(); err != nil {
		r.t.Fatalf("tar: %v: %s", err, out)
	}
	r.code = environment.Code{Commit: commit, Archive: archive, Product: &product.Product{
		Version: 1, Name: "small", Admin: "testadmin",
		Puppet:   product.Puppet{Packages: []string{"puppet-agent", "libpam-google-authenticator", "nftables"}, Timeout: 5 * time.Minute},
		Roles:    map[string]product.Role{"bastion": {Name: "bastion", Bastion: true}, "app": {Name: "app"}},
		Topology: []product.Group{{Role: "bastion", Count: 1}, {Role: "app", Count: 1, After: []string{"bastion"}}},
	}}
}

// equipped gives an image of the base with the product's packages, which does not provision itself: so
// each environment takes seconds.
func (r *real) equipped() cloud.ImageID {
	r.t.Helper()
	ctx := r.t.Context()
	r.small(mistake{role: "app", code: "true"})
	bench, err := r.site.Bench(ctx, environment.BenchSpec{
		ID: environment.ID(r.owner, "equip"), Owner: r.owner, Run: r.owner, Name: "equip", Role: "app",
		Product: r.code.Product, Commit: r.code.Commit, Archive: r.code.Archive, Base: r.base.ID, Deadline: time.Now().Add(time.Hour),
	})
	must(r.t, err)
	defer func() { must(r.t, bench.Destroy(context.WithoutCancel(ctx))) }()
	r.do("equip", bench.Up())
	r.do("equip", bench.Provision())
	session, err := bench.Session(ctx)
	must(r.t, err)
	result, err := session.Run(ctx, remote.Command{Line: "bash -s", Sudo: true, Stdin: strings.NewReader(
		puppet.SealScript() + "\nsystemctl disable hallmark-provision.service; rm -rf /opt/hallmark/product; true")})
	must(r.t, err)
	if result.Exit != 0 {
		r.t.Fatalf("seal: exit %d: %s", result.Exit, result.Stdout)
	}
	must(r.t, bench.Stop(ctx))
	image, err := r.site.Provider.Capture(ctx, bench.Server(), cloud.ImageSpec{
		Name: r.owner + "-equipped", Kind: cloud.Prebuilt, Tags: cloud.Tags{Owner: r.owner},
	})
	must(r.t, err)
	return image.ID
}

// TestRealLockouts plants the ways in which a product can lock admins out. Each is the product's, told with
// its leg, within a minute of being certain: for most of them that is the end of Puppet on the server.
func TestRealLockouts(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: real servers take minutes")
	}
	r := newReal(t)
	image := r.equipped()
	atOnce := make(chan struct{}, 3) // two servers each
	t.Run("mistakes", func(t *testing.T) {
		for _, m := range mistakes {
			if !m.common && !*everyLockout {
				continue
			}
			t.Run(m.role+"/"+m.name, func(t *testing.T) {
				t.Parallel()
				atOnce <- struct{}{}
				defer func() { <-atOnce }()
				own := &real{t: t, site: r.site, owner: r.owner, base: r.base}
				own.lockedOut(m, image)
			})
		}
	})
}

func (r *real) lockedOut(m mistake, image cloud.ImageID) {
	r.t.Helper()
	ctx := r.t.Context()
	r.small(m)
	spec := r.spec(environment.Base, map[string]cloud.ImageID{"bastion": image, "app": image})
	spec.ID, spec.Control = environment.ID(r.owner, m.role, m.name), r.base.ID
	e, err := r.site.Plan(ctx, spec)
	must(r.t, err)
	defer func() { must(r.t, e.Destroy(context.WithoutCancel(ctx))) }()
	began := time.Now()
	err = environment.Do(ctx, e.Up())
	if m.reboot {
		must(r.t, err)
		err = environment.Do(ctx, e.Reboot())
	}
	up := time.Now()
	if m.leg == "" {
		must(r.t, err)
		if audit := e.Audit(ctx, "app-1"); !audit.Clean() {
			r.t.Errorf("audit %+v", audit)
		}
		return
	}
	if err == nil {
		r.t.Fatal("it came up")
	}
	audit := e.Audit(ctx, verdict.ServerOf(err))
	told := time.Now()
	server := map[string]string{"bastion": "bastion", "app": "app-1"}[m.role]
	ended := r.puppetEnded(e, server)
	if m.reboot {
		ended = r.bootEnded(e, server)
	}
	if m.leg == verdict.LegForwarding || m.leg == verdict.LegNetwork && m.role == "bastion" { // met as the app gets its code
		ended = up
	}
	r.t.Logf("%-9s %-50s Puppet ended after %.1fs; certain %.1fs later; told %.1fs later: %s: %s", m.role, m.name,
		ended.Sub(began).Seconds(), up.Sub(ended).Seconds(), told.Sub(ended).Seconds(), verdict.Refine(verdict.CauseOf(err), audit), err)
	if got := verdict.Judge(verdict.CauseOf(err), audit); got != verdict.Failed {
		r.t.Errorf("judged %s: %v\naudit %+v", got, err, audit)
	}
	said := verdict.Explain(verdict.CauseOf(err), audit) + "; " + err.Error()
	if !strings.Contains(said, fmt.Sprintf("%s: leg %q", server, m.leg)) && !strings.Contains(said, fmt.Sprintf("%s, leg %q", server, m.leg)) {
		r.t.Errorf("told as %q, want leg %q of %s", said, m.leg, server)
	}
	// A refused code is certain with the next code, and silence when nothing answered for some time.
	certain := ended
	if m.leg == verdict.LegFactor || m.leg == verdict.LegAccount && m.role == "bastion" {
		certain = ended.Add(30 * time.Second)
	} else if strings.Contains(m.name, "firewall") {
		certain = ended.Add(20 * time.Second)
	}
	if took := told.Sub(certain); took > time.Minute {
		r.t.Errorf("told %v after it was certain", took)
	}
}

// bootEnded is when a server said on its console that its last boot was over.
func (r *real) bootEnded(e *environment.Environment, server string) time.Time {
	r.t.Helper()
	console, err := e.Console(r.t.Context(), server)
	must(r.t, err)
	_, said, found := strings.Cut(string(console[max(0, bytes.LastIndex(console, []byte("finished at "))):]), "finished at ")
	said, _, _ = strings.Cut(said, ". Datasource")
	at, err := time.Parse(time.RFC1123Z, said)
	if !found || err != nil {
		r.t.Fatalf("%s has not said that it booted: %v", server, err)
	}
	return at
}

// puppetEnded is when a server said on its console that it had converged.
func (r *real) puppetEnded(e *environment.Environment, server string) time.Time {
	r.t.Helper()
	console, err := e.Console(r.t.Context(), server)
	must(r.t, err)
	_, report, found := strings.Cut(string(console), "hallmark-provision: report ")
	if !found && strings.Contains(string(console), puppet.HandOverPrefix) { // so Puppet has just ended
		return time.Now()
	}
	if !found {
		r.t.Fatalf("%s did not report; its console ends with %q", server, console[max(0, len(console)-500):])
	}
	status, err := puppet.ParseStatus(strings.NewReader(report))
	must(r.t, err)
	return status.Finished
}
