package report_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"charm.land/lipgloss/v2"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/report"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// What two origins and two phases say about one test, if an earlier run of the commit saw the same, and if not.
func TestDiagnosis(t *testing.T) {
	const ok, bad, open, absent = ledger.Passed, ledger.Failed, ledger.Inconclusive, ledger.Outcome("")
	type seen struct{ base, prebuilt, baseRebooted, prebuiltRebooted ledger.Outcome }
	const advice = "(does not converge|stale state|not enabled|missing dependency)"
	for name, c := range map[string]struct {
		test    string // "": one that may be a matter of timing
		seen    seen
		earlier string // origin from which it failed in an earlier run
		side    report.Side
		says    string
		advises bool
	}{
		"base only, as before":                  {"", seen{bad, ok, bad, ok}, "base", report.OnlyBase, "does not converge from clean", true},
		"base only, for the first time":         {"", seen{bad, ok, bad, ok}, "", report.OnlyBase, "failed from the base and passed from the prebuilt image. No earlier run", false},
		"base only, before from the other":      {"", seen{bad, ok, bad, ok}, "prebuilt", report.OnlyBase, "No earlier run of this commit failed so", false},
		"base only, of what does not move":      {"package:cron:installed", seen{bad, ok, bad, ok}, "", report.OnlyBase, "does not converge from clean", true},
		"base only, a file that may be late":    {"file:/run/cron.pid:exists", seen{bad, ok, bad, ok}, "", report.OnlyBase, "run the commit again", false},
		"prebuilt only, as before":              {"", seen{ok, bad, ok, bad}, "prebuilt", report.OnlyPrebuilt, "stale state", true},
		"prebuilt only, for the first time":     {"", seen{ok, bad, ok, bad}, "", report.OnlyPrebuilt, "failed from the prebuilt image and passed from the base", false},
		"both":                                  {"", seen{bad, bad, bad, bad}, "", report.BothOrigins, "in the code itself", false},
		"both, after the reboot":                {"", seen{ok, ok, bad, bad}, "", report.BothOrigins, "passed before the reboot: something is not enabled", true},
		"prebuilt, after the reboot, as before": {"", seen{ok, ok, ok, bad}, "prebuilt", report.OnlyPrebuilt, "passed before the reboot: something is not enabled", true},
		"prebuilt, once, after the reboot":      {"", seen{ok, ok, ok, bad}, "", report.OnlyPrebuilt, "It passed before the reboot.", false},
		"the other was not tested":              {"", seen{bad, absent, absent, absent}, "", report.OneTested, "open", false},
		"the other is inconclusive":             {"", seen{bad, open, absent, absent}, "", report.OneTested, "open", false},
		"the other in an earlier part":          {"", seen{ok, ok, absent, bad}, "", report.OneTested, "open", false},
	} {
		t.Run(name, func(t *testing.T) {
			result := func(origin, phase string, o ledger.Outcome) ledger.Result {
				return ledger.Result{Outcome: o, Cause: verdict.TestFailed, Message: "said", ResultKey: ledger.ResultKey{
					Scenario: "verify", Origin: origin, Phase: phase, Tier: "build", Suite: "common", Test: cmp.Or(c.test, "cron runs"), Server: "web-1"}}
			}
			d := report.Data{Run: run(verdict.Failed, "")}
			add := func(origin, phase string, o ledger.Outcome) {
				if o != absent {
					d.Results = append(d.Results, result(origin, phase, o))
				}
			}
			add("base", "launched", c.seen.base)
			add("prebuilt", "launched", c.seen.prebuilt)
			add("base", "rebooted", c.seen.baseRebooted)
			add("prebuilt", "rebooted", c.seen.prebuiltRebooted)
			if c.earlier != "" {
				d.Earlier = []ledger.Result{result(c.earlier, "launched", ledger.Failed)}
			}
			r := report.New(d)
			if len(r.Failures) != 1 {
				t.Fatalf("%d failures, want all of it told as one: %+v", len(r.Failures), r.Failures)
			}
			told := r.Failures[0].Diagnosis
			if told.Side != c.side || !strings.Contains(told.Says, c.says) {
				t.Errorf("diagnosis %+v, want %s and %q", told, c.side, c.says)
			}
			if advised := regexp.MustCompile(advice).MatchString(told.Says); advised != c.advises {
				t.Errorf("advice is %v, want %v: %s", advised, c.advises, told.Says)
			}
		})
	}
}

