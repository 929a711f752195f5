package puppet

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const head = "report_format: 12\nstatus: failed\npuppet_version: 7.23.0\n"

// A report whose aliases stand for billions of nodes is refused at once; one that shares a few objects is read.
func TestAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString(head + "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10))
	}
	b.WriteString("logs: []\nresource_statuses:\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "  File[/%d]: {failed: true, events: *a11}\n", i)
	}
	began := time.Now()
	_, err := ParseReport(strings.NewReader(b.String()))
	if err == nil || !strings.Contains(err.Error(), "aliases") || time.Since(began) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	_, err = ParseReport(strings.NewReader(head + "resource_statuses: {\"File[/x]\": {failed: true, events: &c [*c]}}\n"))
	if err == nil {
		t.Error("a circle is read")
	}
	report, err := ParseReport(strings.NewReader(head + "resource_statuses:\n  File[/x]:\n    failed: true\n    tags: &t [file]\n    events: [{message: m, status: failure}]\n  File[/y]: {changed: true, tags: *t}\n"))
	if err != nil || len(report.Failed) != 1 || len(report.Changed) != 1 {
		t.Errorf("%+v, %v", report, err)
	}
}

// Long messages, many resources and numbers of any size: what is left out is said, and nothing failed is lost.
func TestReportWithoutEnd(t *testing.T) {
	var b strings.Builder
	b.WriteString(head + "metrics: {resources: {values: [[total, Total, 1.0e+300], [failed, Failed, .nan]]}, time: {values: [[catalog_application, x, .inf]]}}\nresource_statuses:\n")
	for i := range 3000 {
		fmt.Fprintf(&b, "  \"File[/%d]\": {failed: true, evaluation_time: 1.0e+300, line: 1, events: [{message: %q, status: failure}]}\n", i, strings.Repeat("x", 5000))
	}
	report, err := ParseReport(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(report.Failed); n != 2001 || report.Failed[n-1].Title != "… and 1000 more" {
		t.Errorf("%d failed", n)
	}
	if m := report.Failed[0].Message; len(m) > 5000 || !strings.HasSuffix(m, "(904 bytes more)") {
		t.Errorf("%d bytes: %s", len(m), m[len(m)-40:])
	}
	if took := report.Slowest[0].Took; took <= 0 || report.Apply <= 0 || report.Totals["total"] != 1e9 || report.Totals["failed"] != 0 {
		t.Errorf("took %v, apply %v, totals %v", took, report.Apply, report.Totals)
	}
	if _, err := ParseReport(strings.NewReader(strings.Repeat("[", 200_000))); err == nil {
		t.Error("a report that is nested without end is read")
	}
	if _, err := ParseReport(strings.NewReader(strings.Repeat("\x00", 1000))); err == nil {
		t.Error("NUL bytes are a report")
	}
}
