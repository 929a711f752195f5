package imager

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"go.uber.org/goleak"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/seal"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// planted is a secret that a test puts into an image to see that it is found.
const planted = "pLaNtEd-s3cret-0123456789"

// realSite is Incus on this machine, a ledger and a journal in dir, and the reference product as a
// tarball. Two processes with the same dir and name work on the same image. Without Incus it fails: a
// skipped real-server test would look like a passed one.
func realSite(ctx context.Context, dir, name, role string, log *slog.Logger) (Spec, Deps, func(), error) {
	fail := func(err error) (Spec, Deps, func(), error) { return Spec{}, Deps{}, nil, err }
	provider, err := incus.New(ctx, incus.Config{CacheAddress: netip.MustParseAddr("10.90.0.1"), Log: log})
	if err != nil {
		return fail(fmt.Errorf("Incus is not set up: run `make host`: %w", err))
	}
	base, err := provider.ResolveBase(ctx, cloud.BaseSpec{Name: os.Getenv("HALLMARK_TEST_BASE")})
	if err != nil {
		return fail(fmt.Errorf("no reference base: run `hallmark base build`: %w", err))
	}
	journal, err := NewFileJournal(filepath.Join(dir, "journal"))
	if err != nil {
		return fail(err)
	}
	acme, err := product.Load("../configs/acme", "c0ffee")
	if err != nil {
		return fail(err)
	}
	archive, err := os.Create(filepath.Join(dir, "code.tar"))
	if err != nil {
		return fail(err)
	}
	if err := errors.Join(pack(archive, "../configs/acme", nil), archive.Close()); err != nil {
		return fail(err)
	}
	book, err := ledger.Open(ctx, filepath.Join(dir, "ledger.db"))
	if err != nil {
		return fail(err)
	}
	spec := Spec{
		Product: acme, Commit: "c0ffee", Archive: archive.Name(), Role: role, Base: base, Branch: "main",
		Run: name, Owner: name, Deadline: time.Now().Add(time.Hour), Secrets: []string{planted},
	}
	site := &environment.Site{Provider: provider, Store: book, Dialer: environment.SSH{}, Log: log}
	deps := Deps{Provider: provider, ProviderName: "incus", Benches: OnSite(site), Journal: journal, Log: log}
	return spec, deps, func() { book.Close() }, nil
}

// realBuild is realSite for one test, with nothing left over at its end but images, which it removes.
func realBuild(t *testing.T, dir, name, role string) (Spec, Deps) {
	t.Helper()
	spec, deps, end, err := realSite(t.Context(), dir, name, role, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer end()
		ctx := context.WithoutCancel(t.Context())
		left, err := deps.Provider.Owned(ctx, spec.Owner)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range left {
			if err := deps.Provider.Delete(ctx, r); err != nil {
				t.Errorf("delete %s %s: %v", r.Kind, r.Name, err)
			}
			if r.Kind != cloud.KindImage {
				t.Errorf("left over: %s %s", r.Kind, r.Name)
			}
		}
	})
	return spec, deps
}

// Environment of a child process: it builds, and says the name of every step as it begins it.
const (
	childDir  = "IMAGER_TEST_DIR"
	childName = "IMAGER_TEST_NAME"
	childRole = "IMAGER_TEST_ROLE"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func child(dir string) error {
	spec, deps, end, err := realSite(context.Background(), dir, os.Getenv(childName), os.Getenv(childRole), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer end()
	deps.Progress = func(p Progress) {
		if !p.Done {
			fmt.Println(p.Step)
		}
	}
	_, err = Build(context.Background(), spec, deps)
	return err
}

// killedAt builds in another process and kills it as soon as it has begun a step.
func killedAt(t *testing.T, dir, name, role, step string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childName+"="+name, childRole+"="+role)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines, reached := bufio.NewScanner(out), false
	for !reached && lines.Scan() {
		reached = lines.Text() == step
	}
	if err := cmd.Process.Kill(); err != nil && reached {
		t.Fatal(err)
	}
	if err := cmd.Wait(); !reached {
		t.Fatalf("the build ended before %s: %v", step, err)
	}
}

func testName(t *testing.T) string {
	t.Helper()
	var random [3]byte
	if _, err := rand.Read(random[:]); err != nil {
		t.Fatal(err)
	}
	return "imager-test-" + hex.EncodeToString(random[:])
}

// A real image of a role of the reference product (HALLMARK_TEST_ROLE, else the bastion), by a build
// that is killed again and again (HALLMARK_TEST_KILL, else in three places); then the same once more,
// which adopts it.
func TestRealImage(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: a real image takes most of a minute")
	}
	role := cmp.Or(os.Getenv("HALLMARK_TEST_ROLE"), "bastion")
	dir, name := t.TempDir(), testName(t)
	spec, deps := realBuild(t, dir, name, role)
	for _, step := range strings.Fields(cmp.Or(os.Getenv("HALLMARK_TEST_KILL"), "launch provision capture")) {
		if step != "none" {
			killedAt(t, dir, name, role, step)
			t.Logf("killed at %s", step)
		}
	}
	result, err := Build(t.Context(), spec, deps)
	for _, s := range result.Steps {
		t.Logf("%10s  %s", s.Took.Round(time.Millisecond), s.Step)
	}
	if err != nil {
		t.Fatalf("%v\n%s\n%+v", err, result.Lines, result.Audit)
	}
	t.Logf("%d MiB, %d packages, total %s", result.Image.SizeBytes>>20, len(result.Image.Packages), result.Image.Timings["total"])
	if result.Image.Packages["puppet-agent"] == "" || !strings.Contains(result.Image.PuppetReport, `"slowest":[{`) {
		t.Errorf("description: packages %v, report %.300s", slices.Sorted(maps.Keys(result.Image.Packages)), result.Image.PuppetReport)
	}
	proof := result.Image.Seal
	if proof == nil || proof.Files < 500 || len(proof.Kept)+len(proof.Idle) > 0 {
		t.Fatalf("the disk was not looked at, or the reference product keeps something: %+v", proof)
	}
	t.Logf("%d files of %d KiB looked at on the stopped disk", proof.Files, proof.Bytes>>10)
	differ(t, deps.Provider, spec.Owner, cloud.ImageID(result.Image.ProviderID))

	again, err := Build(t.Context(), spec, deps)
	if err != nil || !again.Adopted || again.Image.Digest != result.Image.Digest || len(again.Image.Packages) != len(result.Image.Packages) {
		t.Errorf("again: adopted %v, %v", again.Adopted, err)
	}
	spec.Base.Kind, spec.Base.ID, spec.Run = cloud.Base, cloud.ImageID(result.Image.ProviderID), spec.Run+"-2"
	if _, err := Build(t.Context(), spec, deps); !errors.Is(err, ErrLineage) {
		t.Errorf("built from a prebuilt image: %v", err)
	}
}