// A cell that the policy requires is never shown as fine without a result.
func TestRequiredWithoutResult(t *testing.T) {
	place := report.Place{Scenario: "verify", Origin: "base", Phase: "launched", Tier: "smoke"}
	for state, want := range map[ledger.RunState]report.Status{ledger.Finished: report.Missing, ledger.Working: report.Going} {
		r := report.New(report.Data{Run: ledger.Run{State: state}, Required: []report.Place{place}})
		if got := r.Scenarios[0].Rows[0].Cells[0].Status; got != want {
			t.Errorf("of a run that is %s: %s, want %s", state, got, want)
		}
	}
}

func TestInconclusiveIsNeverTheProducts(t *testing.T) {
	d := green()
	d.Run.Verdict, d.Moves = verdict.Inconclusive, nil
	change(d.Results, func(r ledger.Result) bool { return r.Server == "db-1" }, func(r *ledger.Result) {
		r.Outcome, r.Cause, r.Message = ledger.Inconclusive, verdict.CloudRefused, "[cloud.refused] launch db-1"
	})
	var text bytes.Buffer
	r := report.New(d)
	if err := report.Text(&text, r, report.Terminal{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.Headline, "nothing is said about the product") || strings.Contains(text.String(), "✗") {
		t.Errorf("told as a failure:\n%s", text.String())
	}
}

// What a policy requires and could not have yet is told in every form of the report, as is what it allowed.
func TestNotesAndBudgetsAreTold(t *testing.T) {
	d := green()
	d.Notes = []string{"No upgrade was tested: there is no <release> yet."}
	d.Gate.Allowed = map[string]int{"flaky": 2, "waived": 0, "skipped": 1}
	var text, page, data bytes.Buffer
	r := report.New(d)
	for _, err := range []error{report.Text(&text, r, report.Terminal{}), report.HTML(&page, r), report.JSON(&data, r)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for what, c := range map[string][2]string{
		"text": {text.String(), "there is no <release> yet."}, "page": {page.String(), "there is no &lt;release&gt; yet."},
		"JSON": {data.String(), `"notes": [`}, "budgets": {text.String(), "The policy allowed 2 flaky and 1 skipped."}, "budgets as JSON": {data.String(), `"skipped": 1`},
	} {
		if !strings.Contains(c[0], c[1]) {
			t.Errorf("%s does not say %q", what, c[1])
		}
	}
}

func TestTextKeepsToItsWidth(t *testing.T) {
	for _, width := range []int{50, 60, 80, 132} {
		var b bytes.Buffer
		if err := report.Text(&b, report.New(red()), report.Terminal{Width: width, Color: true}); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			line = strings.TrimSuffix(line, "\n")
			if n := lipgloss.Width(line); n > width {
				t.Errorf("%d columns at width %d: %s", n, width, line)
			}
		}
	}
}

func TestPageStandsAloneAndEscapes(t *testing.T) {
	d := red()
	d.Run.Reason = `<script>alert("reason")</script>`
	change(d.Results, func(r ledger.Result) bool { return r.Outcome == ledger.Failed }, func(r *ledger.Result) {
		r.Test, r.Server = `"><img src=x onerror=alert(1)>`, "</td>"
		r.Lines = "</pre><script src=http://evil.invalid/x.js></script>"
	})
	d.Stages[0].Path = `"><svg onload=alert(1)>`
	d.Run.Commit = `javascript:alert(1)`
	var b bytes.Buffer
	if err := report.HTML(&b, report.New(d)); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, never := range []string{"<script", "<img", "<iframe", "<svg onload", "@import", "url("} {
		if strings.Contains(strings.ToLower(page), never) {
			t.Errorf("%s is on the page", never)
		}
	}
	for _, link := range regexp.MustCompile(`<[a-z]+[^>]*\s(?:src|href)=("[^"]*"|\S+)`).FindAllStringSubmatch(page, -1) {
		if !strings.HasPrefix(link[1], `"#`) && link[1] != `"data:,"` {
			t.Errorf("the page goes elsewhere: %s", link[0])
		}
	}
	if strings.Contains(page, "ZgotmplZ") {
		t.Error("the template's escaper refused a value")
	}
}

// What a server says does not steer the reader's terminal.
func TestLinesOfServersAreCleaned(t *testing.T) {
	d := red()
	change(d.Results, func(r ledger.Result) bool { return r.Outcome == ledger.Failed }, func(r *ledger.Result) {
		r.Message = "\x1b[31mred\x1b[0m\r"
		r.Lines = "\x1b]0;title\x07one\x1b[2J\n\ttwo\b\n"
	})
	var b bytes.Buffer
	if err := report.Text(&b, report.New(d), report.Terminal{}); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\x07\r\b") || !strings.Contains(b.String(), "│ one\n    │     two\n") {
		t.Errorf("got %q", b.String())
	}
}

