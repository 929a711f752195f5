package pipeline_test

import (
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/report"
)

// A rule that a commit adds to the log lines that it excuses is told by the run of that commit.
func TestNewExcusesAreReported(t *testing.T) {
	t.Parallel()
	g := young(t)
	const rules = "logs:\n  - {match: \"^cron: no mail\", reason: no mail here}\n"
	g.commit("a rule", map[string]string{"hallmark.yaml": productFiles()["hallmark.yaml"] + rules})
	d, first := g.pass(pipeline.Request{})
	g.commit("another rule", map[string]string{"hallmark.yaml": productFiles()["hallmark.yaml"] + rules + "  - {match: \"^app: error\", reason: noise, role: web}\n"})
	second := d.await(d.start(pipeline.Request{}).ID)

	told, err := pipeline.Report(t.Context(), d.parts, first)
	if err != nil {
		t.Fatal(err)
	}
	if r := report.New(told); len(r.Excuses.Used) != 1 || r.Excuses.Used[0].New || r.Excuses.Since != "" {
		t.Errorf("the first run tells %+v", r.Excuses)
	}
	if told, err = pipeline.Report(t.Context(), d.parts, second); err != nil {
		t.Fatal(err)
	}
	r := report.New(told)
	if len(r.Excuses.Used) != 2 || !strings.HasPrefix(r.Excuses.Since, "run "+first.ID+" at "+first.Commit[:12]) {
		t.Fatalf("the second run tells %+v", r.Excuses)
	}
	for i, want := range []struct {
		match   string
		fresh   bool
		servers string
	}{{"^app: error", true, "web-1"}, {"^cron: no mail", false, "bastion db-1 web-1"}} {
		if e := r.Excuses.Used[i]; e.Match != want.match || e.New != want.fresh || strings.Join(e.Servers, " ") != want.servers || e.Lines == 0 {
			t.Errorf("told %+v, want %+v", e, want)
		}
	}
}
