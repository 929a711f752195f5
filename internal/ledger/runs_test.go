package ledger

import (
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/verdict"
)

func TestRunID(t *testing.T) {
	id, err := RunID(time.Date(2026, 11, 23, 21, 41, 5, 0, time.UTC), "nightly", strings.NewReader("\xab\x12\xcd"))
	must(t, err)
	if want := "20261123-2141-nightly-ab12cd"; id != want {
		t.Errorf("id is %s, want %s", id, want)
	}
}

func TestRunKeepsEverything(t *testing.T) {
	l := fresh(t)
	want := Run{ID: "r", Kind: "nightly", Branch: "main", Commit: "c1", Trigger: "hand", Actor: "ann", State: Working,
		Verdict: verdict.Failed, Reason: "why", Base: "sha256:b", Set: "s", Options: RunOptions{NoPromote: true, RetryOf: "q"},
		Created: noon, Started: noon.Add(time.Nanosecond), Finished: noon.Add(time.Hour)}
	must(t, l.CreateRun(t.Context(), want))
	if got := get[Run](t)(l.Run(t.Context(), "r")); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	must(t, l.CreateRun(t.Context(), want)) // the same again
	other := want
	other.Branch = "release/1.0"
	wantError(t, l.CreateRun(t.Context(), other), ErrExists)
	_, err := l.Run(t.Context(), "nobody")
	wantError(t, err, ErrNotFound)
}

func TestUpdateRunComparesState(t *testing.T) {
	l := fresh(t)
	must(t, l.CreateRun(t.Context(), Run{ID: "r"}))
	finish := func(r *Run) { r.State, r.Verdict = Finished, verdict.Passed }
	_, err := l.UpdateRun(t.Context(), "r", finish, Working, Cancelling)
	wantError(t, err, ErrMoved)
	if r := get[Run](t)(l.Claim(t.Context(), "r")); r.State != Working || r.Started.IsZero() {
		t.Errorf("claimed run is %+v", r)
	}
	_, err = l.Claim(t.Context(), "r")
	wantError(t, err, ErrMoved)
	if r := get[Run](t)(l.UpdateRun(t.Context(), "r", finish, Working)); r.Verdict != verdict.Passed {
		t.Errorf("finished run is %+v", r)
	}
	_, err = l.UpdateRun(t.Context(), "nobody", finish)
	wantError(t, err, ErrNotFound)
}

func TestCancel(t *testing.T) {
	for name, c := range map[string]struct {
		state, want RunState
		err         error
	}{
		"queued ends at once":    {Queued, Cancelled, nil},
		"running is asked":       {Working, Cancelling, nil},
		"asked twice":            {Cancelling, Cancelling, nil},
		"cancelled stays so":     {Cancelled, Cancelled, nil},
		"finished is left alone": {Finished, Finished, ErrMoved},
	} {
		t.Run(name, func(t *testing.T) {
			l := fresh(t)
			must(t, l.CreateRun(t.Context(), Run{ID: "r", State: c.state}))
			_, err := l.RequestCancel(t.Context(), "r", "ann")
			wantError(t, err, c.err)
			if r := get[Run](t)(l.Run(t.Context(), "r")); r.State != c.want {
				t.Errorf("state is %s, want %s", r.State, c.want)
			}
		})
	}
}

func TestQueueGivesEachRunOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	first := open(t, path)
	const runs = 12
	for i := range runs {
		must(t, first.CreateRun(t.Context(), Run{ID: string(rune('a' + i)), Created: noon.Add(time.Duration(runs-i) * time.Second)}))
	}
	if oldest := get[Run](t)(first.ClaimQueued(t.Context())); oldest.ID != "l" {
		t.Errorf("claimed %s, want the oldest, l", oldest.ID)
	}
	var claimed atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		l := open(t, path)
		wg.Go(func() {
			for {
				if _, err := l.ClaimQueued(t.Context()); err != nil {
					if !errors.Is(err, ErrNotFound) {
						t.Error(err)
					}
					return
				}
				claimed.Add(1)
			}
		})
	}
	wg.Wait()
	if claimed.Load() != runs-1 {
		t.Errorf("%d runs claimed, want %d", claimed.Load(), runs-1)
	}
}

