package pipeline_test

import (
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cost"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
)

// spent checks that what a run used is told in full, though its servers are gone and other processes may
// have launched them, and gives it.
func (d *daemon) spent(run ledger.Run) *cost.Estimate {
	d.t.Helper()
	told, err := pipeline.Report(d.t.Context(), d.parts, run)
	if err != nil || told.Cost == nil {
		d.t.Fatalf("nothing is told of what it used: %v", err)
	}
	environments, err := d.parts.Ledger.Environments(d.t.Context(), ledger.EnvironmentFilter{Run: run.ID, Destroyed: true})
	if err != nil {
		d.t.Fatal(err)
	}
	servers := 0
	for _, e := range environments {
		uses, err := environment.Uses(e)
		if err != nil {
			d.t.Error(err)
		}
		for _, u := range uses {
			if u.To.Before(u.From) {
				d.t.Errorf("%s %s in %s, %s: from %v to %v", u.Kind, u.Name, e.Name, e.State, u.From, u.To)
			}
			if u.Kind == cost.Server {
				servers++
			}
		}
	}
	launched := map[cloud.ServerID]bool{}
	for _, s := range d.launched() {
		launched[s] = true
	}
	if servers != len(launched) || told.Cost.ServerHours <= 0 {
		d.t.Errorf("%d servers were launched, %d are counted: %v", len(launched), servers, told.Cost)
	}
	return told.Cost
}

func TestSpent(t *testing.T) {
	t.Parallel()
	g := young(t)
	g.cfg.Prices = cost.Prices{Currency: "EUR", Types: []cost.TypePrice{{Type: "sim", Hour: 60}}, Volume: 1}
	d, run := g.pass(pipeline.Request{})
	first := d.spent(run)
	if m := first.Money; m == nil || m.Servers < 59*first.ServerHours || m.Total <= m.Servers || len(m.Unpriced) > 0 || first.ImageGiBMonths <= 0 {
		t.Errorf("%+v %+v", first, first.Money)
	}
	if again := d.spent(run); again.ServerHours != first.ServerHours || again.DiskGiBHours != first.DiskGiBHours {
		t.Errorf("first %v, later %v", first, again)
	}
	d.stop()
	d = g.daemon() // another process
	if again := d.spent(run); again.ServerHours != first.ServerHours {
		t.Errorf("first %v, by another process %v", first, again)
	}
}

// Environments and benches are capped from their own creation: one that is made late in a run lives as long.
func TestDeadlineCountsFromCreation(t *testing.T) {
	g := young(t)
	d, run := g.pass(pipeline.Request{})
	all, err := d.parts.Ledger.Environments(t.Context(), ledger.EnvironmentFilter{Run: run.ID, Destroyed: true})
	if err != nil || len(all) < 3 {
		t.Fatalf("%d environments, %v", len(all), err)
	}
	for _, e := range all {
		cap := d.parts.Config.Environment.Deadline
		if e.Deadline.Sub(run.Started) <= cap || e.Deadline.Sub(e.Created) > cap {
			t.Errorf("%s: its deadline is %v after its creation, and %v after the run's start; want %v after its creation",
				e.Name, e.Deadline.Sub(e.Created), e.Deadline.Sub(run.Started), cap)
		}
	}
}
