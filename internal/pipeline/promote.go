package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// recordSets writes down which images belong together: the run's own set and those built for
// release branches, which stay as long as these are live.
func (e *Engine) recordSets(ctx context.Context, run ledger.Run, plan runPlan) (ledger.ImageSet, error) {
	var own ledger.ImageSet
	for i, s := range append([]source{plan.Own}, plan.Releases...) {
		if i > 0 && s.Commit == plan.Own.Commit { // a release that was just cut: it is the same set
			continue
		}
		built := slices.ContainsFunc(plan.Builds, func(b imageInput) bool { return b.Commit == s.Commit })
		if !built {
			continue
		}
		images, err := e.builtImages(ctx, run.ID, s.Commit)
		if err != nil {
			return own, err
		}
		_, digest, err := Manifest(s.Branch, s.Commit, images)
		if err != nil {
			return own, err
		}
		set := ledger.ImageSet{ID: setID(run.ID, s, plan), Run: run.ID, Branch: s.Branch, Commit: s.Commit, Images: map[string]string{}, Digest: digest, Created: run.Created}
		for _, image := range images {
			set.Images[image.Role] = image.ID
		}
		if err := e.Ledger.RecordSet(ctx, set); err != nil {
			return own, err
		}
		if s.Commit == plan.Own.Commit {
			own = set
		}
	}
	_, err := e.Ledger.UpdateRun(ctx, run.ID, func(r *ledger.Run) { r.Set = own.ID })
	return own, err
}

func setID(run string, s source, plan runPlan) string {
	if s.Commit == plan.Own.Commit {
		return run
	}
	return run + "-" + config.ChannelOf(s.Branch)
}

// builtImages are the images that a run built of one commit.
func (e *Engine) builtImages(ctx context.Context, run, commit string) ([]ledger.Image, error) {
	images, err := e.Ledger.Images(ctx, ledger.ImageFilter{Run: run})
	return slices.DeleteFunc(images, func(i ledger.Image) bool { return i.Commit != commit }), err
}

// promote publishes the run's set and moves the channel to it, if nobody else moved it since the run began,
// and says which channel that was.
func (e *Engine) promote(ctx context.Context, run ledger.Run, plan runPlan, judged gateOutput) (string, error) {
	_, err := Move(ctx, e.Parts, ledger.Move{
		Channel: plan.Channel, To: judged.Set.ID, Kind: ledger.Promote, Actor: run.Actor, Run: run.ID, Reason: judged.Decision.Summary(),
	}, plan.Version)
	if errors.Is(err, ledger.ErrCancelled) {
		err = verdict.Errorf(verdict.Cancelled, "", "%w", err)
	}
	if err != nil {
		return plan.Channel, fmt.Errorf("promote %s to %s: %w; look with `hallmark channels`, then `hallmark promote %s %s`", judged.Set.ID, plan.Channel, err, judged.Set.ID, plan.Channel)
	}
	return plan.Channel, nil
}
