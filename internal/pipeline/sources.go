package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
	"github.com/hallmark-ci/hallmark/verifier"
)

// source is code to launch servers with, and the images of one set.
type source struct {
	Branch string            `json:"branch"`
	Commit string            `json:"commit"`
	Set    string            `json:"set"`    // ImageSet.ID of the images; the run records those that it builds
	Images map[string]string `json:"images"` // role → cloud.ImageID; what is missing, the run builds
	From   string            `json:"from"`   // where the images come from, for people
}

// upgradeSources settles what a run upgrades from. A release run upgrades from the set that production
// holds, whatever its branch; a nightly run from every live release branch.
func (e *Engine) upgradeSources(ctx context.Context, run ledger.Run) ([]source, error) {
	if run.Kind == Release {
		return e.productionSource(ctx)
	}
	releases, err := e.Product.LiveReleases(ctx, e.Config.Product.Releases, e.Config.Product.Retired)
	if err != nil {
		return nil, fmt.Errorf("live releases: %w", err)
	}
	var sources []source
	for _, branch := range releases {
		if branch == run.Branch {
			continue
		}
		s, err := e.releaseSource(ctx, run, branch)
		if err != nil {
			return nil, fmt.Errorf("release branch %s: %w", branch, err)
		}
		sources = append(sources, s)
	}
	return sources, nil
}

// productionSource is what production holds; none if it holds nothing.
func (e *Engine) productionSource(ctx context.Context) ([]source, error) {
	set, err := e.held(ctx, ProductionChannel)
	if err != nil || set.ID == "" {
		return nil, err
	}
	s := source{Branch: set.Branch, Commit: set.Commit, Set: set.ID, From: "channel " + ProductionChannel}
	var gone string
	if s.Images, gone, err = e.imagesThere(ctx, set); err != nil {
		return nil, err
	}
	if gone != "" { // no other images will do: what production runs is what has to be upgraded
		return nil, fmt.Errorf("channel %s holds %s, and its image of role %s is gone: roll the channel back, or promote another set", ProductionChannel, set.ID, gone)
	}
	return []source{s}, nil
}

// releaseSource finds production's code and images of a release branch: what the production channel
// holds for it, else its own channel, else the images of its head, as far as there are any.
func (e *Engine) releaseSource(ctx context.Context, run ledger.Run, branch string) (source, error) {
	own, err := e.Config.Channel(Release, branch)
	if err != nil {
		return source{}, err
	}
	for _, channel := range []string{ProductionChannel, own} {
		if channel == "" {
			continue
		}
		set, err := e.held(ctx, channel)
		if err != nil {
			return source{}, err
		}
		if set.Branch != branch {
			continue
		}
		images, gone, err := e.imagesThere(ctx, set)
		if err != nil {
			return source{}, err
		}
		if gone == "" { // else they were removed by other hands than ours: a channel's stay
			return source{Branch: branch, Commit: set.Commit, Set: set.ID, Images: images, From: "channel " + channel}, nil
		}
	}
	head, err := e.Product.Head(ctx, branch)
	if err != nil {
		return source{}, err
	}
	s := source{Branch: branch, Commit: head, Set: setID(run, branch, head), From: "images of its head: no channel holds any"}
	return s, nil
}

// held is the set that a channel holds, the zero one if it holds none.
func (e *Engine) held(ctx context.Context, channel string) (ledger.ImageSet, error) {
	c, err := e.Ledger.Channel(ctx, channel)
	if err != nil || c.Set == "" {
		return ledger.ImageSet{}, err
	}
	return e.Ledger.Set(ctx, c.Set)
}

// imagesThere gives the images of a set by role, or the role of one that is gone.
func (e *Engine) imagesThere(ctx context.Context, set ledger.ImageSet) (images map[string]string, gone string, err error) {
	images = map[string]string{}
	for role, id := range set.Images {
		image, err := e.Ledger.Image(ctx, id)
		if err != nil {
			return nil, "", err
		}
		if !image.Deleted.IsZero() {
			return nil, role, nil
		}
		images[role] = image.ProviderID
	}
	return images, "", nil
}

// fromHead completes a source that no channel holds: by the images that an earlier run built of the same
// commit for the same branch and from the same base, else by builds of this run. A release that was just cut
// is the very commit of the run: its images are those of the run.
func (e *Engine) fromHead(ctx context.Context, plan *runPlan, run ledger.Run, s *source) error {
	s.Images = map[string]string{}
	if s.Set == plan.Own.Set {
		return nil
	}
	p, err := e.products.get(ctx, s.Commit)
	if err != nil {
		return err
	}
	sets, err := e.Ledger.Sets(ctx, s.Branch, 0)
	if err != nil {
		return err
	}
	for _, set := range sets {
		if set.Commit != s.Commit || set.Revoked != "" || len(set.Images) != len(p.Roles) {
			continue
		}
		images, gone, err := e.imagesThere(ctx, set)
		if err != nil {
			return err
		}
		same, err := e.builtFrom(ctx, set, plan.Base.Digest)
		if err != nil {
			return err
		}
		if gone == "" && same {
			s.Set, s.Images = set.ID, images
			return nil
		}
	}
	for _, role := range sortedRoles(p) {
		plan.Builds = append(plan.Builds, imageInput{
			Run: run.ID, Stage: "build/" + config.ChannelOf(s.Branch) + "/" + role, Set: s.Set, Branch: s.Branch, Commit: s.Commit, Role: role, Base: plan.Base,
		})
	}
	return nil
}

// builtFrom reports whether all images of a set were built from one base.
func (e *Engine) builtFrom(ctx context.Context, set ledger.ImageSet, digest string) (bool, error) {
	for _, id := range set.Images {
		image, err := e.Ledger.Image(ctx, id)
		if err != nil || image.BaseDigest != digest {
			return false, err
		}
	}
	return true, nil
}

// setID names the image set of what a run builds for a branch: its own has the id of the run, and is also
// that of a release which was just cut.
func setID(run ledger.Run, branch, commit string) string {
	if branch == run.Branch || commit == run.Commit {
		return run.ID
	}
	return run.ID + "-" + config.ChannelOf(branch)
}

// checkSource looks at code that will be upgraded before anything is launched: it was good when it was
// built, but a branch's head may be anything.
func (e *Engine) checkSource(ctx context.Context, s source) error {
	wrong := func(err error) error {
		return verdict.Errorf(verdict.CheckFailed, "", "release branch %s at commit %s (%s), which this run upgrades from: %w", s.Branch, s.Commit, s.From, err)
	}
	p, err := e.products.get(ctx, s.Commit)
	if _, bad := errors.AsType[badProduct](err); bad {
		return wrong(err)
	}
	if err != nil {
		return fmt.Errorf("release branch %s: %w", s.Branch, err)
	}
	if err := verifier.Check(p.Product, verifier.Smoke); err != nil {
		return wrong(err)
	}
	if err := ofProduct(p.Refused(e.Site.Egress, e.Site.Most)); err != nil {
		return wrong(err)
	}
	if err := fits(p.Product, e.Slots.Max()); err != nil {
		return fmt.Errorf("release branch %s: %w", s.Branch, err)
	}
	return nil
}
