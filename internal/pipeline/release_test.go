package pipeline_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// release takes a release run of a branch through, which has to pass.
func (d *daemon) release(branch string) ledger.Run {
	d.t.Helper()
	run := d.await(d.start(pipeline.Request{Kind: pipeline.Release, Branch: branch}).ID)
	if run.Verdict != verdict.Passed {
		d.t.Fatalf("release run of %s is %s: %s\n%s", branch, run.Verdict, run.Reason, d.tree())
	}
	return run
}

// launchedFrom is what the ledger says of the first attempt of a lane.
func (d *daemon) launchedFrom(run ledger.Run, scenario, origin string) ledger.LaunchedFrom {
	d.t.Helper()
	all, err := d.parts.Ledger.Launches(d.t.Context(), run.ID)
	if err != nil {
		d.t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(l ledger.LaunchedFrom) bool {
		return l.Scenario == scenario && l.Origin == origin && l.Attempt == 1
	})
	if i < 0 {
		d.t.Fatalf("nothing is recorded of %s, %s: %+v\n%s", scenario, origin, all, d.tree())
	}
	return all[i]
}

// provided gives the images of a set by role, as the provider calls them.
func (d *daemon) provided(set string) map[string]string {
	d.t.Helper()
	s, err := d.parts.Ledger.Set(d.t.Context(), set)
	if err != nil {
		d.t.Fatal(err)
	}
	ids := map[string]string{}
	for role, id := range s.Images {
		image, err := d.parts.Ledger.Image(d.t.Context(), id)
		if err != nil {
			d.t.Fatal(err)
		}
		ids[role] = image.ProviderID
	}
	return ids
}

