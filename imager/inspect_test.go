package imager

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// What a product allows stays, for its roles alone, and the image's record says so; so it does of a rule that was of
// no use. A secret of the build is never allowed.
func TestWhatImagesMayKeep(t *testing.T) {
	w := newWorld(t)
	w.disk["srv/app/token"] = &fstest.MapFile{Data: []byte("glpat-0123456789abcdefghij")}
	spec := w.spec()
	rules := []product.SealRule{
		{Path: "/srv/app/tok*", Reason: "opens nothing", Role: "web"},
		{Path: "/srv/app/gone", Reason: "was there once"},
		{Path: "/srv/app/token", Reason: "of another role", Role: "db"},
	}
	spec.Product.Seal = rules
	result, err := Build(t.Context(), spec, w.deps(nil))
	if err != nil {
		t.Fatal(err, result.Lines)
	}
	const want = `{Files:2 Bytes:36 Kept:[{Path:/srv/app/token What:a token of GitLab Reason:opens nothing}] Idle:[{Path:/srv/app/gone Reason:was there once}]}`
	if got := fmt.Sprintf("%+v", *result.Image.Seal); got != want {
		t.Errorf("record %s\nwant   %s", got, want)
	}

	spec.Run, spec.Product.Seal = "run-2", rules[2:]
	if _, err := Build(t.Context(), spec, w.deps(nil)); verdict.CauseOf(err) != verdict.ImageNotSealed {
		t.Errorf("allowed to another role: %v", err)
	}
	spec.Run, spec.Product.Seal = "run-3", rules
	w.disk["srv/app/token"].Data = []byte(secretOfBench)
	if _, err := Build(t.Context(), spec, w.deps(nil)); verdict.CauseOf(err) != verdict.ImageNotSealed || strings.Contains(err.Error(), secretOfBench) {
		t.Errorf("a secret of the build was allowed, or told: %v", err)
	}
}

// A disk on which nothing is proves nothing, and a provider that shows none leaves the record empty.
func TestDiskThatIsNotSeen(t *testing.T) {
	w := newWorld(t)
	delete(w.disk, "etc/hostname")
	delete(w.disk, "etc/machine-id")
	result, err := Build(t.Context(), w.spec(), w.deps(nil))
	if verdict.CauseOf(err) != verdict.Unexplained || verdict.Judge(verdict.CauseOf(err), result.Audit) != verdict.Inconclusive {
		t.Errorf("an empty disk: %v", err)
	}
	deps := w.deps(nil)
	can := cloud.CapabilitiesOf(deps.Provider)
	can.DiskReader = nil
	deps.Provider = cloud.With(deps.Provider, can)
	result, err = Build(t.Context(), w.spec(), deps)
	if err != nil || result.Image.Seal != nil {
		t.Errorf("a provider that shows no disk: %+v, %v", result.Image.Seal, err)
	}
	// An image of then is not adopted where disks can be looked at: nothing is known of its own.
	w.disk["etc/hostname"] = &fstest.MapFile{Data: []byte("localhost")}
	again, err := Build(t.Context(), w.spec(), w.deps(nil))
	if err != nil || again.Adopted || again.Image.Seal == nil {
		t.Errorf("built again: adopted %v, %+v, %v", again.Adopted, again.Image.Seal, err)
	}
}

// The look comes after the shutdown, which may write, and before the capture.
func TestDiskIsSeenAfterTheShutdown(t *testing.T) {
	w := newWorld(t)
	deps := w.deps(func(ctx context.Context, call cloud.Call, do func(context.Context) error) error {
		if call.Verb == cloud.VerbStop {
			w.disk["var/lib/systemd/random-seed"] = &fstest.MapFile{Data: []byte("0123"), Mode: fs.FileMode(0o600)}
		}
		return do(ctx)
	})
	_, err := Build(t.Context(), w.spec(), deps)
	if verdict.CauseOf(err) != verdict.ImageNotSealed || !strings.Contains(err.Error(), "/var/lib/systemd/random-seed: a random seed: ") || len(w.prebuilt(t)) > 0 {
		t.Errorf("error %v, images %v", err, w.prebuilt(t))
	}
}
