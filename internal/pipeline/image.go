package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/dbos-inc/dbos-transact-golang/dbos"

	"github.com/hallmark-ci/hallmark/imager"
	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
	"github.com/hallmark-ci/hallmark/verifier"
)

// imageInput is one image to build. It holds references only, for it is stored.
type imageInput struct {
	Run    string      `json:"run"`
	Stage  string      `json:"stage"` // "build/web"
	Set    string      `json:"set"`   // the image set that it will belong to
	Branch string      `json:"branch"`
	Commit string      `json:"commit"`
	Role   string      `json:"role"`
	Base   cloud.Image `json:"base"`
}

// imageOutput is what came of it. A bad image is a result, not an error.
type imageOutput struct {
	Verdict    verdict.Verdict `json:"verdict"`
	Message    string          `json:"message"`
	ProviderID string          `json:"provider_id"`
}

// ScenarioImage is the scenario of results that image builds give.
const ScenarioImage = "image"

// buildImage is the workflow of one image. Trouble with the infrastructure gets a fresh server, as
// often as the configuration allows. Its error is errStopped or a cancellation.
func (e *Engine) buildImage(ctx dbos.Context, in imageInput) (imageOutput, error) {
	var out imageOutput
	err := e.stage(ctx, in.Run, in.Stage, func(note func(string)) error {
		var count attempts
		for attempt := 1; ; attempt++ {
			var err error
			out, err = step(ctx, e, in.Run, fmt.Sprintf("build, attempt %d", attempt), func(ctx context.Context) (imageOutput, error) {
				return e.build(e.patient(ctx, in.Run, in.Stage, note), in, attempt, note)
			})
			if err != nil {
				return err
			}
			if out.Verdict == verdict.Passed {
				return nil
			}
			bad := &judgedError{out.Verdict, out.Message}
			if final(bad) {
				return bad
			}
			if again, err := e.another(ctx, in.Run, in.Stage, attempt, &count, bad, note); err != nil {
				return err
			} else if !again {
				return bad
			}
		}
	})
	if verdict.CauseOf(err) == verdict.Cancelled || errors.Is(err, errStopped) {
		return out, err
	}
	if err != nil && out.Message == "" { // trouble of our own
		out = imageOutput{Verdict: verdictOf(err), Message: "image of " + in.Role + ": " + err.Error()}
	}
	return out, nil
}

// build makes one image, or adopts the one that an earlier process made, and records it.
func (e *Engine) build(ctx context.Context, in imageInput, attempt int, note func(string)) (imageOutput, error) {
	p, err := e.products.get(ctx, in.Commit)
	if err != nil {
		return imageOutput{}, err
	}
	spec := imager.Spec{
		Product: p.Product, Commit: in.Commit, Archive: p.archive, Role: in.Role, Base: in.Base,
		Run: in.Run, Owner: e.Config.Owner, Branch: in.Branch,
		Deadline: e.Now().Add(e.Config.Environment.Deadline),
	}
	if in.Set != in.Run {
		spec.Variant = config.ChannelOf(in.Branch)
	}
	deps := imager.Deps{
		Provider: e.Cloud, ProviderName: e.Config.Provider.Kind, Benches: imager.OnSite(e.Site), Journal: e.Journal, Log: e.Log,
		Progress: func(p imager.Progress) {
			if !p.Done {
				note(p.Step)
			}
		},
	}
	started := e.Now()
	result, err := imager.Build(ctx, spec, deps)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return imageOutput{}, errors.Join(cause, err)
		}
		return e.badImage(ctx, in, attempt, result, err)
	}
	image := result.Image
	image.Run = in.Run
	if err := e.Ledger.RecordImage(ctx, image); err != nil {
		return imageOutput{}, err
	}
	good := e.imageResult(in, attempt)
	good.Outcome, good.Duration = ledger.Passed, e.Now().Sub(started)
	return imageOutput{Verdict: verdict.Passed, ProviderID: image.ProviderID}, e.Ledger.RecordResults(ctx, good)
}

func (e *Engine) imageResult(in imageInput, attempt int) ledger.Result {
	return ledger.Result{
		ResultKey: ledger.ResultKey{
			Run: in.Run, Scenario: ScenarioImage, Origin: originBase, Phase: "baked", Tier: verifier.Build,
			Suite: EnvironmentSuite, Test: in.Stage, Server: in.Role, Attempt: attempt,
		},
		Recorded: e.Now(),
	}
}

// badImage judges a build that gave no image and records why.
func (e *Engine) badImage(ctx context.Context, in imageInput, attempt int, result imager.Result, err error) (imageOutput, error) {
	cause := verdict.CauseOf(err)
	out := imageOutput{Verdict: verdict.Judge(cause, result.Audit), Message: "image of " + in.Role + ": " + err.Error()}
	r := e.imageResult(in, attempt)
	r.Outcome, r.Cause, r.Message, r.Lines = ledger.Inconclusive, cause, firstLine(err.Error()), err.Error()+"\n"+result.Lines
	if out.Verdict == verdict.Failed {
		r.Outcome = ledger.Failed
	}
	for _, finding := range result.Audit.Findings {
		r.Lines += "\naudit: " + finding
	}
	return out, e.Ledger.RecordResults(ctx, r)
}
