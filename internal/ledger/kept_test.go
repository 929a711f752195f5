package ledger

import (
	"reflect"
	"slices"
	"testing"
)

// Every history of up to five looks at one test: what is kept never forgets what a look has proved.
func TestNothingProvedIsForgotten(t *testing.T) {
	outcomes := []Outcome{Passed, Failed, Inconclusive, Skipped, Flaky, NotRun, Failing, ""}
	var look func(history []Outcome, kept Result)
	look = func(history []Outcome, kept Result) {
		if len(history) == 5 || t.Failed() {
			return
		}
		for _, o := range outcomes {
			now := Result{Outcome: o, Message: string(o)}
			next := now
			if len(history) > 0 {
				next = Kept(kept, now)
			}
			h := append(slices.Clip(history), o)
			for _, broken := range []struct {
				law string
				is  bool
			}{
				{"a judgement stays one", kept.Outcome.judged() && !next.Outcome.judged()},
				{"what failed has failed or is flaky", slices.Contains(h, Failed) && next.Outcome != Failed && next.Outcome != Flaky},
				{"what was flaky is no better", (kept.Outcome == Flaky) && next.Outcome != Flaky && next.Outcome != Failed},
				{"what passed is not unproved", kept.Outcome == Passed && (next.Outcome == Skipped || !next.Outcome.judged())},
				{"a pass counts", o == Passed && next.Outcome != Passed && next.Outcome != Flaky},
				{"a failure counts", o == Failed && next.Outcome != Failed},
				{"a failure without its audit leaves a mark", kept.Outcome == Failing && o == Passed && next.Outcome != Flaky},
				{"to record the same again changes nothing", !reflect.DeepEqual(Kept(next, now), next)},
			} {
				if broken.is {
					t.Errorf("%q: %s, but %q became %q", h, broken.law, kept.Outcome, next.Outcome)
				}
			}
			look(h, next)
		}
	}
	look(nil, Result{})
}
