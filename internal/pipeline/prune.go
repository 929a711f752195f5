package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hallmark-ci/hallmark/imager"
	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// prune removes images that nothing needs any more: no channel, no live release branch, no run at
// work. What is older than a loss or restoration of the ledger it leaves to the reaper's quarantine.
func prune(ctx context.Context, parts Parts, concluding string) error {
	images, err := unneeded(ctx, parts, concluding)
	if err != nil {
		return err
	}
	is, err := identify(ctx, parts)
	if err != nil {
		return err
	}
	var failed error
	for _, image := range images { // one that is still used must not keep the others
		if image.Created.Before(is.Forgotten) {
			continue
		}
		// The image is retired first: from then on no channel can move to it, and the reaper removes it if this fails.
		err := parts.Ledger.RetireImage(ctx, image.ID, parts.Now())
		if errors.Is(err, ledger.ErrHeld) { // somebody has just promoted it
			continue
		}
		if err != nil {
			return errors.Join(failed, err)
		}
		if err := discard(ctx, parts, cloud.ImageID(image.ProviderID)); err != nil {
			failed = errors.Join(failed, fmt.Errorf("image %s: %w", image.ID, err))
		}
	}
	return failed
}

// unneeded gives the images that nothing needs any more, as far as the ledger knows. Concluding is a run
// that is still at work and needs its images no more, "" for none.
func unneeded(ctx context.Context, parts Parts, concluding string) ([]ledger.Image, error) {
	var h imager.Holdings
	var err error
	if h.Images, err = parts.Ledger.Images(ctx, ledger.ImageFilter{}); err != nil {
		return nil, err
	}
	if h.Sets, err = parts.Ledger.Sets(ctx, "", 0); err != nil {
		return nil, err
	}
	if h.Channels, err = parts.Ledger.Channels(ctx); err != nil {
		return nil, err
	}
	for _, c := range h.Channels {
		moves, err := parts.Ledger.Moves(ctx, c.Name, 0)
		if err != nil {
			return nil, err
		}
		h.Moves = append(h.Moves, moves...)
	}
	keep, err := keep(ctx, parts, concluding)
	if err != nil {
		return nil, err
	}
	if keep.Gone, err = gone(ctx, parts, h.Images); err != nil {
		return nil, err
	}
	return imager.Superseded(h, keep), nil
}

func keep(ctx context.Context, parts Parts, concluding string) (imager.Keep, error) {
	keep := imager.Keep{Newest: parts.Config.Keep.Candidates}
	var err error
	if keep.Branches, err = parts.Product.LiveReleases(ctx, parts.Config.Product.Releases, parts.Config.Product.Retired); err != nil {
		return keep, err
	}
	working, err := parts.Ledger.Runs(ctx, ledger.RunFilter{States: []ledger.RunState{ledger.Working, ledger.Cancelling}})
	for _, r := range working {
		if r.ID != concluding {
			keep.Runs = append(keep.Runs, r.ID)
		}
	}
	return keep, err
}

// gone lists the branches of these images that were deleted or retired for longer than keep.gone-branches.
func gone(ctx context.Context, parts Parts, images []ledger.Image) ([]string, error) {
	live, err := parts.Product.Branches(ctx)
	if err != nil {
		return nil, err
	}
	var now []string
	for _, i := range images {
		if !slices.Contains(live, i.Branch) || slices.Contains(parts.Config.Product.Retired, i.Branch) {
			now = append(now, i.Branch)
		}
	}
	slices.Sort(now)
	since, err := parts.Ledger.GoneBranches(ctx, slices.Compact(now))
	if err != nil {
		return nil, err
	}
	var over []string
	for branch, at := range since {
		if parts.Config.Keep.GoneBranches.Over(at, parts.Now()) {
			over = append(over, branch)
		}
	}
	return over, nil
}
