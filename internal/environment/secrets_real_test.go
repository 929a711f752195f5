package environment_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/cloudtest"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
)

// readsSecrets is Puppet code that lets an admin in, by acme's own modules, and puts the secrets of a role in a file.
const readsSecrets = `
include profile::admin
include profile::sshd
if $facts['hallmark_stage'] == 'launch' {
  case $facts['hallmark_role'] {
    'bastion': { include profile::totp }
    default: {
      file { '/etc/product-key':
        mode      => '0600',
        show_diff => false,
        content   => lookup("secret::${facts['hallmark_role']}_key"),
      }
    }
  }
} elsif $facts['hallmark_role'] == 'bastion' {
  include profile::totp
}
`

// keyed is a product of a bastion and two roles, each with a secret of its own.
func (r *real) keyed() {
	r.t.Helper()
	const acme, commit = "../../configs/acme", "0000000000000000000000000000000000000005"
	p, err := product.Load(acme, commit)
	must(r.t, err)
	keyed := *p
	keyed.Roles = map[string]product.Role{"bastion": p.Roles["bastion"], "db": {Name: "db"}, "web": {Name: "web"}}
	keyed.Topology = []product.Group{{Role: "bastion", Count: 1}, {Role: "db", Count: 1, After: []string{"bastion"}}, {Role: "web", Count: 1, After: []string{"bastion"}}}
	keyed.Secrets = []product.Secret{{Name: "db_key", Length: 40, Roles: []string{"db"}}, {Name: "web_key", Length: 40, Roles: []string{"web"}}}
	keyed.Puppet.Packages = []string{"puppet-agent", "puppet-module-puppetlabs-stdlib"}
	dir := r.t.TempDir()
	must(r.t, os.CopyFS(filepath.Join(dir, "puppet"), os.DirFS(filepath.Join(acme, "puppet"))))
	must(r.t, os.WriteFile(filepath.Join(dir, "puppet", "manifests", "site.pp"), []byte(readsSecrets), 0o600))
	archive := filepath.Join(dir, "code.tar.gz")
	if out, err := exec.CommandContext(r.t.Context(), "tar", "-czf", archive, "-C", dir, "puppet").CombinedOutput(); err != nil {
		r.t.Fatalf("tar: %v: %s", err, out)
	}
	r.code = environment.Code{Product: &keyed, Commit: commit, Archive: archive}
}

// sealed gives all secrets of an environment by name: those of the product, the seed, and Hallmark's private keys.
func (r *real) sealed(e *environment.Environment) map[string]string {
	r.t.Helper()
	stored, err := r.site.Store.Environment(r.t.Context(), e.ID())
	must(r.t, err)
	var keys struct {
		Admin, Bootstrap []byte
		Seed             string
		Secrets          map[string]string
	}
	must(r.t, json.Unmarshal(stored.Sealed, &keys))
	all := map[string]string{"totp_seed": keys.Seed, "admin's key": string(keys.Admin), "bootstrap user's key": string(keys.Bootstrap)}
	maps.Copy(all, keys.Secrets)
	if len(all) != 5 {
		r.t.Fatalf("%d secrets, want 5", len(all))
	}
	return all
}

// holds lists which files of a server hold a text. The text is not in the command, which the server's log keeps.
func (r *real) holds(e *environment.Environment, server, text string) []string {
	r.t.Helper()
	session, err := e.Session(r.t.Context(), server)
	must(r.t, err)
	result, err := session.Run(r.t.Context(), remote.Command{
		Line: "grep -rslF -f - /boot /etc /home /media /mnt /opt /root /run /srv /tmp /usr/local /var", Stdin: strings.NewReader(text + "\n"), Sudo: true, Timeout: 2 * time.Minute,
	})
	must(r.t, err)
	if result.Exit > 2 {
		r.t.Errorf("%s: grep: exit %d: %s", server, result.Exit, result.Stderr)
	}
	return strings.Fields(string(result.Stdout))
}

// TestRealSecrets is secrets on their way to servers and to their end: each server has those of its role and no
// others, in files for root alone; and when the environment is gone, this host holds none of them. They are brought
// by the provider, or by Hallmark as the bootstrap user where a provider does not (to a base, and to a prebuilt image).
func TestRealSecrets(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: real servers take minutes")
	}
	began := time.Now().Add(-time.Second)
	r := newReal(t)
	defer func() { r.t = t }() // for what is cleared at the end
	r.keyed()
	images := map[string]cloud.ImageID{}
	for role := range r.code.Product.Roles {
		images[role] = r.base.ID
	}
	confides := r.site.Provider
	discloses := cloud.With(confides, cloud.Capabilities{})
	for _, way := range []struct {
		name     string
		provider cloud.Provider
		origin   environment.Origin
	}{
		{"the provider brings them to a base", confides, environment.Base},
		{"Hallmark brings them to a base", discloses, environment.Base},
		{"the provider brings them to an image", confides, environment.Prebuilt},
		{"Hallmark brings them to an image", discloses, environment.Prebuilt},
	} {
		t.Run(way.name, func(t *testing.T) {
			r.t = t
			r.site.Provider = confides
			if way.origin == environment.Prebuilt && images["db"] == r.base.ID {
				image := r.bake("bastion") // it holds what the others need
				images = map[string]cloud.ImageID{"bastion": image, "db": image, "web": image}
			}
			r.site.Provider = way.provider
			spec := r.spec(way.origin, images)
			planted := fmt.Sprintf("planted%x", time.Now().UnixNano()) // what provider and ledger do keep
			spec.ID, spec.Name = environment.ID(r.owner, way.name), planted
			e, err := r.site.Plan(t.Context(), spec)
			must(t, err)
			defer func() { must(t, e.Destroy(context.WithoutCancel(t.Context()))) }()
			secrets := r.sealed(e)
			r.do("up", e.Up())
			r.inspect(e)
			for server, its := range map[string]string{"bastion": "totp_seed", "db-1": "db_key", "web-1": "web_key"} {
				if got := r.run(e, server, "stat -c '%U:%G %a' "+puppet.SecretsPath); got != "root:root 600" {
					t.Errorf("%s: %s is %s", server, puppet.SecretsPath, got)
				}
				for _, name := range slices.Sorted(maps.Keys(secrets)) {
					if strings.HasSuffix(name, "key") && strings.Contains(name, " ") {
						continue // bytes, which no server is given in any form
					}
					files := r.holds(e, server, secrets[name])
					if name != its && len(files) > 0 || name == its && !slices.Contains(files, puppet.SecretsPath) {
						t.Errorf("%s: %s is in %v", server, name, files)
					}
					for _, file := range files {
						if strings.HasPrefix(file, "/var/lib/cloud") || strings.HasPrefix(file, "/var/log") || strings.HasPrefix(file, "/run/log") {
							t.Errorf("%s: %s is in %s", server, name, file)
						}
					}
				}
			}
			places := cloudtest.OfIncus(began)
			if found, err := cloudtest.Search([]string{planted}, places...); err != nil ||
				!slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, "/var/lib/incus/database/") }) ||
				!slices.ContainsFunc(found, func(f string) bool { return strings.Contains(f, "ledger.db") }) {
				t.Errorf("what is planted is not found in both databases, but in %v, %v", found, err)
			}
			must(t, e.Destroy(t.Context()))
			names := slices.Sorted(maps.Keys(secrets))
			var values []string
			for _, name := range names {
				values = append(values, secrets[name])
			}
			found, err := cloudtest.Search(values, places...)
			must(t, err)
			for _, f := range found {
				t.Errorf("%s, of %v", f, names)
			}
		})
	}
}
