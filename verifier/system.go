package verifier

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/probe"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// systemTests are what every server must pass whatever the product: no failed unit, clean logs, and
// a second Puppet run that changes nothing.
func (v *Verifier) systemTests(p *product.Product, place Place) []Test {
	var tests []Test
	for _, s := range place.Servers() {
		add := func(name string, run func(context.Context, Place) ([]ledger.Result, error)) {
			tests = append(tests, Test{Tier: Build, Suite: systemSuite, Name: name, Server: s.Name, run: run})
		}
		add("no failed units", v.units(s.Name))
		add("clean logs", v.logs(s.Name, rules(p, s.Role)))
		add("second Puppet run changes nothing", v.puppetAgain(s.Name))
	}
	return tests
}

func (v *Verifier) units(server string) func(context.Context, Place) ([]ledger.Result, error) {
	return func(ctx context.Context, place Place) ([]ledger.Result, error) {
		out, err := v.ask(ctx, place, server, "units", nil)
		if err != nil {
			return nil, err
		}
		units, err := probe.ParseUnits(out.Stdout)
		if err != nil || units.Broken != "" {
			return nil, broken(server, "failed units", units.Broken, err, out)
		}
		r := ledger.Result{ResultKey: ledger.ResultKey{Test: "no failed units"}, Outcome: ledger.Passed}
		var names, lines []string
		for _, u := range units.Failed {
			names = append(names, u.Name)
			lines = append(lines, u.Lines...)
		}
		if len(names) > 0 {
			r.Outcome, r.Message, r.Lines = ledger.Failed, "failed: "+strings.Join(names, ", "), strings.Join(lines, "\n")
		}
		return []ledger.Result{r}, nil
	}
}

// ownNoise excuses what Hallmark itself makes a server say.
var ownNoise = []probe.Ignore{
	{Match: `^sshd: error: connect_to \S+ port 22: failed`, Reason: "Hallmark asks the bastion for servers that are still booting"},
	{Match: `^sshd: (error|fatal): .*(Broken pipe|Connection reset by peer|Connection closed by remote host)`,
		Reason: "a connection of Hallmark's ended in the midst of a login, as when it was killed"},
}

// rules are the product's own excuses for log lines of a role, with those that Hallmark and the
// place where servers run need.
func rules(p *product.Product, role string) []probe.Ignore {
	all := append(probe.ContainerNoise(), ownNoise...)
	for _, rule := range p.Logs {
		if rule.Role == "" || rule.Role == role {
			all = append(all, probe.Ignore{Match: rule.Match, Reason: rule.Reason})
		}
	}
	return all
}

// mostLines is how many troubled lines of one server a result keeps.
const mostLines = 200

func (v *Verifier) logs(server string, rules []probe.Ignore) func(context.Context, Place) ([]ledger.Result, error) {
	return func(ctx context.Context, place Place) ([]ledger.Result, error) {
		list, err := json.Marshal(rules)
		if err != nil {
			return nil, fmt.Errorf("log rules: %w", err)
		}
		out, err := v.ask(ctx, place, server, "logs --since-boot --ignore-file /dev/stdin", bytes.NewReader(list))
		if err != nil {
			return nil, err
		}
		logs, err := probe.ParseLogs(out.Stdout)
		if err != nil || logs.Broken != "" {
			return nil, broken(server, "scan of logs", logs.Broken, err, out)
		}
		if logs.Read == 0 {
			return nil, verdict.Errorf(verdict.TestBroken, server, "scan of logs: there was no line to read, so nothing is proved")
		}
		r := ledger.Result{ResultKey: ledger.ResultKey{Test: "clean logs"}, Outcome: ledger.Passed}
		var lines []string
		for _, l := range logs.Lines {
			lines = append(lines, fmt.Sprintf("%s %s: %s (%s)", l.Source, l.Program, l.Message, l.Why))
		}
		if n := len(lines); n > 0 {
			r.Outcome, r.Message = ledger.Failed, fmt.Sprintf("%d lines: %s", n, lines[0])
			if n > mostLines {
				lines = append(lines[:mostLines], fmt.Sprintf("… and %d more", n-mostLines))
			}
			r.Lines = strings.Join(lines, "\n")
		}
		return []ledger.Result{r}, nil
	}
}

// puppetAgain runs Puppet once more: with --detailed-exitcodes 0 means that nothing was changed.
func (v *Verifier) puppetAgain(server string) func(context.Context, Place) ([]ledger.Result, error) {
	return func(ctx context.Context, place Place) ([]ledger.Result, error) {
		s, err := place.Session(ctx, server)
		if err != nil {
			return nil, err
		}
		defer s.Close()
		out, err := s.Run(ctx, remote.Command{Line: puppet.ScriptPath + " again", Sudo: true, Bound: 64 << 10})
		if err != nil {
			return nil, err
		}
		r := ledger.Result{ResultKey: ledger.ResultKey{Test: "second Puppet run changes nothing"}, Outcome: ledger.Passed}
		if out.Exit != 0 {
			r.Outcome, r.Lines = ledger.Failed, strings.TrimSpace(string(out.Stdout)+"\n"+string(out.Stderr)) // Puppet writes its errors there
			r.Message = fmt.Sprintf("puppet apply --detailed-exitcodes gave %d", out.Exit)
			if out.Exit == 2 {
				r.Message = "it changed resources that the first run should have settled"
			}
		}
		return []ledger.Result{r}, nil
	}
}
