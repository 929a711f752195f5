package ledger

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// The gate's step may be repeated after a crash, under another configuration: what was decided stays.
func TestADecisionIsStoredOnce(t *testing.T) {
	l := fresh(t)
	ctx := t.Context()
	must(t, l.CreateRun(ctx, Run{ID: "r"}))
	must(t, l.RecordSet(ctx, ImageSet{ID: "r", Run: "r"}))
	if _, err := l.Decision(ctx, "r"); !errors.Is(err, ErrNotFound) {
		t.Errorf("before the gate: %v", err)
	}
	first := Decision{Run: "r", Body: []byte(`{"verdict":"passed"}`), At: noon}
	for _, d := range []Decision{first, {Run: "r", Body: []byte(`{"verdict":"failed"}`), At: noon.Add(time.Hour)}} {
		got := get[Decision](t)(l.RecordDecision(ctx, d, &Evidence{Set: "r", Run: "r", Statement: d.Body}))
		if !reflect.DeepEqual(got, first) {
			t.Errorf("told %+v, want %+v", got, first)
		}
	}
	if got := get[Decision](t)(l.Decision(ctx, "r")); !reflect.DeepEqual(got, first) {
		t.Errorf("stored is %+v", got)
	}
	if got := get[[]Evidence](t)(l.Evidence(ctx, "r")); len(got) != 1 || string(got[0].Statement) != string(first.Body) {
		t.Errorf("evidence is %+v", got)
	}
	must(t, l.CreateRun(ctx, Run{ID: "q"}))
	if _, err := l.RecordDecision(ctx, Decision{Run: "q", Body: []byte("{}")}, &Evidence{Set: "unknown", Run: "q"}); err == nil {
		t.Error("evidence of an unknown set was recorded")
	}
	if _, err := l.Decision(ctx, "q"); !errors.Is(err, ErrNotFound) {
		t.Errorf("half of a failed write stayed: %v", err)
	}
}

// A run whose set was promoted has passed, however its end is written.
func TestAPromotedRunHasPassed(t *testing.T) {
	for name, end := range map[string]func(*Run){
		"cancelled at the end": func(r *Run) { r.State, r.Reason = Cancelled, "cancelled by ada" },
		"ran out of time":      func(r *Run) { r.State, r.Reason = Cancelled, cancelledBy(ByTimeout) },
		"mourned":              func(r *Run) { r.State, r.Verdict, r.Reason = Finished, verdict.Inconclusive, "no conclusion" },
		"failed":               func(r *Run) { r.State, r.Verdict, r.Reason = Finished, verdict.Failed, "point: no" },
		"passed":               func(r *Run) { r.State, r.Verdict, r.Reason = Finished, verdict.Passed, "promoted to development" },
	} {
		t.Run(name, func(t *testing.T) {
			l := fresh(t)
			ctx := t.Context()
			must(t, l.CreateRun(ctx, Run{ID: "r", Branch: "main", State: Working}))
			must(t, l.RecordSet(ctx, ImageSet{ID: "r", Run: "r"}))
			must(t, l.RecordEvidence(ctx, Evidence{Set: "r", Run: "r", Statement: []byte("{}")}))
			get[Channel](t)(l.MoveChannel(ctx, Move{Channel: "development", To: "r", Kind: Promote, Run: "r"}, 0))
			get[Run](t)(l.UpdateRun(ctx, "r", end))
			ended := Run{}
			end(&ended)
			r := get[Run](t)(l.Run(ctx, "r"))
			want := "promoted to development; afterwards: " + ended.Reason
			if ended.Verdict == verdict.Passed {
				want = ended.Reason
			}
			if r.State != Finished || r.Verdict != verdict.Passed || r.Reason != want {
				t.Errorf("it is %s, %s: %q, want the reason %q", r.State, r.Verdict, r.Reason, want)
			}
			if s := get[BranchStatus](t)(l.BranchStatus(ctx, "main", "")); s.Verdict != verdict.Passed {
				t.Errorf("the branch is %s", s.Verdict)
			}
		})
	}
}
