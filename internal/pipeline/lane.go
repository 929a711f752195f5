package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
	"github.com/hallmark-ci/hallmark/upgrader"
	"github.com/hallmark-ci/hallmark/verifier"
)

// laneInput is one worker's sequence of work on one environment. It holds references only, for it is stored.
type laneInput struct {
	Run      string      `json:"run"`
	Name     string      `json:"name"` // "verify base": a stage of the run
	Scenario string      `json:"scenario"`
	Origin   string      `json:"origin"`
	Base     cloud.Image `json:"base"`
	From     *source     `json:"from,omitempty"` // what is upgraded, nil for verify
	To       source      `json:"to"`             // the run's own commit

	Neighbour string `json:"neighbour"` // address in another environment that no server may reach
}

// lane is the workflow of one lane. What it finds goes to the ledger; its error is errStopped, a
// cancellation, or trouble of our own. Trouble with the infrastructure gets a fresh environment, as
// often as the configuration allows. An attempt that could not even be prepared is the last: the next
// would fare no better, and a resumed run would take its steps for those of the first.
func (e *Engine) lane(ctx dbos.Context, in laneInput) (string, error) {
	err := e.stage(ctx, in.Run, in.Name, func(note func(string)) error {
		var count attempts
		for number := 1; ; number++ {
			w, err := e.newWork(ctx, in, number)
			if err != nil {
				return stopped(ctx, err)
			}
			if err = stopped(ctx, w.attempt(ctx)); final(err) {
				return err
			}
			if again, trouble := e.another(ctx, in.Run, in.Name, number, &count, err, note); trouble != nil {
				return trouble
			} else if !again {
				return err
			}
		}
	})
	if errors.Is(err, errStopped) || verdict.CauseOf(err) == verdict.Cancelled {
		return "", err
	}
	return verdictOf(err).String(), nil
}

// work is a lane's attempt while it is being done.
type work struct {
	*Engine
	in      laneInput
	number  int
	env     *environment.Environment
	images  map[string]cloud.ImageID // that its servers are to be launched from, by role
	from    *copyOf                  // nil for verify
	to      *copyOf
	release func() // gives back the room that was reserved for its servers

	mu sync.Mutex
	up bool // this process has looked at the environment since it started
}

// newWork plans the environment of one attempt, or finds it again, and waits until there is room for
// its servers.
func (e *Engine) newWork(ctx context.Context, in laneInput, number int) (*work, error) {
	w := &work{Engine: e, in: in, number: number, release: func() {}}
	var err error
	if w.to, err = e.products.get(ctx, in.To.Commit); err != nil {
		return nil, err
	}
	launched, from := w.to, in.To
	if in.From != nil {
		if w.from, err = e.products.get(ctx, in.From.Commit); err != nil {
			return nil, err
		}
		launched, from = w.from, *in.From
	}
	if w.images, err = in.images(from, launched.Product); err != nil {
		return nil, err
	}
	// Both are recorded with the environment: a process that goes on with it finds them there.
	deadline := e.Now().Add(e.Config.Environment.Deadline)
	w.env, err = e.Site.Plan(ctx, environment.Spec{
		ID: environment.ID(in.Run, in.Name, strconv.Itoa(number)), Owner: e.Config.Owner, Run: in.Run,
		Name: fmt.Sprintf("%s, attempt %d", in.Name, number), Product: launched.Product, Commit: from.Commit, Archive: launched.archive,
		Origin: environment.Origin(in.Origin), Images: w.images, Control: in.Base.ID, Deadline: deadline, Lease: e.Now().Add(e.Config.Environment.Lease),
	})
	if err != nil || w.env.Destroyed() { // an attempt of an earlier process: it needs no room any more
		return w, err
	}
	watched, unwatch := e.watch(ctx, in.Run)
	defer unwatch()
	release, err := e.Slots.Reserve(watched, w.env.ID(), len(w.env.Servers()))
	switch {
	case err == nil:
		w.release = release
	case !errors.Is(context.Cause(watched), errCancelled): // if so, the attempt's first step finds out, and clears away
		return nil, err
	}
	return w, nil
}

