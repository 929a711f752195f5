package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/product"
)

// TestMain lets the test be its own busy process.
func TestMain(m *testing.M) {
	if os.Getenv(burnVariable) != "" {
		burn(os.Args[2:])
		return
	}
	os.Exit(m.Run())
}

// The same seed gives the same load, another one another; busy processes keep within the level.
func TestLoadIsTheSameAgain(t *testing.T) {
	t.Parallel()
	some := func(seed uint64) (all []phase) {
		next := heavy.phases(seed)
		for range 50 {
			all = append(all, next())
		}
		return all
	}
	one := some(1)
	if !reflect.DeepEqual(one, some(1)) {
		t.Error("the same seed gives another load")
	}
	if reflect.DeepEqual(one, some(2)) {
		t.Error("another seed gives the same load")
	}
	varies := map[int]bool{}
	for _, p := range one {
		varies[p.Wanted] = true
		if p.Wanted < heavy.Least || p.Writers > heavy.Writers[1] || p.Delay > heavy.Delay || p.Lasts < heavy.Lasts[0] || p.Lasts > heavy.Lasts[1] {
			t.Errorf("%+v", p)
		}
	}
	if len(varies) < 3 {
		t.Errorf("the load does not change: %v", varies)
	}
}

// Busy processes work, and are gone when they are ended.
func TestBusyProcessesEnd(t *testing.T) {
	t.Parallel()
	var all []*burner
	dir := t.TempDir()
	resize(&all, 2, "cpu")
	resize(&all, 3, "disk", dir)
	if len(all) != 3 {
		t.Fatalf("%d processes, want 3", len(all))
	}
	ended := all[2].cmd
	resize(&all, 0)
	if len(all) != 0 || ended.ProcessState == nil {
		t.Errorf("%d processes are left; the last: %v", len(all), ended.ProcessState)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left in its folder: %v, %v", left, err)
	}
}

// Every defect can be planted in the small product, which stays one that Hallmark reads and finds nothing
// to say about: only a run finds it.
func TestProducts(t *testing.T) {
	t.Parallel()
	for _, name := range append(names(), "") {
		t.Run("with "+name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "product")
			if err := makeRepository(t.Context(), work{small, name, 1}, "../..", dir); err != nil {
				t.Fatal(err)
			}
			p, err := product.Load(dir, "HEAD")
			if err != nil {
				t.Fatal(err)
			}
			if n := len(p.Servers()); n != 3 {
				t.Errorf("%d servers, want 3", n)
			}
			out, err := exec.Command("git", "-C", dir, "status", "--porcelain").CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("not all is committed: %s, %v", out, err)
			}
		})
	}
}

// One run of the small product on real servers, while a busy process or two for each core, a writing process
// and a slow package cache keep the machine busy: `make soak` in small.
func TestOneRunUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("needs root and Incus: not with -short")
	}
	if _, err := net.InterfaceByName("hallmark0"); err != nil {
		t.Fatalf("the package cache is not there: run `make host` (%v)", err)
	}
	dir := t.TempDir()
	for _, name := range []string{"hallmark", "hallmark-probe"} {
		build := exec.Command("go", "build", "-o", filepath.Join(dir, "bin", name), "../../cmd/"+name)
		if name == "hallmark-probe" { // as `make build` does: what it compiled is not compiled again
			build.Args = append(build.Args[:2:2], append([]string{"-ldflags", "-s -w"}, build.Args[2:]...)...)
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
		}
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	var said strings.Builder
	o := options{Seed: 1, Small: 1, State: filepath.Join(dir, "soak"), Bin: filepath.Join(dir, "bin"), Level: light, AtOnce: 1, Out: &said}
	t.Cleanup(func() {
		if err := o.installation(1, work{small, "", 1}).clear(context.Background()); err != nil {
			t.Error(err)
		}
	})
	began := time.Now()
	good, err := soak(t.Context(), o)
	t.Logf("%s\n%s", time.Since(began).Round(time.Second), said.String())
	if err != nil || !good {
		log, _ := os.ReadFile(o.installation(1, work{small, "", 1}).file("log"))
		t.Fatalf("%v\n%s", err, log)
	}
	if !strings.Contains(said.String(), "small: 1 runs: 1 passed") {
		t.Error("the tally does not say that the run passed")
	}
}
