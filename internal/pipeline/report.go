package pipeline

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/cost"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/report"
)

// Report gathers what is told of a run. It reads the ledger and, for what changed, the repository;
// a repository that cannot be read leaves that part out.
func Report(ctx context.Context, parts Parts, run ledger.Run) (report.Data, error) {
	l := parts.Ledger
	d := report.Data{Run: run, Now: parts.Now(), Channel: channelOf(parts.Config, run)}
	var err error
	if d.Stages, err = l.Stages(ctx, run.ID); err != nil {
		return d, err
	}
	if d.Attempts, err = l.Results(ctx, run.ID); err != nil {
		return d, err
	}
	for _, s := range d.Stages {
		if branch, ok := strings.CutPrefix(s.Path, PlanStage); ok {
			commit, from, _ := strings.Cut(s.Detail, " ")
			d.Releases = append(d.Releases, report.Release{Branch: branch, Commit: commit, Source: from})
		}
	}
	if err := addDecision(ctx, parts, &d); err != nil {
		return d, err
	}
	if d.Earlier, err = earlierFailures(ctx, l, run); err != nil {
		return d, err
	}
	if d.Branch, err = l.BranchStatus(ctx, run.Branch, run.Kind); err != nil {
		return d, err
	}
	inventories, err := l.Inventories(ctx, run.ID)
	if err != nil {
		return d, err
	}
	for _, i := range inventories {
		d.Inventories = append(d.Inventories, report.Inventory{Scenario: i.Scenario, Origin: i.Origin, Server: i.Server, Role: i.Role, Packages: i.Packages})
	}
	if d.Cost, err = spent(ctx, parts, run.ID, d.Now); err != nil {
		return d, err
	}
	if d.Shown, err = shown(ctx, parts, run.ID); err != nil {
		return d, err
	}
	d.Commits = changes(ctx, parts.Product, d.Branch)
	if err := images(ctx, l, &d); err != nil {
		return d, err
	}
	return d, knownExcuses(ctx, l, &d)
}

// addDecision tells what the gate decided, as it is stored, and the results as it saw them. Of a run that has
// not come to the gate it tells what would be required now.
func addDecision(ctx context.Context, parts Parts, d *report.Data) error {
	at := d.Now
	if !d.Run.Finished.IsZero() {
		at = d.Run.Finished
	}
	made, err := DecisionOn(ctx, parts.Ledger, d.Run.ID)
	switch {
	case err == nil:
		at = made.At
		d.Gate = &report.Gate{
			Verdict: made.Verdict, Reasons: made.Reasons, Counts: made.Counts, At: made.At,
			Allowed: map[string]int{"waived": made.Demand.Budgets.Waived, "flaky": made.Demand.Budgets.Flaky, "skipped": made.Demand.Budgets.Skipped},
		}
		for _, w := range made.Demand.Waivers {
			d.Gate.Waivers = append(d.Gate.Waivers, report.Waiver(w))
		}
		d.Channel = made.Demand.Channel
	case !errors.Is(err, ledger.ErrNotFound):
		return err
	default:
		var plan runPlan
		for _, r := range d.Releases {
			plan.Releases = append(plan.Releases, source{Branch: r.Branch, Commit: r.Commit})
		}
		if made.Demand, err = demandOf(ctx, parts, d.Run, plan); err != nil {
			return err
		}
		if i := slices.IndexFunc(d.Stages, func(s ledger.Stage) bool { return s.Path == "gate" && s.State == stageDone }); i >= 0 { // by a Hallmark that stored no decisions
			d.Gate = &report.Gate{Verdict: d.Stages[i].Verdict, Reasons: []string{cmp.Or(d.Stages[i].Detail, d.Run.Reason)}, At: d.Stages[i].Finished}
		}
	}
	d.Notes = made.Demand.Notes
	d.Results = Latest(d.Attempts, made.Demand.Waivers, at)
	for _, c := range made.Demand.Cells {
		d.Required = append(d.Required, report.Place(c))
	}
	return nil
}

// mostEarlier bounds how many runs of a commit are looked at for what failed before.
const mostEarlier = 10

// earlierFailures gives what failed in the runs of the same commit that came before this one.
func earlierFailures(ctx context.Context, l *ledger.Ledger, run ledger.Run) ([]ledger.Result, error) {
	if run.Commit == "" {
		return nil, nil
	}
	runs, err := l.Runs(ctx, ledger.RunFilter{Commit: run.Commit, Until: run.Created, Limit: mostEarlier})
	if err != nil {
		return nil, err
	}
	var failed []ledger.Result
	for _, r := range runs {
		if r.ID == run.ID {
			continue
		}
		results, err := l.Results(ctx, r.ID)
		if err != nil {
			return nil, err
		}
		for _, one := range results {
			if one.Outcome == ledger.Failed || one.Outcome == ledger.Flaky {
				failed = append(failed, one)
			}
		}
	}
	return failed, nil
}

