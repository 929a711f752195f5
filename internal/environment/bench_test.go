package environment_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/puppet"
)

const environmentGoal = 1.3

// BenchmarkEnvironment launches the reference product's topology, four servers, as an environment up to
// the step that has proved the admin's path to all, and by hand: the same starts with the incus command,
// told the same, and the same Puppet runs in the same order, with nothing proved and no health looked at.
// The two take turns at being first, so that what else happens on the machine hits both, and one round by
// hand before that warms the cache and unpacks images. Prebuilt images are baked and compared too if
// HALLMARK_BENCH_PREBUILT is set.
func BenchmarkEnvironment(b *testing.B) {
	origins := []environment.Origin{environment.Base}
	if os.Getenv("HALLMARK_BENCH_PREBUILT") != "" {
		origins = append(origins, environment.Prebuilt)
	}
	for _, origin := range origins {
		b.Run(string(origin), func(b *testing.B) {
			r := newReal(b)
			images := map[string]cloud.ImageID{}
			for role := range r.code.Product.Roles {
				images[role] = r.base.ID
				if origin == environment.Prebuilt {
					images[role] = r.bake(role)
				}
			}
			hand := newByHand(b, r, origin, images)
			hand.up("warm")
			for b.Loop() {
				compare(b, r, origin, images, hand)
			}
		})
	}
}

// compare does both twice and reports the ratio.
func compare(b *testing.B, r *real, origin environment.Origin, images map[string]cloud.ImageID, hand byHand) {
	var ours, theirs time.Duration
	environmentUp := func(round string) {
		took, all, steps := timedUp(b, r, round, origin, images)
		ours += took
		fmt.Printf("\n  environment  %5.1f s  (%.1f s with nothing temporary proved left)  %s", took.Seconds(), all.Seconds(), steps)
	}
	byHandUp := func(round string) {
		took, steps := hand.up(round)
		theirs += took
		fmt.Printf("\n  by hand      %5.1f s  %s", took.Seconds(), steps)
	}
	environmentUp("1")
	byHandUp("1")
	byHandUp("2")
	environmentUp("2")
	ratio := ours.Seconds() / theirs.Seconds()
	b.ReportMetric(ratio, "ratio")
	b.ReportMetric(ours.Seconds()/2, "s/environment")
	b.ReportMetric(theirs.Seconds()/2, "s/by-hand")
	fmt.Printf("\nenvironment of %d servers from %s: ratio to the same by hand %.2f (goal: at most %.2f)\n",
		len(r.code.Product.Servers()), origin, ratio, environmentGoal)
}

// timedUp is one environment: how long it took until the admin's path to all servers was proved, how long
// all of Up took, and which steps took their time.
func timedUp(b *testing.B, r *real, round string, origin environment.Origin, images map[string]cloud.ImageID) (proved, all time.Duration, steps string) {
	b.Helper()
	ctx := b.Context()
	spec := r.spec(origin, images)
	spec.ID = environment.ID(spec.ID, round)
	began := time.Now()
	e, err := r.site.Plan(ctx, spec)
	must(b, err)
	defer func() {
		if err := e.Destroy(context.WithoutCancel(ctx)); err != nil {
			b.Error(err)
		}
	}()
	var slow []string
	for _, s := range e.Up() {
		at := time.Now()
		must(b, s.Do(ctx))
		if took := time.Since(at); took > 300*time.Millisecond {
			slow = append(slow, fmt.Sprintf("%s %.1f", s.Name, took.Seconds()))
		}
		if strings.HasPrefix(s.Name, "prove the admin's path") {
			proved = time.Since(began)
		}
	}
	if proved == 0 {
		b.Fatal("no step proved the admin's path")
	}
	return proved, time.Since(began), strings.Join(slow, ", ")
}

// byHand launches the same servers as a person would with the incus command.
type byHand struct {
	b       *testing.B
	product *product.Product
	code    string // where servers have it
	archive string
	origin  environment.Origin
	images  map[string]cloud.ImageID
	owner   string
	seed    string
	keys    [2]string // of the admin, and of the bootstrap user
}

