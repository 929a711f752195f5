package verifier_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/probe"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// What a check says may have any length and any bytes: its result says how much was left out, and stays a failure.
func TestLongResults(t *testing.T) {
	p := newPlace(t)
	long := strings.Repeat("ü", 1<<20)
	name := "command:" + long
	p.validates(probe.ExitFailed, probe.Checks{Results: []probe.Check{
		{Name: name, Outcome: probe.Failed, Message: "a\x00b " + long, Found: long},
		{Name: name + "x", Outcome: probe.Passed},
	}})
	results := p.goss()
	if len(results) != 2 || results[0].Test == results[1].Test {
		t.Fatalf("%d results", len(results))
	}
	for i, want := range []ledger.Outcome{ledger.Failed, ledger.Passed} {
		r := results[i]
		if r.Outcome != want || len(r.Test) > 500 || len(r.Message) > 5000 || len(r.Lines) > 70_000 {
			t.Errorf("%s; name of %d, message of %d, lines of %d bytes", r.Outcome, len(r.Test), len(r.Message), len(r.Lines))
		}
		if text := r.Test + r.Message + r.Lines; strings.Contains(text, "\x00") || !utf8.ValidString(text) {
			t.Errorf("%q", text)
		}
	}
	r := results[0]
	if !strings.Contains(r.Message, "bytes more)") || !strings.Contains(r.Lines, "bytes more)") || !strings.Contains(r.Test, fmt.Sprintf("(%d bytes", len(name))) {
		t.Errorf("nothing says what was left out: %.80q … %.80q", r.Test, r.Message)
	}
}

// Results that would hide each other, or are without end, are no results.
func TestTooManyResults(t *testing.T) {
	checks := func(n int, name func(int) string) probe.Checks {
		var c probe.Checks
		for i := range n {
			c.Results = append(c.Results, probe.Check{Name: name(i), Outcome: probe.Passed})
		}
		return c
	}
	for word, c := range map[string]probe.Checks{
		"gave 10001 results":   checks(10_001, func(i int) string { return fmt.Sprint("file:", i) }),
		"more than one result": checks(2, func(int) string { return "file:/etc/motd:exists" }),
	} {
		p := newPlace(t)
		p.validates(probe.ExitOK, c)
		p.one("web", "goss web", "web-1", wanted{ledger.Failed, verdict.TestBroken, []string{word}})
	}
}

// A second Puppet run that says more than is kept says so.
func TestLongPuppetRun(t *testing.T) {
	p := newPlace(t)
	p.when("web-1", "hallmark-provision again", func(_ context.Context, cmd remote.Command) (remote.Result, error) {
		return remote.Result{Exit: 2, Stdout: []byte(strings.Repeat("x", cmd.Bound)), Truncated: true}, nil
	})
	r := p.one("system", "second Puppet run changes nothing", "web-1", wanted{ledger.Failed, verdict.TestFailed, []string{"it changed"}})
	if !strings.HasPrefix(r.Lines, "… it said more than 24 KiB") || strings.Contains(r.Lines, "bytes more") {
		t.Errorf("%.100q", r.Lines)
	}
}
