package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hallmark-ci/hallmark/internal/printable"
	"github.com/hallmark-ci/hallmark/internal/report"
)

// show writes value as JSON if asked for, else rows as a table. Nothing in a cell moves a column or begins a row: much
// of what is shown was written by others.
func (c *cli) show(value any, header []string, rows [][]string) error {
	if c.format == "json" {
		return c.json(value)
	}
	w := tabwriter.NewWriter(c.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, strings.ToUpper(strings.Join(header, "\t")))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			if cells[i] = oneCell.Replace(cell); i == len(row)-1 {
				cells[i] = lastCell.Replace(cell)
			}
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// json writes value for programs, and all of it.
func (c *cli) json(value any) error { return printable.JSON(c.out, value) }

// oneCell keeps a text in its cell. tabwriter takes these characters as its own.
var oneCell = strings.NewReplacer("\t", " ", "\n", " ", "\v", " ", "\f", " ")

// lastCell keeps a text of several lines in the last column: what stands at a line's begin is a row of its own.
var lastCell = strings.NewReplacer("\t", " ", "\n", "\n  ", "\v", " ", "\f", " ")

func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04")
}

func took(from, to time.Time) string {
	if from.IsZero() {
		return "-"
	}
	if to.IsZero() {
		to = time.Now()
	}
	return report.Duration(to.Sub(from)).String()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// brief is the first line of a text, short enough for a table.
func brief(text string) string {
	const most = 80
	line, _, _ := strings.Cut(text, "\n")
	if r := []rune(line); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return line
}

// short is enough of a commit or digest to know it again.
func short(s string) string {
	s = strings.TrimPrefix(s, "sha256:")
	if len(s) > 10 {
		return s[:10]
	}
	return dash(s)
}
