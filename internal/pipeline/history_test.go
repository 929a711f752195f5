package pipeline_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
)

var (
	histories   = flag.Int("histories", 50, "how many random histories TestHistories drives")
	historySeed = flag.Uint64("history-seed", 1, "seed of the first history; each following one adds 1")
)

// A history is what people, schedules and trouble do to one installation, in random order: commits,
// force-pushes, branches that come and go, runs of both kinds, promotions, rollbacks, revocations, clean-ups,
// crashes, a lost or restored ledger, steps of the clock. After every event the test checks what Hallmark
// promises of its channels; see history_check_test.go. A seed gives the same events again; which of two
// lanes is first does not depend on it.
func TestHistories(t *testing.T) {
	n := *histories
	if testing.Short() { // under the race detector SQLite takes some fifty times as long
		n = min(n, 3)
	}
	for i := range n {
		seed := *historySeed + uint64(i)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			newHistory(t, seed).live()
		})
	}
}

// history is one installation and what happened to it.
type history struct {
	*ground
	d      *daemon
	random *rand.Rand
	shift  atomic.Int64 // of the daemon's clock, in nanoseconds
	events []string

	was     map[string]map[string]bool // branch → every commit that it ever held
	branch  []string                   // release branches that exist
	next    int                        // number of the next release branch
	files   int                        // number of the next commit
	backup  string                     // folder with an older ledger, "" for none
	decided map[string]string          // run → the decision as it was first shown
	seen    map[string]int64           // channel → version up to which moves were checked
	images  map[string]bool            // provider ids that channels of a lost ledger held or could go back to
}

// events are what may happen and how often, relative to each other.
var events = []struct {
	name   string
	weight int
	do     func(*history)
}{
	{"nightly run", 8, (*history).nightly},
	{"release run", 5, (*history).release},
	{"run by hand", 3, (*history).byHand},
	{"retry", 2, (*history).retry},
	{"commit", 8, (*history).commits},
	{"force-push", 2, (*history).forcePush},
	{"release branch comes", 2, (*history).branchComes},
	{"release branch goes", 1, (*history).branchGoes},
	{"promote to production", 5, (*history).promote},
	{"rollback", 3, (*history).rollback},
	{"revoke", 2, (*history).revoke},
	{"reap", 3, (*history).reap},
	{"ledger lost", 1, (*history).ledgerLost},
	{"ledger saved", 1, (*history).ledgerSaved},
	{"ledger restored", 1, (*history).ledgerRestored},
	{"clock steps", 2, (*history).clockSteps},
	{"daemon restarts", 1, (*history).restart},
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{
		ground: emptyGround(t), random: rand.New(rand.NewPCG(seed, 0)), was: map[string]map[string]bool{}, branch: []string{"release/1.0"}, next: 1,
		decided: map[string]string{}, images: map[string]bool{}, seen: map[string]int64{},
	}
	h.simulated()
	h.now = func() time.Time { return h.clock.Now().Add(time.Duration(h.shift.Load())) }
	h.cfg.Environment.Deadline, h.cfg.Environment.Lease = 2000*time.Hour, 2000*time.Hour // a hurried clock must not end environments
	h.push("release/1.0", map[string]string{
		"hallmark.yaml": strings.NewReplacer("  db: {health: {command: \"true\"}}\n", "", "  - {role: db, volumes: [{name: data, size: 1GiB}]}\n", "", "after: [db]", "").
			Replace(productFiles()["hallmark.yaml"]),
		"suites/build/bastion.yaml": "port: {\"tcp:22\": {listening: true}}\n",
		"release/procedure.yaml":    "version: 1\nsteps: [{role: web}, {role: bastion}]\n",
	})
	h.git("-C", "product", "rm", "-q", "--ignore-unmatch", "suites/build/db.yaml")
	h.git("-C", "product", "checkout", "-q", "-B", "main")
	h.push("main", nil)
	h.d = h.daemon()
	return h
}

// live lets a dozen things happen.
func (h *history) live() {
	total := 0
	for _, e := range events {
		total += e.weight
	}
	for range 14 {
		at := h.random.IntN(total)
		for _, e := range events {
			if at -= e.weight; at < 0 {
				h.says("%s", e.name)
				e.do(h)
				break
			}
		}
		if h.check(); h.t.Failed() {
			h.t.Fatalf("after:\n  %s\n%s", strings.Join(h.events, "\n  "), h.d.tree())
		}
	}
}

func (h *history) says(format string, args ...any) {
	h.events = append(h.events, fmt.Sprintf(format, args...))
}

