package imager

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

func TestBuild(t *testing.T) {
	w := newWorld(t)
	var seen []string
	deps := w.deps(nil)
	deps.Progress = func(p Progress) {
		if p.Done {
			seen = append(seen, p.Step)
		}
	}
	result, err := Build(t.Context(), w.spec(), deps)
	if err != nil {
		t.Fatal(err)
	}
	image := result.Image
	if image.ID != "run-1-web" || image.BaseDigest != w.base.Digest || image.Provider != "sim" || image.Digest == "" || result.Adopted {
		t.Errorf("image %+v", image)
	}
	if len(image.Packages) != 2 || image.Packages["nginx"] != "1.22.1-9" {
		t.Errorf("packages %v", image.Packages)
	}
	if !strings.Contains(image.PuppetReport, "Package[nginx]") {
		t.Errorf("Puppet report %s", image.PuppetReport)
	}
	for _, step := range []string{"total", "launch", "launch: network", "provision: provision bench", "seal", "stop", "capture", "undo bench"} {
		if image.Timings[step] == "" {
			t.Errorf("no timing of %q in %v", step, image.Timings)
		}
	}
	kept := w.prebuilt(t)
	if len(kept) != 1 || kept[0].Properties[PropertyParent] != w.base.Digest || kept[0].Properties[PropertyParentRecipe] != "r1" || kept[0].Properties[PropertyCommit] != "c0ffee" {
		t.Errorf("captured %+v", kept)
	}
	if left := w.left(t); len(left) > 0 {
		t.Errorf("left over: %+v", left)
	}
	want := []string{"lineage", "bench", "adopt", "launch", "provision", "provisioners", "describe", "seal", "stop", "inspect", "capture"}
	if !slices.Equal(seen, want) {
		t.Errorf("steps %v, want %v", seen, want)
	}

	again, err := Build(t.Context(), w.spec(), w.deps(nil))
	if err != nil || !again.Adopted || again.Image.ProviderID != image.ProviderID || again.Image.Packages["nginx"] == "" || again.Image.Timings["launch"] == "" || again.Image.Seal == nil {
		t.Errorf("built again: %+v, %v", again, err)
	}
	if left := w.left(t); len(left) > 0 {
		t.Errorf("left over after adoption: %+v", left)
	}
}

// A parent that is not a reference base is refused before anything is launched, whatever the caller
// claims of it.
func TestLineage(t *testing.T) {
	evolved := func(t *testing.T, w *world) cloud.Image {
		t.Helper()
		result, err := Build(t.Context(), w.spec(), w.deps(nil))
		if err != nil {
			t.Fatal(err)
		}
		images := w.prebuilt(t)
		if len(images) != 1 || string(images[0].ID) != result.Image.ProviderID {
			t.Fatalf("images %+v", images)
		}
		return images[0]
	}
	cases := map[string]func(*testing.T, *world) cloud.Image{
		"prebuilt": evolved,
		"prebuilt, called a base": func(t *testing.T, w *world) cloud.Image {
			image := evolved(t, w)
			image.Kind = cloud.Base
			return image
		},
		"a base with another content": func(_ *testing.T, w *world) cloud.Image {
			image := w.base
			image.Digest = "sha256:other"
			return image
		},
		"a base with a parent": func(t *testing.T, w *world) cloud.Image {
			image, err := w.cloud.AddBase(t.Context(), cloud.ImageSpec{Name: "evolved", Properties: map[string]string{PropertyParent: "x"}})
			if err != nil {
				t.Fatal(err)
			}
			return image
		},
	}
	for name, parent := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			spec := w.spec()
			spec.Base, spec.Run = parent(t, w), "run-2"
			before := len(w.cloud.Records())
			_, err := Build(t.Context(), spec, w.deps(nil))
			if !errors.Is(err, ErrLineage) || verdict.Judge(verdict.CauseOf(err), verdict.Audit{}) != verdict.Failed {
				t.Errorf("error %v, cause %s", err, verdict.CauseOf(err))
			}
			for _, r := range w.cloud.Records()[before:] {
				if r.Call.Verb != cloud.VerbImages {
					t.Errorf("call %v", r.Call)
				}
			}
		})
	}
}