// scenarios are those of which a run has results, without its images.
func (d *daemon) scenarios(run ledger.Run) []string {
	seen := map[string]bool{}
	for _, r := range d.results(run) {
		seen[r.Scenario] = r.Scenario != pipeline.ScenarioImage
	}
	maps.DeleteFunc(seen, func(_ string, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(seen))
}

// detail is what a stage of a run says, "" if there is none.
func (d *daemon) detail(run ledger.Run, path string) string {
	d.t.Helper()
	stages, err := d.parts.Ledger.Stages(d.t.Context(), run.ID)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, s := range stages {
		if s.Path == path {
			return s.Detail
		}
	}
	return ""
}

// From the first release to the second: what production holds is what is upgraded, and production moves
// only to what was upgraded from the set that it holds at that moment.
func TestReleaseDay(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	g.git("-C", "product", "branch", "release/1.1", "main")
	d := g.daemon()

	first := d.release("release/1.0")
	if got := d.scenarios(first); !slices.Equal(got, []string{"verify"}) {
		t.Errorf("the first release has %q, and production holds nothing", got)
	}
	if got := d.detail(first, pipeline.NothingStage); !strings.Contains(got, "channel production holds nothing") {
		t.Errorf("the plan says %q", got)
	}
	early := d.release("release/1.1") // nothing to upgrade from yet
	if err := d.promote(first.Set, "production"); err != nil {
		t.Fatal(err)
	}

	// A set that was tested when production held nothing is told what to run.
	err := d.promote(early.Set, "production")
	again := "`hallmark run --kind release --branch release/1.1 --commit " + early.Commit + "`"
	if err == nil || !strings.Contains(err.Error(), "production holds "+first.Set) || !strings.Contains(err.Error(), again) {
		t.Errorf("promote %s: %v, want %s", early.Set, err, again)
	}

	// The next release of another branch, and the next of the same, are upgraded from the very images that
	// production holds.
	second := d.release("release/1.1")
	g.git("-C", "product", "checkout", "-q", "release/1.0")
	g.commit("1.0.1", map[string]string{"app/VERSION": "1.0.1\n"})
	fix := d.release("release/1.0")
	for _, run := range []ledger.Run{second, fix} {
		from := d.launchedFrom(run, upgradeScenario, "prebuilt")
		if from.Set != first.Set || from.Commit != first.Commit || from.Branch != "release/1.0" || !maps.Equal(from.Images, d.provided(first.Set)) {
			t.Errorf("%s was upgraded from %+v, production holds %v of %s", run.ID, from, d.provided(first.Set), first.Set)
		}
		if got := d.scenarios(run); !slices.Equal(got, []string{upgradeScenario, "verify"}) {
			t.Errorf("%s has %q", run.ID, got)
		}
		evidence, err := d.parts.Ledger.Evidence(t.Context(), run.Set)
		if err != nil || len(evidence) != 1 || !slices.Equal(evidence[0].UpgradedFrom, []string{first.Set}) {
			t.Errorf("evidence of %s: %+v, %v", run.ID, evidence, err)
		}
	}
	own := d.launchedFrom(second, "verify", "prebuilt")
	if own.Set != second.Set || own.Commit != second.Commit || !maps.Equal(own.Images, d.provided(second.Set)) {
		t.Errorf("verified was %+v", own)
	}
	if base := d.launchedFrom(second, "verify", "base"); base.Set != "" || base.Images["web"] != string(g.base.ID) {
		t.Errorf("from the base it was %+v", base)
	}

	// Production moves to the fix in the meantime: the upgrade from that to 1.1 is another one.
	if err := d.promote(fix.Set, "production"); err != nil {
		t.Fatal(err)
	}
	err = d.promote(second.Set, "production")
	if err == nil || !strings.Contains(err.Error(), "production holds "+fix.Set) || !strings.Contains(err.Error(), "tested was the upgrade from "+first.Set) || !strings.Contains(err.Error(), again) {
		t.Errorf("promote %s: %v", second.Set, err)
	}
	third := d.release("release/1.1")
	if err := d.promote(third.Set, "production"); err != nil {
		t.Fatal(err)
	}
	// Back, and on again: the sets and the upgrade are those that were tested.
	c := d.channel("production")
	if _, err := pipeline.Move(t.Context(), d.parts, ledger.Move{Channel: "production", To: fix.Set, Kind: ledger.Rollback, Actor: "grace"}, c.Version); err != nil {
		t.Fatal(err)
	}
	if err := d.promote(third.Set, "production"); err != nil {
		t.Errorf("on again: %v", err)
	}
	// An older release of the branch would be a step back.
	if err := d.promote(first.Set, "production"); err == nil || !strings.Contains(err.Error(), "is older than") {
		t.Errorf("back to %s: %v", first.Set, err)
	}
	d.nothingLeft()
}

// Production's images are launched, also where the run builds the same commit itself.
func TestUpgradeFromProductionsImagesAtOneCommit(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	g.git("-C", "product", "reset", "-q", "--hard", "release/1.0")
	d := g.daemon()
	release := d.release("release/1.0")
	if err := d.promote(release.Set, "production"); err != nil {
		t.Fatal(err)
	}
	night := d.await(d.start(pipeline.Request{}).ID)
	if night.Verdict != verdict.Passed || night.Commit != release.Commit {
		t.Fatalf("night of %s is %s: %s", night.Commit, night.Verdict, night.Reason)
	}
	from := d.launchedFrom(night, upgradeScenario, "prebuilt")
	if from.Set != release.Set || !maps.Equal(from.Images, d.provided(release.Set)) {
		t.Errorf("upgraded from %+v, production holds %v of %s", from, d.provided(release.Set), release.Set)
	}
	if own := d.launchedFrom(night, "verify", "prebuilt"); !maps.Equal(own.Images, d.provided(night.Set)) || own.Images["web"] == from.Images["web"] {
		t.Errorf("verified was %+v, the night's own are %v", own, d.provided(night.Set))
	}
}

// Each release branch has images of its own, which are those that its upgrade was tested from: two branches
// at one commit, and two whose names differ in the case of letters only.
func TestEachReleaseBranchHasItsOwnImages(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		branches map[string]string // branch → its set, after the run's id
		prepare  func(*ground)
	}{
		"at one commit": {map[string]string{"release/1.0": "-release-1.0", "release/1.1": "-release-1.1"}, func(g *ground) {
			g.git("-C", "product", "branch", "release/1.1", "release/1.0")
		}},
		"by letter case": {map[string]string{"release/1.0-RC": "-release-1.0___r_c", "release/1.0-rc": "-release-1.0__rc"}, func(g *ground) {
			g.cfg.Product.Releases = "release/1.0-*"
			for _, version := range []string{"RC", "rc"} {
				g.git("-C", "product", "checkout", "-q", "-b", "release/1.0-"+version, "release/1.0")
				g.commit(version, map[string]string{"app/VERSION": version + "\n"})
			}
			g.git("-C", "product", "checkout", "-q", "main")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGround(t)
			c.prepare(g)
			d, run := g.pass(pipeline.Request{})
			if run.Verdict != verdict.Passed {
				t.Fatalf("run is %s: %s\n%s", run.Verdict, run.Reason, d.tree())
			}
			servers := map[string]string{} // image → branch
			for branch, set := range c.branches {
				from := d.launchedFrom(run, pipeline.ScenarioUpgrade(branch), "prebuilt")
				if from.Set != run.ID+set || from.Commit != g.git("-C", "product", "rev-parse", branch) || !maps.Equal(from.Images, d.provided(from.Set)) {
					t.Errorf("%s was upgraded from %+v; its set %s holds %v", branch, from, run.ID+set, d.provided(run.ID+set))
				}
				for _, image := range from.Images {
					if other := servers[image]; other != "" {
						t.Errorf("%s and %s have one image, %s", branch, other, image)
					}
					servers[image] = branch
				}
			}
			again := d.await(d.start(pipeline.Request{}).ID) // what is there is not built again
			for branch, set := range c.branches {
				if from := d.launchedFrom(again, pipeline.ScenarioUpgrade(branch), "prebuilt"); from.Set != run.ID+set {
					t.Errorf("the next night upgrades %s from %s", branch, from.Set)
				}
			}
		})
	}
}

