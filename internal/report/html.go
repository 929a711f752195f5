package report

import (
	_ "embed" // the page and its style are part of the program
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/ledger"
)

//go:embed page.html.tmpl
var pageSource string

//go:embed page.css
var pageStyle string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"style":   func() template.CSS { return template.CSS(pageStyle) }, //nolint:gosec // our own file
	"sign":    func(s Status) string { return signs[s].sign },
	"word":    func(s Status) string { return statusWords[s] },
	"verdict": statusOfVerdict,
	"outcome": statusOfOutcome,
	"short":   short,
	"size":    size,
	"moment":  moment,
	"took":    func(d time.Duration) string { return Duration(d).String() },
	"join":    strings.Join,
	"counts":  countsOf,
	"upper":   upperFirst,
	"plural":  plural,
	"percent": func(f float64) string { return fmt.Sprintf("%.3f", f) },
	"sub":     func(a, b int) int { return a - b },
	"first":   func(n int, s string) string { return s[:min(n, len(s))] },
}).Parse(pageSource))

var statusWords = map[Status]string{
	Good: "passed", Bad: "failed", Unsure: "inconclusive", Missing: "missing", Going: "at work", Ended: "cancelled", None: "not part of this run",
}

func statusOfOutcome(o ledger.Outcome) Status {
	switch o {
	case ledger.Passed:
		return Good
	case ledger.Failed:
		return Bad
	case ledger.Skipped, ledger.Waived, ledger.Flaky:
		return None
	}
	return Unsure
}

// HTML writes one page that stands alone: no script, nothing loaded from elsewhere, light and dark.
func HTML(w io.Writer, r Report) error {
	r = r.printable()
	err := pageTemplate.Execute(w, struct {
		Report
		Tests []testList
	}{r, testLists(r.results)})
	if err != nil {
		return fmt.Errorf("write report of %s: %w", r.Run.ID, err)
	}
	return nil
}

// testList is all results of one place of the matrix.
type testList struct {
	Place   string
	Status  Status
	Results []ledger.Result
}

func testLists(results []ledger.Result) []testList {
	var lists []testList
	var places []Place
	for _, r := range results {
		p := placeOf(r)
		if i := slices.Index(places, p); i >= 0 {
			lists[i].Results = append(lists[i].Results, r)
			continue
		}
		var words []string
		for _, word := range []string{r.Scenario, r.Origin, r.Phase, r.Tier} {
			if word != "" {
				words = append(words, word)
			}
		}
		places = append(places, p)
		lists = append(lists, testList{Place: strings.Join(words, ", "), Results: []ledger.Result{r}})
	}
	for i := range lists {
		c := Cell{}
		for _, r := range lists[i].Results {
			c.add(r)
		}
		c.judge(false)
		lists[i].Status = c.Status
	}
	return lists
}
