package pipeline_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// However its commit is named, a run is of the commit that the name stands for at that moment: a checkout
// of yesterday under that name is not taken for it.
func TestCommitIsResolvedBeforeAnythingElse(t *testing.T) {
	t.Parallel()
	g := young(t)
	d := g.daemon()
	var last ledger.Run
	for _, version := range []string{"1.1\n", "1.2\n"} {
		head := g.commit("version", map[string]string{"app/VERSION": version, "app/OTHER": version})
		for _, name := range []string{"main", head[:10], "HEAD"} {
			r := pipeline.Request{Kind: pipeline.Nightly, Commit: name}
			if err := pipeline.Preflight(t.Context(), d.parts, &r); err != nil {
				t.Fatal(err)
			}
			if r.Commit != head {
				t.Fatalf("%q is %s, want %s", name, r.Commit, head)
			}
		}
		last = d.await(d.start(pipeline.Request{Commit: "main"}).ID)
		if last.Verdict != verdict.Passed || last.Commit != head {
			t.Fatalf("run of %s is %s: %s", last.Commit, last.Verdict, last.Reason)
		}
		built, err := os.ReadFile(filepath.Join(g.cfg.ProductsDir(), head, "app", "VERSION"))
		if err != nil || string(built) != version {
			t.Errorf("built was %q, want %q, %v", built, version, err)
		}
	}
	set, err := d.parts.Ledger.Set(t.Context(), d.channel("development").Set)
	if err != nil || set.Commit != last.Commit {
		t.Errorf("development holds %+v, %v", set, err)
	}
	entries, err := os.ReadDir(g.cfg.ProductsDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := strings.TrimSuffix(e.Name(), ".tar.gz"); !product.IsCommitID(name) {
			t.Errorf("%s is kept under the name of no commit", e.Name())
		}
	}
}

// A branch's name with a slash in it names a commit as any other.
func TestCommitNamedByABranchWithASlash(t *testing.T) {
	t.Parallel()
	g := young(t)
	_, run := g.pass(pipeline.Request{Commit: "release/1.0"})
	if head := g.git("-C", "product", "rev-parse", "release/1.0"); run.Verdict != verdict.Passed || run.Commit != head {
		t.Errorf("run of %s is %s: %s", run.Commit, run.Verdict, run.Reason)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	g.git("-C", "product", "branch", "release/0.9", "release/1.0")
	g.git("-C", "product", "branch", "production", "release/1.0")
	g.cfg.Product.Retired = []string{"release/0.9"}
	main := g.git("-C", "product", "rev-parse", "main")
	g.git("-C", "product", "checkout", "-q", "-b", "feature/x")
	feature := g.commit("x", map[string]string{"app/VERSION": "x\n"})
	d := g.daemon()
	for _, c := range []struct {
		r    pipeline.Request
		says string
	}{
		{pipeline.Request{Kind: "hourly"}, `unknown kind of run "hourly"`},
		{pipeline.Request{Kind: pipeline.Release}, "a release run needs a branch: add --branch"},
		{pipeline.Request{Kind: pipeline.Nightly, Branch: "feature/x"}, "a nightly run promotes the development branch main and not feature/x: add --no-promote"},
		{pipeline.Request{Kind: pipeline.Nightly, Branch: "main~1"}, "branch main~1: does not exist"},
		{pipeline.Request{Kind: pipeline.Nightly, Branch: "-x"}, "branch -x: does not exist"},
		{pipeline.Request{Kind: pipeline.Nightly, Branch: "../heads/main"}, "does not exist"},
		{pipeline.Request{Kind: pipeline.Nightly, Commit: feature}, "commit " + feature + " is not on branch main: name its branch by --branch"},
		{pipeline.Request{Kind: pipeline.Nightly, Commit: "feature/x"}, "commit feature/x (" + feature + ") is not on branch main"},
		{pipeline.Request{Kind: pipeline.Nightly, Commit: feature, Options: ledger.RunOptions{NoPromote: true}}, "is not on branch main"},
		{pipeline.Request{Kind: pipeline.Nightly, Commit: strings.Repeat("0", 40)}, "does not exist"},
		{pipeline.Request{Kind: pipeline.Nightly, Commit: "../../etc"}, "does not exist"},
		{pipeline.Request{Kind: pipeline.Nightly, Commit: "--all"}, "does not exist"},
		{pipeline.Request{Kind: pipeline.Release, Branch: "main"}, "branch main is no release branch"},
		{pipeline.Request{Kind: pipeline.Release, Branch: "release/0.9"}, "release branch release/0.9 is retired"},
		{pipeline.Request{Kind: pipeline.Release, Branch: "release/1.0", Commit: main}, "is not on branch release/1.0"},
	} {
		r := c.r
		if err := pipeline.Preflight(t.Context(), d.parts, &r); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("preflight of %+v: %v, want %q", c.r, err, c.says)
		}
		if _, err := pipeline.Enqueue(t.Context(), d.parts, c.r); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", c.r, err, c.says)
		}
	}
	parts := d.parts
	parts.Config.Product.Releases = "*"
	if _, err := pipeline.Enqueue(t.Context(), parts, pipeline.Request{Kind: pipeline.Release, Branch: "production"}); err == nil || !strings.Contains(err.Error(), `would be "production", which is a channel of the configuration`) {
		t.Errorf("release branch production: %v", err)
	}
	if runs, err := d.parts.Ledger.Runs(t.Context(), ledger.RunFilter{}); err != nil || len(runs) > 0 {
		t.Errorf("recorded: %+v, %v", runs, err)
	}
}

// A branch may be tried without promoting it; its set goes nowhere, not by hand either.
func TestFeatureBranchIsTriedAndNotPromoted(t *testing.T) {
	t.Parallel()
	g := young(t)
	g.git("-C", "product", "checkout", "-q", "-b", "feature/x")
	g.commit("x", map[string]string{"app/VERSION": "x\n"})
	d, run := g.pass(pipeline.Request{Branch: "feature/x", Options: ledger.RunOptions{NoPromote: true}})
	if run.Verdict != verdict.Passed {
		t.Fatalf("run is %s: %s\n%s", run.Verdict, run.Reason, d.tree())
	}
	d.unmoved()
	for _, channel := range []string{"development", "production", "release-1.0"} {
		err := d.promote(run.Set, channel)
		if err == nil || !strings.Contains(err.Error(), channel+" does not move to "+run.Set+": a nightly run promotes the development branch main and not feature/x") {
			t.Errorf("promoted to %s: %v", channel, err)
		}
	}
	d.unmoved()
}

// promote moves a channel by hand.
func (d *daemon) promote(set, channel string) error {
	_, err := pipeline.Move(d.t.Context(), d.parts, ledger.Move{Channel: channel, To: set, Kind: ledger.Promote, Actor: "grace"}, d.channel(channel).Version)
	return err
}