// What is wrong with code that a run upgrades from is found in the run's check, and told with its branch.
func TestReleaseBranchIsCheckedBeforeAnythingIsLaunched(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(*ground)
		says  string
	}{
		"without smoke tests": {func(g *ground) {
			g.git("-C", "product", "rm", "-q", "-r", "suites/smoke")
			g.commit("no smoke tests", nil)
		}, "suites/smoke"},
		"unreadable": {func(g *ground) {
			g.commit("broken", map[string]string{"hallmark.yaml": productFiles()["hallmark.yaml"] + "colour: blue\n"})
		}, "colour"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGround(t)
			g.git("-C", "product", "checkout", "-q", "release/1.0")
			c.spoil(g)
			head := g.git("-C", "product", "rev-parse", "HEAD")
			g.git("-C", "product", "checkout", "-q", "main")
			d, run := g.pass(pipeline.Request{})
			if run.Verdict != verdict.Failed || !strings.Contains(run.Reason, "release branch release/1.0 at commit "+head) || !strings.Contains(run.Reason, c.says) {
				t.Errorf("run is %s: %s", run.Verdict, run.Reason)
			}
			if got := d.detail(run, "check"); got != run.Reason {
				t.Errorf("the check says %q", got)
			}
			if n := g.calls(cloud.VerbLaunch); n != 0 {
				t.Errorf("%d launches", n)
			}
		})
	}
}

// A release that fails its own smoke test has not been upgraded: it is told as the old release's failure.
func TestOldReleaseFailsItsSmokeTest(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	g.git("-C", "product", "checkout", "-q", "release/1.0")
	g.commit("smoke", map[string]string{"suites/smoke/web.yaml": "port: {\"tcp:8080\": {listening: true}}\n"})
	g.git("-C", "product", "checkout", "-q", "main")
	g.answers.Fail("web-1", "port:tcp:8080:holds", "nothing listens")
	d, run := g.pass(pipeline.Request{})
	old := "the old release release/1.0 (commit " + g.git("-C", "product", "rev-parse", "release/1.0")[:10] + ") fails its own smoke test before the upgrade: "
	if run.Verdict != verdict.Failed || !strings.Contains(run.Reason, upgradeScenario+", base, launched, smoke") || !strings.Contains(run.Reason, old) {
		t.Errorf("run is %s: %s\n%s", run.Verdict, run.Reason, d.tree())
	}
	for _, r := range d.results(run) {
		if r.Outcome == ledger.Failed && (r.Scenario != upgradeScenario || r.Phase != "launched" || !strings.HasPrefix(r.Message, old)) {
			t.Errorf("%+v", r)
		}
	}
	if got := d.detail(run, "upgrade from release/1.0 prebuilt"); !strings.HasPrefix(got, old) {
		t.Errorf("the lane says %q", got)
	}
}

// A product whose allow-list names a single address, which its check and the configuration accept, comes through;
// without the configuration's consent the check stage says no, and no server is launched.
func TestEgressOfASingleAddress(t *testing.T) {
	t.Parallel()
	g := young(t)
	g.commit("egress", map[string]string{"hallmark.yaml": productFiles()["hallmark.yaml"] + "egress: [\"192.0.2.7:443\"]\n"})
	d, run := g.pass(pipeline.Request{})
	if run.Verdict != verdict.Failed || !strings.Contains(run.Reason, `egress[0]: "192.0.2.7:443" is not among what the daemon's configuration allows`) || !strings.Contains(run.Reason, "hallmark.yaml:") {
		t.Errorf("run is %s: %s\n%s", run.Verdict, run.Reason, d.tree())
	}
	if n := len(d.results(run)); n != 0 {
		t.Errorf("%d results", n)
	}
	d.stop()
	g.cfg.Environment.Egress = []string{"192.0.2.0/24:443"}
	d, run = g.pass(pipeline.Request{})
	if run.Verdict != verdict.Passed {
		t.Errorf("run is %s: %s\n%s", run.Verdict, run.Reason, d.tree())
	}
}

// What production holds is what has to be upgraded: if an image of it is gone, no other will do.
func TestProductionsImageIsGone(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	d := g.daemon()
	release := d.release("release/1.0")
	if err := d.promote(release.Set, "production"); err != nil {
		t.Fatal(err)
	}
	set, err := d.parts.Ledger.Set(t.Context(), release.Set)
	if err != nil {
		t.Fatal(err)
	}
	image, err := d.parts.Ledger.Image(t.Context(), set.Images["web"])
	if err != nil {
		t.Fatal(err)
	}
	image.Deleted = g.clock.Now()
	if err := d.parts.Ledger.RecordImage(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	run := d.await(d.start(pipeline.Request{Kind: pipeline.Release, Branch: "release/1.0"}).ID)
	if run.Verdict != verdict.Inconclusive || !strings.Contains(run.Reason, "channel production holds "+release.Set+", and its image of role web is gone") {
		t.Errorf("run is %s: %s", run.Verdict, run.Reason)
	}
}
