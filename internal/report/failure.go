package report

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// environmentSuite is where the pipeline records trouble with an environment's own steps. These leave
// a result only when they fail.
const environmentSuite = "environment"

// Failure is one problem, wherever it showed: the same test on several servers, phases or origins.
type Failure struct {
	Status    Status          `json:"status"` // failed, inconclusive or missing
	Scenario  string          `json:"scenario,omitempty"`
	Tier      string          `json:"tier,omitempty"`
	Suite     string          `json:"suite,omitempty"`
	Test      string          `json:"test"`
	Cause     verdict.Cause   `json:"cause,omitempty"`
	Message   string          `json:"message"`
	Lines     string          `json:"lines,omitempty"` // the lines that matter, of the first occurrence
	Seen      []Seen          `json:"seen,omitempty"`
	Diagnosis Diagnosis       `json:"diagnosis"`
	Packages  []PackageChange `json:"packages,omitempty"` // base → prebuilt, on servers of these roles
}

// Seen is one origin and phase in which a problem showed.
type Seen struct {
	Origin  string   `json:"origin"`
	Phase   string   `json:"phase"`
	Servers []string `json:"servers"`
	Message string   `json:"message,omitempty"` // if it is not the Failure's own
	Lines   string   `json:"lines,omitempty"`   // likewise
}

// Side says from which origins a problem shows.
type Side string

// Sides. Empty: origins do not matter here.
const (
	OnlyBase     Side = "base"
	OnlyPrebuilt Side = "prebuilt"
	BothOrigins  Side = "both"
	OneTested    Side = "one tested"
)

// Diagnosis is where the defect lives, as the two origins tell (DESIGN.md section 1).
type Diagnosis struct {
	Side Side   `json:"side,omitempty"`
	Says string `json:"says,omitempty"`
}

// newFailures gathers what went wrong, failures of the product first.
func newFailures(d Data) []Failure {
	type key struct{ scenario, tier, suite, test string }
	seen := map[key][]ledger.Result{}
	var keys []key
	for _, r := range d.Results {
		if r.Outcome != ledger.Failed && r.Outcome != ledger.Inconclusive && r.Outcome != ledger.NotRun {
			continue
		}
		k := key{r.Scenario, r.Tier, r.Suite, r.Test}
		if seen[k] == nil {
			keys = append(keys, k)
		}
		seen[k] = append(seen[k], r)
	}
	var all []Failure
	for _, k := range keys {
		all = append(all, newFailure(d, seen[k]))
	}
	all = append(all, failedStages(d, all)...)
	slices.SortStableFunc(all, func(a, b Failure) int {
		return cmp.Or(
			cmp.Compare(severity(a), severity(b)),
			compareWords(a.Scenario, b.Scenario),
			cmp.Compare(b2i(a.Suite != environmentSuite), b2i(b.Suite != environmentSuite)),
			compareWords(a.Tier, b.Tier),
			cmp.Compare(b.places(), a.places()), // the widest first
			cmp.Compare(a.Test, b.Test))
	})
	return all
}

func severity(f Failure) int { return slices.Index([]Status{Bad, Unsure, Missing}, f.Status) }

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (f Failure) places() int {
	n := 0
	for _, s := range f.Seen {
		n += max(len(s.Servers), 1)
	}
	return n
}

// newFailure tells one problem from its results; what failed speaks before what stayed open.
func newFailure(d Data, results []ledger.Result) Failure {
	slices.SortStableFunc(results, func(a, b ledger.Result) int {
		return cmp.Or(
			cmp.Compare(b2i(a.Outcome != ledger.Failed), b2i(b.Outcome != ledger.Failed)),
			compareWords(a.Origin, b.Origin), compareWords(a.Phase, b.Phase), compareNames(a.Server, b.Server))
	})
	first := results[0]
	f := Failure{
		Status: Unsure, Scenario: first.Scenario, Tier: first.Tier, Suite: first.Suite, Test: first.Test,
		Cause: first.Cause, Message: Plain(first.Message), Lines: strings.TrimSpace(first.Lines),
	}
	if first.Outcome == ledger.Failed {
		f.Status = Bad
	}
	if f.Message == "" {
		f.Message = string(first.Outcome)
	}
	for _, r := range results {
		if f.Status == Bad && r.Outcome != ledger.Failed {
			continue
		}
		f.addSeen(r)
	}
	f.Diagnosis = diagnose(d, f)
	if f.Diagnosis.Side == OnlyBase || f.Diagnosis.Side == OnlyPrebuilt {
		f.Packages = drift(d.Inventories, f)
	}
	return f
}

