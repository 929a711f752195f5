package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing that is wrong with a file: where, what, and what to do about it.
type Error struct {
	File    string // the file; or the flag or environment variable that gave the value
	Line    int    // from 1; 0: not known, or not a file
	Key     string // path of the key: schedules[0].cron; "" : the file itself
	Problem string
	Remedy  string
}

// Error is "file:line: key: problem; remedy".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Problem)
	if e.Remedy != "" {
		b.WriteString("; " + e.Remedy)
	}
	return b.String()
}

// Errors is everything that is wrong, in the order of the file. errors.As finds the first *Error.
type Errors []*Error

// Error is one problem a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the single problems.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// Join makes one error of problems, sorted by file and line; nil if there are none.
func Join(problems []*Error) error {
	if len(problems) == 0 {
		return nil
	}
	sorted := slices.Clone(problems)
	slices.SortStableFunc(sorted, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return Errors(sorted)
}

// Hint is a remedy for a word that is not known: it says which words are allowed, and which of them was probably meant.
func Hint(given string, allowed []string) string {
	if near := nearest(given, allowed); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	sorted := slices.Sorted(slices.Values(allowed))
	return "use one of: " + strings.Join(sorted, ", ")
}

// nearest is the allowed word that is nearest to the one given, "" if none is near.
func nearest(given string, allowed []string) string {
	best, distance := "", max(1, min(3, len(given)/3))+1
	for _, word := range slices.Sorted(slices.Values(allowed)) {
		if d := editDistance(strings.ToLower(given), strings.ToLower(word)); d < distance {
			best, distance = word, d
		}
	}
	return best
}

// editDistance counts the insertions, removals, replacements and swaps of neighbours that lead from a
// to b (optimal string alignment, over bytes).
func editDistance(a, b string) int {
	rows := [3][]int{}
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
	}
	before, above, row := rows[0], rows[1], rows[2]
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			change := above[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, above[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}