// chance is true once in n times.
func (h *history) chance(n int) bool { return h.random.IntN(n) == 0 }

// push commits something new on a branch and notes what the branch then holds.
func (h *history) push(branch string, files map[string]string) {
	h.git("-C", "product", "checkout", "-q", branch)
	h.files++
	all := map[string]string{"app/VERSION": fmt.Sprintf("%s %d\n", branch, h.files)}
	for name, content := range files {
		all[name] = content
	}
	h.commit(fmt.Sprint("change ", h.files), all)
	h.note(branch)
}

func (h *history) note(branch string) {
	if h.was[branch] == nil {
		h.was[branch] = map[string]bool{}
	}
	for _, commit := range strings.Fields(h.git("-C", "product", "rev-list", branch)) {
		h.was[branch][commit] = true
	}
}

func (h *history) any(of []string) string {
	if len(of) == 0 {
		return ""
	}
	return of[h.random.IntN(len(of))]
}

func (h *history) anyBranch() string { return h.any(append([]string{"main"}, h.branch...)) }

func (h *history) commits() { h.push(h.anyBranch(), nil) }

func (h *history) forcePush() {
	branch := h.anyBranch()
	h.git("-C", "product", "checkout", "-q", branch)
	if strings.Count(h.git("-C", "product", "rev-list", branch), "\n") < 1 {
		return
	}
	h.git("-C", "product", "reset", "-q", "--hard", "HEAD~1")
	h.push(branch, nil)
}

func (h *history) branchComes() {
	name := fmt.Sprintf("release/1.%d", h.next)
	h.next++
	h.git("-C", "product", "branch", name, "main")
	h.branch = append(h.branch, name)
	h.note(name)
}

func (h *history) branchGoes() {
	if len(h.branch) < 2 {
		return
	}
	gone := h.any(h.branch)
	h.git("-C", "product", "checkout", "-q", "main")
	h.git("-C", "product", "branch", "-q", "-D", gone)
	h.branch = slices.DeleteFunc(h.branch, func(b string) bool { return b == gone })
}

func (h *history) nightly() { h.run(pipeline.Request{Kind: pipeline.Nightly}) }

func (h *history) release() {
	h.run(pipeline.Request{Kind: pipeline.Release, Branch: h.any(h.branch)})
}

// byHand asks for any commit of any branch, as people do when they look for a cause.
func (h *history) byHand() {
	branch := h.anyBranch()
	kind := pipeline.Nightly
	if branch != "main" && h.chance(2) {
		kind = pipeline.Release
	}
	h.run(pipeline.Request{
		Kind: kind, Branch: branch, Commit: h.any(strings.Fields(h.git("-C", "product", "rev-list", "--all"))),
		Options: ledger.RunOptions{NoPromote: h.chance(2)},
	})
}

func (h *history) retry() {
	runs, err := h.d.parts.Ledger.Runs(h.t.Context(), ledger.RunFilter{})
	h.must(err)
	if len(runs) == 0 {
		return
	}
	old := runs[h.random.IntN(len(runs))]
	h.run(pipeline.Request{Kind: old.Kind, Branch: old.Branch, Commit: old.Commit, Options: ledger.RunOptions{RetryOf: old.ID}})
}