func (f *Failure) addSeen(r ledger.Result) {
	next := Seen{Origin: r.Origin, Phase: r.Phase}
	if message := Plain(r.Message); message != f.Message {
		next.Message = message
	}
	if lines := strings.TrimSpace(r.Lines); lines != f.Lines {
		next.Lines = lines
	}
	for i := range f.Seen {
		s := &f.Seen[i]
		if s.Origin == next.Origin && s.Phase == next.Phase && s.Message == next.Message && s.Lines == next.Lines {
			if r.Server != "" {
				s.Servers = addOnce(s.Servers, r.Server)
			}
			return
		}
	}
	if r.Server != "" {
		next.Servers = []string{r.Server}
	}
	f.Seen = append(f.Seen, next)
}

// diagnose compares the origins, then the phases.
func diagnose(d Data, f Failure) Diagnosis {
	if f.Status != Bad || len(f.Seen) == 0 || f.Seen[0].Origin == "" {
		return Diagnosis{}
	}
	failed := map[string]bool{}
	for _, s := range f.Seen {
		failed[s.Origin] = true
	}
	g := Diagnosis{}
	switch {
	case failed[base] && failed[prebuilt]:
		g = Diagnosis{BothOrigins, "It fails from both origins: the defect is in the code itself."}
	case failed[base] && fine(d, f, prebuilt):
		g = oneSided(d, f, OnlyBase, "It fails only from the base: the Puppet code does not converge from clean. Look for a missing dependency or a race; the prebuilt image hides it.")
	case failed[prebuilt] && fine(d, f, base):
		g = oneSided(d, f, OnlyPrebuilt, "It fails only from the prebuilt image: the bake went wrong, or the image keeps stale state. The code converges from clean.")
	default:
		g = Diagnosis{OneTested, "The other origin did not get this far, so where the defect lives is open."}
	}
	if after := survives(d, f, g.Side == BothOrigins || again(d, f)); after != "" {
		g.Says += " " + after
	}
	return g
}

const (
	base     = "base"
	prebuilt = "prebuilt"
)

// oneSided gives advice on a test that fails from one origin alone. What was seen once may have been a matter
// of timing, on a host that was busy at that moment: then it says what is known, and how to learn more.
func oneSided(d Data, f Failure, side Side, advice string) Diagnosis {
	if again(d, f) {
		return Diagnosis{side, advice}
	}
	from, other := "the base", "the prebuilt image"
	if side == OnlyPrebuilt {
		from, other = other, from
	}
	return Diagnosis{side, fmt.Sprintf("In this run it failed from %s and passed from %s. No earlier run of this commit failed so: run the commit again to learn whether it is the origin or a moment's chance.", from, other)}
}

// again reports whether a failure is more than one moment's: the same test failed from the same origin in an
// earlier run of the commit, or it looks at what does not change while a server runs.
func again(d Data, f Failure) bool {
	if unmoving.MatchString(f.Test) && f.Cause == verdict.TestFailed {
		return true
	}
	return slices.ContainsFunc(d.Earlier, func(r ledger.Result) bool {
		return r.Scenario == f.Scenario && r.Tier == f.Tier && r.Suite == f.Suite && r.Test == f.Test &&
			slices.ContainsFunc(f.Seen, func(s Seen) bool { return s.Origin == r.Origin })
	})
}

// unmoving names goss checks of what Puppet has set once a server has converged: no daemon has to come up first,
// and no program writes it.
var unmoving = regexp.MustCompile(`^(package|user|group|kernel-param):|^file:.+:(mode|owner|group|filetype|linked-to)$`)

// fine reports whether the other origin passed the same test. An environment's own steps leave no
// result when they pass: there it is enough that the origin came to the same phase.
func fine(d Data, f Failure, origin string) bool {
	for _, r := range d.Results {
		if r.Scenario != f.Scenario || r.Origin != origin || !passing(r.Outcome) || r.Phase != f.Seen[0].Phase {
			continue
		}
		if f.Suite == environmentSuite || r.Tier == f.Tier && r.Suite == f.Suite && r.Test == f.Test {
			return true
		}
	}
	return false
}

func passing(o ledger.Outcome) bool {
	return o == ledger.Passed || o == ledger.Flaky || o == ledger.Waived
}

