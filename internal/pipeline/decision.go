package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// gateOutput is the gate's decision and the image set that it is about.
type gateOutput struct {
	Decision Decision        `json:"decision"`
	Set      ledger.ImageSet `json:"set"`
}

// gate decides once, and stores the decision, with the evidence for a good set. A gate that a crash repeats
// finds what was decided, whatever the configuration says meanwhile.
func (e *Engine) gate(ctx context.Context, run ledger.Run, plan runPlan, set ledger.ImageSet) (gateOutput, error) {
	out := gateOutput{Set: set}
	made, err := DecisionOn(ctx, e.Ledger, run.ID)
	if err == nil {
		out.Decision = made
		return out, nil
	}
	if !errors.Is(err, ledger.ErrNotFound) {
		return out, err
	}
	results, err := e.Ledger.Results(ctx, run.ID)
	if err != nil {
		return out, err
	}
	stages, err := e.Ledger.Stages(ctx, run.ID)
	if err != nil {
		return out, err
	}
	demand, err := demandOf(ctx, e.Parts, run, plan)
	if err != nil {
		return out, err
	}
	demand.Channel = plan.Channel
	if demand.Roles, err = e.tested(ctx, plan); err != nil {
		return out, err
	}
	made = demand.Decide(laneEnds(plan, stages), results, e.Now().UTC())
	launches, err := e.Ledger.Launches(ctx, run.ID)
	if err != nil {
		return out, err
	}
	images, err := e.builtImages(ctx, run.ID, run.Branch, run.Commit)
	if err != nil {
		return out, err
	}
	if made.Verdict == verdict.Passed {
		made.refuse(unlaunched(images, launches))
	}
	evidence, err := e.evidence(run, plan, set, made, images, launches, laneEnds(plan, stages), results)
	if err != nil {
		return out, err
	}
	body, err := json.Marshal(made)
	if err != nil {
		return out, fmt.Errorf("decision on run %s: %w", run.ID, err)
	}
	if _, err := e.Ledger.RecordDecision(ctx, ledger.Decision{Run: run.ID, Body: body, At: made.At}, evidence); err != nil {
		return out, err
	}
	out.Decision = made
	return out, nil
}

// evidence states what a good decision rests on, which images were launched for it, and from which sets the
// upgrade has passed; nil for any other decision.
func (e *Engine) evidence(run ledger.Run, plan runPlan, set ledger.ImageSet, made Decision, images []ledger.Image, launches []ledger.LaunchedFrom, ends []LaneEnd, results []ledger.Result) (*ledger.Evidence, error) {
	if made.Verdict != verdict.Passed {
		return nil, nil
	}
	body, _, err := Manifest(run.Branch, run.Commit, images)
	if err != nil {
		return nil, err
	}
	statement, err := Statement(set, body, run, made, launches, Latest(results, made.Demand.Waivers, made.At), made.At)
	if err != nil {
		return nil, err
	}
	return &ledger.Evidence{
		Set: set.ID, Run: run.ID, Statement: statement, Created: made.At, UpgradedFrom: upgradedFrom(plan, launches, ends, results),
	}, nil
}

// unlaunched tells of the images of a set from which no server was launched and verified, as the provider says.
func unlaunched(images []ledger.Image, launches []ledger.LaunchedFrom) []string {
	var missing []string
	for _, image := range images {
		if !slices.ContainsFunc(launches, func(l ledger.LaunchedFrom) bool {
			return l.Scenario == ScenarioVerify && l.Origin == originPrebuilt && l.Images[image.Role] == image.ProviderID
		}) {
			missing = append(missing, fmt.Sprintf("image %s (%s): no server of role %s that was verified was launched from it", image.ID, image.ProviderID, image.Role))
		}
	}
	return missing
}

// refuse turns a good decision into one that proves nothing, for the reasons given, if any.
func (d *Decision) refuse(reasons []string) {
	if len(reasons) > 0 {
		d.Verdict, d.Reasons = verdict.Inconclusive, append(d.Reasons, reasons...)
	}
}

// DecisionOn reads what the gate decided of a run; ledger.ErrNotFound if it has not come to that.
func DecisionOn(ctx context.Context, l *ledger.Ledger, run string) (Decision, error) {
	var made Decision
	stored, err := l.Decision(ctx, run)
	if err != nil {
		return made, err
	}
	if err := json.Unmarshal(stored.Body, &made); err != nil {
		return made, fmt.Errorf("decision on run %s: %w", run, err)
	}
	return made, nil
}
