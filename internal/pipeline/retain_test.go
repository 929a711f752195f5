package pipeline_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
)

// failing makes a ground whose runs end at once, because the product's own tests fail.
func failing(t *testing.T) *ground {
	t.Helper()
	g := young(t)
	g.commit("fail", map[string]string{"hallmark.yaml": productFiles()["hallmark.yaml"] + "unit-tests: {command: \"false\"}\n"})
	return g
}

func (g *ground) names(dir string) []string {
	g.t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		g.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Checkouts and archives of the newest commits stay, and those that an environment needs; what a crash left
// of a removal goes.
func TestCheckoutsDoNotGrow(t *testing.T) {
	t.Parallel()
	g := failing(t)
	d := g.daemon()
	var commits []string
	want := func(when string, commits ...string) {
		t.Helper()
		var want []string
		for _, c := range commits {
			want = append(want, c, c+".tar.gz")
		}
		slices.Sort(want)
		if got := g.names(g.cfg.ProductsDir()); !slices.Equal(got, want) {
			t.Errorf("%s: there are\n%q, want\n%q", when, got, want)
		}
	}
	for i := range 6 {
		commits = append(commits, g.commit("n", map[string]string{"app/VERSION": fmt.Sprint(i)}))
		d.await(d.start(pipeline.Request{}).ID)
		if i == 1 {
			body := fmt.Sprintf(`{"spec":{"Commit":%q},"servers":[{"commit":%q}]}`, commits[0], commits[1])
			err := d.parts.Ledger.SaveEnvironment(t.Context(), ledger.Environment{ID: "kept", State: ledger.Up, Body: []byte(body)})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	want("with an environment", append(commits[3:], commits[:2]...)...)
	if _, err := d.parts.Ledger.UpdateEnvironment(t.Context(), "kept", func(e *ledger.Environment) { e.State = ledger.Destroyed }); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(g.cfg.ProductsDir(), ".old-"+commits[2], "half"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{".new-old": 25 * time.Hour, ".new-now": 0} {
		name = filepath.Join(g.cfg.ProductsDir(), name)
		at := time.Now().Add(-age)
		if err := errors.Join(os.Mkdir(name, 0o700), os.Chtimes(name, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	d.await(d.start(pipeline.Request{Commit: commits[4]}).ID) // asked for again
	if !slices.Contains(g.names(g.cfg.ProductsDir()), ".new-now") {
		t.Error("what is in the making was removed")
	}
	if err := os.Remove(filepath.Join(g.cfg.ProductsDir(), ".new-now")); err != nil {
		t.Fatal(err)
	}
	want("without it", commits[3:]...)
	d.await(d.start(pipeline.Request{Commit: commits[0]}).ID) // made again
	want("an old commit", commits[0], commits[4], commits[5])
}

// Folders of runs and their workflows have their time, and the ledger keeps the history.
func TestRecordsAndWorkflowsDoNotGrow(t *testing.T) {
	t.Parallel()
	g := failing(t)
	now := g.clock.Now()
	g.now = func() time.Time { return now }
	d := g.daemon()
	var ids []string
	for range 3 {
		r := d.await(d.start(pipeline.Request{}).ID)
		ids = append(ids, r.ID)
		if err := os.MkdirAll(filepath.Join(g.cfg.RecordsDir(r.ID), "console"), 0o700); err != nil {
			t.Fatal(err)
		}
		now = now.Add(50 * 24 * time.Hour)
	}
	if err := os.MkdirAll(g.cfg.RecordsDir("of another ledger"), 0o700); err != nil {
		t.Fatal(err)
	}
	d.await(d.start(pipeline.Request{}).ID)
	if err := d.engine.Tidy(t.Context(), ""); err != nil {
		t.Error(err)
	}
	left := g.names(filepath.Dir(g.cfg.RecordsDir("x")))
	if slices.Contains(left, ids[0]) || !slices.Contains(left, ids[2]) || !slices.Contains(left, "of another ledger") {
		t.Errorf("folders of %q are left of %q", left, ids)
	}
	if runs, err := d.parts.Ledger.Runs(t.Context(), ledger.RunFilter{}); err != nil || len(runs) != 4 {
		t.Errorf("%d runs in the ledger, %v", len(runs), err)
	}
	db, err := sql.Open("sqlite", "file:"+g.cfg.WorkflowFile()+"?_pragma=busy_timeout(20000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(`SELECT workflow_uuid FROM workflow_status`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(ids, func(run string) bool { return strings.HasPrefix(id, run) }) {
			t.Errorf("workflow %s is left", id)
		}
	}
	if err := rows.Err(); err != nil {
		t.Error(err)
	}
}

// Images of a branch that was deleted, or of a release that was retired, stay for a time, and no longer, unless
// a channel holds them.
func TestImagesOfGoneBranches(t *testing.T) {
	t.Parallel()
	g := young(t)
	now := g.clock.Now()
	g.now = func() time.Time { return now }
	d := g.daemon()
	image := func(branch string) {
		t.Helper()
		run := "run-" + strings.ReplaceAll(branch, "/", "-")
		l := d.parts.Ledger
		err := l.CreateRun(t.Context(), ledger.Run{ID: run, Kind: pipeline.Nightly, Branch: branch, State: ledger.Finished, Created: now, Finished: now})
		if err == nil {
			err = l.RecordImage(t.Context(), ledger.Image{ID: run + "-web", Run: run, Role: "web", Branch: branch, Provider: "sim", ProviderID: "img-of-" + run, Created: now})
		}
		if err == nil {
			err = l.RecordSet(t.Context(), ledger.ImageSet{ID: run, Run: run, Branch: branch, Images: map[string]string{"web": run + "-web"}, Created: now})
		}
		if err == nil {
			err = l.RecordEvidence(t.Context(), ledger.Evidence{Set: run, Run: run, Statement: []byte("{}")})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, branch := range []string{"feature/gone", "feature/held", "feature/here", "release/1.0"} {
		image(branch)
	}
	g.git("-C", "product", "branch", "feature/here", "main")
	if _, err := d.parts.Ledger.MoveChannel(t.Context(), ledger.Move{Channel: "held", To: "run-feature-held", Kind: ledger.Promote, Actor: "ada"}, 0); err != nil {
		t.Fatal(err)
	}
	there := func() (branches []string) {
		t.Helper()
		if err := d.engine.Prune(t.Context()); err != nil {
			t.Error(err)
		}
		images, err := d.parts.Ledger.Images(t.Context(), ledger.ImageFilter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range images {
			branches = append(branches, i.Branch)
		}
		slices.Sort(branches)
		return branches
	}
	if got := there(); len(got) != 4 {
		t.Errorf("at first there are images of %q", got)
	}
	now = now.Add(13 * 24 * time.Hour)
	if got := there(); len(got) != 4 {
		t.Errorf("after 13 days there are images of %q", got)
	}
	now = now.Add(2 * 24 * time.Hour)
	if got := there(); !slices.Equal(got, []string{"feature/held", "feature/here"}) {
		t.Errorf("after 15 days there are images of %q", got)
	}
}
