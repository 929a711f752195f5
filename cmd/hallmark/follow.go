package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/printable"
	"github.com/hallmark-ci/hallmark/internal/report"
)

// follower shows a run as it goes: a live tree on a terminal, plain lines elsewhere.
type follower interface {
	update(report.Timeline)
}

func (c *cli) follower(wanted bool) follower {
	if c.format == "json" {
		return silent{}
	}
	if columns, rows, ok := c.out.size(); wanted && ok {
		return &tree{out: c.out.painted(), columns: columns, rows: rows}
	}
	return &plain{out: c.out, notes: wanted, told: map[string]string{}}
}

// timeline is what there is to follow.
func timeline(run ledger.Run, stages []ledger.Stage) report.Timeline {
	return report.New(report.Data{Run: run, Stages: stages, Now: time.Now()}).Timeline
}

type silent struct{}

func (silent) update(report.Timeline) {}

// plain says each stage's end in a line, and of those that last also the begin, for logs and pipes.
type plain struct {
	out   io.Writer
	notes bool              // also what a stage is doing
	told  map[string]string // the last thing said of a stage
}

// pathColumns holds the longest path of a release branch with a short name.
const pathColumns = 52

// oneTest is the note of a stage that runs tests: too many for a log.
var oneTest = regexp.MustCompile(`^\d+/\d+ `)

func (p *plain) update(t report.Timeline) {
	type event struct {
		at   time.Time
		line string
	}
	var events []event
	say := func(b report.Bar, at time.Time, state, sign, text string) {
		if p.told[b.Path] == state {
			return
		}
		p.told[b.Path] = state
		line := oneCell.Replace(fmt.Sprintf("%s  %s %-*s %s", at.Local().Format("15:04:05"), sign, pathColumns, b.Path, text))
		events = append(events, event{at, strings.TrimRight(line, " ")})
	}
	for _, b := range slices.Backward(t.Bars) { // what ends at the same moment as its parent is told first
		begin := t.Start.Add(time.Duration(b.After))
		end := begin.Add(time.Duration(b.Took))
		switch {
		case b.Status != report.Going:
			text := fmt.Sprintf("%8s", b.Took)
			if b.Detail != "" && b.Status != report.Good {
				text += "  " + string(b.Status) + ": " + brief(b.Detail)
			}
			say(b, end, "done", sign(b.Status), text)
		case p.notes && b.Detail != "" && !oneTest.MatchString(b.Detail):
			say(b, end, b.Detail, sign(b.Status), brief(b.Detail))
		case p.told[b.Path] == "" && (p.notes || b.Depth == 0):
			say(b, begin, "begun", sign(b.Status), "")
		}
	}
	slices.SortStableFunc(events, func(a, b event) int { return a.at.Compare(b.at) })
	for _, e := range events {
		fmt.Fprintln(p.out, e.line)
	}
}

// tree draws the stages again and again in place. It moves the cursor, so it cleans the lines itself.
type tree struct {
	out           io.Writer
	columns, rows int
	drawn         int
}

func (t *tree) update(now report.Timeline) {
	var b strings.Builder
	if t.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", t.drawn)
	}
	bars := fit(now.Bars, t.rows-2)
	for _, bar := range bars {
		name := strings.Repeat("  ", bar.Depth) + bar.Name
		line := oneCell.Replace(printable.Text(fmt.Sprintf("%s %-40s %8s  %s", sign(bar.Status), name, bar.Took, brief(bar.Detail))))
		if r := []rune(line); len(r) >= t.columns {
			line = string(r[:t.columns-1])
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	t.drawn = len(bars)
	fmt.Fprint(t.out, b.String())
}

// fit leaves out what is over when there are more stages than rows: a terminal can't draw again what
// has scrolled away. First the insides of what has ended, then the oldest.
func fit(bars []report.Bar, rows int) []report.Bar {
	rows = max(rows, 1)
	if len(bars) <= rows {
		return bars
	}
	over := false
	kept := slices.DeleteFunc(slices.Clone(bars), func(b report.Bar) bool {
		if b.Depth == 0 {
			over = b.Status != report.Going
			return false
		}
		return over
	})
	return kept[max(0, len(kept)-rows):]
}

func sign(s report.Status) string {
	switch s {
	case report.Going:
		return "…"
	case report.Good:
		return "✓"
	case report.Bad:
		return "✗"
	}
	return "?"
}
