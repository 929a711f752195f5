package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/report"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// night is a run of two lanes whose stages begin and end at the given seconds; end 0: still at work.
func night(stages ...ledger.Stage) report.Timeline {
	return timeline(ledger.Run{ID: "night", Started: second(0), State: ledger.Working}, stages)
}

func second(n int) time.Time { return time.Date(2026, 11, 23, 3, 0, n, 0, time.Local) }

func ended(path string, from, to int, v verdict.Verdict, detail string) ledger.Stage {
	return ledger.Stage{Path: path, State: "done", Started: second(from), Finished: second(to), Verdict: v, Detail: detail}
}

func going(path string, from int, note string) ledger.Stage {
	return ledger.Stage{Path: path, State: "running", Started: second(from), Detail: note}
}

// Outside a terminal each thing is said once, at the time at which it happened, a part before the
// whole; what runs tests does not say each.
func TestFollowedInALog(t *testing.T) {
	t.Parallel()
	begin := []ledger.Stage{
		ended("check", 0, 1, verdict.Passed, ""),
		going("upgrade from release/1.0 base", 2, ""), going("upgrade from release/1.0 base/launched smoke", 2, "3/9 all on web-1"),
		going("verify base", 2, ""),
	}
	end := []ledger.Stage{
		begin[0],
		ended("upgrade from release/1.0 base", 2, 9, verdict.Failed, "[test.failed] launched: tests failed\nand more"),
		ended("upgrade from release/1.0 base/launched smoke", 2, 9, verdict.Failed, "smoke tests failed"),
		ended("verify base", 2, 5, verdict.Inconclusive, "launch web-1: [cloud.refused] web-1: no"),
		going("verify prebuilt", 8, ""),
	}
	for _, c := range []struct {
		name  string
		notes bool
		want  string
	}{
		{"run", false, `
03:00:01  ✓ check                                                    1.0s
03:00:02  … verify base
03:00:02  … upgrade from release/1.0 base
03:00:05  ? verify base                                              3.0s  inconclusive: launch web-1: web-1: no
03:00:08  … verify prebuilt
03:00:09  ✗ upgrade from release/1.0 base/launched smoke             7.0s  failed: smoke tests failed
03:00:09  ✗ upgrade from release/1.0 base                            7.0s  failed: launched: tests failed
`},
		{"run --follow", true, `
03:00:01  ✓ check                                                    1.0s
03:00:02  … verify base
03:00:02  … upgrade from release/1.0 base/launched smoke
03:00:02  … upgrade from release/1.0 base
03:00:05  ? verify base                                              3.0s  inconclusive: launch web-1: web-1: no
03:00:08  … verify prebuilt
03:00:09  ✗ upgrade from release/1.0 base/launched smoke             7.0s  failed: smoke tests failed
03:00:09  ✗ upgrade from release/1.0 base                            7.0s  failed: launched: tests failed
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			p := &plain{out: &out, notes: c.notes, told: map[string]string{}}
			for _, stages := range [][]ledger.Stage{begin, begin, end, end} {
				p.update(night(stages...))
			}
			if got, want := out.String(), strings.TrimPrefix(c.want, "\n"); got != want {
				t.Errorf("got:\n%swant:\n%s", got, want)
			}
		})
	}
}

// What a stage is doing is a line of its own when asked for.
func TestFollowedNotes(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := &plain{out: &out, notes: true, told: map[string]string{}}
	for _, note := range []string{"launch", "launch", "provision"} {
		p.update(night(going("build/web", 0, note)))
	}
	if got := strings.Count(out.String(), "\n"); got != 2 || !strings.Contains(out.String(), "build/web                                            launch\n") {
		t.Errorf("%d lines, want 2:\n%s", got, out.String())
	}
}

// The tree never is higher or wider than the terminal: what has scrolled away can't be drawn again.
func TestTreeFitsTheTerminal(t *testing.T) {
	t.Parallel()
	var stages []ledger.Stage
	for i := range 12 {
		lane := fmt.Sprintf("upgrade from release/1.%d base", i)
		state := ended(lane, i, i+1, verdict.Passed, "")
		if i >= 10 {
			state = going(lane, i, "")
		}
		stages = append(stages, state, ended(lane+"/launch", i, i+1, verdict.Passed, strings.Repeat("long ", 40)))
	}
	for _, rows := range []int{2, 8, 16, 24, 80} {
		var out bytes.Buffer
		tree := &tree{out: &out, columns: 60, rows: rows}
		tree.update(night(stages...))
		tree.update(night(stages...))
		first, second, again := strings.Cut(out.String(), "\x1b[")
		lines := strings.Split(strings.TrimSuffix(first, "\n"), "\n")
		if len(lines) > max(1, rows-2) || !strings.HasPrefix(second, fmt.Sprintf("%dA", len(lines))) || !again {
			t.Errorf("%d rows: %d lines, then %q", rows, len(lines), second)
		}
		for _, line := range lines {
			if len([]rune(line)) >= 60 {
				t.Errorf("%d rows: too wide: %s", rows, line)
			}
		}
		if rows > 2 && !strings.Contains(first, "…   upgrade from release/1.11 base") && !strings.Contains(first, "… upgrade from release/1.11 base") {
			t.Errorf("%d rows: what is at work is not shown:\n%s", rows, first)
		}
	}
}
