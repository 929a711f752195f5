package pipeline_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Disk room is looked at before every run and before every image, not once when the daemon starts. Without
// it nothing is begun, no image is half published, and nothing is said about the product.
func TestTooLittleDisk(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		looks    int64 // that find enough
		launches bool
	}{
		"before a run":    {0, false},
		"before an image": {1, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := young(t)
			var looked atomic.Int64
			g.room = func(context.Context) error {
				if looked.Add(1) > c.looks {
					return errors.New("the simulated disk has 0.1 GiB free: remove what is not needed with `hallmark gc`")
				}
				return nil
			}
			d, run := g.pass(pipeline.Request{})
			if run.State != ledger.Finished || run.Verdict != verdict.Inconclusive {
				t.Fatalf("run is %s, %s\n%s", run.State, run.Verdict, d.tree())
			}
			for _, word := range []string{"0.1 GiB free", "hallmark gc"} {
				if !strings.Contains(run.Reason, word) {
					t.Errorf("the reason does not say %q: %s", word, run.Reason)
				}
			}
			if got := g.calls(cloud.VerbLaunch) > 0; got != c.launches {
				t.Errorf("servers were launched: %v, want %v", got, c.launches)
			}
			images, err := g.sim.Images(t.Context(), cloud.Filter{})
			if err != nil {
				t.Fatal(err)
			}
			for _, image := range images {
				if image.Kind == cloud.Prebuilt {
					t.Errorf("an image was published: %+v", image)
				}
			}
			d.unmoved()
			d.nothingLeft()
		})
	}
}