// No text that a product, a server or an author of a commit wrote steers a terminal or reorders a page,
// wherever in the records it stands: each of them is spoilt in turn with the rest.
func TestNoForeignTextSteers(t *testing.T) {
	const evil = "\x1b]0;owned\x07\x1b[2J\x1bc\u009b2J\r\u202e\u2066\u200b\ufeff\U000e0041\x9b5m\x00"
	for name, d := range map[string]report.Data{"red": red(), "green": green()} {
		t.Run(name, func(t *testing.T) {
			d.Now = time.Now()
			spoil(reflect.ValueOf(&d).Elem(), evil)
			d.Run.State, d.Run.Verdict = ledger.Finished, verdict.Failed
			d.Images = append(d.Images, ledger.Image{Role: "odd", PuppetReport: `{"slowest":[{"title":"Exec[\u001b]0;owned\u0007]","took":1000000000}]}`})
			for kind, write := range map[string]func(*bytes.Buffer) error{
				"text": func(b *bytes.Buffer) error { return report.Text(b, report.New(d), report.Terminal{}) },
				"html": func(b *bytes.Buffer) error { return report.HTML(b, report.New(d)) },
				"json": func(b *bytes.Buffer) error { return report.JSON(b, report.New(d)) },
			} {
				var b bytes.Buffer
				if err := write(&b); err != nil {
					t.Fatal(kind, err)
				}
				for line := range strings.Lines(b.String()) {
					if strings.ContainsAny(line, "\x1b\x07\r\x00\u009b\u202e\u2066\u200b\ufeff\U000e0041") || !utf8.ValidString(line) {
						t.Errorf("%s: %q", kind, line)
					}
				}
			}
		})
	}
}

// A name with line ends forges no line of the report, and programs get it as it is.
func TestForgedLines(t *testing.T) {
	const forged = "cron runs\n✓ Passed and promoted\x1b[1m\u200b"
	d := red()
	change(d.Results, func(r ledger.Result) bool { return r.Outcome == ledger.Failed }, func(r *ledger.Result) { r.Test = forged })
	d.Commits = []report.Commit{{ID: "0123456789", Author: "A\n✓ Passed and promoted", Subject: "s\n✓ Passed and promoted"}}
	var text, page bytes.Buffer
	if err := errors.Join(report.Text(&text, report.New(d), report.Terminal{}), report.JSON(&page, report.New(d))); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "✓ Passed and promoted") {
		t.Fatalf("the name is not shown:\n%s", text.String())
	}
	for line := range strings.Lines(text.String()) {
		if strings.HasPrefix(strings.TrimSpace(line), "✓ Passed and promoted") {
			t.Errorf("forged: %q", line)
		}
	}
	var told struct {
		Failures []struct{ Test string } `json:"failures"`
	}
	if err := json.Unmarshal(page.Bytes(), &told); err != nil || len(told.Failures) == 0 || told.Failures[0].Test != forged {
		t.Errorf("%+v, %v", told, err)
	}
}

