// Package verifier runs suites on living environments. It owns what is tested in each tier, how one
// test's answer becomes results, and whether a bad answer may be held against the product. Which
// environments there are, in which phase, and what the results add up to belong to the pipeline.
package verifier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/host"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Tiers that exist, in the order in which they are run.
const (
	Smoke = "smoke"
	Build = "build"
)

// Suites of Hallmark's own, beside those of the product.
const (
	systemSuite = product.SystemSuite
	accessSuite = product.AccessSuite
)

// Own reports whether a suite holds tests of the product's own, which say that it does its work. Others say
// that a server is in order, which one that does nothing is as well.
func Own(suite string) bool {
	return suite != "" && suite != systemSuite && suite != accessSuite && suite != product.EnvironmentSuite
}

// Place is the part of an environment that tests need.
type Place interface {
	Servers() []environment.Server
	// Session is an admin's session: through the bastion with both factors.
	Session(ctx context.Context, server string) (remote.Session, error)
	// Access and TryLogin are for logins that ought to be refused, TryLogin from the bastion.
	Access() (environment.Access, error)
	TryLogin(ctx context.Context, attempt remote.Attempt) (remote.Refusal, error)
	// Audit looks whether anything but the product could be to blame for trouble on some servers.
	Audit(ctx context.Context, servers ...string) verdict.Audit
}

// Test is one thing to find out about one server. It gives one result or many: a goss file is one
// test of many checks.
type Test struct {
	Tier   string
	Suite  string
	Name   string // unique in its tier with Server
	Server string
	run    func(ctx context.Context, place Place) ([]ledger.Result, error)
}

// Verifier plans and runs tests.
type Verifier struct {
	Probe     string        // path of the static hallmark-probe to put on servers
	Timeout   time.Duration // of one test
	Now       func() time.Time
	Outside   netip.Addr // an address of this host that no environment may reach, but for the package cache on it
	Neighbour string     // address:port in another environment, alive and reached from this host
	Host      Host       // nil: the machine this runs on; servers that are played have one of their own

	// Failing is told of failures before the audit, which takes long and may take them back: so they
	// are not forgotten if the process dies meanwhile. Nil: nobody is told.
	Failing func(ctx context.Context, results []ledger.Result)
}

// Check says, before anything is launched, whether a product has tests of a tier for each of its roles.
func Check(p *product.Product, tier string) error {
	var servers []environment.Server
	for _, s := range p.Servers() {
		servers = append(servers, environment.Server{Name: s.Name, Role: s.Role})
	}
	tests, err := new(Verifier).gossTests(p, servers, tier)
	if err != nil {
		return err
	}
	var untested []string
	for _, s := range servers {
		tested := slices.ContainsFunc(tests, func(t Test) bool { return t.Server == s.Name })
		if !tested && !slices.Contains(untested, s.Role) {
			untested = append(untested, s.Role)
		}
	}
	if len(untested) == 0 {
		return nil
	}
	return fmt.Errorf("suites/%s: no test for role %s, so nothing would be proved of it; add all.yaml or %s.yaml", tier, strings.Join(untested, ", "), untested[0])
}

// Plan lists the tests of a tier for a product and the servers of a place. The order and the names
// depend on these alone, so a resumed run finds its tests again. A tier without a test is an error:
// nothing would be proved.
func (v *Verifier) Plan(p *product.Product, place Place, tier string) ([]Test, error) {
	tests, err := v.gossTests(p, place.Servers(), tier)
	if err != nil {
		return nil, err
	}
	if tier == Build {
		tests = append(tests, v.systemTests(p, place)...)
		tests = append(tests, v.accessTests(place)...)
	}
	return tests, nil
}

// Run runs one test and gives its results, without the parts of the key that the caller knows (run,
// scenario, origin, phase, attempt). It always gives at least one result. What cannot be held
// against the product, or against the test itself, is inconclusive.
func (v *Verifier) Run(ctx context.Context, t Test, place Place) []ledger.Result {
	started := v.Now()
	limited, cancel := host.WithTimeout(ctx, v.Timeout, nil)
	defer cancel()
	results, err := t.run(limited, place)
	if err == nil && len(results) == 0 {
		err = verdict.Errorf(verdict.TestBroken, t.Server, "%s of suite %s checked nothing", t.Name, t.Suite)
	}
	if unkept := bound(t, results); unkept != nil {
		results, err = nil, errors.Join(err, unkept)
	}
	if err != nil {
		message, rest, _ := strings.Cut(err.Error(), "\n")
		results = append(results, ledger.Result{
			ResultKey: ledger.ResultKey{Test: t.Name},
			Outcome:   ledger.Failed, Cause: verdict.CauseOf(err), Message: cut(message, mostMessage), Lines: cut(rest, mostKept),
		})
	}
	var failing []ledger.Result
	spent := v.Now().Sub(started)
	for i := range results {
		r := &results[i]
		r.Tier, r.Suite, r.Server = t.Tier, t.Suite, t.Server
		if r.Duration == 0 {
			r.Duration = spent / time.Duration(len(results))
		}
		if r.Outcome == ledger.Failed {
			r.Cause = cmp.Or(r.Cause, verdict.TestFailed)
			failing = append(failing, *r)
		}
	}
	if len(failing) == 0 {
		return results
	}
	if v.Failing != nil && ctx.Err() == nil { // a failure after the end of ctx is the end's
		v.Failing(ctx, failing)
	}
	audit := place.Audit(ctx, t.Server)
	for i := range results {
		if results[i].Outcome == ledger.Failed {
			judge(&results[i], audit)
		}
	}
	return results
}

// judge lets a failure stand, or takes it back if the product is not to blame.
func judge(r *ledger.Result, audit verdict.Audit) {
	judged := verdict.Judge(r.Cause, audit)
	if said := verdict.Explain(r.Cause, audit); said != "" {
		r.Message += "; audit: " + said
	}
	if audit.Stopped == "" || audit.Stopped == r.Server { // another server's stop is told where it was met
		r.Cause = verdict.Refine(r.Cause, audit)
	}
	if judged != verdict.Failed {
		r.Outcome = ledger.Inconclusive
	}
}
