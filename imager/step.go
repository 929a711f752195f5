package imager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// build is what the steps of one build share: the one value in Packer's untyped state bag.
type build struct {
	spec Spec
	deps Deps
	ui   packersdk.Ui
	hook packersdk.Hook // may be nil

	bench       Bench
	benchID     string
	sealed      bool // by an earlier process, which left the bench
	description Description
	image       cloud.Image
	adopted     bool

	steps  []Timing
	audit  verdict.Audit
	lines  string
	err    error
	tidyUp func() (context.Context, context.CancelFunc) // multistep cleans up without a context
}

// The keys of the state bag: ours, and the one in which Packer's runner looks for an error.
const (
	stateKey = "hallmark"
	errorKey = "error"
)

// cleanupTime bounds the clean-up of a step; it outlives the build's cancellation.
const cleanupTime = 2 * time.Minute

// step is one named piece of work with what undoes it. It is a multistep.Step.
type step struct {
	name string
	do   func(context.Context, *build) error
	undo func(context.Context, *build) error // may be nil
	open bool                                // it needs a server that is not sealed yet
}

// errDone ends the list early: there is nothing left to do.
var errDone = errors.New("done")

// Run does the work, times it, and looks at the server if it went wrong.
func (s step) Run(ctx context.Context, bag multistep.StateBag) multistep.StepAction {
	b := bag.Get(stateKey).(*build) //nolint:errcheck // nothing else is ever put there
	if s.open && b.sealed {
		return multistep.ActionContinue
	}
	b.progress(Progress{Step: s.name})
	start := b.deps.Clock.Now()
	err := s.do(ctx, b)
	took := b.deps.Clock.Now().Sub(start)
	b.steps = append(b.steps, Timing{s.name, took})
	if errors.Is(err, errDone) {
		b.progress(Progress{Step: s.name, Done: true, Took: took, Detail: "captured before: adopted"})
		return multistep.ActionHalt
	}
	if err != nil {
		b.err = b.explain(ctx, s.name, err)
		b.progress(Progress{Step: s.name, Done: true, Took: took, Err: b.err})
		bag.Put(errorKey, b.err)
		return multistep.ActionHalt
	}
	b.progress(Progress{Step: s.name, Done: true, Took: took})
	return multistep.ActionContinue
}

// Cleanup undoes the work. What can't be undone carries owner and deadline, so the reaper will.
func (s step) Cleanup(bag multistep.StateBag) {
	if s.undo == nil {
		return
	}
	b := bag.Get(stateKey).(*build) //nolint:errcheck // nothing else is ever put there
	ctx, cancel := b.tidyUp()
	defer cancel()
	start := b.deps.Clock.Now()
	if err := s.undo(ctx, b); err != nil {
		b.deps.Log.Warn("clean up after an image build; the reaper will retry",
			"run", b.spec.Run, "role", b.spec.Role, "step", s.name, "err", err)
	}
	b.steps = append(b.steps, Timing{"undo " + s.name, b.deps.Clock.Now().Sub(start)})
}

// explain gives an error its place and, if nothing gave it a cause, that of a cancelled build.
func (b *build) explain(ctx context.Context, step string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return verdict.Errorf(verdict.Cancelled, "", "image %s, %s: %w", b.spec.Name(), step, ctx.Err())
	}
	if b.bench != nil && b.bench.Server() != "" && !b.audit.Done {
		b.audit = b.bench.Audit(ctx)
	}
	return fmt.Errorf("image %s, %s: %w", b.spec.Name(), step, err)
}

// each does a list of steps of an environment and times every one of them.
func (b *build) each(ctx context.Context, of string, list []environment.Step) error {
	for _, s := range list {
		start := b.deps.Clock.Now()
		err := s.Do(ctx)
		b.steps = append(b.steps, Timing{of + ledger.TimingPart + s.Name, b.deps.Clock.Now().Sub(start)})
		if err != nil {
			return err // it names its step
		}
	}
	return nil
}

func (b *build) progress(p Progress) {
	p.Role = b.spec.Role
	if b.deps.Progress != nil {
		b.deps.Progress(p)
	}
	switch {
	case p.Err != nil:
		b.ui.Error(fmt.Sprintf("%s: %s: %v", p.Role, p.Step, p.Err))
	case p.Done:
		b.ui.Say(fmt.Sprintf("%s: %s: %s %s", p.Role, p.Step, p.Took.Round(time.Millisecond), p.Detail))
	}
}
