package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
)

// A workflow may notice that its process ends before DBOS does. Whenever it returns, it has no outcome
// then, and the next process goes on with it. DBOS tells workflows of the end one after another: of so many
// that look all the time, some notice before it was their turn.
func TestStoppedWorkflowsHaveNoOutcome(t *testing.T) {
	t.Parallel()
	rounds, workflows := 3, 500
	if testing.Short() { // SQLite is slow under the race detector
		rounds, workflows = 1, 50
	}
	for round := range rounds {
		file := filepath.Join(t.TempDir(), fmt.Sprint(round))
		open := func(work dbos.Workflow[int, bool]) dbos.Context {
			d, err := dbos.NewContext(context.WithoutCancel(t.Context()), dbos.Config{
				AppName: "test", DatabaseURL: "sqlite:" + file, ApplicationVersion: "1", ExecutorID: "local", Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			dbos.RegisterWorkflow(d, work, dbos.WithWorkflowName("work"))
			return d
		}
		begun := make(chan struct{}, workflows)
		work := func(ctx dbos.Context, _ int) (bool, error) {
			begun <- struct{}{}
			for ctx.Err() == nil {
				runtime.Gosched() // other tests want the processors, too
			}
			return false, stopped(ctx, ctx.Err())
		}
		d := open(work)
		if err := dbos.Launch(d); err != nil {
			t.Fatal(err)
		}
		for i := range workflows {
			if _, err := dbos.RunWorkflow(d, work, i, dbos.WithWorkflowID(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		for range workflows {
			<-begun
		}
		if err := dbos.Shutdown(d, time.Minute); err != nil {
			t.Fatal(err)
		}
		d = open(work) // it is not launched: nothing goes on
		all, err := dbos.ListWorkflows(d)
		if err != nil || len(all) != workflows {
			t.Fatalf("%d workflows, %v", len(all), err)
		}
		for _, w := range all {
			if w.Status != dbos.WorkflowStatusPending {
				t.Errorf("workflow %s is %s: %v", w.ID, w.Status, w.Error)
			}
		}
		if err := dbos.Shutdown(d, time.Minute); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			return
		}
	}
}
