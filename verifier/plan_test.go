package verifier_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/verifier"
)

func names(tests []verifier.Test) []string {
	var all []string
	for _, t := range tests {
		all = append(all, t.Tier+" "+t.Suite+": "+t.Name+" on "+t.Server)
	}
	return all
}

func TestPlan(t *testing.T) {
	for tier, want := range map[string][]string{
		verifier.Smoke: {
			"smoke all: goss all on bastion",
			"smoke all: goss all on web-1",
		},
		verifier.Build: {
			"build web: goss web on web-1",
			"build system: no failed units on bastion",
			"build system: clean logs on bastion",
			"build system: second Puppet run changes nothing on bastion",
			"build system: no failed units on web-1",
			"build system: clean logs on web-1",
			"build system: second Puppet run changes nothing on web-1",
			"build access: the key alone is refused on bastion",
			"build access: a code of another seed is refused on bastion",
			"build access: an old code is refused on bastion",
			"build access: a used code is refused on bastion",
			"build access: root is refused on bastion",
			"build access: the bootstrap user is refused on bastion",
			"build access: the bootstrap user is gone on bastion",
			"build access: another environment is unreachable on bastion",
			"build access: an address that is not on the allow-list is unreachable on bastion",
			"build access: a direct login is refused by the network on web-1",
			"build access: root is refused on web-1",
			"build access: the bootstrap user is refused on web-1",
			"build access: the bootstrap user is gone on web-1",
			"build access: another environment is unreachable on web-1",
			"build access: an address that is not on the allow-list is unreachable on web-1",
		},
	} {
		t.Run(tier, func(t *testing.T) {
			p := newPlace(t)
			if got := names(p.plan(tier)); !slices.Equal(got, want) {
				t.Errorf("planned\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if len(p.asked)+len(p.puts)+p.audits > 0 {
				t.Errorf("planning asked servers: %v, %v", p.asked, p.puts)
			}
		})
	}
}

// A resumed run finds its tests again by name and server.
func TestPlanIsStable(t *testing.T) {
	p := newPlace(t)
	p.product.Topology = append(p.product.Topology, product.Group{Role: "db", Count: 2})
	p.product.Topology[1].Count = 3
	p.write("suites/build/all.yaml", "service: {cron: {running: true}}\n")
	p.write("suites/build/db.yaml", "port: {'tcp:3306': {listening: true}}\n")
	for _, tier := range []string{verifier.Smoke, verifier.Build} {
		tests := p.plan(tier)
		seen := map[string]bool{}
		for _, test := range tests {
			id := test.Name + " on " + test.Server
			if seen[id] {
				t.Errorf("%s: two tests are called %q", tier, id)
			}
			seen[id] = true
		}
		for range 5 {
			if got := names(p.plan(tier)); !slices.Equal(got, names(tests)) {
				t.Fatalf("planned again:\n%s\nbefore:\n%s", strings.Join(got, "\n"), strings.Join(names(tests), "\n"))
			}
		}
	}
}

// A role of which nothing is tested would be promoted unseen: Hallmark's own tests say that a server is in
// order, not that it does its work.
func TestCheckWantsTestsForEachRole(t *testing.T) {
	p := newPlace(t)
	if err := verifier.Check(p.product, verifier.Smoke); err != nil {
		t.Errorf("all.yaml is not enough: %v", err)
	}
	err := verifier.Check(p.product, verifier.Build)
	if err == nil || !strings.Contains(err.Error(), "suites/build: no test for role bastion") || !strings.Contains(err.Error(), "bastion.yaml") {
		t.Errorf("error %v, want it to name the bastion and its remedy", err)
	}
}

// Check says it before there is a server, Plan once more.
func TestTierWithoutTests(t *testing.T) {
	for name, c := range map[string]struct {
		tier  string
		spoil func(*testing.T, *place)
		says  string // "": there are tests
	}{
		"smoke tests": {verifier.Smoke, func(*testing.T, *place) {}, ""},
		"build tests": {verifier.Build, func(_ *testing.T, p *place) {
			p.write("suites/build/bastion.yaml", "service: {sshd: {running: true}}\n")
		}, ""},
		"no directory":               {"functional", func(*testing.T, *place) {}, "suites/functional"},
		"no file for any role":       {verifier.Build, onlyFor("mail"), "suites/build"},
		"another kind of file":       {verifier.Build, rename("web.yml"), "suites/build"},
		"a file that is no file":     {verifier.Build, directory, "build/web"},
		"no role of the topology":    {verifier.Build, func(_ *testing.T, p *place) { p.product.Topology = p.product.Topology[:1] }, "suites/build"},
		"no topology to test at all": {verifier.Smoke, func(_ *testing.T, p *place) { p.product.Topology = nil }, "suites/smoke"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			c.spoil(t, p)
			tests, planErr := p.verifier.Plan(p.product, p, c.tier)
			for verb, err := range map[string]error{"Check": verifier.Check(p.product, c.tier), "Plan": planErr} {
				switch {
				case c.says == "" && err != nil:
					t.Errorf("%s: %v", verb, err)
				case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
					t.Errorf("%s: error %v, want it to name %s", verb, err, c.says)
				}
			}
			if (c.says == "") != (len(tests) > 0) {
				t.Errorf("%d tests are planned", len(tests))
			}
		})
	}
}

func rename(to string) func(*testing.T, *place) {
	return func(t *testing.T, p *place) {
		dir := filepath.Join(p.product.Dir, "suites/build")
		if err := os.Rename(filepath.Join(dir, "web.yaml"), filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
}

func onlyFor(role string) func(*testing.T, *place) { return rename(role + ".yaml") }

func directory(t *testing.T, p *place) {
	rename("mail.yaml")(t, p)
	p.write("suites/build/web.yaml/inside", "")
}