// attempt takes one fresh environment through the lane and destroys it.
func (w *work) attempt(ctx dbos.Context) (err error) {
	defer w.release()
	defer w.env.Close()
	defer w.keepLease(ctx)()
	defer func() {
		if errors.Is(err, errStopped) {
			return // the next process goes on with this environment
		}
		gone := cleanup(ctx, w.step("destroy"), func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
			defer cancel()
			if kept, err := w.Ledger.Environment(ctx, w.env.ID()); err == nil && kept.Keep {
				w.Log.Info("environment kept, as asked", "run", w.in.Run, "env", w.env.ID(), "lease", kept.Lease)
				return nil
			}
			if err := w.env.Destroy(ctx); err != nil {
				w.Log.Warn("destroy; the reaper will retry", "run", w.in.Run, "env", w.env.ID(), "err", err)
			}
			return nil
		})
		if errors.Is(gone, errStopped) {
			err = gone
		}
	}()
	if w.in.From != nil {
		return w.upgrade(ctx)
	}
	return w.verify(ctx)
}

// keepLease extends the lease while this process works on the environment, however long a step takes,
// so that it ends soon after the work does.
func (w *work) keepLease(ctx context.Context) (stop func()) {
	if w.env.Destroyed() {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var keeper sync.WaitGroup
	keeper.Go(func() {
		lease := w.Config.Environment.Lease
		var extended time.Time
		extend := func() {
			now := w.Now()
			if now.Sub(extended) < lease/3 {
				return
			}
			if err := w.env.Extend(ctx, now.Add(lease)); err != nil {
				if ctx.Err() == nil {
					w.Log.Warn("extend the lease; tried again at once", "run", w.in.Run, "env", w.env.ID(), "err", err)
				}
				return
			}
			extended = now
		}
		extend()
		every(ctx, look, extend)
	})
	return func() {
		cancel()
		keeper.Wait()
	}
}

// Stages of a lane that change its environment.
const (
	stageLaunch  = "launch"
	stageReboot  = "reboot"
	stageUpgrade = "upgrade"
)

func (w *work) step(name string) string { return fmt.Sprintf("attempt %d: %s", w.number, name) }

// stage is the path of one of the lane's stages. Every attempt has its own, for the first one's end
// is not undone by another.
func (w *work) stage(name string) string {
	path := w.in.Name + "/" + name
	if w.number > 1 {
		path += fmt.Sprintf(" (attempt %d)", w.number)
	}
	return path
}

// verify launches the run's own commit, tests it, reboots every server and tests again, also after
// failed tests: two phases tell more than one.
func (w *work) verify(ctx dbos.Context) error {
	if err := w.do(ctx, "launched", stageLaunch, w.env.Up()); err != nil {
		return err
	}
	if err := w.recordLaunch(ctx); err != nil {
		return err
	}
	if err := w.takeInventory(ctx, "launched"); err != nil {
		return err
	}
	launched := w.suites(ctx, "launched", w.to, verifier.Smoke, verifier.Build)
	if launched != nil && verdictOf(launched) != verdict.Failed {
		return launched
	}
	if err := w.do(ctx, "rebooted", stageReboot, w.env.Reboot()); err != nil {
		return err
	}
	if err := w.suites(ctx, "rebooted", w.to, verifier.Smoke, verifier.Build); err != nil {
		return err
	}
	return launched
}

// upgrade launches production's code, smoke-tests it, follows the procedure of the new code, and
// tests with the suites of the new code.
func (w *work) upgrade(ctx dbos.Context) error {
	if err := w.do(ctx, "launched", stageLaunch, w.env.Up()); err != nil {
		return w.before("does not come up", err)
	}
	if err := w.recordLaunch(ctx); err != nil {
		return err
	}
	if err := w.suites(ctx, "launched", w.from, verifier.Smoke); err != nil {
		return w.before("fails its own smoke test", err)
	}
	steps := upgrader.Plan(w.env, environment.Code{Product: w.to.Product, Commit: w.in.To.Commit, Archive: w.to.archive})
	if err := w.do(ctx, "upgraded", stageUpgrade, steps); err != nil {
		return err
	}
	if err := w.takeInventory(ctx, "upgraded"); err != nil {
		return err
	}
	return w.suites(ctx, "upgraded", w.to, verifier.Smoke, verifier.Build)
}

// do does the steps that bring the environment into a phase. Trouble is audited, recorded as a
// result of that phase, and ends the attempt.
func (w *work) do(ctx dbos.Context, phase, stage string, steps []environment.Step) error {
	return w.Engine.stage(ctx, w.in.Run, w.stage(stage), func(note func(string)) error {
		for _, s := range steps {
			note(s.Name)
			_, err := step(ctx, w.Engine, w.in.Run, w.step(stage+": "+s.Name), func(ctx context.Context) (bool, error) {
				if err := w.adopt(ctx, stage); err != nil {
					return false, err
				}
				return true, s.Do(w.patient(ctx, w.in.Run, w.stage(stage), note))
			})
			if err == nil {
				continue
			}
			if errors.Is(err, errStopped) || verdict.CauseOf(err) == verdict.Cancelled {
				return err
			}
			return w.trouble(ctx, phase, verifier.Smoke, stage, s.Name, err)
		}
		return nil
	})
}

// takeInventory records which packages the servers have now.
func (w *work) takeInventory(ctx dbos.Context, phase string) error {
	const name = "list packages"
	_, err := step(ctx, w.Engine, w.in.Run, w.step(phase+": "+name), func(ctx context.Context) (bool, error) {
		if err := w.adopt(ctx, phase); err != nil {
			return false, err
		}
		for _, s := range w.env.Servers() {
			session, err := w.env.Session(ctx, s.Name)
			if err != nil {
				return false, err
			}
			packages, err := environment.Packages(ctx, session, s.Name)
			if err != nil {
				return false, err
			}
			if err := w.Ledger.RecordInventory(ctx, ledger.Inventory{
				Run: w.in.Run, Scenario: w.in.Scenario, Origin: w.in.Origin, Server: s.Name, Role: s.Role, Packages: packages,
			}); err != nil {
				return false, err
			}
		}
		return true, nil
	})
	if err == nil || errors.Is(err, errStopped) || verdict.CauseOf(err) == verdict.Cancelled {
		return err
	}
	return w.trouble(ctx, phase, verifier.Smoke, phase, name, err)
}

// adopt looks at an environment that an earlier process brought up, before the first thing that
// this process does to it: is it still what was left? While it is being launched or rebooted nothing
// is asked: then servers may be down, and those steps adopt what they find.
func (w *work) adopt(ctx context.Context, stage string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.up || stage == stageLaunch || stage == stageReboot {
		w.up = true
		return nil
	}
	if audit := w.env.Audit(ctx); !audit.Clean() {
		return verdict.Errorf(verdict.CloudLost, "", "the environment did not outlive the process that made it: %s", strings.Join(audit.Findings, "; "))
	}
	w.up = true
	return nil
}

// trouble judges an error of an environment's own step and records it.
func (w *work) trouble(ctx dbos.Context, phase, tier, stage, name string, err error) error {
	judged, again := step(ctx, w.Engine, w.in.Run, w.step(stage+": judge "+name), func(ctx context.Context) (ledger.Result, error) {
		cause := verdict.CauseOf(err)
		audit := w.env.Audit(ctx, w.concerns(err)...)
		r := w.result(phase, tier, EnvironmentSuite, name)
		r.Cause, r.Message, r.Outcome = verdict.Refine(cause, audit), firstLine(err.Error()), ledger.Inconclusive
		r.Lines = err.Error()
		if verdict.Judge(cause, audit) == verdict.Failed {
			r.Outcome = ledger.Failed
		}
		if said := verdict.Explain(cause, audit); said != "" {
			r.Lines += "\naudit: " + said
			if audit.Lockout.Leg != "" {
				r.Message = said + "; met at: " + r.Message
			}
		}
		if r.Cause == verdict.ServerStopped {
			r.Server = cmp.Or(audit.Stopped, verdict.ServerOf(err))
			if err := w.compareStops(ctx, &r); err != nil {
				return r, err
			}
		}
		return r, w.Ledger.RecordResults(ctx, r)
	})
	if again != nil {
		return again
	}
	v := verdict.Inconclusive
	if judged.Outcome == ledger.Failed {
		v = verdict.Failed
	}
	return &judgedError{v, name + ": " + judged.Message}
}

// concerns are the servers that an error is about; none if it names none.
func (w *work) concerns(err error) []string {
	if server := verdict.ServerOf(err); server != "" {
		return []string{server}
	}
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func (w *work) result(phase, tier, suite, test string) ledger.Result {
	return ledger.Result{
		ResultKey: ledger.ResultKey{
			Run: w.in.Run, Scenario: w.in.Scenario, Origin: w.in.Origin, Phase: phase, Tier: tier,
			Suite: suite, Test: test, Attempt: w.number,
		},
		Recorded: w.Now(),
	}
}
