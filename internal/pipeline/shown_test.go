package pipeline_test

import (
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// A server that never comes up is gone when somebody looks; what it showed is there, and told.
func TestWhatServersShowedIsReported(t *testing.T) {
	t.Parallel()
	for server, want := range map[string]struct {
		verdict verdict.Verdict
		where   string
	}{
		"web-1":     {verdict.Failed, "verify prebuilt, attempt 1"},
		benchServer: {verdict.Inconclusive, "build web"},
	} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			g := young(t)
			g.world.Trouble(server, environmenttest.Trouble{NoBoot: true})
			d, run := g.pass(pipeline.Request{})
			if run.State != ledger.Finished || run.Verdict != want.verdict {
				t.Errorf("run is %s, %s\n%s", run.State, run.Verdict, d.tree())
			}
			told, err := pipeline.Report(t.Context(), d.parts, run)
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, s := range told.Shown {
				if s.Server != server || !strings.HasPrefix(s.Console, g.cfg.RecordsDir(run.ID)) || s.Screenshot == "" {
					t.Errorf("%+v", s)
				}
				found = found || s.Where == want.where
			}
			if !found {
				t.Errorf("nothing of %s: %+v", want.where, told.Shown)
			}
			d.nothingLeft()
		})
	}
}