func newByHand(b *testing.B, r *real, origin environment.Origin, images map[string]cloud.ImageID) byHand {
	b.Helper()
	h := byHand{
		b: b, product: r.code.Product, code: puppet.ProductDir(r.code.Commit), archive: r.code.Archive,
		origin: origin, images: images, owner: r.owner,
	}
	for i := range h.keys {
		public, _, err := ed25519.GenerateKey(rand.Reader)
		must(b, err)
		key, err := ssh.NewPublicKey(public)
		must(b, err)
		h.keys[i] = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
	}
	h.seed = base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(rand.Text())[:20])
	return h
}

// up goes from nothing to converged servers, gives the time for that, and takes all away again.
func (h byHand) up(round string) (time.Duration, string) {
	h.b.Helper()
	project := h.owner + "-by-hand-" + string(h.origin) + "-" + round
	network := fmt.Sprintf("eb%d%s", os.Getpid(), round[:1]) // a bridge's name has at most 15 characters
	h.b.Cleanup(func() { h.remove(project, network) })
	began := time.Now()
	last := began
	var steps []string
	done := func(what string) {
		steps = append(steps, fmt.Sprintf("%s %.1f", what, time.Since(last).Seconds()))
		last = time.Now()
	}
	h.incus("", "project", "create", project, "-c", "features.images=false", "-c", "features.networks=false")
	// A range beside the one that environments have. Incus itself finds none on every machine.
	gateway := netip.AddrFrom4([4]byte{10, 93, byte(os.Getpid()), 1})
	h.incus("", "network", "create", network, "ipv4.address="+gateway.String()+"/24", "ipv4.nat=false", "ipv6.address=none",
		"raw.dnsmasq=no-resolv", "dns.domain=hallmark.internal")
	addresses := map[string]netip.Addr{}
	for i, s := range h.product.Servers() {
		addresses[s.Name] = netip.AddrFrom4([4]byte{10, 93, byte(os.Getpid()), byte(10 + i)})
	}
	launch := func(level []product.Server) {
		for _, s := range level {
			for _, v := range s.Volumes {
				h.incus("", "storage", "volume", "create", "--project", project, "hallmark", s.Name+"-"+v.Name, fmt.Sprintf("size=%dMiB", v.SizeMiB))
			}
			config, secrets := h.config(s, network, addresses)
			h.incus(config, "init", "--quiet", "--project", project, "--no-profiles", string(h.images[s.Role]), s.Name)
			h.incus(secrets, "file", "push", "--quiet", "--project", project, "--create-dirs", "--mode", "0600", "--uid", "0", "--gid", "0", "-", s.Name+puppet.SecretsPath)
			h.incus("", "start", "--quiet", "--project", project, s.Name)
			done("launch " + s.Name)
		}
	}
	// As an environment does it: what provisions itself as it boots is launched when its turn has come,
	// but for the bastion, which nobody waits for.
	atOnce := func(n int) bool { return h.origin == environment.Base || n <= 1 }
	for n, level := range h.product.Levels() {
		if atOnce(n) {
			launch(level)
		}
	}
	for n, level := range h.product.Levels() {
		if !atOnce(n) {
			launch(level)
		}
		var group errgroup.Group
		var names []string
		for _, s := range level {
			names = append(names, s.Name)
			group.Go(func() error { return h.provision(project, s.Name) })
		}
		must(h.b, group.Wait())
		done("provision " + strings.Join(names, ", "))
	}
	took := time.Since(began)
	h.remove(project, network)
	return took, strings.Join(steps, ", ")
}