func TestBaseThatIsGoneIsInfrastructure(t *testing.T) {
	w := newWorld(t)
	if err := w.cloud.DeleteImage(t.Context(), w.base.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := Build(t.Context(), w.spec(), w.deps(nil)); verdict.CauseOf(err) != verdict.CloudLost {
		t.Errorf("error %v", err)
	}
}

func TestSpecIsCheckedFirst(t *testing.T) {
	for name, change := range map[string]func(*Spec){
		"role":         func(s *Spec) { s.Role = "mail" },
		"run":          func(s *Spec) { s.Run = "a b" },
		"owner":        func(s *Spec) { s.Owner = "" },
		"code":         func(s *Spec) { s.Archive = "" },
		"product":      func(s *Spec) { s.Product = nil },
		"short secret": func(s *Spec) { s.Secrets = []string{"abc"} },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			spec := w.spec()
			change(&spec)
			before := len(w.cloud.Records())
			if _, err := Build(t.Context(), spec, w.deps(nil)); verdict.CauseOf(err) != verdict.CheckFailed {
				t.Errorf("error %v", err)
			}
			if len(w.cloud.Records()) != before {
				t.Error("the cloud was asked")
			}
		})
	}
}

func TestTroubleOfTheProduct(t *testing.T) {
	cases := map[string]struct {
		trouble func(*world)
		cause   verdict.Cause
		text    string
		lines   string
	}{
		"Puppet fails": {
			trouble: func(w *world) {
				w.provisionErr = verdict.Errorf(verdict.PuppetFailed, "bench", "Service[nginx] (puppet/modules/web/manifests/init.pp:12): no such unit")
			},
			cause: verdict.PuppetFailed, text: "image run-1-web, provision: [puppet.failed] bench: Service[nginx] (puppet/modules/web/manifests/init.pp:12)", lines: "it broke",
		},
		"not sealed": {
			trouble: func(w *world) { w.sealExit, w.sealSays = 1, "left: /etc/ssh/ssh_host_ed25519_key\n" },
			cause:   verdict.ImageNotSealed, text: "left: /etc/ssh/ssh_host_ed25519_key", lines: "left:",
		},
		"left on its disk": {
			trouble: func(w *world) { w.disk["var/log/wtmp"] = &fstest.MapFile{Data: []byte("down")} },
			cause:   verdict.ImageNotSealed, text: "image run-1-web, inspect: [image.not-sealed] bench: role web: /var/log/wtmp: a log that is not empty: stop what writes it", lines: "/var/log/wtmp",
		},
		"a secret of the build on its disk": {
			trouble: func(w *world) {
				w.disk["srv/a"] = &fstest.MapFile{Data: []byte(base64.StdEncoding.EncodeToString([]byte("key=" + secretOfBench)))}
			},
			cause: verdict.ImageNotSealed, text: "/srv/a: a secret of the build", lines: "/srv/a",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.trouble(w)
			result, err := Build(t.Context(), w.spec(), w.deps(nil))
			if verdict.CauseOf(err) != c.cause || !strings.Contains(fmt.Sprint(err), c.text) || !strings.Contains(result.Lines, c.lines) {
				t.Errorf("error %v\nlines %s", err, result.Lines)
			}
			if got := verdict.Judge(verdict.CauseOf(err), result.Audit); got != verdict.Failed {
				t.Errorf("verdict %s by %+v", got, result.Audit)
			}
			if len(w.left(t))+len(w.prebuilt(t)) > 0 {
				t.Errorf("left over: %+v %+v", w.left(t), w.prebuilt(t))
			}
		})
	}
}

