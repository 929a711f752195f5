package pipeline_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// ledgerFiles are those that hold the ledger; SQLite puts some beside it.
var ledgerFiles = []string{"ledger.db", "ledger.db-wal", "ledger.db-shm"}

// loseLedger removes the ledger of a ground on which no daemon works.
func (g *ground) loseLedger(more ...string) {
	g.t.Helper()
	for _, name := range append(more, ledgerFiles...) {
		if err := os.Remove(filepath.Join(g.cfg.StateDir, name)); err != nil && !os.IsNotExist(err) {
			g.t.Fatal(err)
		}
	}
}

// copyState keeps files of the state directory, and gives the function that puts them back in place of those
// that are there.
func (g *ground) copyState(names ...string) (back func()) {
	g.t.Helper()
	kept := map[string][]byte{}
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(g.cfg.StateDir, name))
		if err != nil && !os.IsNotExist(err) {
			g.t.Fatal(err)
		}
		if err == nil {
			kept[name] = content
		}
	}
	return func() {
		g.t.Helper()
		g.loseLedger(names...)
		for name, content := range kept {
			if err := os.WriteFile(filepath.Join(g.cfg.StateDir, name), content, 0o600); err != nil {
				g.t.Fatal(err)
			}
		}
	}
}

// look has the reaper and the publisher do what the daemon does every minute, some times, and gives what is
// in quarantine then.
func (d *daemon) look() []pipeline.Leftover {
	d.t.Helper()
	var found []pipeline.Leftover
	for range 3 {
		_ = pipeline.Align(d.t.Context(), d.parts) // what it says of channels that it leaves alone is tested elsewhere
		var err error
		if found, err = pipeline.Reap(d.t.Context(), d.parts, false); err != nil {
			d.t.Error(err)
		}
	}
	return slices.DeleteFunc(found, func(l pipeline.Leftover) bool { return l.Quarantined.IsZero() })
}

func leftNames(found []pipeline.Leftover) []string {
	var names []string
	for _, l := range found {
		names = append(names, l.Name)
	}
	slices.Sort(names)
	return names
}

// named gives what the provider tells others of a channel.
func (d *daemon) named(channel string) map[string]cloud.ImageID {
	d.t.Helper()
	named, err := cloud.CapabilitiesOf(d.parts.Cloud).Publisher.Pointed(d.t.Context(), channel)
	if err != nil {
		d.t.Fatal(err)
	}
	return named
}

// A ledger that was lost costs no image, published or not: what is unknown is kept until a person confirms that
// it is not needed.
func TestLostLedgerDeletesNothing(t *testing.T) {
	t.Parallel()
	for _, publishes := range []bool{true, false} {
		t.Run(map[bool]string{true: "publisher", false: "no publisher"}[publishes], func(t *testing.T) {
			t.Parallel()
			g := young(t)
			if !publishes {
				can := cloud.CapabilitiesOf(g.cloud)
				can.Publisher = nil
				g.cloud = cloud.With(g.cloud, can)
			}
			d, run := g.pass(pipeline.Request{})
			before := g.prebuilt()
			if run.Verdict != verdict.Passed || len(before) == 0 {
				t.Fatal(d.tree())
			}
			var told map[string]cloud.ImageID
			if publishes {
				told = d.named("development")
			}
			d.stop()
			g.loseLedger()

			d = g.daemon()
			if got := leftNames(d.look()); !slices.Equal(got, before) || !slices.Equal(g.prebuilt(), before) {
				t.Errorf("in quarantine %v, there %v, want %v", got, g.prebuilt(), before)
			}
			if publishes {
				if now := d.named("development"); len(now) == 0 || now["web"] != told["web"] {
					t.Errorf("development names %v, before %v", now, told)
				}
			}
			if said := d.said(); strings.Count(said, "it is kept") != 1 {
				t.Errorf("the log says\n%s", said)
			}
			// Work goes on, and what it makes is treated as ever.
			if run = d.await(d.start(pipeline.Request{}).ID); run.Verdict != verdict.Passed || d.channel("development").Set != run.Set {
				t.Fatal(d.tree())
			}
			if got := leftNames(d.look()); !slices.Equal(got, before) {
				t.Errorf("after a run in quarantine %v, want %v", got, before)
			}
			if publishes && d.named("development")["web"] == told["web"] {
				t.Error("development still names the image of before")
			}
			found, err := pipeline.Sweep{Unknown: true}.Reap(t.Context(), d.parts)
			if left := g.prebuilt(); err != nil || len(found) != len(before) || len(left) != len(before) || slices.ContainsFunc(left, func(name string) bool { return slices.Contains(before, name) }) {
				t.Errorf("after a confirmation %v are left, %v", left, err)
			}
			if publishes {
				d.told()
			}
		})
	}
}