// differ launches two servers from one image, and compares all that belongs to one machine alone, on their disks after
// a clean shutdown. The network and the servers are gone when it returns.
func differ(t *testing.T, p cloud.Provider, owner string, image cloud.ImageID) {
	t.Helper()
	began := time.Now()
	ctx, names := t.Context(), []string{"one", "two"}
	tags := cloud.Tags{Owner: owner, Environment: owner + "-two", Deadline: time.Now().Add(time.Hour)}
	network, err := p.CreateNetwork(ctx, cloud.NetworkSpec{Name: owner + "-two", Tags: tags, Servers: names})
	if err != nil {
		t.Fatal(err)
	}
	var servers []cloud.Server
	defer func() {
		ctx := context.WithoutCancel(ctx)
		for _, s := range servers {
			if err := p.Destroy(ctx, s.ID); err != nil {
				t.Error(err)
			}
		}
		if err := p.DeleteNetwork(ctx, network.ID); err != nil {
			t.Error(err)
		}
	}()
	for _, name := range names {
		s, err := p.Launch(ctx, cloud.ServerSpec{
			Name: name, Network: network.ID, Image: image, Address: network.Addresses[name], Token: owner + name, Tags: tags,
		})
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, s)
	}
	var found []map[string]string
	for _, s := range servers {
		for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
			said, err := p.Console(ctx, s.ID)
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("%s has no host keys: %v\n%s", s.Name, err, said)
			}
			if strings.Contains(string(said), "-----END SSH HOST KEY KEYS-----") {
				break
			}
		}
		if err := p.Stop(ctx, s.ID, false); err != nil {
			t.Fatal(err)
		}
		err := cloud.CapabilitiesOf(p).DiskReader.ReadDisk(ctx, s.ID, func(ctx context.Context, disk fs.FS) error {
			identities, err := seal.Identities(ctx, disk)
			found = append(found, identities)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, needed := range []string{"/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key"} {
		if found[0][needed] == "" || found[1][needed] == "" {
			t.Errorf("no %s to compare", needed)
		}
	}
	for path, digest := range found[0] {
		if found[1][path] == digest {
			t.Errorf("two servers of one image have the same %s", path)
		}
	}
	t.Logf("two servers differ in %d identities of %v; %.1f s", len(found[0]), slices.Sorted(maps.Keys(found[0])), time.Since(began).Seconds())
}

// lateUnit writes the planted secret as the server shuts down, after all cleaning. The unit itself has it in pieces.
const lateUnit = `[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/bash -c 'mkdir -p /srv/app; printf "key = %%s%%s\\n" PIECES >/srv/app/hidden.conf'
[Install]
WantedBy=multi-user.target
`

// A secret that gets onto a server's disk while it shuts down keeps its image from being made, and is not printed.
func TestRealImageWithPlantedSecret(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: a real image takes most of a minute")
	}
	spec, deps := realBuild(t, t.TempDir(), testName(t), "bastion")
	spec.Secrets = []string{"not-in-there-at-all", planted}
	b := NewBuilder(spec, deps)
	_, err := b.Run(t.Context(), &packersdk.MockUi{}, hook(func(ctx context.Context, _ string, c packersdk.Communicator) error {
		unit := strings.Replace(lateUnit, "PIECES", planted[:10]+" "+planted[10:], 1)
		if err := c.Upload("/var/tmp/late.service", strings.NewReader(unit), nil); err != nil {
			return err
		}
		cmd := &packersdk.RemoteCmd{Command: "sudo install -m 0644 /var/tmp/late.service /etc/systemd/system/ && sudo systemctl enable --now late.service"}
		if err := c.Start(ctx, cmd); err != nil {
			return err
		}
		if code := cmd.Wait(); code != 0 {
			return errors.New("the secret could not be planted")
		}
		return nil
	}))
	result := b.Result()
	if verdict.CauseOf(err) != verdict.ImageNotSealed || !strings.Contains(err.Error(), "inspect: ") || !strings.Contains(err.Error(), "/srv/app/hidden.conf: a secret of the build: ") {
		t.Fatalf("error %v\n%s", err, result.Lines)
	}
	if strings.Contains(err.Error()+result.Lines, planted) {
		t.Error("the secret itself was printed")
	}
	if got := verdict.Judge(verdict.CauseOf(err), result.Audit); got != verdict.Failed {
		t.Errorf("verdict %s", got)
	}
}