func TestFaultsOfTheCloudAreInfrastructure(t *testing.T) {
	for _, verb := range []cloud.Verb{cloud.VerbImages, cloud.VerbCreateNetwork, cloud.VerbLaunch, cloud.VerbStop, cloud.VerbReadDisk, cloud.VerbCapture} {
		t.Run(string(verb), func(t *testing.T) {
			w := newWorld(t)
			refuse := true
			deps := w.deps(func(ctx context.Context, call cloud.Call, do func(context.Context) error) error {
				if call.Verb == verb && refuse {
					refuse = false
					return &cloud.Error{Call: call.String(), Code: cloud.CodeCapacity, Err: errors.New("no room")}
				}
				return do(ctx)
			})
			result, err := Build(t.Context(), w.spec(), deps)
			if verdict.CauseOf(err) != verdict.CloudCapacity || verdict.Judge(verdict.CauseOf(err), result.Audit) != verdict.Inconclusive {
				t.Errorf("error %v", err)
			}
			if left := w.left(t); len(left) > 0 {
				t.Errorf("left over: %+v", left)
			}
			if _, err := Build(t.Context(), w.spec(), deps); err != nil {
				t.Errorf("the next try: %v", err)
			}
		})
	}
}

var errDead = errors.New("this process is dead")

// dying is a process that is killed at its nth act, before or after the act has its effect. A dead
// process does nothing more, not even clean up.
func dying(n int, after bool) (around cloud.Around, died func() bool) {
	acts, dead := 0, false
	return func(ctx context.Context, _ cloud.Call, do func(context.Context) error) error {
		if acts++; dead || (acts == n && !after) {
			dead = true
			return errDead
		}
		err := do(ctx)
		if acts == n {
			dead = true
			return errDead
		}
		return err
	}, func() bool { return dead }
}

// Killed at any point, the same build done again gives one image with its own description, and
// nothing is left over.
func TestKilledAnywhere(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			w := newWorld(t)
			around, died := dying(n, after)
			_, firstErr := Build(t.Context(), w.spec(), w.deps(around))
			name := fmt.Sprintf("act %d, after=%v", n, after)
			result, err := Build(t.Context(), w.spec(), w.deps(nil))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			images := w.prebuilt(t)
			if len(images) != 1 || string(images[0].ID) != result.Image.ProviderID || len(result.Image.Packages) != 2 {
				t.Errorf("%s: images %+v, result %+v", name, images, result.Image)
			}
			if left := w.left(t); len(left) > 0 {
				t.Errorf("%s: left over: %+v", name, left)
			}
			if !died() {
				if firstErr != nil || n < 15 {
					t.Errorf("%s: first build: %v", name, firstErr)
				}
				break
			}
		}
	}
}

// Cancelled at any point, a build takes everything away, and doing it again works.
func TestCancelledAnywhere(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		acts := 0
		deps := w.deps(func(ctx context.Context, _ cloud.Call, do func(context.Context) error) error {
			if acts++; acts == n {
				cancel()
			}
			return do(ctx)
		})
		_, err := Build(ctx, w.spec(), deps)
		cancel()
		if err != nil && verdict.CauseOf(err) != verdict.Cancelled {
			t.Errorf("act %d: %v", n, err)
		}
		if left := w.left(t); len(left) > 0 {
			t.Errorf("act %d: left over: %+v", n, left)
		}
		if _, err := Build(t.Context(), w.spec(), w.deps(nil)); err != nil || len(w.prebuilt(t)) != 1 {
			t.Errorf("act %d, again: %v", n, err)
		}
		if acts < n {
			break
		}
	}
}

func TestForeignImageOfTheNameIsRefused(t *testing.T) {
	w := newWorld(t)
	spec := w.spec()
	if _, err := Build(t.Context(), spec, w.deps(nil)); err != nil {
		t.Fatal(err)
	}
	spec.Commit = "decaf"
	if _, err := Build(t.Context(), spec, w.deps(nil)); verdict.CauseOf(err) != verdict.CloudRefused || len(w.prebuilt(t)) != 1 {
		t.Errorf("error %v", err)
	}
}

