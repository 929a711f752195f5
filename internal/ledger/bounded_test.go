package ledger

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestBounded(t *testing.T) {
	for name, c := range map[string]struct{ text, head, tail string }{
		"short":          {"nginx runs", "nginx runs", "nginx runs"},
		"not UTF-8":      {"caf\xe9", "caf\uFFFD", "caf\uFFFD"},
		"long":           {"begin" + strings.Repeat("x", 1<<20) + "end", "beginxxx", "xxxend"},
		"wide runes":     {strings.Repeat("€", 1<<19), "€€", "€€"},
		"wide, shifted":  {"a" + strings.Repeat("😀", 1<<18) + "bc", "a😀", "😀bc"},
		"only bad bytes": {strings.Repeat("\xff\x80 ", 1<<19), "\uFFFD ", "\uFFFD "},
	} {
		t.Run(name, func(t *testing.T) {
			for _, most := range []int{100, 101, 102, 103, mostMessage, mostLines} {
				got := bounded(c.text, most)
				if len(got) > most || !utf8.ValidString(got) || !strings.HasPrefix(got, c.head) || !strings.HasSuffix(got, c.tail) {
					t.Errorf("at most %d bytes: %d bytes, %.40q…", most, len(got), got)
				}
				if len(c.text) > 1000*most && !strings.Contains(got, "bytes left out") {
					t.Errorf("%.200q does not tell that something is missing", got)
				}
			}
		})
	}
}

// Whatever a program says goes through one of these doors.
func TestLongTextsAreBoundedAsTheyAreStored(t *testing.T) {
	l := fresh(t)
	ctx, long := t.Context(), "first "+strings.Repeat("noise\xff\n", 300_000)+"last"
	must(t, l.CreateRun(ctx, Run{ID: "r", Branch: "main", Reason: long}))
	must(t, l.RecordStage(ctx, Stage{Run: "r", Path: "check", Detail: long}))
	must(t, l.RecordResults(ctx, Result{ResultKey: ResultKey{Run: "r", Test: "t"}, Outcome: Failed, Message: long, Lines: long}))
	must(t, l.RecordResults(ctx, Result{ResultKey: ResultKey{Run: "r", Test: "t"}, Outcome: Passed}))
	created := get[Run](t)(l.Run(ctx, "r")).Reason
	updated := get[Run](t)(l.UpdateRun(ctx, "r", func(r *Run) { r.Reason = long })).Reason
	must(t, l.RecordSet(ctx, ImageSet{ID: "s", Run: "r"}))
	must(t, l.RecordEvidence(ctx, Evidence{Set: "s", Run: "r", Statement: []byte("{}")}))
	get[Channel](t)(l.MoveChannel(ctx, Move{Channel: "c", To: "s", Kind: Promote, Reason: long}, 0))
	moved := get[[]Move](t)(l.Moves(ctx, "c", 0))[0].Reason
	get[[]Move](t)(l.RevokeSet(ctx, "s", "ada", long))
	result := get[[]Result](t)(l.Results(ctx, "r"))[0]
	for what, c := range map[string]struct {
		text string
		most int
	}{
		"a new run's reason": {created, mostMessage}, "a run's reason": {updated, mostMessage}, "a move's reason": {moved, mostMessage},
		"a revocation's reason": {get[ImageSet](t)(l.Set(ctx, "s")).Revoked, mostMessage}, "a stage's detail": {get[[]Stage](t)(l.Stages(ctx, "r"))[0].Detail, mostDetail},
		"a result's message": {result.Message, mostMessage}, "a result's lines": {result.Lines, mostLines},
	} {
		if len(c.text) > c.most || !utf8.ValidString(c.text) || !strings.Contains(c.text, "first noise") || !strings.HasSuffix(c.text, "last") {
			t.Errorf("%s has %d bytes, want at most %d with head and tail: %.60q…", what, len(c.text), c.most, c.text)
		}
	}
}
