package verifier_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/hallmark-ci/hallmark/internal/environment"
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
		"units: none": {noFailedUnits, " units", 0, `{"state": "running", "failed": []}`, passed, ""},
		"units: one":  {noFailedUnits, " units", 1, unit, failed("failed: x.mount"), "no disk"},
		"units: two":  {noFailedUnits, " units", 1, units, failed("failed: nginx.service, x.mount"), "bind: in use\ngiving up\nno disk"},
		"units: one of each": {noFailedUnits, " units", 1, `{"state": "degraded", "failed": [{"name": "a.service", "why": "failed", "lines": ["no"]},
			{"name": "b.service", "why": "is started again and again (4 times so far)", "lines": ["bye"]}]}`,
			failed("failed: a.service; is started again and again (4 times so far): b.service"), "no\nbye"},
		"units: the boot never ends": {noFailedUnits, " units", 1, `{"state": "starting", "failed": [], "jobs": ["slow.service start running"]}`,
			failed("the system is starting, not running; it waits for slow.service start running"), ""},
		"units: maintenance": {noFailedUnits, " units", 1, `{"state": "maintenance", "failed": []}`, failed("the system is maintenance, not running"), ""},
		"units: broken":      {noFailedUnits, " units", 2, `{"failed": [], "broken": "systemd does not answer"}`, broken("web-1", "failed units: systemd does not answer"), ""},
		"units: no JSON":     {noFailedUnits, " units", 2, "", broken("exit 2", "complaint"), ""},
		"logs: clean":        {cleanLogs, " logs ", 0, `{"read": 1, "lines": []}`, passed, ""},
		"logs: one line":     {cleanLogs, " logs ", 1, log, failed("1 lines: syslog cron: no mail"), "syslog cron: no mail (segfault)"},
		"logs: unclean":      {cleanLogs, " logs ", 1, logs, failed("2 lines: journal nginx: it broke"), lines},
		"logs: none read":    {cleanLogs, " logs ", 0, `{"read": 0, "lines": []}`, broken("web-1", "no line to read"), ""},
		"logs: broken":       {cleanLogs, " logs ", 2, `{"read": 9, "broken": "ignore rule 4"}`, broken("scan of logs: ignore rule 4"), ""},
		"logs: proves nothing": {cleanLogs, " logs ", 1, `{"read": 9, "lines": [], "unproved": [{"why": "journald lost messages: Suppressed 9"}]}`,
			wanted{ledger.Inconclusive, verdict.Unexplained, []string{"that proves nothing", "Suppressed 9"}}, ""},
		"logs: proves nothing, by the product": {cleanLogs, " logs ", 1, `{"read": 9, "lines": [], "unproved": [{"why": "Missed 3"}, {"why": "Suppressed 9", "product": true}]}`,
			broken("that proves nothing: Missed 3"), "Suppressed 9"},
		"logs: one line, of more": {cleanLogs, " logs ", 1, `{"read": 9, "unproved": [{"why": "Suppressed 9", "product": true}], ` + strings.TrimPrefix(log, "{"),
			failed("1 lines: syslog cron: no mail"), "syslog cron: no mail (segfault)"},
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

// The product excuses lines for a role or for all; and the server is told by what it knows Hallmark.
func TestLogRules(t *testing.T) {
	p := newPlace(t)
	p.product.Logs = []product.LogRule{
		{Match: "everywhere", Reason: "known"}, {Match: "on web", Reason: "known", Role: "web"}, {Match: "on bastion", Reason: "known", Role: "bastion"},
	}
	keys := []string{ssh.FingerprintSHA256(p.bootstrap.PublicKey()), ssh.FingerprintSHA256(p.admin.PublicKey())}
	for server, want := range map[string]probe.Rules{
		"web-1": {
			Ignore: []probe.Ignore{{Match: "everywhere", Reason: "known"}, {Match: "on web", Reason: "known"}},
			Ours:   probe.Ours{Bootstrap: environment.BootstrapUser, Admin: "testadmin", Keys: keys, Bastion: "10.0.0.2"},
		},
		"bastion": {
			Ignore: []probe.Ignore{{Match: "everywhere", Reason: "known"}, {Match: "on bastion", Reason: "known"}},
			Ours:   probe.Ours{Bootstrap: environment.BootstrapUser, Admin: "testadmin", Keys: keys, Servers: []string{"10.0.0.2", "10.0.0.3"}},
		},
	} {
		var got probe.Rules
		p.when(server, " logs --since-boot --rules-file /dev/stdin", func(_ context.Context, cmd remote.Command) (remote.Result, error) {
			if err := json.NewDecoder(cmd.Stdin).Decode(&got); err != nil {
				t.Error(err)
			}
			return remote.Result{Stdout: []byte(`{"read": 1}`)}, nil
		})
		p.one("system", cleanLogs, server, wanted{outcome: ledger.Passed})
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is told %+v, want %+v", server, got, want)
		}
	}
	p.noAccess = errors.New("the host keys are not known yet")
	p.one("system", cleanLogs, "web-1", wanted{ledger.Inconclusive, verdict.Unexplained, []string{"the host keys are not known yet"}})
}