// An older ledger that is put back deletes nothing that came after it, and moves no channel back.
func TestOlderLedgerDeletesNothing(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string][]string{
		"the ledger alone":          ledgerFiles,
		"the whole state directory": append([]string{"ledger.db.seen", "workflows.db", "workflows.db-wal", "workflows.db-shm"}, ledgerFiles...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := young(t)
			g.cfg.Keep.Candidates = 0
			now := g.clock.Now()
			g.now = func() time.Time { return now } // the daemon's: leases and the reaper go by it
			d, first := g.pass(pipeline.Request{})
			lease := now.Add(time.Hour)
			kept := ledger.Environment{ID: "kept", State: ledger.Up, Lease: lease, Deadline: now.Add(100 * time.Hour), Created: now, Sealed: []byte("{}")}
			if err := d.parts.Ledger.SaveEnvironment(t.Context(), kept); err != nil {
				t.Fatal(err)
			}
			g.stand("kept", cloud.Tags{Owner: owner, Deadline: kept.Deadline})
			candidate := d.await(d.start(pipeline.Request{Options: ledger.RunOptions{NoPromote: true}}).ID)
			d.stop()
			back := g.copyState(lost...)

			// What the ledger will have forgotten: an environment is kept for longer, a channel moves twice.
			now = now.Add(2 * time.Minute)
			d = g.daemon()
			if _, err := d.parts.Ledger.UpdateEnvironment(t.Context(), "kept", func(e *ledger.Environment) { e.Lease = now.Add(50 * time.Hour) }); err != nil {
				t.Fatal(err)
			}
			if _, err := pipeline.Reap(t.Context(), d.parts, false); err != nil {
				t.Fatal(err)
			}
			second := d.await(d.start(pipeline.Request{}).ID)
			if d.channel("development").Set != second.Set {
				t.Fatal(d.tree())
			}
			there, told := g.prebuilt(), d.named("development")
			d.stop()
			back()

			now = lease.Add(time.Hour)
			d = g.daemon()
			if d.channel("development").Set != first.Set {
				t.Fatalf("the ledger is not the older one: %v", d.channel("development"))
			}
			suspects := d.look()
			if got := g.prebuilt(); !slices.Equal(got, there) {
				t.Errorf("left are %v, before %v", got, there)
			}
			for _, want := range []string{"env-kept", second.Set + "-web"} {
				if !slices.Contains(leftNames(suspects), want) {
					t.Errorf("%s is not in quarantine: %v", want, leftNames(suspects))
				}
			}
			if e, err := d.parts.Ledger.Environment(t.Context(), "kept"); err != nil || e.State != ledger.Up || len(e.Sealed) == 0 {
				t.Errorf("record of the environment: %s, %v", e.State, err)
			}
			if got := d.named("development"); got["web"] != told["web"] {
				t.Errorf("development names %v, before it was %v", got, told)
			}
			if err := pipeline.Align(t.Context(), d.parts); err == nil || !strings.Contains(err.Error(), "promote to the channel, or roll it back") {
				t.Errorf("nothing tells that the channel is left alone: %v", err)
			}

			// A run settles the channel, and the candidate, which somebody may have promoted, stays.
			now = now.Add(time.Hour)
			third := d.await(d.start(pipeline.Request{}).ID)
			if third.Verdict != verdict.Passed || d.channel("development").Set != third.Set {
				t.Fatal(d.tree())
			}
			d.look()
			if err := pipeline.Align(t.Context(), d.parts); err != nil {
				t.Errorf("after a promotion: %v", err)
			}
			for _, name := range there {
				if !slices.Contains(g.prebuilt(), name) {
					t.Errorf("image %s was deleted", name)
				}
			}
			if got := leftNames(d.look()); len(candidate.Set) > 0 && slices.Contains(there, candidate.Set+"-web") && !slices.Contains(got, candidate.Set+"-web") {
				t.Errorf("the candidate is not in quarantine: %v", got)
			}
			if _, err := (pipeline.Sweep{Unknown: true}).Reap(t.Context(), d.parts); err != nil {
				t.Error(err)
			}
			if got := d.look(); len(got) > 0 {
				t.Errorf("after a confirmation in quarantine: %v", leftNames(got))
			}
			d.told()
		})
	}
}