func TestRunsFilter(t *testing.T) {
	l := fresh(t)
	for i, r := range []Run{
		{ID: "1", Kind: "nightly", Branch: "main", State: Finished},
		{ID: "2", Kind: "release", Branch: "release/1.0", State: Finished},
		{ID: "3", Kind: "nightly", Branch: "main", State: Cancelled},
		{ID: "4", Kind: "nightly", Branch: "main", State: Queued},
	} {
		r.Created = noon.Add(time.Duration(i) * time.Minute)
		must(t, l.CreateRun(t.Context(), r))
	}
	for name, c := range map[string]struct {
		filter RunFilter
		want   string
	}{
		"all":     {RunFilter{}, "4321"},
		"branch":  {RunFilter{Branch: "main"}, "431"},
		"states":  {RunFilter{States: []RunState{Finished, Cancelled}}, "321"},
		"since":   {RunFilter{Since: noon.Add(2 * time.Minute)}, "43"},
		"limit":   {RunFilter{Branch: "main", Limit: 2}, "43"},
		"nothing": {RunFilter{Kind: "release", Branch: "main"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ids := ""
			for _, r := range get[[]Run](t)(l.Runs(t.Context(), c.filter)) {
				ids += r.ID
			}
			if ids != c.want {
				t.Errorf("got %q, want %q", ids, c.want)
			}
		})
	}
}

func TestBranchStatus(t *testing.T) {
	for name, c := range map[string]struct {
		verdicts                    string // oldest first: p f i, t timed out, o timed out before it was told so, c cancelled, n and h: no promotion, not the head
		verdict                     verdict.Verdict
		last, since, before, latest string
	}{
		"no run":                  {"", verdict.Inconclusive, "", "", "", ""},
		"one":                     {"p", verdict.Passed, "0", "0", "", "0"},
		"green since the second":  {"fpp", verdict.Passed, "2", "1", "0", "2"},
		"inconclusive is ignored": {"fpipi", verdict.Passed, "3", "1", "0", "4"},
		"red":                     {"ppfif", verdict.Failed, "4", "2", "1", "4"},
		"nothing learnt":          {"ii", verdict.Inconclusive, "", "", "", "1"},
		"out of time":             {"pt", verdict.Passed, "0", "0", "", "1"},
		"out of time, long ago":   {"po", verdict.Passed, "0", "0", "", "1"},
		"cancelled by a person":   {"pc", verdict.Passed, "0", "0", "", "0"},
		"bisected by hand":        {"pnnh", verdict.Passed, "0", "0", "", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			l := fresh(t)
			for i, v := range c.verdicts {
				r := Run{ID: string(rune('0' + i)), Branch: "main", State: Finished, Created: noon.Add(time.Duration(i) * time.Hour)}
				r.Verdict = map[rune]verdict.Verdict{'p': verdict.Passed, 'f': verdict.Failed}[v]
				switch v {
				case 't':
					r.State = Working
				case 'o':
					r.State, r.Reason = Cancelled, "cancelled by timeouts.run"
				case 'c':
					r.State, r.Reason = Cancelled, "cancelled by ada"
				case 'n':
					r.Verdict, r.Options.NoPromote = verdict.Failed, true
				case 'h':
					r.Verdict, r.Options.NotHead = verdict.Failed, true
				}
				must(t, l.CreateRun(t.Context(), r))
				if v == 't' {
					get[Run](t)(l.RequestCancel(t.Context(), r.ID, ByTimeout))
					get[Run](t)(l.UpdateRun(t.Context(), r.ID, func(r *Run) { r.State = Cancelled }))
				}
			}
			s := get[BranchStatus](t)(l.BranchStatus(t.Context(), "main", ""))
			id := func(r *Run) string {
				if r == nil {
					return ""
				}
				return r.ID
			}
			got := []string{s.Verdict.String(), id(s.Last), id(s.Since), id(s.Before), id(s.Latest)}
			want := []string{c.verdict.String(), c.last, c.since, c.before, c.latest}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got verdict, last, since, before, latest = %q, want %q", got, want)
			}
		})
	}
}
