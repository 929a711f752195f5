package verifier

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/probe"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
)

// systemTests are what every server must pass whatever the product: a system that runs with no unit that
// is failed, stuck or started again and again; clean logs; and a second Puppet run that changes nothing.
func (v *Verifier) systemTests(p *product.Product, place Place) []Test {
	var tests []Test
	for _, s := range place.Servers() {
		add := func(name string, run func(context.Context, Place) ([]ledger.Result, error)) {
			tests = append(tests, Test{Tier: Build, Suite: systemSuite, Name: name, Server: s.Name, run: run})
		}
		add("no failed units", v.units(s.Name))
		add("clean logs", v.logs(s, ignores(p, s.Role)))
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
		var lines []string
		whys := map[string][]string{}
		for _, u := range units.Failed {
			why := cmp.Or(u.Why, "failed")
			whys[why] = append(whys[why], u.Name)
			lines = append(lines, u.Lines...)
		}
		var told []string
		for _, why := range slices.Sorted(maps.Keys(whys)) {
			told = append(told, why+": "+strings.Join(whys[why], ", "))
		}
		if len(told) == 0 && units.State != "running" {
			told = []string{"the system is " + units.State + ", not running"}
			if len(units.Jobs) > 0 {
				told[0] += "; it waits for " + strings.Join(units.Jobs, ", ")
			}
		}
		if len(told) > 0 {
			r.Outcome, r.Message, r.Lines = ledger.Failed, strings.Join(told, "; "), strings.Join(lines, "\n")
		}
		return []ledger.Result{r}, nil
	}
}

// mostAgain bounds what is kept of a second Puppet run's output, in bytes from its end.
const mostAgain = 24 << 10

// puppetAgain runs Puppet once more: with --detailed-exitcodes 0 means that nothing was changed.
func (v *Verifier) puppetAgain(server string) func(context.Context, Place) ([]ledger.Result, error) {
	return func(ctx context.Context, place Place) ([]ledger.Result, error) {
		s, err := place.Session(ctx, server)
		if err != nil {
			return nil, err
		}
		defer s.Close()
		out, err := s.Run(ctx, remote.Command{Line: puppet.ScriptPath + " again", Sudo: true, Bound: mostAgain})
		if err != nil {
			return nil, err
		}
		r := ledger.Result{ResultKey: ledger.ResultKey{Test: "second Puppet run changes nothing"}, Outcome: ledger.Passed}
		if out.Exit != 0 {
			r.Outcome, r.Lines = ledger.Failed, strings.TrimSpace(string(out.Stdout)+"\n"+string(out.Stderr)) // Puppet writes its errors there
			if out.Truncated {
				r.Lines = fmt.Sprintf("… it said more than %d KiB, and this is the end\n", mostAgain>>10) + r.Lines
			}
			r.Message = fmt.Sprintf("puppet apply --detailed-exitcodes gave %d", out.Exit)
			if out.Exit == 2 {
				r.Message = "it changed resources that the first run should have settled"
			}
		}
		return []ledger.Result{r}, nil
	}
}
