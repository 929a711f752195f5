package report

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// Timeline is the run's stages over time, as a tree told from top to bottom.
type Timeline struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	Bars  []Bar     `json:"bars"`
	Ticks []Tick    `json:"-"`
}

// Bar is one stage. Left and Width are percent of the whole timeline.
type Bar struct {
	Path   string   `json:"path"`
	Name   string   `json:"name"` // Path without its parent's
	Depth  int      `json:"depth"`
	Status Status   `json:"status"`
	Detail string   `json:"detail,omitempty"`
	After  Duration `json:"after_ns"` // from the start of the timeline
	Took   Duration `json:"took_ns"`
	Left   float64  `json:"-"`
	Width  float64  `json:"-"`
}

// Tick is a mark of the time axis.
type Tick struct {
	Left  float64
	Label string
}

func newTimeline(d Data) Timeline {
	var t Timeline
	if len(d.Stages) == 0 {
		return t
	}
	t.Start, t.End = d.Run.Started, d.Run.Finished
	for _, s := range d.Stages {
		if t.Start.IsZero() || s.Started.Before(t.Start) {
			t.Start = s.Started
		}
		if end := endOf(s, d.Now); end.After(t.End) {
			t.End = end
		}
	}
	whole := max(t.End.Sub(t.Start), time.Second)
	percent := func(d time.Duration) float64 { return 100 * float64(d) / float64(whole) }
	var under func(above string, depth int)
	under = func(above string, depth int) {
		for _, s := range children(d.Stages, above) {
			took := endOf(s, d.Now).Sub(s.Started)
			b := Bar{
				Path: s.Path, Name: strings.TrimPrefix(s.Path, above+"/"), Depth: depth, Status: Going, Detail: Plain(s.Detail),
				After: Duration(s.Started.Sub(t.Start)), Took: Duration(took), Left: percent(s.Started.Sub(t.Start)), Width: percent(took),
			}
			if s.State == "done" {
				b.Status = statusOfVerdict(s.Verdict)
			}
			t.Bars = append(t.Bars, b)
			under(s.Path, depth+1)
		}
	}
	under("", 0)
	every := tickEvery(whole)
	for at := time.Duration(0); at <= whole; at += every {
		t.Ticks = append(t.Ticks, Tick{percent(at), tickLabel(at)})
	}
	return t
}

// tickLabel is a round time without the parts that are zero.
func tickLabel(at time.Duration) string {
	text := at.String() // 1h30m0s
	if at >= time.Minute {
		text = strings.TrimSuffix(text, "0s")
	}
	if at >= time.Hour {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func endOf(s ledger.Stage, now time.Time) time.Time {
	if s.Finished.IsZero() {
		return now
	}
	return s.Finished
}

// children are the stages right below a path, by time. A path may hold slashes of its own (a branch),
// so the parent of a stage is the longest other path that it goes on from.
func children(stages []ledger.Stage, above string) []ledger.Stage {
	var found []ledger.Stage
	for _, s := range stages {
		if parentOf(stages, s.Path) == above {
			found = append(found, s)
		}
	}
	slices.SortStableFunc(found, func(a, b ledger.Stage) int {
		return cmp.Or(a.Started.Compare(b.Started), compareNames(a.Path, b.Path))
	})
	return found
}

func parentOf(stages []ledger.Stage, path string) string {
	longest := ""
	for _, s := range stages {
		if strings.HasPrefix(path, s.Path+"/") && len(s.Path) > len(longest) {
			longest = s.Path
		}
	}
	return longest
}

// parent reports whether other stages are below this one; with failed, only those that did not pass count.
func parent(stages []ledger.Stage, path string, failed bool) bool {
	return slices.ContainsFunc(stages, func(s ledger.Stage) bool {
		return strings.HasPrefix(s.Path, path+"/") && (!failed || s.State == "done" && statusOfVerdict(s.Verdict) != Good)
	})
}

func tickEvery(whole time.Duration) time.Duration {
	for _, every := range []time.Duration{
		time.Second, 5 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
		10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour,
	} {
		if whole/every <= 8 {
			return every
		}
	}
	return 24 * time.Hour
}
