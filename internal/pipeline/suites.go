package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dbos-inc/dbos-transact-golang/dbos"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
	"github.com/hallmark-ci/hallmark/verifier"
)

// keyed completes the keys of results of the verifier.
func (w *work) keyed(phase string, results []ledger.Result) []ledger.Result {
	all := slices.Clone(results)
	for i := range all {
		key := &all[i].ResultKey
		key.Run, key.Scenario, key.Origin, key.Phase, key.Attempt = w.in.Run, w.in.Scenario, w.in.Origin, phase, w.number
		all[i] = w.ofOldRelease(phase, all[i])
	}
	return all
}

// suites runs the tests of tiers, one durable step each, all servers at the same time, and ends the
// attempt if one says that the infrastructure broke. A test that failed is never run again.
func (w *work) suites(ctx dbos.Context, phase string, code *copyOf, tiers ...string) error {
	worst := verdict.Passed
	for _, tier := range tiers {
		err := w.Engine.stage(ctx, w.in.Run, w.stage(phase+" "+tier), func(note func(string)) error {
			v, err := w.tier(ctx, phase, tier, code, note)
			worst = verdict.Worst(worst, v)
			if err == nil && v != verdict.Passed {
				err = &judgedError{v, fmt.Sprintf("%s tests %s", tier, v)}
			}
			return err
		})
		var judged *judgedError
		if err != nil && !errors.As(err, &judged) {
			return err
		}
		if worst == verdict.Inconclusive {
			return err
		}
	}
	if worst == verdict.Failed {
		return &judgedError{worst, phase + ": tests failed"}
	}
	return nil
}

// waves lays tests out so that all servers are tested at the same time, and each by one test after
// another, in the order of the plan. It depends on the plan alone, as the order of durable steps must.
func waves(tests []verifier.Test) [][]verifier.Test {
	var all [][]verifier.Test
	next := map[string]int{} // by server
	for _, t := range tests {
		n := next[t.Server]
		if n == len(all) {
			all = append(all, nil)
		}
		all[n] = append(all[n], t)
		next[t.Server]++
	}
	return all
}

func servers(wave []verifier.Test) string {
	var names []string
	for _, t := range wave {
		names = append(names, t.Server)
	}
	return strings.Join(names, ", ")
}

// test runs one test and records its results.
func (w *work) test(ctx context.Context, v verifier.Verifier, phase string, t verifier.Test) (tested, error) {
	if err := w.adopt(ctx, phase); err != nil {
		return tested{}, err
	}
	results := v.Run(ctx, t, w.env)
	if err := context.Cause(ctx); err != nil {
		return tested{}, fmt.Errorf("test cut short: %w", err)
	}
	out := tested{}
	for _, r := range results {
		switch r.Outcome {
		case ledger.Failed:
			out.Failed++
		case ledger.Inconclusive:
			out.Inconclusive++
		}
	}
	var err error
	keyed := w.keyed(phase, results)
	if out.Stops, err = w.stops(ctx, keyed); err != nil {
		return tested{}, err
	}
	return out, w.Ledger.RecordResults(ctx, keyed...)
}

// tested is what one test came to.
type tested struct {
	Failed       int    `json:"failed"`
	Inconclusive int    `json:"inconclusive"`
	Stops        string `json:"stops,omitempty"` // tells of a server that stops in every fresh environment
}

func (w *work) tier(ctx dbos.Context, phase, tier string, code *copyOf, note func(string)) (verdict.Verdict, error) {
	v := w.Verifier
	v.Neighbour = w.in.Neighbour
	v.Failing = func(ctx context.Context, failing []ledger.Result) {
		noted := w.keyed(phase, failing)
		for i := range noted {
			noted[i].Outcome = ledger.Failing
		}
		if err := w.Ledger.RecordResults(ctx, noted...); err != nil {
			w.Log.Warn("note failures before the audit", "run", w.in.Run, "stage", w.in.Name, "err", err)
		}
	}
	tests, err := v.Plan(code.Product, w.env, tier)
	if err != nil {
		return verdict.Failed, err
	}
	total, done := tested{}, 0
	for _, wave := range waves(tests) {
		done += len(wave)
		note(fmt.Sprintf("%d/%d %s on %s", done, len(tests), wave[0].Name, servers(wave)))
		var pieces []piece[tested]
		for _, t := range wave {
			pieces = append(pieces, piece[tested]{
				name: w.step(fmt.Sprintf("%s %s: %s/%s on %s", phase, tier, t.Suite, t.Name, t.Server)),
				do:   func(ctx context.Context) (tested, error) { return w.test(ctx, v, phase, t) },
			})
		}
		outs, errs := together(ctx, w.Engine, w.in.Run, pieces)
		for i, err := range errs {
			if errors.Is(err, errStopped) || verdict.CauseOf(err) == verdict.Cancelled {
				return verdict.Inconclusive, err
			}
			total.Stops = cmp.Or(total.Stops, outs[i].Stops)
			total.Failed, total.Inconclusive = total.Failed+outs[i].Failed, total.Inconclusive+outs[i].Inconclusive
		}
		for i, err := range errs {
			if err != nil {
				return verdict.Inconclusive, w.trouble(ctx, phase, tier, phase, wave[i].Name, err)
			}
		}
		if total.Inconclusive > 0 {
			break
		}
	}
	switch {
	case total.Stops != "":
		return verdict.Inconclusive, &judgedError{verdict.Inconclusive, tier + " tests inconclusive: " + total.Stops}
	case total.Inconclusive > 0:
		return verdict.Inconclusive, nil
	case total.Failed > 0:
		return verdict.Failed, nil
	}
	return verdict.Passed, nil
}
