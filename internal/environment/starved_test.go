package environment_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/host"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// pace is a host on which everything takes stretch times as long.
type pace struct {
	stretch float64
	short   []string // of what, beyond what longer time-outs make up for
}

func (p pace) Given(since, until time.Time) time.Duration {
	return time.Duration(float64(until.Sub(since)) / p.stretch)
}
func (p pace) Since(time.Time) host.Strain { return host.Strain{Findings: p.short} }
func (p pace) Stretch() float64            { return p.stretch }

// A slow host is not a slow product, and a product that hangs is told on a slow host, too.
func TestSlowHost(t *testing.T) {
	t.Parallel()
	const never = 24 * time.Hour
	starved := []string{"the host was starved"}
	for name, c := range map[string]struct {
		host    pace
		healthy time.Duration // after the first question; the check may take 10 s
		busy    string        // looks at which the servers had work
		want    verdict.Verdict
		says    string
	}{
		"in time":                               {pace{stretch: 1}, 5 * time.Second, "0", verdict.Passed, ""},
		"too slow on an idle host":              {pace{stretch: 1}, 30 * time.Second, "12", verdict.Failed, ""},
		"as slow as its host":                   {pace{stretch: 4}, 30 * time.Second, "12", verdict.Passed, ""},
		"hangs on a slow host":                  {pace{stretch: 4}, never, "0", verdict.Failed, ""},
		"hangs on a host that is starved":       {pace{host.Bound, starved}, never, "1", verdict.Failed, ""},
		"has work on a host that is starved":    {pace{host.Bound, starved}, never, "9", verdict.Inconclusive, "the host was starved"},
		"nothing can be read on a starved host": {pace{host.Bound, starved}, never, "?", verdict.Inconclusive, "the host was starved"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGround(t)
			var asked time.Time
			g.world.Shell = func(_ environmenttest.Server, cmd remote.Command) (remote.Result, bool) {
				switch {
				case strings.Contains(cmd.Line, "for look in"):
					return remote.Result{Stdout: []byte(c.busy + "\n")}, true
				case cmd.Line != "mysqladmin ping":
					return remote.Result{}, false
				}
				if asked.IsZero() {
					asked = g.hand.Now()
				}
				if g.hand.Now().Sub(asked) < c.healthy {
					return remote.Result{Exit: 1, Stderr: []byte("cannot connect\n")}, true
				}
				return remote.Result{}, true
			}
			ctx := host.WithPace(t.Context(), c.host)
			e := g.plan(environment.Base)
			err := environment.Do(ctx, e.Up())
			audit := verdict.Audit{}
			if err != nil {
				audit = e.Audit(ctx, verdict.ServerOf(err))
			}
			cause := verdict.CauseOf(err)
			if got := verdict.Judge(cause, audit); got != c.want {
				t.Errorf("judged %s, want %s: %v\naudit %+v", got, c.want, err, audit)
			}
			if said := verdict.Explain(cause, audit); !strings.Contains(said, c.says) {
				t.Errorf("explained by %q, want %q", said, c.says)
			}
		})
	}
}

// On a full disk anything may fail: nothing on it is held against the product.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	e := g.up(environment.Base)
	site := g.site()
	site.Room = func(context.Context) error { return errors.New("the pool has 0.0 GiB free") }
	found, err := site.Adopt(t.Context(), e.ID())
	if err != nil {
		t.Fatal(err)
	}
	audit := found.Audit(t.Context(), "web-1")
	if got := verdict.Judge(verdict.TestFailed, audit); got != verdict.Inconclusive {
		t.Errorf("judged %s: %+v", got, audit)
	}
	if said := verdict.Explain(verdict.TestFailed, audit); !strings.Contains(said, "0.0 GiB free") {
		t.Errorf("explained by %q", said)
	}
}
