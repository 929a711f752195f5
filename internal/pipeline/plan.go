package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/cloud"
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
	Releases []source     `json:"releases"` // what the run upgrades from
	Builds   []imageInput `json:"builds"`
	Channel  string       `json:"channel"` // where a good set goes
	Version  int64        `json:"version"` // of the channel when the run began: what promotion compares with
}

// plan settles what this run builds and verifies. What it upgrades from was settled by the check.
func (e *Engine) plan(ctx context.Context, run ledger.Run, base cloud.Image, from []source) (runPlan, error) {
	own, err := e.products.get(ctx, run.Commit)
	if err != nil {
		return runPlan{}, err
	}
	plan := runPlan{
		Base: base, Releases: from,
		Own: source{Branch: run.Branch, Commit: run.Commit, Set: run.ID, Images: map[string]string{}, From: "this run"},
	}
	if plan.Channel, err = e.Config.Channel(run.Kind, run.Branch); err != nil && !run.Options.NoPromote {
		return plan, err
	}
	channel, err := e.Ledger.Channel(ctx, plan.Channel)
	if err != nil {
		return plan, err
	}
	plan.Version = channel.Version
	for _, role := range sortedRoles(own) {
		plan.Builds = append(plan.Builds, imageInput{Run: run.ID, Stage: "build/" + role, Set: run.ID, Branch: run.Branch, Commit: run.Commit, Role: role, Base: base})
	}
	for i := range plan.Releases {
		if s := &plan.Releases[i]; s.Images == nil {
			if err := e.fromHead(ctx, &plan, run, s); err != nil {
				return plan, fmt.Errorf("release branch %s: %w", s.Branch, err)
			}
		}
	}
	return plan, e.tellPlan(ctx, run, plan)
}

// tellPlan records for people what a run upgrades from, and that it upgrades from nothing.
func (e *Engine) tellPlan(ctx context.Context, run ledger.Run, plan runPlan) error {
	tell := func(path, detail string) error {
		return e.Ledger.RecordStage(ctx, ledger.Stage{
			Run: run.ID, Path: path, State: stageDone, Verdict: verdict.Passed, Started: e.Now(), Finished: e.Now(), Detail: detail,
		})
	}
	for _, r := range plan.Releases {
		if err := tell(PlanStage+r.Branch, r.Commit+" "+r.From); err != nil {
			return err
		}
	}
	if len(plan.Releases) > 0 {
		return nil
	}
	if run.Kind == Release {
		return tell(NothingStage, "channel "+ProductionChannel+" holds nothing, so there is no upgrade to test")
	}
	return tell(NothingStage, fmt.Sprintf("no live release branch matches %q (product.releases)", e.Config.Product.Releases))
}

func sortedRoles(p *copyOf) []string { return slices.Sorted(maps.Keys(p.Roles)) }

// addImage notes an image that the run built, for every source whose set it belongs to.
func (p *runPlan) addImage(b imageInput, id string) {
	for _, s := range p.sources() {
		if s.Set == b.Set {
			s.Images[b.Role] = id
		}
	}
}

// sources are all code that the run launches servers with, its own first.
func (p *runPlan) sources() []*source {
	all := []*source{&p.Own}
	for i := range p.Releases {
		all = append(all, &p.Releases[i])
	}
	return all
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