// spoil adds a text to every string of a value, but for the ids and kinds that the program compares.
func spoil(v reflect.Value, with string) {
	switch v.Kind() {
	case reflect.String:
		if v.Type() == reflect.TypeFor[string]() && v.String() != "" && v.CanSet() {
			v.SetString(v.String() + with)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != "PuppetReport" {
				spoil(v.Field(i), with)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			spoil(v.Index(i), with)
		}
	case reflect.Map:
		for key, value := range v.Seq2() {
			fresh := reflect.New(value.Type()).Elem()
			fresh.Set(value)
			spoil(fresh, with)
			v.SetMapIndex(key, fresh)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			spoil(v.Elem(), with)
		}
	}
}

func TestJSONNamesWhatPeopleAskFor(t *testing.T) {
	var b bytes.Buffer
	if err := report.JSON(&b, report.New(red())); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Status   string
		Failures []struct {
			Test      string
			Seen      []struct{ Origin, Phase string }
			Diagnosis struct{ Side string }
		}
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Status != "failed" || len(got.Failures) == 0 || got.Failures[0].Test != "provision web-1" || got.Failures[0].Diagnosis.Side != "base" {
		t.Errorf("got %+v", got)
	}
}

func TestEmptyDataIsTold(t *testing.T) {
	r := report.New(report.Data{})
	for _, write := range []func(*bytes.Buffer) error{
		func(b *bytes.Buffer) error { return report.Text(b, r, report.Terminal{Width: 1}) },
		func(b *bytes.Buffer) error { return report.HTML(b, r) },
		func(b *bytes.Buffer) error { return report.JSON(b, r) },
	} {
		if err := write(new(bytes.Buffer)); err != nil {
			t.Error(err)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0.0s", 840 * time.Millisecond: "0.8s", 9960 * time.Millisecond: "10.0s", 42 * time.Second: "42s", 59600 * time.Millisecond: "1m 00s",
		200 * time.Second: "3m 20s", 65 * time.Minute: "1h 05m", 3599700 * time.Millisecond: "1h 00m",
	} {
		if got := report.Duration(d).String(); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

// Which rules excused how many lines is told, and first of all which of them are new.
func TestExcusesAreTold(t *testing.T) {
	d := green()
	old := ledger.Excuse{From: report.FromProduct, Match: "^cron: no mail", Reason: "no mail here"}
	fresh := ledger.Excuse{From: report.FromProduct, Match: "^app: (error|fatal)", Reason: "noise"}
	idle := ledger.Excuse{From: report.FromProduct, Match: "^never: ", Reason: "was once"}
	own := ledger.Excuse{From: "hallmark", Reason: "a session of the bootstrap user"}
	excused := func(server string, all ...ledger.Excuse) ledger.Result {
		return ledger.Result{ResultKey: ledger.ResultKey{Scenario: "verify", Origin: "base", Phase: "launched", Tier: "build", Suite: "system", Test: "clean logs", Server: server},
			Outcome: ledger.Passed, Excuses: all}
	}
	lines := func(e ledger.Excuse, n int) ledger.Excuse { e.Lines = n; return e }
	d.Results = append(d.Results, excused("web-1", lines(old, 3), fresh, idle, lines(own, 2)), excused("web-2", lines(old, 4), fresh, idle))
	d.KnownExcuses, d.KnownSince = []ledger.Excuse{old, idle}, "run r7 at 3f2a9c11d0e4"
	var text, page bytes.Buffer
	r := report.New(d)
	if err := errors.Join(report.Text(&text, r, report.Terminal{Width: 200}), report.HTML(&page, r)); err != nil {
		t.Fatal(err)
	}
	const want = `
Excused log lines
  new since run r7 at 3f2a9c11d0e4: 0 lines that match ^app: (error|fatal): noise (logs: in hallmark.yaml)
  7 lines of web-1, web-2 that match ^cron: no mail: no mail here (logs: in hallmark.yaml)
  2 lines of web-1: a session of the bootstrap user (known by Hallmark)
  1 other rule of hallmark.yaml excused nothing
`
	if !strings.Contains(text.String(), want) {
		t.Errorf("told:\n%s", text.String())
	}
	for _, words := range []string{"new since run r7 at 3f2a9c11d0e4", "^app: (error|fatal)", "known by Hallmark"} {
		if !strings.Contains(page.String(), words) {
			t.Errorf("the page does not say %q", words)
		}
	}
	// Without a run to compare with, nothing is new.
	d.KnownExcuses, d.KnownSince = nil, ""
	if r := report.New(d); len(r.Excuses.Used) != 2 || r.Excuses.Used[0].New || r.Excuses.Idle != 2 {
		t.Errorf("excuses %+v", r.Excuses)
	}
}