// After the time that the configuration sets, the reaper goes on without a confirmation.
func TestQuarantineEnds(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	now := g.clock.Now()
	g.now = func() time.Time { return now }
	g.cfg.Keep.Unknown = config.Age(48 * time.Hour)
	d := g.daemon()
	g.stand("unknown", cloud.Tags{Owner: owner, Deadline: now.Add(time.Hour)})
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 3}, {47 * time.Hour, 3}, {2 * time.Hour, 3}, {time.Minute, 0}} {
		now = now.Add(step.after)
		found, err := pipeline.Reap(t.Context(), d.parts, false)
		if err != nil || len(found) != step.want {
			t.Errorf("after %v more: %v, %v", step.after, found, err)
		}
	}
	if suspects, err := d.parts.Ledger.Suspects(t.Context()); err != nil || len(suspects) > 0 {
		t.Errorf("in quarantine: %v, %v", suspects, err)
	}
}

// An environment of which a person confirmed one resource loses that one; it is over when all of it is confirmed.
func TestConfirmationOfOneResource(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	now := g.clock.Now()
	g.now = func() time.Time { return now }
	d := g.daemon()
	env := ledger.Environment{ID: "old", State: ledger.Up, Lease: now.Add(time.Hour), Deadline: now.Add(100 * time.Hour), Created: now, Sealed: []byte("{}")}
	if err := d.parts.Ledger.SaveEnvironment(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	g.stand("old", cloud.Tags{Owner: owner, Deadline: env.Deadline})
	d.stop()
	if err := os.WriteFile(filepath.Join(g.cfg.StateDir, "ledger.db.seen"), []byte(`{"ledger": "another", "seen": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Hour) // its lease is over, as far as this ledger knows
	d = g.daemon()
	suspects := d.look()
	if len(suspects) != 3 {
		t.Fatalf("in quarantine: %v", suspects)
	}
	server := slices.IndexFunc(suspects, func(l pipeline.Leftover) bool { return l.Kind == cloud.KindServer })
	if _, err := (pipeline.Sweep{IDs: []string{suspects[server].ID}}).Reap(t.Context(), d.parts); err != nil {
		t.Fatal(err)
	}
	if left := d.look(); len(left) != len(suspects)-1 {
		t.Errorf("after the confirmation of one, in quarantine: %v, before %v", leftNames(left), leftNames(suspects))
	}
	if e, err := d.parts.Ledger.Environment(t.Context(), "old"); err != nil || e.State != ledger.Up || len(e.Sealed) == 0 {
		t.Errorf("record of the environment: %s, %v", e.State, err)
	}
	if _, err := (pipeline.Sweep{Unknown: true}).Reap(t.Context(), d.parts); err != nil {
		t.Fatal(err)
	}
	if left := d.look(); len(left) > 0 {
		t.Errorf("after the confirmation of all, in quarantine: %v", leftNames(left))
	}
	if e, err := d.parts.Ledger.Environment(t.Context(), "old"); err != nil || e.State != ledger.Destroyed || len(e.Sealed) > 0 {
		t.Errorf("record of the environment: %s, %v", e.State, err)
	}
}

// What the reaper reads does not grow with history.
func TestReaperReadsWhatIsThere(t *testing.T) { // not parallel: it counts what this process allocates
	g := young(t)
	d, run := g.pass(pipeline.Request{})
	d.stop()
	book, err := ledger.Open(t.Context(), g.cfg.LedgerFile())
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	parts := d.parts
	parts.Ledger = book
	packages := map[string]string{}
	for i := range 100 {
		packages["package-"+time.Duration(i).String()] = "1:2.3.4-5+deb12u1"
	}
	records := 0
	record := func(n int) {
		for range n {
			records++
			id := time.Duration(records).String()
			err := book.RecordImage(t.Context(), ledger.Image{
				ID: "old-" + id, Run: run.ID, Role: "web", Provider: "sim", ProviderID: "gone-" + id,
				Packages: packages, PuppetReport: strings.Repeat("{}", 500), Created: g.clock.Now(), Deleted: g.clock.Now(),
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	look := func() float64 {
		return testing.AllocsPerRun(3, func() {
			if found, err := pipeline.Reap(t.Context(), parts, true); err != nil || len(found) > 0 {
				t.Fatal(found, err)
			}
		})
	}
	record(10)
	few := look()
	record(1000)
	if many := look(); many > 1.2*few+100 {
		t.Errorf("with 10 images in history a look makes %.0f allocations, with 1010 %.0f", few, many)
	}
}
