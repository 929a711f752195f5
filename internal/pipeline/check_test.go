package pipeline_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Unit tests that write into their working directory change neither what this run tests on servers, nor
// what the next run of the commit finds.
func TestUnitTestsDoNotSoilTheCheckout(t *testing.T) {
	t.Parallel()
	g := young(t)
	g.commit("tests", map[string]string{"hallmark.yaml": productFiles()["hallmark.yaml"] +
		"unit-tests: {command: \"test ! -e fixtures && touch fixtures && rm suites/build/web.yaml\"}\n"})
	d := g.daemon()
	for range 2 {
		run := d.await(d.start(pipeline.Request{Options: ledger.RunOptions{NoPromote: true}}).ID)
		if run.Verdict != verdict.Passed {
			t.Fatalf("run is %s\n%s", run.Verdict, d.tree())
		}
		if !slices.ContainsFunc(d.results(run), func(r ledger.Result) bool { return strings.HasPrefix(r.Test, "port:tcp:80") }) {
			t.Error("suites/build/web.yaml, which the unit tests removed, was not run")
		}
	}
}
