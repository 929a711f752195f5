package base_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/base"
	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/sim"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

func recipe(t *testing.T) base.Recipe {
	t.Helper()
	r, err := base.Debian12([]string{"deb http://mirror.invalid/debian bookworm main"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRecipeDigest(t *testing.T) {
	first := recipe(t)
	if first.Digest() != recipe(t).Digest() {
		t.Error("the same recipe has two digests")
	}
	changes := map[string]func(*base.Recipe){
		"suite":        func(r *base.Recipe) { r.Suite = "trixie" },
		"architecture": func(r *base.Recipe) { r.Architecture = "riscv64" },
		"sources":      func(r *base.Recipe) { r.Sources = []string{"deb http://other.invalid/debian bookworm main"} },
		"packages":     func(r *base.Recipe) { r.Packages = r.Packages[1:] },
		"files":        func(r *base.Recipe) { r.Files = maps.Clone(r.Files); r.Files["etc/new"] = "" },
		"finish":       func(r *base.Recipe) { r.Finish += "\n" },
	}
	for name, change := range changes {
		other := first
		if change(&other); other.Digest() == first.Digest() {
			t.Errorf("a change of %s leaves the digest as it was", name)
		}
	}
}

func TestRecipeHasWhatServersNeed(t *testing.T) {
	r := recipe(t)
	all := " " + strings.Join(r.Packages, " ") + " "
	for _, p := range []string{"systemd", "cloud-init", "openssh-server", "sudo", "rsyslog", "cron"} {
		if !strings.Contains(all, " "+p+" ") {
			t.Errorf("the recipe lacks %s", p)
		}
	}
	if _, ok := r.Files["etc/cloud/cloud.cfg.d/90_hallmark.cfg"]; !ok {
		t.Error("the recipe does not set cloud-init up")
	}
}

func TestHostSources(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want int
		err  string
	}{
		"two":     {"# mirrors\ndeb http://a.invalid/debian bookworm main\n\ndeb http://b.invalid/debian bookworm main\n", 2, ""},
		"none":    {"# nothing\n", 0, "make host"},
		"foreign": {"Types: deb\n", 0, "no apt source"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "debian.list")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := base.HostSources(file)
			if len(got) != c.want || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	if _, err := base.HostSources(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "make host") {
		t.Errorf("without the file: %v; want a word about `make host`", err)
	}
}

// bootstrap puts a program in the place of unshare, and with it of mmdebstrap. It counts its runs in
// a file and writes what mmdebstrap would: the tarball and what the last hook downloads.
func bootstrap(t *testing.T, script string) (runs func() int) {
	t.Helper()
	dir := t.TempDir()
	count := filepath.Join(dir, "count")
	text := `#!/bin/sh
echo run >>` + count + `
for arg; do
	case $arg in
	"--customize-hook=download "*) status=${arg##* } ;;
	*.tar.zst) target=$arg ;;
	esac
done
` + script
	if err := os.WriteFile(filepath.Join(dir, "unshare"), []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() int {
		said, _ := os.ReadFile(count)
		return strings.Count(string(said), "run")
	}
}

const works = `
echo "I: success"
cat /proc/sys/kernel/random/uuid >"$target"
printf 'Package: sudo\nStatus: install ok installed\nVersion: 1.9\n' >"$status"
`

func TestEnsure(t *testing.T) {
	runs := bootstrap(t, works)
	ctx, provider, dir := t.Context(), sim.New(sim.Options{}), t.TempDir()
	b := base.Builder{Dir: dir, Lock: filepath.Join(t.TempDir(), "lock")}
	spec := base.Spec{Recipe: recipe(t), Tags: cloud.Tags{Owner: "test"}, MaxAge: time.Hour}
	ensure := func(spec base.Spec, wantRuns int) cloud.Image {
		t.Helper()
		image, err := b.Ensure(ctx, provider, spec, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if got := runs(); got != wantRuns {
			t.Errorf("%d builds so far, want %d", got, wantRuns)
		}
		return image
	}

	first := ensure(spec, 1)
	if first.Kind != cloud.Base || first.Properties[cloud.PropertyRecipe] != spec.Recipe.Digest() || first.Tags.Owner != "test" ||
		!strings.HasPrefix(first.Name, base.Family) || first.Properties[base.PropertyDate] == "" {
		t.Errorf("image %+v", first)
	}
	if packages, err := base.Packages(first); err != nil || packages["sudo"] != "1.9" {
		t.Errorf("packages %v, %v", packages, err)
	}
	if again := ensure(spec, 1); again.ID != first.ID {
		t.Error("a base that fits was not used again")
	}
	other := spec
	other.Recipe.Finish += "# changed\n"
	if image := ensure(other, 2); image.ID == first.ID {
		t.Error("another recipe gave the same image")
	}
	aged := spec
	aged.MaxAge = time.Nanosecond
	ensure(aged, 3)

	listed, err := base.List(ctx, provider, "test")
	if err != nil || len(listed) < 2 || listed[0].Created.Before(listed[1].Created) {
		t.Errorf("list: %d bases, %v; want the newest first", len(listed), err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestEnsureOnce: of those who ask for the same base at once, one builds and all get it.
func TestEnsureOnce(t *testing.T) {
	runs := bootstrap(t, works)
	provider, lock := sim.New(sim.Options{}), filepath.Join(t.TempDir(), "lock")
	spec := base.Spec{Recipe: recipe(t), Tags: cloud.Tags{Owner: "test"}}
	var all sync.WaitGroup
	ids := make([]cloud.ImageID, 4)
	for i := range ids {
		all.Go(func() {
			image, err := base.Builder{Dir: t.TempDir(), Lock: lock}.Ensure(t.Context(), provider, spec, io.Discard)
			if err != nil {
				t.Error(err)
			}
			ids[i] = image.ID
		})
	}
	all.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("different bases: %v", ids)
		}
	}
	if runs() != 1 {
		t.Errorf("built %d times", runs())
	}
}

func TestFresh(t *testing.T) {
	runs := bootstrap(t, works)
	provider := sim.New(sim.Options{})
	spec := base.Spec{Recipe: recipe(t), Tags: cloud.Tags{Owner: "test"}}
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	b := base.Builder{Dir: t.TempDir(), Lock: filepath.Join(t.TempDir(), "lock"), Now: func() time.Time { return at }}
	for range 2 {
		if _, err := b.Ensure(t.Context(), provider, spec, io.Discard); err != nil {
			t.Fatal(err)
		}
		at = time.Now().Add(time.Hour)
		spec.Fresh = true
	}
	if runs() != 2 {
		t.Errorf("built %d times, want a second, fresh one", runs())
	}
}

func TestBuildTrouble(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		cause  verdict.Cause
		say    string
	}{
		"mirror gone": {"echo 'I: hello'; echo 'E: Failed to fetch http://mirror.invalid/x  Could not connect' >&2; exit 100", verdict.PackageSource, "E: Failed to fetch"},
		"broken":      {"echo 'E: setup failed'; exit 25", verdict.Unexplained, "E: setup failed"},
	} {
		t.Run(name, func(t *testing.T) {
			bootstrap(t, c.script)
			dir := t.TempDir()
			_, err := base.Builder{Dir: dir, Lock: filepath.Join(t.TempDir(), "lock")}.Build(t.Context(), recipe(t), io.Discard)
			if verdict.CauseOf(err) != c.cause || !strings.Contains(err.Error(), c.say) || strings.Contains(err.Error(), "hello") {
				t.Errorf("error %q, cause %s", err, verdict.CauseOf(err))
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestCancel: a build ends with its context, children and all, and leaves nothing.
func TestCancel(t *testing.T) {
	bootstrap(t, "echo started; sleep 1000")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := base.Builder{Dir: t.TempDir(), Lock: filepath.Join(t.TempDir(), "lock")}.Build(ctx, recipe(t), writer(func() { cancel() }))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
}

type writer func()

func (w writer) Write(p []byte) (int, error) { w(); return len(p), nil }
