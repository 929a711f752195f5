package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dbos-inc/dbos-transact-golang/dbos"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/verdict"
	"github.com/hallmark-ci/hallmark/verifier"
)

// conclusion is what a run came to.
type conclusion struct {
	Verdict verdict.Verdict `json:"verdict"`
	Reason  string          `json:"reason"`
}

// run is the workflow of one run: check, base, images, environments, gate, promotion. It always
// concludes; its error is only ever errStopped.
func (e *Engine) run(ctx dbos.Context, id string) (conclusion, error) {
	c, err := e.pass(ctx, id)
	if err = stopped(ctx, err); errors.Is(err, errStopped) {
		return c, err
	}
	state := ledger.Finished
	if err != nil {
		c = conclusion{Verdict: verdictOf(err), Reason: err.Error()}
		if verdict.CauseOf(err) == verdict.Cancelled {
			state = ledger.Cancelled
		}
	}
	return c, cleanup(ctx, "conclude", func(ctx context.Context) error {
		if err := prune(ctx, e.Parts, id); err != nil {
			e.Log.Warn("remove superseded images; the reaper will retry", "run", id, "err", err)
		}
		if err := e.Tidy(ctx, id); err != nil {
			e.Log.Warn("tidy up; the next run will retry", "run", id, "err", err)
		}
		r, err := e.Ledger.UpdateRun(ctx, id, func(r *ledger.Run) {
			if state != ledger.Cancelled || r.Reason == "" { // it says who cancelled it
				r.Reason = c.Reason
			}
			r.State, r.Verdict, r.Finished = state, c.Verdict, e.Now()
		})
		e.Log.Info("run ends", "run", id, "verdict", r.Verdict, "reason", r.Reason)
		return err
	})
}

// pass goes through the stages of a run in order.
func (e *Engine) pass(ctx dbos.Context, id string) (conclusion, error) {
	run, err := step(ctx, e, id, "begin", func(ctx context.Context) (ledger.Run, error) {
		return e.Ledger.UpdateRun(ctx, id, func(r *ledger.Run) {
			if r.Started.IsZero() {
				r.Started = e.Now()
			}
		})
	})
	if err != nil {
		return conclusion{}, err
	}
	var from []source
	if err := e.stage(ctx, run.ID, "check", func(func(string)) (err error) {
		from, err = e.check(ctx, run)
		return err
	}); err != nil {
		return conclusion{}, err
	}
	var base cloud.Image
	if err := e.stage(ctx, run.ID, "base", func(note func(string)) (err error) {
		if err := e.room(ctx, run); err != nil {
			return err
		}
		base, err = e.base(ctx, run, note)
		return err
	}); err != nil {
		return conclusion{}, err
	}
	plan, err := step(ctx, e, id, "plan", func(ctx context.Context) (runPlan, error) { return e.plan(ctx, run, base, from) })
	if err != nil {
		return conclusion{}, err
	}
	if err := e.buildAll(ctx, run, &plan); err != nil {
		return conclusion{}, err
	}
	set, err := step(ctx, e, id, "record sets", func(ctx context.Context) (ledger.ImageSet, error) { return e.recordSets(ctx, run, plan) })
	if err != nil {
		return conclusion{}, err
	}
	if err := e.withNeighbour(ctx, run, plan, func(neighbour string) error { return e.verifyAll(ctx, run, plan, neighbour) }); err != nil {
		return conclusion{}, err
	}
	return e.judge(ctx, run, plan, set)
}

// check looks at the product before anything is launched: at the run's own commit, and at what the run
// will upgrade from, which it settles.
func (e *Engine) check(ctx dbos.Context, run ledger.Run) ([]source, error) {
	return step(ctx, e, run.ID, "check", func(ctx context.Context) ([]source, error) {
		if err := noneYet(ctx, e.Parts); err != nil {
			return nil, err
		}
		if err := e.checkOwn(ctx, run); err != nil {
			return nil, err
		}
		from, err := e.upgradeSources(ctx, run)
		if err != nil {
			return nil, err
		}
		for _, s := range from {
			if err := e.checkSource(ctx, s); err != nil {
				return nil, err
			}
		}
		return from, nil
	})
}

func (e *Engine) checkOwn(ctx context.Context, run ledger.Run) error {
	p, err := e.products.get(ctx, run.Commit)
	if err != nil {
		return unreadable(err)
	}
	if err := p.Unused(); err != nil {
		return unreadable(ofProduct(err))
	}
	if err := p.Refused(e.Site.Egress, e.Site.Most); err != nil {
		return unreadable(ofProduct(err))
	}
	if err := fits(p.Product, e.Slots.Max()); err != nil {
		return err
	}
	for _, tier := range tiers(e.Config.Policy[run.Kind]) {
		if err := verifier.Check(p.Product, tier); err != nil {
			return verdict.Errorf(verdict.CheckFailed, "", "%w", err)
		}
	}
	problems, err := product.Check(ctx, p.Product, nil)
	if err != nil {
		return fmt.Errorf("check %s: %w", run.Commit, err)
	}
	if len(problems) == 0 {
		return nil
	}
	var lines []string
	for _, problem := range problems {
		lines = append(lines, problem.String())
	}
	return verdict.Errorf(verdict.CheckFailed, "", "%s", strings.Join(lines, "\n"))
}

// unreadable says whose fault it is that a product cannot be read: its own, if its files are wrong.
func unreadable(err error) error {
	if _, ok := errors.AsType[badProduct](err); ok {
		return verdict.Errorf(verdict.CheckFailed, "", "%w", err)
	}
	return err
}

