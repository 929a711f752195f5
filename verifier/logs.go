package verifier

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/probe"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// ignores are the product's own excuses for log lines of a role.
func ignores(p *product.Product, role string) []probe.Ignore {
	all := []probe.Ignore{}
	for _, rule := range p.Logs {
		if rule.Role == "" || rule.Role == role {
			all = append(all, probe.Ignore{Match: rule.Match, Reason: rule.Reason})
		}
	}
	return all
}

// ours says how a server recognises Hallmark: by the keys of the environment, which only Hallmark holds, and on
// the bastion by any address outside the environment, for the network drops all others.
func ours(access environment.Access, s environment.Server) (probe.Ours, error) {
	self := access.Servers[s.Name]
	o := probe.Ours{Bootstrap: environment.BootstrapUser, Admin: self.User}
	if access.Bootstrap != nil {
		o.Keys = append(o.Keys, ssh.FingerprintSHA256(access.Bootstrap.PublicKey()))
	}
	for _, server := range access.Servers {
		if key := ssh.FingerprintSHA256(server.Signer.PublicKey()); !slices.Contains(o.Keys, key) {
			o.Keys = append(o.Keys, key)
		}
	}
	for _, server := range access.Servers {
		address, err := netip.ParseAddrPort(server.Address)
		if err != nil {
			return o, verdict.Errorf(verdict.Unexplained, server.Name, "its address: %w", err)
		}
		if s.Bastion {
			o.Servers = append(o.Servers, address.Addr().String())
		} else if server.Name == access.Bastion.Name {
			o.Bastion = address.Addr().String()
		}
	}
	slices.Sort(o.Servers)
	return o, nil
}

// mostLines is how many troubled lines of one server a result keeps.
const mostLines = 200

// logs scans the logs of a server's boot.
func (v *Verifier) logs(s environment.Server, ignore []probe.Ignore) func(context.Context, Place) ([]ledger.Result, error) {
	return func(ctx context.Context, place Place) ([]ledger.Result, error) {
		access, err := place.Access()
		if err != nil {
			return nil, err
		}
		rules := probe.Rules{Ignore: ignore}
		if rules.Ours, err = ours(access, s); err != nil {
			return nil, err
		}
		list, err := json.Marshal(rules)
		if err != nil {
			return nil, fmt.Errorf("log rules: %w", err)
		}
		out, err := v.ask(ctx, place, s.Name, "logs --since-boot --rules-file /dev/stdin", list)
		if err != nil {
			return nil, err
		}
		logs, err := probe.ParseLogs(out.Stdout)
		if err != nil || logs.Broken != "" {
			return nil, broken(s.Name, "scan of logs", logs.Broken, err, out)
		}
		if logs.Read == 0 {
			return nil, verdict.Errorf(verdict.TestBroken, s.Name, "scan of logs: there was no line to read, so nothing is proved")
		}
		r := ledger.Result{ResultKey: ledger.ResultKey{Test: "clean logs"}, Outcome: ledger.Passed}
		for _, i := range logs.Ignored {
			r.Excuses = append(r.Excuses, ledger.Excuse{From: i.From, Match: i.Match, Reason: i.Reason, Lines: i.Lines})
		}
		var lines []string
		for _, l := range logs.Lines {
			lines = append(lines, fmt.Sprintf("%s %s: %s (%s)", l.Source, l.Program, l.Message, l.Why))
		}
		if n := len(lines); n > 0 {
			r.Outcome, r.Message = ledger.Failed, fmt.Sprintf("%d lines: %s", n, lines[0])
			if n > mostLines {
				lines = append(lines[:mostLines], fmt.Sprintf("… and %d more", n-mostLines))
			}
		} else if err := unproved(s.Name, logs.Unproved); err != nil {
			return nil, err
		}
		r.Lines = strings.Join(lines, "\n")
		return []ledger.Result{r}, nil
	}
}

// unproved is the error of a scan that found nothing and proves nothing. What the product can mend is
// told as a broken test: it blocks, and it ends with a change of the product. The rest is inconclusive.
//
//	nothing to read at all                                   test.broken
//	a syslog file in an unknown format                       test.broken
//	a rule that excuses almost everything                    test.broken
//	messages lost: journald or rsyslog limits the rate       test.broken
//	the same of a session or connection of Hallmark's        inconclusive
//	messages of the kernel lost: the host is too slow        inconclusive
func unproved(server string, reasons []probe.Unproved) error {
	if len(reasons) == 0 {
		return nil
	}
	cause := verdict.Unexplained
	var whys []string
	for _, r := range reasons {
		if r.Product {
			cause = verdict.TestBroken
		}
		whys = append(whys, r.Why)
	}
	return verdict.Errorf(cause, server, "scan of logs: nothing bad was found, but that proves nothing: %s", strings.Join(whys, "\n"))
}
