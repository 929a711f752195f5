package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// recordSets writes down which images belong together: the run's own set and those built for
// release branches, which stay as long as these are live.
func (e *Engine) recordSets(ctx context.Context, run ledger.Run, plan runPlan) (ledger.ImageSet, error) {
	var own ledger.ImageSet
	recorded := map[string]bool{}
	for _, s := range plan.sources() {
		built := slices.ContainsFunc(plan.Builds, func(b imageInput) bool { return b.Set == s.Set })
		if !built || recorded[s.Set] { // a release that was just cut is the run's own set
			continue
		}
		recorded[s.Set] = true
		images, err := e.builtImages(ctx, run.ID, s.Branch, s.Commit)
		if err != nil {
			return own, err
		}
		_, digest, err := Manifest(s.Branch, s.Commit, images)
		if err != nil {
			return own, err
		}
		set := ledger.ImageSet{ID: s.Set, Run: run.ID, Branch: s.Branch, Commit: s.Commit, Images: map[string]string{}, Digest: digest, Created: run.Created}
		for _, image := range images {
			set.Images[image.Role] = image.ID
		}
		if err := e.Ledger.RecordSet(ctx, set); err != nil {
			return own, err
		}
		if s.Set == plan.Own.Set {
			own = set
		}
	}
	_, err := e.Ledger.UpdateRun(ctx, run.ID, func(r *ledger.Run) { r.Set = own.ID })
	return own, err
}

// builtImages are the images that a run built of a branch's commit.
func (e *Engine) builtImages(ctx context.Context, run, branch, commit string) ([]ledger.Image, error) {
	images, err := e.Ledger.Images(ctx, ledger.ImageFilter{Run: run, Branch: branch})
	return slices.DeleteFunc(images, func(i ledger.Image) bool { return i.Commit != commit }), err
}

// promotion is what came of a run's wish to move a channel.
type promotion struct {
	Channel string `json:"channel"`
	Refused string `json:"refused,omitempty"` // why the channel stays where it is, although the set is good
}

// promote publishes the run's set and moves the channel to it, unless the channel was moved since the run began.
func (e *Engine) promote(ctx context.Context, run ledger.Run, plan runPlan, judged gateOutput) (promotion, error) {
	p := promotion{Channel: plan.Channel}
	_, err := Move(ctx, e.Parts, ledger.Move{
		Channel: plan.Channel, To: judged.Set.ID, Kind: ledger.Promote, Actor: run.Actor, Run: run.ID, Reason: judged.Decision.Summary(),
	}, plan.Version)
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		p.Refused = refusal.Why + "; " + refusal.Remedy
		return p, nil
	}
	again := fmt.Sprintf("look with `hallmark channels`, then `hallmark promote %s %s`", judged.Set.ID, plan.Channel)
	switch {
	case errors.Is(err, ledger.ErrMoved): // the set is good all the same
		p.Refused = "it was moved since the run began; " + again
		return p, nil
	case errors.Is(err, ledger.ErrCancelled):
		err = verdict.Errorf(verdict.Cancelled, "", "%w", err)
	}
	if err != nil {
		return p, fmt.Errorf("promote %s to %s: %w; %s", judged.Set.ID, plan.Channel, err, again)
	}
	return p, nil
}