// provision waits until a server is converged: from a base it is first given the code and set to work.
func (h byHand) provision(project, server string) error {
	on := func(args ...string) []string {
		return append([]string{"--project", project, "exec", server, "--"}, args...)
	}
	commands := [][]string{
		on("cloud-init", "status", "--wait"),
		{"--project", project, "file", "push", "--quiet", h.archive, server + "/root/code.tar"},
		on("bash", "-ec", "mkdir -p "+h.code+"; tar -xf /root/code.tar -C "+h.code+" --no-same-owner; rm /root/code.tar"),
		on(puppet.ScriptPath),
	}
	if h.origin == environment.Prebuilt { // it does so itself
		commands = [][]string{on("bash", "-ec", "until [ -e "+puppet.StatusPath+" ]; do sleep 0.2; done; grep '\"outcome\": \"converged\"' "+puppet.StatusPath)}
	}
	for _, c := range commands {
		if out, err := exec.CommandContext(h.b.Context(), "incus", c...).CombinedOutput(); err != nil {
			return fmt.Errorf("incus %v: %w\n%s", c, err, out[max(0, len(out)-4000):])
		}
	}
	return nil
}

// config is the instance's configuration, and its file with secrets, both for stdin.
func (h byHand) config(s product.Server, network string, addresses map[string]netip.Addr) (config, secrets string) {
	h.b.Helper()
	launch := puppet.Launch{
		Commit: h.product.Commit, Stage: puppet.StageLaunch, Environment: "byhand", Server: s.Name, Role: s.Role, Address: addresses[s.Name],
		Admin:   puppet.Admin{User: h.product.Admin, Keys: h.keys[:1]},
		Bastion: addresses["bastion"], Peers: map[string]puppet.Peer{}, Volumes: map[string]string{}, Secrets: puppet.Secrets{},
		Packages: h.product.Puppet.Packages, CacheURL: "http://" + environmenttest.Cache.String(), Timeout: h.product.Puppet.Timeout,
		OnBase: h.origin == environment.Base,
	}
	if launch.OnBase {
		launch.Bootstrap = &puppet.Bootstrap{User: environment.BootstrapUser, PublicKey: h.keys[1]}
	}
	if h.product.Roles[s.Role].Bastion {
		launch.Secrets["totp_seed"] = h.seed
	}
	for _, secret := range h.product.Secrets {
		if secret.For(s.Role) {
			launch.Secrets[secret.Name] = strings.Repeat(secret.Name[:1], secret.Length)
		}
	}
	devices := map[string]map[string]string{
		"root": {"type": "disk", "path": "/", "pool": "hallmark"},
		"eth0": {"type": "nic", "name": "eth0", "network": network, "ipv4.address": addresses[s.Name].String()},
	}
	for _, other := range h.product.Servers() {
		if other.Name != s.Name {
			launch.Peers[other.Name] = puppet.Peer{Role: other.Role, Address: addresses[other.Name]}
		}
	}
	for _, v := range s.Volumes {
		name := s.Name + "-" + v.Name
		launch.Volumes[v.Name] = "/mnt/hallmark/" + name
		devices[name] = map[string]string{"type": "disk", "pool": "hallmark", "source": name, "path": launch.Volumes[v.Name]}
	}
	data, err := launch.UserData()
	must(h.b, err)
	text, err := yaml.Marshal(map[string]any{"config": map[string]string{"cloud-init.user-data": data}, "devices": devices})
	must(h.b, err)
	private, err := launch.Private()
	must(h.b, err)
	return string(text), private[0].Content
}

// remove takes a round away; what is gone already does not matter.
func (h byHand) remove(project, network string) {
	for _, s := range h.product.Servers() {
		_ = exec.Command("incus", "delete", "--force", "--project", project, s.Name).Run()
		for _, v := range s.Volumes {
			_ = exec.Command("incus", "storage", "volume", "delete", "--project", project, "hallmark", s.Name+"-"+v.Name).Run()
		}
	}
	_ = exec.Command("incus", "project", "delete", project).Run()
	_ = exec.Command("incus", "network", "delete", network).Run()
}

func (h byHand) incus(stdin string, args ...string) {
	h.b.Helper()
	cmd := exec.CommandContext(h.b.Context(), "incus", args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		h.b.Fatalf("incus %v: %v\n%s", args, err, &out)
	}
}
