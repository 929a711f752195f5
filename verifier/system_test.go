package verifier_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/probe"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

const (
	noFailedUnits = "no failed units"
	cleanLogs     = "clean logs"
	puppetAgain   = "second Puppet run changes nothing"
)

// Of what every server must pass: a complaint is the product's, after a clean audit; no answer is
// the test's own fault.
func TestSystem(t *testing.T) {
	const (
		unit  = `{"state": "degraded", "failed": [{"name": "x.mount", "lines": ["no disk"]}]}`
		units = `{"state": "degraded", "failed": [{"name": "nginx.service", "lines": ["bind: in use", "giving up"]}, {"name": "x.mount", "lines": ["no disk"]}]}`
		log   = `{"read": 9, "lines": [{"source": "syslog", "program": "cron", "message": "no mail", "why": "segfault"}]}`
		logs  = `{"read": 9, "lines": [{"source": "journal", "program": "nginx", "message": "it broke", "why": "priority err or worse"},
			{"source": "syslog", "program": "cron", "message": "no mail", "why": "segfault"}]}`
		lines = "journal nginx: it broke (priority err or worse)\nsyslog cron: no mail (segfault)"
	)
	passed := wanted{outcome: ledger.Passed}
	failed := func(words ...string) wanted { return wanted{ledger.Failed, verdict.TestFailed, words} }
	broken := func(words ...string) wanted { return wanted{ledger.Failed, verdict.TestBroken, words} }
	for name, c := range map[string]struct {
		test, part string
		exit       int
		says       string
		want       wanted
		lines      string
	}{
		"units: none":      {noFailedUnits, " units", 0, `{"state": "running", "failed": []}`, passed, ""},
		"units: one":       {noFailedUnits, " units", 1, unit, failed("failed: x.mount"), "no disk"},
		"units: two":       {noFailedUnits, " units", 1, units, failed("failed: nginx.service, x.mount"), "bind: in use\ngiving up\nno disk"},
		"units: broken":    {noFailedUnits, " units", 2, `{"failed": [], "broken": "systemd does not answer"}`, broken("web-1", "failed units: systemd does not answer"), ""},
		"units: no JSON":   {noFailedUnits, " units", 2, "", broken("exit 2", "complaint"), ""},
		"logs: clean":      {cleanLogs, " logs ", 0, `{"read": 1, "lines": []}`, passed, ""},
		"logs: one line":   {cleanLogs, " logs ", 1, log, failed("1 lines: syslog cron: no mail"), "syslog cron: no mail (segfault)"},
		"logs: unclean":    {cleanLogs, " logs ", 1, logs, failed("2 lines: journal nginx: it broke"), lines},
		"logs: none read":  {cleanLogs, " logs ", 0, `{"read": 0, "lines": []}`, broken("web-1", "no line to read"), ""},
		"logs: broken":     {cleanLogs, " logs ", 2, `{"read": 9, "broken": "ignore rule 4"}`, broken("scan of logs: ignore rule 4"), ""},
		"logs: no JSON":    {cleanLogs, " logs ", 2, "usage", broken("exit 2", "complaint"), ""},
		"logs: killed":     {cleanLogs, " logs ", 137, "", wanted{ledger.Inconclusive, verdict.Unexplained, []string{"exit 137"}}, ""},
		"again: nothing":   {puppetAgain, "hallmark-provision again", 0, "Notice: Applied catalog\n", passed, ""},
		"again: changes":   {puppetAgain, "hallmark-provision again", 2, "Notice: mode changed\n", failed("changed resources that the first run should have settled"), "Notice: mode changed\n\ncomplaint"},
		"again: failures":  {puppetAgain, "hallmark-provision again", 6, "Notice: it failed\n", failed("--detailed-exitcodes gave 6"), "Notice: it failed\n\ncomplaint"},
		"again: no puppet": {puppetAgain, "hallmark-provision again", 127, "", failed("gave 127"), "complaint"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.when("web-1", c.part, exits(c.exit, c.says))
			if r := p.one("system", c.test, "web-1", c.want); r.Lines != c.lines {
				t.Errorf("lines %q, want %q", r.Lines, c.lines)
			}
			p.one("system", c.test, "bastion", passed) // it is web-1's trouble only
			if c.want.cause == verdict.TestFailed {
				p.audit = unclean()
				p.one("system", c.test, "web-1", wanted{ledger.Inconclusive, verdict.TestFailed, append(c.want.words, "audit: web-1 is gone")})
			}
			p.audit = clean()
			p.instead[0].reply = breaks(verdict.Transport)
			p.one("system", c.test, "web-1", wanted{ledger.Inconclusive, verdict.Transport, []string{"as scripted"}})
		})
	}
}

// The product excuses lines for a role or for all; the place and Hallmark itself have excuses too.
func TestLogRules(t *testing.T) {
	p := newPlace(t)
	p.product.Logs = []product.LogRule{
		{Match: "everywhere", Reason: "known"}, {Match: "on web", Reason: "known", Role: "web"}, {Match: "on bastion", Reason: "known", Role: "bastion"},
	}
	for server, want := range map[string][]string{"web-1": {"everywhere", "on web"}, "bastion": {"everywhere", "on bastion"}} {
		var got []probe.Ignore
		p.when(server, " logs --since-boot --ignore-file /dev/stdin", func(_ context.Context, cmd remote.Command) (remote.Result, error) {
			if err := json.NewDecoder(cmd.Stdin).Decode(&got); err != nil {
				t.Error(err)
			}
			return remote.Result{Stdout: []byte(`{"read": 1}`)}, nil
		})
		p.one("system", cleanLogs, server, wanted{outcome: ledger.Passed})
		var told []string
		for _, rule := range got {
			if rule.Reason == "known" {
				told = append(told, rule.Match)
			}
		}
		if !slices.Equal(told, want) || !slices.Contains(got, probe.ContainerNoise()[0]) {
			t.Errorf("%s is told %q of the product, %d rules in all", server, told, len(got))
		}
		// The real judgement takes them all, and Hallmark's own knocking, or its sudden end, is excused.
		knock := probe.Line{Program: "sshd", Priority: 3, Message: "error: connect_to 10.0.0.3 port 22: failed."}
		gone := probe.Line{Program: "sshd", Priority: 2, Message: "fatal: ssh_packet_send_debug: send DEBUG: Broken pipe"}
		other := probe.Line{Program: "sshd", Priority: 3, Message: "error: connect_to 10.0.0.3 port 80: failed."}
		found, _, err := probe.Scan([]probe.Line{knock, gone, other}, got)
		if err != nil || len(found) != 1 || found[0].Message != other.Message {
			t.Errorf("%s: of three lines %+v is found, %v", server, found, err)
		}
	}
}