func TestImageWithoutDescriptionIsBuiltAgain(t *testing.T) {
	w := newWorld(t)
	first, err := Build(t.Context(), w.spec(), w.deps(nil))
	if err != nil {
		t.Fatal(err)
	}
	if w.journal, err = NewFileJournal(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	second, err := Build(t.Context(), w.spec(), w.deps(nil))
	if err != nil || second.Adopted || second.Image.ProviderID == first.Image.ProviderID || len(w.prebuilt(t)) != 1 {
		t.Errorf("second %+v, %v", second, err)
	}
}

type hook func(context.Context, string, packersdk.Communicator) error

func (h hook) Run(ctx context.Context, name string, _ packersdk.Ui, c packersdk.Communicator, _ any) error {
	return h(ctx, name, c)
}

func TestPackerRunsItsProvisioners(t *testing.T) {
	w := newWorld(t)
	b := NewBuilder(w.spec(), w.deps(nil))
	if _, _, err := b.Prepare(map[string]any{"packer_on_error": "cleanup"}); err != nil {
		t.Fatal(err)
	}
	ran := false
	artifact, err := b.Run(t.Context(), &packersdk.MockUi{}, hook(func(ctx context.Context, name string, c packersdk.Communicator) error {
		ran = name == packersdk.HookProvision
		cmd := &packersdk.RemoteCmd{Command: "true"}
		if err := c.Start(ctx, cmd); err != nil {
			return err
		}
		if code := cmd.Wait(); code != 0 {
			return fmt.Errorf("exit code %d", code)
		}
		return nil
	}))
	if err != nil || !ran || artifact.Id() != string(w.prebuilt(t)[0].ID) {
		t.Fatalf("artifact %v, provisioned %v, %v", artifact, ran, err)
	}
	seal := slices.IndexFunc(w.told, func(line string) bool { return strings.HasPrefix(line, "exec bash") })
	if provisioner := slices.Index(w.told, "true"); provisioner < 0 || seal < provisioner {
		t.Errorf("commands %q: the provisioner comes before the seal", w.told)
	}
	if err := artifact.Destroy(); err != nil || len(w.prebuilt(t)) != 0 {
		t.Errorf("destroy: %v", err)
	}
}

// What Packer is asked to do after an error is never silently not done.
func TestRunnerKnowsSettings(t *testing.T) {
	w, settings := newWorld(t), map[string]any{"packer_on_error": "abort"}
	if _, _, err := NewBuilder(w.spec(), w.deps(nil)).Prepare(settings); err == nil {
		t.Error("a plain runner was given settings that it does not know")
	}
	deps, asked := w.deps(nil), ""
	deps.Runner = func(steps []multistep.Step, settings common.PackerConfig, _ packersdk.Ui) multistep.Runner {
		asked = settings.PackerOnError
		return &multistep.BasicRunner{Steps: steps}
	}
	b := NewBuilder(w.spec(), deps)
	if _, _, err := b.Prepare(settings); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Run(t.Context(), &packersdk.MockUi{}, nil); err != nil || asked != "abort" {
		t.Errorf("asked for %q, %v", asked, err)
	}
}

func TestBrokenProvisionerTakesEverythingAway(t *testing.T) {
	w := newWorld(t)
	b := NewBuilder(w.spec(), w.deps(nil))
	broken := errors.New("provisioner is broken")
	_, err := b.Run(t.Context(), &packersdk.MockUi{}, hook(func(context.Context, string, packersdk.Communicator) error { return broken }))
	if !errors.Is(err, broken) || len(w.left(t))+len(w.prebuilt(t)) > 0 {
		t.Errorf("error %v, left %+v", err, w.left(t))
	}
}

var _ Bench = (*environment.Bench)(nil)