// spent estimates what a run has cost so far, from what the ledger keeps of its environments and images;
// nil if that is nothing.
func spent(ctx context.Context, parts Parts, run string, now time.Time) (*cost.Estimate, error) {
	var uses []cost.Use
	environments, err := parts.Ledger.Environments(ctx, ledger.EnvironmentFilter{Run: run, Destroyed: true})
	if err != nil {
		return nil, err
	}
	for _, e := range environments {
		some, err := environment.Uses(e)
		if err != nil {
			return nil, err
		}
		uses = append(uses, some...)
	}
	images, err := parts.Ledger.Images(ctx, ledger.ImageFilter{Run: run, Deleted: true})
	if err != nil {
		return nil, err
	}
	for _, i := range images {
		uses = append(uses, cost.Use{Kind: cost.Image, Name: i.ID, GiB: float64(i.SizeBytes) / (1 << 30), From: i.Created, To: i.Deleted})
	}
	if len(uses) == 0 {
		return nil, nil
	}
	estimate := cost.Of(uses, parts.Config.Prices, now)
	return &estimate, nil
}

// shown is what is kept of servers that did not come up.
func shown(ctx context.Context, parts Parts, run string) ([]report.Shown, error) {
	kept, err := environment.ShownIn(parts.Config.RecordsDir(run))
	if err != nil || len(kept) == 0 {
		return nil, err
	}
	environments, err := parts.Ledger.Environments(ctx, ledger.EnvironmentFilter{Run: run, Destroyed: true})
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, e := range environments {
		names[e.ID] = e.Name
	}
	var all []report.Shown
	for _, s := range kept {
		all = append(all, report.Shown{Where: names[s.Environment], Server: s.Server, Console: s.Console, Screenshot: s.Screenshot})
	}
	slices.SortStableFunc(all, func(a, b report.Shown) int { return strings.Compare(a.Where, b.Where) })
	return all, nil
}

// changes are the commits that made the branch what it is: since the run before the present series.
func changes(ctx context.Context, repository *product.Repository, branch ledger.BranchStatus) []report.Commit {
	if repository == nil || branch.Before == nil || branch.Since == nil {
		return nil
	}
	log, err := repository.Log(ctx, branch.Before.Commit, branch.Since.Commit, 50)
	if err != nil {
		return nil
	}
	var commits []report.Commit
	for _, c := range log {
		commits = append(commits, report.Commit{ID: c.Commit, Author: c.Author, Subject: c.Subject, At: c.At})
	}
	return commits
}

// images adds the run's image set, the set before it, and the moves and evidence of both.
func images(ctx context.Context, l *ledger.Ledger, d *report.Data) error {
	if d.Run.Set == "" {
		return nil
	}
	set, err := l.Set(ctx, d.Run.Set)
	if err != nil {
		return err
	}
	d.Set = set
	if d.Images, err = ofSet(ctx, l, set); err != nil {
		return err
	}
	moves, err := l.Moves(ctx, d.Channel, 0)
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(moves) { // oldest first
		if m.To != set.ID && m.Run != d.Run.ID {
			continue
		}
		d.Moves = append(d.Moves, m)
		d.PreviousSet = m.From
	}
	if len(d.Moves) == 0 {
		channel, err := l.Channel(ctx, d.Channel)
		if err != nil {
			return err
		}
		d.PreviousSet = channel.Set
	}
	if d.PreviousSet != "" {
		previous, err := l.Set(ctx, d.PreviousSet)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return err
		}
		if d.Previous, err = ofSet(ctx, l, previous); err != nil {
			return err
		}
	}
	evidence, err := l.Evidence(ctx, set.ID)
	if len(evidence) > 0 {
		d.Evidence = &evidence[0]
	}
	return err
}

func ofSet(ctx context.Context, l *ledger.Ledger, set ledger.ImageSet) ([]ledger.Image, error) {
	var all []ledger.Image
	for _, id := range set.Images {
		image, err := l.Image(ctx, id)
		if err != nil {
			return nil, err
		}
		all = append(all, image)
	}
	slices.SortFunc(all, func(a, b ledger.Image) int { return strings.Compare(a.Role, b.Role) })
	return all, nil
}

// Checkout gives a folder with the product at the head of a branch.
func Checkout(ctx context.Context, cfg config.Config, branch string) (dir, commit string, err error) {
	repository, err := product.Open(ctx, cfg.Product, cfg.MirrorDir())
	if err != nil {
		return "", "", err
	}
	if commit, err = repository.Head(ctx, branch); err != nil {
		return "", "", err
	}
	c, err := newShelf(repository, cfg.ProductsDir()).get(ctx, commit)
	if err != nil {
		return "", "", err
	}
	return c.Dir, commit, nil
}