// survives tells of a test that passed when the servers were launched, and fails after what was done to them;
// why, if it is certain that this is more than chance.
func survives(d Data, f Failure, certain bool) string {
	if f.Scenario != "verify" || f.Suite == environmentSuite {
		return ""
	}
	phase := f.Seen[0].Phase
	for _, s := range f.Seen {
		if s.Phase != phase {
			return ""
		}
	}
	passed := slices.ContainsFunc(d.Results, func(r ledger.Result) bool {
		return r.Scenario == f.Scenario && r.Tier == f.Tier && r.Suite == f.Suite && r.Test == f.Test &&
			r.Phase == "launched" && passing(r.Outcome)
	})
	fact, why := "", ""
	switch {
	case !passed:
	case phase == "rebooted":
		fact, why = "It passed before the reboot", ": something is not enabled, not mounted, or started in the wrong order"
	case phase == "relaunched":
		fact, why = "It passed before the servers were replaced", ": something lives outside the volumes, or does not find its peers again"
	}
	switch {
	case fact == "":
		return ""
	case certain:
		return fact + why + "."
	}
	return fact + "."
}

// failedStages are those whose trouble no result tells: the product's check, the base, a build.
func failedStages(d Data, told []Failure) []Failure {
	var all []Failure
	for _, s := range d.Stages {
		if s.State != "done" || s.Verdict == verdict.Passed || s.Path == "gate" || s.Detail == "" || parent(d.Stages, s.Path, true) {
			continue
		}
		message, _, _ := strings.Cut(s.Detail, "\n")
		known := slices.ContainsFunc(told, func(f Failure) bool {
			return strings.Contains(s.Detail, f.Message) || strings.Contains(f.Lines, Plain(message))
		})
		lane := strings.HasPrefix(s.Path, "verify") || strings.HasPrefix(s.Path, "upgrade")
		if known || lane && len(told) > 0 {
			continue
		}
		all = append(all, Failure{
			Status: statusOfVerdict(s.Verdict), Test: s.Path, Cause: causeIn(s.Detail), Message: Plain(message), Lines: restOf(s.Detail),
		})
	}
	return all
}

func causeIn(text string) verdict.Cause {
	if c := verdict.CauseOf(textError(text)); c != verdict.Unexplained {
		return c
	}
	return ""
}

// textError is an error that only its text is left of.
type textError string

func (t textError) Error() string { return string(t) }

func restOf(text string) string {
	if _, rest, more := strings.Cut(text, "\n"); more {
		return strings.TrimSpace(rest)
	}
	return ""
}

// Tolerated is a test that did not simply pass and does not block by itself.
type Tolerated struct {
	Outcome ledger.Outcome `json:"outcome"`
	Test    string         `json:"test"`
	Suite   string         `json:"suite"`
	Why     string         `json:"why"`
	Ticket  string         `json:"ticket,omitempty"`
	Seen    []string       `json:"seen"` // "verify, base, launched: web-1"
}

func newTolerated(results []ledger.Result) []Tolerated {
	var all []Tolerated
	for _, r := range results {
		if r.Outcome != ledger.Skipped && r.Outcome != ledger.Waived && r.Outcome != ledger.Flaky {
			continue
		}
		where := strings.Join([]string{r.Scenario, r.Origin, r.Phase}, ", ") + ": " + r.Server
		i := slices.IndexFunc(all, func(t Tolerated) bool {
			return t.Outcome == r.Outcome && t.Test == r.Test && t.Suite == r.Suite && t.Why == Plain(r.Message)
		})
		if i < 0 {
			all = append(all, Tolerated{Outcome: r.Outcome, Test: r.Test, Suite: r.Suite, Why: Plain(r.Message), Ticket: r.Ticket})
			i = len(all) - 1
		}
		all[i].Seen = append(all[i].Seen, where)
	}
	rank := []ledger.Outcome{ledger.Flaky, ledger.Waived, ledger.Skipped}
	slices.SortStableFunc(all, func(a, b Tolerated) int {
		return cmp.Compare(slices.Index(rank, a.Outcome), slices.Index(rank, b.Outcome))
	})
	return all
}

// Retry is an environment or build that was given up for the infrastructure's sake and begun anew.
type Retry struct {
	Where   string        `json:"where"` // "verify, base"
	Attempt int           `json:"attempt"`
	Cause   verdict.Cause `json:"cause"`
	Message string        `json:"message"`
}

func newRetries(d Data) []Retry {
	newest := map[[2]string]int{}
	for _, r := range d.Attempts {
		k := [2]string{r.Scenario, r.Origin}
		newest[k] = max(newest[k], r.Attempt)
	}
	var all []Retry
	for _, r := range d.Attempts {
		if r.Outcome == ledger.Inconclusive && r.Attempt < newest[[2]string{r.Scenario, r.Origin}] {
			where := strings.TrimSuffix(r.Scenario+", "+r.Origin, ", ")
			all = append(all, Retry{where, r.Attempt, r.Cause, r.Test + ": " + Plain(r.Message)})
		}
	}
	return all
}