// tiers are those of which a policy requires anything.
func tiers(policy config.Policy) []string {
	var all []string
	for _, r := range policy.Require {
		all = append(all, r.Tiers...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// room looks at the disk before anything is made that would fill it: the daemon looked when it started, which
// may be months ago.
func (e *Engine) room(ctx dbos.Context, run ledger.Run) error {
	_, err := step(ctx, e, run.ID, "room", func(ctx context.Context) (bool, error) {
		if e.Room == nil {
			return true, nil
		}
		if err := e.Room(ctx); err != nil {
			return false, verdict.Errorf(verdict.CloudCapacity, "", "too little disk, so nothing is begun: %w", err)
		}
		return true, nil
	})
	return err
}

func (e *Engine) base(ctx dbos.Context, run ledger.Run, note func(string)) (cloud.Image, error) {
	return step(ctx, e, run.ID, "base", func(ctx context.Context) (cloud.Image, error) {
		base, err := e.EnsureBase(ctx, lines(note))
		if err != nil {
			return base, err
		}
		_, err = e.Ledger.UpdateRun(ctx, run.ID, func(r *ledger.Run) { r.Base = base.Digest })
		return base, err
	})
}

// lines is a writer that passes on each last line written.
type lines func(string)

func (l lines) Write(p []byte) (int, error) {
	if text := strings.TrimSpace(string(p)); text != "" {
		all := strings.Split(text, "\n")
		l(all[len(all)-1])
	}
	return len(p), nil
}

// buildAll builds the images of the run's own commit, and those of release branches of which no
// images are left. Each is a workflow of its own; the queue limits how many build at once.
func (e *Engine) buildAll(ctx dbos.Context, run ledger.Run, plan *runPlan) error {
	type building struct {
		build  imageInput
		handle dbos.WorkflowHandle[imageOutput]
	}
	var all []building
	for _, b := range plan.Builds {
		handle, err := dbos.RunWorkflow(ctx, e.buildImage, b, dbos.WithWorkflowID(run.ID+"/"+b.Stage), dbos.WithQueue(e.images))
		if err != nil {
			return stopped(ctx, err)
		}
		all = append(all, building{b, handle})
	}
	var failed error
	for _, b := range all {
		out, err := result(ctx, b.handle)
		switch {
		case errors.Is(err, errStopped):
			return err
		case err != nil:
			failed = errors.Join(failed, err)
		case out.Verdict != verdict.Passed:
			if failed == nil || out.Verdict == verdict.Failed {
				failed = &judgedError{out.Verdict, out.Message}
			}
		default:
			plan.addImage(b.build, out.ProviderID)
		}
	}
	return failed
}

// verifyAll runs every lane of the plan. What the lanes find is in the ledger; the gate reads it.
func (e *Engine) verifyAll(ctx dbos.Context, run ledger.Run, plan runPlan, neighbour string) error {
	var handles []dbos.WorkflowHandle[string]
	for _, l := range plan.lanes(run, neighbour) {
		handle, err := dbos.RunWorkflow(ctx, e.lane, l, dbos.WithWorkflowID(run.ID+"/"+l.Name), dbos.WithQueue(e.lanes))
		if err != nil {
			return stopped(ctx, err)
		}
		handles = append(handles, handle)
	}
	var failed error
	for _, h := range handles {
		_, err := result(ctx, h)
		if errors.Is(err, errStopped) {
			return err
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// judge is the gate and what follows from it.
func (e *Engine) judge(ctx dbos.Context, run ledger.Run, plan runPlan, set ledger.ImageSet) (conclusion, error) {
	var judged gateOutput
	if err := e.stage(ctx, run.ID, "gate", func(func(string)) (err error) {
		judged, err = step(ctx, e, run.ID, "gate", func(ctx context.Context) (gateOutput, error) { return e.gate(ctx, run, plan, set) })
		if err == nil && judged.Decision.Verdict != verdict.Passed {
			return &judgedError{judged.Decision.Verdict, judged.Decision.Summary()}
		}
		return err
	}); err != nil {
		return conclusion{}, err
	}
	c := conclusion{Verdict: verdict.Passed, Reason: judged.Decision.Summary()}
	switch {
	case run.Options.NoPromote:
		c.Reason += "; not promoted, as asked"
		return c, nil
	case plan.Channel == "":
		c.Reason += "; the policy names no channel to promote to"
		return c, nil
	}
	err := e.stage(ctx, run.ID, "promote", func(func(string)) error {
		p, err := step(ctx, e, run.ID, "promote", func(ctx context.Context) (promotion, error) { return e.promote(ctx, run, plan, judged) })
		if err == nil && p.Refused != "" {
			c.Reason += fmt.Sprintf("; not promoted to %s: %s", p.Channel, p.Refused)
			return nil
		}
		c.Reason += "; promoted to " + p.Channel
		if err != nil || e.publisher() == nil {
			return err
		}
		trouble, err := step(ctx, e, run.ID, "point", func(ctx context.Context) (string, error) {
			err := Align(ctx, e.Parts)
			if err == nil || ctx.Err() != nil {
				return "", err
			}
			e.Log.Warn("tell the provider what channels hold; the next look will retry", "run", run.ID, "err", err)
			return firstLine(err.Error()), nil
		})
		if errors.Is(err, errStopped) {
			return err
		}
		if err != nil {
			trouble = err.Error()
		}
		if trouble != "" { // it is promoted all the same
			c.Reason += ", which the provider does not tell yet: " + trouble
		}
		return nil
	})
	return c, err
}
