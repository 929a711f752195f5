package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/dbos-inc/dbos-transact-golang/dbos"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
	"github.com/hallmark-ci/hallmark/verifier"
)

// recordLaunch writes down what the servers of this attempt were launched from, as the provider says.
func (w *work) recordLaunch(ctx dbos.Context) error {
	const name = "record what servers were launched from"
	_, err := step(ctx, w.Engine, w.in.Run, w.step(name), func(ctx context.Context) (bool, error) {
		from := w.launchedFrom()
		f := ledger.LaunchedFrom{
			Run: w.in.Run, Scenario: w.in.Scenario, Origin: w.in.Origin, Attempt: w.number,
			Branch: from.Branch, Commit: from.Commit, Images: map[string]string{},
		}
		if w.in.Origin == originPrebuilt {
			f.Set = from.Set
		}
		roles := map[string]string{} // by server
		for _, s := range w.env.Servers() {
			roles[s.Name] = s.Role
		}
		servers, err := w.Cloud.Servers(ctx, cloud.Filter{Owner: w.Config.Owner, Environment: w.env.ID()})
		if err != nil {
			return false, fmt.Errorf("which images servers were launched from: %w", err)
		}
		for _, s := range servers {
			role, ours := roles[s.Name]
			if !ours { // as a control server
				continue
			}
			if planned := w.images[role]; s.Image != planned {
				return false, verdict.Errorf(verdict.CloudLost, s.Name, "it was launched from image %q, and %q of role %s was to be", s.Image, planned, role)
			}
			f.Images[role] = string(s.Image)
			delete(roles, s.Name)
		}
		for _, missing := range slices.Sorted(maps.Keys(roles)) {
			return false, verdict.Errorf(verdict.CloudLost, missing, "the provider does not list it")
		}
		return true, w.Ledger.RecordLaunch(ctx, f)
	})
	if err == nil || errors.Is(err, errStopped) || verdict.CauseOf(err) == verdict.Cancelled {
		return err
	}
	return w.trouble(ctx, "launched", verifier.Smoke, "launched", name, err)
}

// launchedFrom is the source that the servers were launched with.
func (w *work) launchedFrom() source {
	if w.in.From != nil {
		return *w.in.From
	}
	return w.in.To
}

// before says of trouble that came before an upgrade began that it is the old release's.
func (w *work) before(what string, err error) error {
	if errors.Is(err, errStopped) || verdict.CauseOf(err) == verdict.Cancelled {
		return err
	}
	return &judgedError{verdictOf(err), w.oldRelease() + " " + what + " before the upgrade: " + err.Error()}
}

func (w *work) oldRelease() string {
	return fmt.Sprintf("the old release %s (commit %.10s)", w.in.From.Branch, w.in.From.Commit)
}

// ofOldRelease says so of the failures of tests that ran before an upgrade.
func (w *work) ofOldRelease(phase string, r ledger.Result) ledger.Result {
	if w.in.From != nil && phase == "launched" && r.Outcome == ledger.Failed {
		r.Message = w.oldRelease() + " fails its own smoke test before the upgrade: " + r.Message
	}
	return r
}

// upgradedFrom lists the image sets whose upgrade to the run's own code passed: a lane launched their very
// images, came to its end, and tested what was upgraded. It is asked of a run that passed the gate, so no
// failure is among the results but those that are waived.
func upgradedFrom(plan runPlan, launches []ledger.LaunchedFrom, ends []LaneEnd, results []ledger.Result) []string {
	var sets []string
	for _, s := range plan.Releases {
		scenario := ScenarioUpgrade(s.Branch)
		of := func(name, origin string) bool { return name == scenario && origin == originPrebuilt }
		attempt, ended, tested := 0, false, false
		for _, l := range launches {
			if of(l.Scenario, l.Origin) && l.Set == s.Set {
				attempt = max(attempt, l.Attempt)
			}
		}
		for _, end := range ends {
			ended = ended || of(end.Scenario, end.Origin) && end.Verdict != verdict.Inconclusive
		}
		for _, r := range results {
			tested = tested || of(r.Scenario, r.Origin) && r.Phase == "upgraded" && r.Attempt == attempt && r.Suite != EnvironmentSuite
		}
		if attempt > 0 && ended && tested {
			sets = append(sets, s.Set)
		}
	}
	return sets
}
