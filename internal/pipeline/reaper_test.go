package pipeline_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
)

// stand puts up a network with a server and a volume for an environment.
func (g *ground) stand(id string, tags cloud.Tags) {
	g.t.Helper()
	tags.Environment = id
	n, err := g.sim.CreateNetwork(g.t.Context(), cloud.NetworkSpec{Name: "env-" + id, Tags: tags})
	if err != nil {
		g.t.Fatal(err)
	}
	v, err := g.sim.CreateVolume(g.t.Context(), cloud.VolumeSpec{Name: id + "-data", Network: n.ID, Tags: tags})
	if err != nil {
		g.t.Fatal(err)
	}
	_, err = g.sim.Launch(g.t.Context(), cloud.ServerSpec{
		Name: id + "-server", Network: n.ID, Image: g.base.ID, Token: id, Tags: tags, Volumes: []cloud.VolumeID{v.ID},
		Address: nth(n.Prefix, 10),
	})
	if err != nil {
		g.t.Fatal(err)
	}
}

func nth(p netip.Prefix, n int) netip.Addr {
	a := p.Addr()
	for range n {
		a = a.Next()
	}
	return a
}

func TestReap(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	hour := g.clock.Now().Add(1000 * time.Hour)
	past := g.clock.Now().Add(-time.Hour)
	d := g.daemon()
	ctx := t.Context()
	run := func(id string, state ledger.RunState) string {
		r := ledger.Run{ID: id, Kind: pipeline.Nightly, Branch: "main", State: ledger.Queued, Created: hour}
		if err := d.parts.Ledger.CreateRun(ctx, r); err != nil {
			t.Fatal(err)
		}
		if _, err := d.parts.Ledger.UpdateRun(ctx, id, func(r *ledger.Run) { r.State = state }); err != nil {
			t.Fatal(err)
		}
		return id
	}
	over := run("over", ledger.Finished)
	know := func(e ledger.Environment) {
		e.Sealed = []byte("{}")
		if err := d.parts.Ledger.SaveEnvironment(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	ours := cloud.Tags{Owner: owner, Deadline: hour}

	know(ledger.Environment{ID: "living", State: ledger.Up, Lease: hour, Deadline: hour})
	g.stand("living", ours)
	know(ledger.Environment{ID: "kept", Run: over, State: ledger.Up, Lease: hour, Deadline: hour, Keep: true})
	g.stand("kept", ours)
	know(ledger.Environment{ID: "outstays", Run: over, State: ledger.Up, Lease: past, Deadline: hour, Keep: true})
	g.stand("outstays", ours)
	g.stand("others", cloud.Tags{Owner: "them", Deadline: past})
	if _, err := g.sim.AddBase(ctx, cloud.ImageSpec{Name: "theirs", Tags: cloud.Tags{Owner: "them", Run: "x"}}); err != nil {
		t.Fatal(err)
	}

	know(ledger.Environment{ID: "leased", State: ledger.Up, Lease: past, Deadline: hour})
	g.stand("leased", ours)
	know(ledger.Environment{ID: "dead", State: ledger.Up, Lease: hour, Deadline: hour, Keep: true})
	g.stand("dead", cloud.Tags{Owner: owner, Deadline: past})
	know(ledger.Environment{ID: "ended", Run: over, State: ledger.Up, Lease: hour, Deadline: hour})
	g.stand("ended", ours)
	know(ledger.Environment{ID: "gone", State: ledger.Destroyed})
	g.stand("gone", ours)
	g.stand("unknown", ours)
	if _, err := g.sim.AddBase(ctx, cloud.ImageSpec{Name: "stray", Tags: cloud.Tags{Owner: owner, Run: "lost"}}); err != nil {
		t.Fatal(err)
	}

	know(ledger.Environment{ID: "empty", Run: over, State: ledger.Destroying, Lease: hour, Deadline: hour}) // nothing of it is left

	want := []string{"dead", "ended", "gone", "leased", "outstays", "stray", "unknown"}
	names := func(found []pipeline.Leftover) []string {
		var all []string
		for _, l := range found {
			if l.Why == "" {
				t.Errorf("no reason for %s %s", l.Kind, l.Name)
			}
			if l.Kind == cloud.KindNetwork {
				all = append(all, l.Tags.Environment)
			}
			if l.Kind == cloud.KindImage {
				all = append(all, l.Name)
			}
		}
		slices.Sort(all)
		return all
	}
	before, err := g.sim.Owned(ctx, owner)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pipeline.Reap(ctx, d.parts, true)
	if err != nil || !slices.Equal(names(found), want) || len(found) != 6*3+1 {
		t.Errorf("dry: %v, %v", names(found), err)
	}
	if after, err := g.sim.Owned(ctx, owner); err != nil || len(after) != len(before) {
		t.Errorf("a dry run removed something: %d of %d are left, %v", len(after), len(before), err)
	}
	if found, err = pipeline.Reap(ctx, d.parts, false); err != nil || !slices.Equal(names(found), want) {
		t.Errorf("reaped: %v, %v", names(found), err)
	}
	// What the ledger does not know stays until somebody confirms that nobody needs it.
	found, err = pipeline.Reap(ctx, d.parts, true)
	if err != nil || !slices.Equal(names(found), []string{"stray", "unknown"}) || len(found) != 3+1 {
		t.Errorf("left after reaping: %v, %v", found, err)
	}
	for _, l := range found {
		if l.Quarantined.IsZero() {
			t.Errorf("%s %s is not in quarantine", l.Kind, l.Name)
		}
	}
	if _, err = (pipeline.Sweep{Unknown: true}).Reap(ctx, d.parts); err != nil {
		t.Error(err)
	}
	if found, err = pipeline.Reap(ctx, d.parts, true); err != nil || len(found) > 0 {
		t.Errorf("left after a confirmation: %v, %v", found, err)
	}
	left, err := g.sim.Owned(ctx, owner)
	if err != nil || len(left) != 2*3+1 {
		t.Errorf("left: %v, %v", left, err)
	}
	if theirs, err := g.sim.Owned(ctx, "them"); err != nil || len(theirs) != 4 {
		t.Errorf("others' resources: %v, %v", theirs, err)
	}
	for _, id := range []string{"leased", "outstays", "dead", "ended", "empty"} {
		e, err := d.parts.Ledger.Environment(ctx, id)
		if err != nil || e.State != ledger.Destroyed || len(e.Sealed) > 0 {
			t.Errorf("record of %s: %s, %d sealed bytes, %v", id, e.State, len(e.Sealed), err)
		}
	}
	for _, id := range []string{"living", "kept"} {
		if e, err := d.parts.Ledger.Environment(ctx, id); err != nil || e.State != ledger.Up {
			t.Errorf("record of %s: %s, %v", id, e.State, err)
		}
	}
}

// The reaper leaves a run at work alone.
func TestReapWhileARunWorks(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	m := newMoment()
	asks(m, "web-1", "run tidy")(g)
	d := g.daemon()
	run := d.start(pipeline.Request{})
	<-m.come
	if found, err := pipeline.Reap(t.Context(), d.parts, false); err != nil || len(found) > 0 {
		t.Errorf("reaped %v, %v", found, err)
	}
	close(m.over)
	if run = d.await(run.ID); run.Verdict.String() != "passed" {
		t.Error(d.tree())
	}
	d.nothingLeft()
}

// regions is a cloud with more regions than one: what is elsewhere has ids of its own.
type regions struct {
	cloud.Provider
	elsewhere []cloud.Resource
	removed   []string
}

func (r *regions) Owned(ctx context.Context, owner string) ([]cloud.Resource, error) {
	here, err := r.Provider.Owned(ctx, owner)
	return append(here, r.elsewhere...), err
}

func (r *regions) Delete(ctx context.Context, one cloud.Resource) error {
	if !strings.HasPrefix(one.ID, "us-1/") {
		return r.Provider.Delete(ctx, one)
	}
	r.removed = append(r.removed, one.ID)
	r.elsewhere = slices.DeleteFunc(r.elsewhere, func(e cloud.Resource) bool { return e.ID == one.ID })
	return nil
}

// A copy of an image that the ledger holds stays, in whatever region; its id is its own, its name is not.
func TestReapEverywhere(t *testing.T) {
	t.Parallel()
	g := young(t)
	d, run := g.pass(pipeline.Request{})
	set, err := d.parts.Ledger.Set(t.Context(), run.Set)
	if err != nil || d.channel("development").Set != set.ID {
		t.Fatalf("%v\n%s", err, d.tree())
	}
	tags := cloud.Tags{Owner: owner, Run: run.ID}
	of := func(kind cloud.ResourceKind, id, name string) cloud.Resource {
		return cloud.Resource{Kind: kind, ID: "us-1/" + id, Name: name, Tags: tags}
	}
	far := &regions{Provider: d.parts.Cloud, elsewhere: []cloud.Resource{
		of(cloud.KindSnapshot, "snap-lost", "run-lost-web"), of(cloud.KindImage, "ami-lost", "run-lost-web"),
		of(cloud.KindImage, "ami-held", set.Images["web"]), of(cloud.KindKey, "key-1", "somebody's"),
		{Kind: cloud.KindServer, ID: "us-1/sir-1", Name: "web-1", Tags: cloud.Tags{Owner: owner, Environment: "lost"}}, // of which the ledger knows nothing
	}}
	d.parts.Cloud = cloud.With(far, cloud.CapabilitiesOf(d.parts.Cloud))
	want := []string{"us-1/sir-1", "us-1/ami-lost", "us-1/snap-lost", "us-1/key-1"} // in the order of removal
	found, err := pipeline.Reap(t.Context(), d.parts, true)
	var got []string
	for _, l := range found {
		got = append(got, l.ID)
	}
	if err != nil || !slices.Equal(got, want) || len(far.removed) > 0 {
		t.Errorf("found %v, %v; removed %v", got, err, far.removed)
	}
	waiting := d.start(pipeline.Request{Options: ledger.RunOptions{NoPromote: true}}) // may be making an image, and its copies
	if found, err = pipeline.Reap(t.Context(), d.parts, true); err != nil || len(found) != 2 {
		t.Errorf("while a run is at work: %v, %v", found, err)
	}
	waiting = d.await(waiting.ID)
	candidate := waiting.Set + "-web"
	far.elsewhere = append(far.elsewhere, of(cloud.KindImage, "ami-candidate", candidate))
	if _, err = pipeline.Reap(t.Context(), d.parts, false); err != nil || !slices.Equal(far.removed, want[1:]) {
		t.Errorf("removed %v, %v", far.removed, err)
	}
	if _, err = (pipeline.Sweep{IDs: want[:1]}).Reap(t.Context(), d.parts); err != nil || len(far.removed) != len(want) {
		t.Errorf("removed %v after a confirmation, %v", far.removed, err)
	}
	// The image is superseded and gone: so are its copies.
	if err := d.parts.Ledger.RetireImage(t.Context(), candidate, g.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err = pipeline.Reap(t.Context(), d.parts, false); err != nil || !slices.Contains(far.removed, "us-1/ami-candidate") || slices.Contains(far.removed, "us-1/ami-held") {
		t.Errorf("removed %v, %v", far.removed, err)
	}
}
