package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Origins of servers.
const (
	originBase     = "base"
	originPrebuilt = "prebuilt"
)

// runPlan is what a run will do, settled once: a resumed run follows it even if branches and
// channels have moved since.
type runPlan struct {
	Base     cloud.Image  `json:"base"`
	Own      source       `json:"own"`
	Releases []source     `json:"releases"` // live release branches to upgrade from
	Builds   []imageInput `json:"builds"`
	Channel  string       `json:"channel"` // where a good set goes
	Version  int64        `json:"version"` // of the channel when the run began: what promotion compares with
}

// source is code to launch servers with, and its images.
type source struct {
	Branch string            `json:"branch"`
	Commit string            `json:"commit"`
	Images map[string]string `json:"images"` // role → cloud.ImageID
	From   string            `json:"from"`   // where the images come from, for people
}

// plan settles what this run builds and verifies.
func (e *Engine) plan(ctx context.Context, run ledger.Run, base cloud.Image) (runPlan, error) {
	own, err := e.products.get(ctx, run.Commit)
	if err != nil {
		return runPlan{}, err
	}
	if err := fits(own.Product, e.Slots.Max()); err != nil {
		return runPlan{}, err
	}
	plan := runPlan{Base: base, Own: source{Branch: run.Branch, Commit: run.Commit, Images: map[string]string{}, From: "this run"}}
	plan.Channel = channelOf(e.Config, run)
	channel, err := e.Ledger.Channel(ctx, plan.Channel)
	if err != nil {
		return plan, err
	}
	plan.Version = channel.Version
	for _, role := range slices.Sorted(maps.Keys(own.Roles)) {
		plan.Builds = append(plan.Builds, imageInput{Run: run.ID, Stage: "build/" + role, Branch: run.Branch, Commit: run.Commit, Role: role, Base: base})
	}
	if run.Kind != Nightly {
		return plan, nil
	}
	releases, err := e.Product.LiveReleases(ctx, e.Config.Product.Releases, e.Config.Product.Retired)
	if err != nil {
		return plan, fmt.Errorf("live releases: %w", err)
	}
	for _, branch := range releases {
		if branch == run.Branch {
			continue
		}
		if err := e.planRelease(ctx, &plan, run.ID, branch); err != nil {
			return plan, err
		}
		released, err := e.products.get(ctx, plan.Releases[len(plan.Releases)-1].Commit)
		if err != nil {
			return plan, fmt.Errorf("release branch %s: %w", branch, err)
		}
		if err := fits(released.Product, e.Slots.Max()); err != nil {
			return plan, err
		}
	}
	for _, r := range plan.Releases {
		if err := e.Ledger.RecordStage(ctx, ledger.Stage{
			Run: run.ID, Path: PlanStage + r.Branch, State: stageDone, Verdict: verdict.Passed, Started: e.Now(), Finished: e.Now(),
			Detail: r.Commit + " " + r.From,
		}); err != nil {
			return plan, err
		}
	}
	return plan, nil
}

// planRelease finds production's code and images of a release branch: what the production channel
// holds for it, else its own channel, else images built from its head.
func (e *Engine) planRelease(ctx context.Context, plan *runPlan, run, branch string) error {
	for _, name := range []string{ProductionChannel, config.ChannelOf(branch)} {
		channel, err := e.Ledger.Channel(ctx, name)
		if err != nil {
			return err
		}
		if channel.Set == "" {
			continue
		}
		set, err := e.Ledger.Set(ctx, channel.Set)
		if err != nil {
			return err
		}
		if set.Branch != branch {
			continue
		}
		s := source{Branch: branch, Commit: set.Commit, From: "channel " + name}
		if s.Images, err = e.present(ctx, set, ""); err != nil {
			return err
		}
		if len(s.Images) == 0 { // they are gone, by other hands than ours: a channel's stay
			continue
		}
		plan.Releases = append(plan.Releases, s)
		return nil
	}
	return e.planReleaseFromHead(ctx, plan, run, branch)
}

func (e *Engine) planReleaseFromHead(ctx context.Context, plan *runPlan, run, branch string) error {
	commit, err := e.Product.Head(ctx, branch)
	if err != nil {
		return err
	}
	p, err := e.products.get(ctx, commit)
	if err != nil {
		return fmt.Errorf("release branch %s: %w", branch, err)
	}
	s := source{Branch: branch, Commit: commit, Images: map[string]string{}, From: "images of its head: no channel holds any"}
	sets, err := e.Ledger.Sets(ctx, branch, 0)
	if err != nil {
		return err
	}
	for _, set := range sets {
		if set.Commit == commit && set.Revoked == "" && len(s.Images) < len(p.Roles) {
			if s.Images, err = e.present(ctx, set, plan.Base.Digest); err != nil {
				return err
			}
		}
	}
	for _, role := range slices.Sorted(maps.Keys(p.Roles)) {
		if commit == plan.Own.Commit { // a release that was just cut: the run's own images are its images
			break
		}
		if _, ok := s.Images[role]; !ok {
			plan.Builds = append(plan.Builds, imageInput{
				Run: run, Stage: "build/" + config.ChannelOf(branch) + "/" + role, Branch: branch, Commit: commit, Role: role, Base: plan.Base,
			})
		}
	}
	plan.Releases = append(plan.Releases, s)
	return nil
}

// present gives the images of a set, by role; none if any is gone or of another base.
func (e *Engine) present(ctx context.Context, set ledger.ImageSet, base string) (map[string]string, error) {
	images := map[string]string{}
	for role, id := range set.Images {
		image, err := e.Ledger.Image(ctx, id)
		if err != nil {
			return nil, err
		}
		if base != "" && image.BaseDigest != base || !image.Deleted.IsZero() {
			return map[string]string{}, nil
		}
		images[role] = image.ProviderID
	}
	return images, nil
}

func (p *runPlan) addImage(b imageInput, id string) {
	if b.Commit == p.Own.Commit {
		p.Own.Images[b.Role] = id
	}
	for i := range p.Releases {
		if p.Releases[i].Commit == b.Commit {
			p.Releases[i].Images[b.Role] = id
		}
	}
}

// lanes are the environments that the run verifies, each from both origins.
func (p runPlan) lanes(run ledger.Run, neighbour string) []laneInput {
	var all []laneInput
	for _, origin := range []string{originBase, originPrebuilt} {
		all = append(all, laneInput{Run: run.ID, Name: "verify " + origin, Scenario: ScenarioVerify, Origin: origin, Base: p.Base, To: p.Own, Neighbour: neighbour})
	}
	for _, release := range p.Releases {
		for _, origin := range []string{originPrebuilt, originBase} {
			all = append(all, laneInput{
				Run: run.ID, Name: "upgrade from " + release.Branch + " " + origin, Scenario: ScenarioUpgrade(release.Branch),
				Origin: origin, Base: p.Base, From: &release, To: p.Own, Neighbour: neighbour,
			})
		}
	}
	return all
}

// images gives the images to launch a source's servers from.
func (l laneInput) images(s source, p *product.Product) (map[string]cloud.ImageID, error) {
	images := map[string]cloud.ImageID{}
	var missing []string
	for role := range p.Roles {
		if l.Origin == originBase {
			images[role] = l.Base.ID
			continue
		}
		id, ok := s.Images[role]
		if !ok {
			missing = append(missing, role)
		}
		images[role] = cloud.ImageID(id)
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return nil, errors.New("no image of " + s.Branch + " for role " + strings.Join(missing, ", "))
	}
	return images, nil
}