// run takes a run through; sometimes a test fails, or the daemon is killed.
func (h *history) run(r pipeline.Request) {
	r.Actor, r.Trigger = "ada", "hand"
	if err := pipeline.Preflight(h.t.Context(), h.d.parts, &r); err != nil {
		h.says("  refused: %v", err)
		return
	}
	if h.chance(4) {
		h.says("  a test of web fails")
		h.answers.Fail("web-1", "port:tcp:80:holds", "nothing listens")
		defer h.answers.Fail("web-1", "port:tcp:80:holds", "")
	}
	m := newMoment()
	if h.chance(3) {
		left := int64(h.random.IntN(150))
		h.says("  killed at call %d", left)
		var count atomic.Int64
		h.onCall(func(context.Context, *daemon, cloud.Call) {
			if count.Add(1) > left {
				m.stay()
			}
		})
	}
	run, err := pipeline.Enqueue(h.t.Context(), h.d.parts, r)
	h.must(err)
	h.says("  %s of %s at %s", run.ID, run.Branch, run.Commit[:8])
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			now, err := h.d.parts.Ledger.Run(context.WithoutCancel(h.t.Context()), run.ID)
			if err != nil || now.State == ledger.Finished || now.State == ledger.Cancelled {
				return
			}
			select {
			case <-m.come:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	<-over
	select {
	case <-m.come:
		h.d.kill(m)
		h.onCall(nil)
		if h.chance(6) {
			h.says("  and its ledger is lost")
			h.loses()
			h.d = h.daemon()
			return
		}
		h.d = h.daemon()
	default:
		h.onCall(nil)
	}
	run = h.d.await(run.ID)
	h.says("  %s: %.150s", run.Verdict, run.Reason)
}

func (h *history) sets() []ledger.ImageSet {
	sets, err := h.d.parts.Ledger.Sets(h.t.Context(), "", 0)
	h.must(err)
	return sets
}

func (h *history) anySet() string {
	var ids []string
	for _, s := range h.sets() {
		ids = append(ids, s.ID)
	}
	return h.any(ids)
}

func (h *history) promote() {
	set := h.anySet()
	if set == "" {
		return
	}
	if branch := h.any(h.branch); h.chance(2) { // mostly what a release manager would
		if c, err := h.d.parts.Ledger.Channel(h.t.Context(), config.ChannelOf(branch)); err == nil && c.Set != "" {
			set = c.Set
		}
	}
	c := h.d.channel(pipeline.ProductionChannel)
	_, err := pipeline.Move(h.t.Context(), h.d.parts, ledger.Move{Channel: c.Name, To: set, Kind: ledger.Promote, Actor: "grace"}, c.Version)
	h.says("  %s to production: %v", set, err)
}

func (h *history) anyChannel() string {
	channels, err := h.d.parts.Ledger.Channels(h.t.Context())
	h.must(err)
	var names []string
	for _, c := range channels {
		names = append(names, c.Name)
	}
	return h.any(names)
}

func (h *history) rollback() {
	name := h.anyChannel()
	if name == "" {
		return
	}
	c := h.d.channel(name)
	previous, err := h.d.parts.Ledger.PreviousSet(h.t.Context(), name)
	if errors.Is(err, ledger.ErrNotFound) {
		return
	}
	h.must(err)
	_, err = pipeline.Move(h.t.Context(), h.d.parts, ledger.Move{Channel: name, To: previous.ID, Kind: ledger.Rollback, Actor: "grace"}, c.Version)
	h.says("  %s to %s", name, previous.ID)
	if err != nil {
		h.t.Errorf("rollback of %s to %s, which was offered: %v", name, previous.ID, err)
	}
}

func (h *history) revoke() {
	set := h.anySet()
	if set == "" {
		return
	}
	moves, err := h.d.parts.Ledger.RevokeSet(h.t.Context(), set, "grace", "it has a hole")
	h.says("  %s: %d moves, %v", set, len(moves), err)
	h.must(err)
}

func (h *history) reap() {
	found, err := pipeline.Reap(h.t.Context(), h.d.parts, false)
	h.says("  %d found, %v", len(found), err)
	h.must(err)
}

func (h *history) restart() {
	h.d.stop()
	h.d = h.daemon()
}

func (h *history) clockSteps() {
	by := time.Duration(h.random.IntN(1000)-500) * time.Hour
	h.shift.Add(int64(by))
	h.says("  by %v", by)
}

func (h *history) ledgerLost() {
	h.d.stop()
	h.loses()
	h.d = h.daemon()
}

// loses removes the ledger of a daemon that is gone; what its channels used must stay in the cloud.
func (h *history) loses() {
	h.remember()
	h.loseLedger()
	h.decided, h.seen = map[string]string{}, map[string]int64{}
}

func (h *history) copyLedger(from, to string) {
	for _, f := range ledgerFiles {
		content, err := os.ReadFile(filepath.Join(from, f))
		if errors.Is(err, os.ErrNotExist) {
			h.must(os.RemoveAll(filepath.Join(to, f)))
			continue
		}
		h.must(err)
		h.must(os.WriteFile(filepath.Join(to, f), content, 0o600))
	}
}

func (h *history) ledgerSaved() {
	h.d.stop()
	h.backup = filepath.Join(h.dir, "backup")
	h.must(os.MkdirAll(h.backup, 0o700))
	h.copyLedger(h.cfg.StateDir, h.backup)
	h.d = h.daemon()
}

func (h *history) ledgerRestored() {
	if h.backup == "" {
		return
	}
	h.d.stop()
	h.remember()
	h.copyLedger(h.backup, h.cfg.StateDir)
	h.decided, h.seen = map[string]string{}, map[string]int64{}
	h.d = h.daemon()
}

func (h *history) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("%v, after:\n  %s", err, strings.Join(h.events, "\n  "))
	}
}
