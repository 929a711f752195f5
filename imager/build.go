package imager

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Build makes one image, or adopts the one that the same Spec made before. Every error has a cause
// (verdict.CauseOf); with it come the Audit and Lines of the Result. Whatever happens, server and
// network are gone when it returns, or tagged for the reaper.
func Build(ctx context.Context, spec Spec, deps Deps) (Result, error) {
	b := NewBuilder(spec, deps)
	if _, _, err := b.Prepare(); err != nil {
		return Result{}, err
	}
	ui := quiet{b.deps.Log.With("run", spec.Run, "role", spec.Role)}
	_, err := b.Run(ctx, ui, nil)
	return b.Result(), err
}

// Builder is Build behind Packer's builder interface. It builds once.
type Builder struct {
	spec   Spec
	deps   Deps
	packer common.PackerConfig
	result Result
}

var _ packersdk.Builder = (*Builder)(nil)

// NewBuilder makes a builder of one image. What it builds comes typed, not from Packer's maps.
func NewBuilder(spec Spec, deps Deps) *Builder {
	if deps.Clock == nil {
		deps.Clock = clock.Machine{}
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	return &Builder{spec: spec, deps: deps}
}

// ConfigSpec is empty: HCL is for whoever wraps this builder.
func (b *Builder) ConfigSpec() hcldec.ObjectSpec { return hcldec.ObjectSpec{} }

// Prepare checks the Spec and reads Packer's own settings (-debug, -on-error) from raws, if there
// are any. It asks nobody and changes nothing.
func (b *Builder) Prepare(raws ...any) ([]string, []string, error) {
	if len(raws) > 0 {
		if err := config.Decode(&b.packer, &config.DecodeOpts{}, raws...); err != nil {
			return nil, nil, fmt.Errorf("settings of Packer: %w", err)
		}
		if b.deps.Runner == nil && (b.packer.PackerDebug || b.packer.PackerOnError != "" && b.packer.PackerOnError != "cleanup") {
			return nil, nil, errors.New("image builder: -debug and -on-error need a runner that knows them")
		}
	}
	if b.deps.Provider == nil || b.deps.Benches == nil || b.deps.Journal == nil {
		return nil, nil, errors.New("image builder: provider, benches and journal are needed")
	}
	for _, secret := range b.spec.Secrets {
		if len(secret) < minSecret || strings.ContainsAny(secret, "\r\n") {
			return nil, nil, verdict.Errorf(verdict.CheckFailed, "", "image of role %q: a secret that is to be searched for needs %d characters on one line", b.spec.Role, minSecret)
		}
	}
	return nil, nil, b.spec.check()
}

// Run builds. hook may be nil; if not, Packer's provisioners run when Puppet has converged.
func (b *Builder) Run(ctx context.Context, ui packersdk.Ui, hook packersdk.Hook) (packersdk.Artifact, error) {
	state := &build{spec: b.spec, deps: b.deps, ui: ui, hook: hook}
	state.tidyUp = func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	}
	bag := new(multistep.BasicStateBag)
	bag.Put(stateKey, state)
	b.runner(ui).Run(ctx, bag)

	b.result = Result{Adopted: state.adopted, Steps: state.steps, Audit: state.audit, Lines: state.lines}
	if state.err == nil && state.image.ID == "" {
		state.err = state.explain(ctx, "cancelled", context.Cause(ctx))
	}
	if state.err != nil {
		return nil, state.err
	}
	var err error
	if b.result.Image, err = state.entry(); err != nil {
		return nil, err
	}
	return &Artifact{image: b.result.Image, provider: b.deps.Provider}, nil
}

func (b *Builder) runner(ui packersdk.Ui) multistep.Runner {
	if b.deps.Runner == nil {
		return &multistep.BasicRunner{Steps: steps()}
	}
	return b.deps.Runner(steps(), b.packer, ui)
}

// Result is what Run gave.
func (b *Builder) Result() Result { return b.result }

// steps is a build, from top to bottom. What has an undo is undone in reverse.
func steps() []multistep.Step {
	return []multistep.Step{
		step{name: "lineage", do: checkLineage},
		step{name: "bench", do: openBench, undo: clearBench},
		step{name: "adopt", do: adopt},
		step{name: "launch", do: launch, open: true},
		step{name: "provision", do: provision, open: true},
		step{name: "provisioners", do: provisioners, open: true},
		step{name: "describe", do: describe, open: true},
		step{name: "seal", do: sealServer, open: true},
		step{name: "stop", do: stop},
		step{name: "inspect", do: inspect},
		step{name: "capture", do: capture},
	}
}

// entry is the image as the ledger keeps it.
func (b *build) entry() (ledger.Image, error) {
	report, err := json.Marshal(b.description.PuppetReport)
	if err != nil {
		return ledger.Image{}, fmt.Errorf("image %s: Puppet's report: %w", b.spec.Name(), err)
	}
	// What an earlier process did comes with the description; what this one did replaces it.
	took := make(map[string]time.Duration)
	for _, t := range slices.Concat(b.description.Timings, b.steps) {
		took[t.Step] = t.Took
	}
	var total time.Duration
	timings := make(map[string]string, len(took)+1)
	for step, d := range took {
		timings[step] = d.Round(time.Millisecond).String()
		if !strings.Contains(step, ledger.TimingPart) {
			total += d
		}
	}
	timings[ledger.TimingTotal] = total.Round(time.Millisecond).String()
	return ledger.Image{
		ID:           b.spec.Name(),
		Run:          b.spec.Run,
		Role:         b.spec.Role,
		Branch:       b.spec.Branch,
		Commit:       b.spec.Commit,
		BaseDigest:   b.spec.Base.Digest,
		Provider:     b.deps.ProviderName,
		ProviderID:   string(b.image.ID),
		Digest:       b.image.Digest,
		SizeBytes:    b.image.SizeBytes,
		Packages:     b.description.Packages,
		PuppetReport: string(report),
		Timings:      timings,
		Seal:         b.description.Seal,
		Created:      b.image.Created,
	}, nil
}

// tail is the end of a text: the lines that matter of a long one.
func tail(text []byte, lines int) string {
	all := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.ToValidUTF8(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")), []byte("�")))
}
