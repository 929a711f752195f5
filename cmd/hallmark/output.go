package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hallmark-ci/hallmark/internal/report"
)

// show writes value as JSON if asked for, else rows as a table. Nothing in
// a cell steers a terminal or moves a column: much of what is shown was written by others.
func (c *cli) show(value any, header []string, rows [][]string) error {
	if c.format == "json" {
		return c.json(value)
	}
	w := tabwriter.NewWriter(c.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, strings.ToUpper(strings.Join(header, "\t")))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = strings.ReplaceAll(report.Printable(cell), "\t", " ")
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// json writes value for programs, and all of it: what would steer a terminal is spelled as an escape.
func (c *cli) json(value any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return err
	}
	var safe strings.Builder
	for _, r := range b.String() {
		if text := string(r); report.Printable(text) == text {
			safe.WriteString(text)
		} else {
			fmt.Fprintf(&safe, `\u%04x`, r)
		}
	}
	_, err := io.WriteString(c.out, safe.String())
	return err
}

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
