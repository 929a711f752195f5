package limit_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/limit"
)

// outage is a cloud that does not answer until a moment.
func outage(p cloud.Provider, until time.Time, launches *int) cloud.Provider {
	return cloud.Intercept(p, func(ctx context.Context, call cloud.Call, do func(context.Context) error) error {
		if call.Verb == cloud.VerbLaunch {
			*launches++
		}
		if time.Now().Before(until) {
			return &cloud.Error{Call: call.String(), Code: cloud.CodeDown, Err: errors.New("connection refused")}
		}
		return do(ctx)
	})
}

func TestLaunchesOutlastAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		began, launches := time.Now(), 0
		var said bytes.Buffer
		p := limit.Breaker(outage(s.Cloud, began.Add(3*time.Minute), &launches), limit.Outage{}, slog.New(slog.NewTextHandler(&said, nil)))
		if _, err := p.Servers(t.Context(), cloud.Filter{}); cloud.CodeOf(err) != cloud.CodeDown {
			t.Errorf("a call that is no launch: %v", err)
		}
		if _, err := p.Launch(t.Context(), s.spec("a", 1)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 3*time.Minute || took > 3*time.Minute+10*time.Second {
			t.Errorf("launched after %v", took)
		}
		if launches != 1 {
			t.Errorf("%d launches were tried, want one, when it answered again", launches)
		}
		if n := strings.Count(said.String(), "launches pause"); n != 1 || !strings.Contains(said.String(), "launches go on") {
			t.Errorf("said %s", said.String())
		}
	})
}

func TestAnOutageThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		began, launches := time.Now(), 0
		p := limit.Breaker(outage(s.Cloud, began.Add(24*time.Hour), &launches), limit.Outage{Most: time.Minute}, slog.New(slog.DiscardHandler))
		_, err := p.Launch(t.Context(), s.spec("a", 1))
		if cloud.CodeOf(err) != cloud.CodeDown {
			t.Errorf("launch: %v", err)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("given up after %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Launch(ctx, s.spec("a", 1)); err == nil || time.Since(began) != time.Minute+time.Second {
			t.Errorf("launch with a context that ends: %v after %v", err, time.Since(began))
		}
	})
}

// What the provider refuses is no outage.
func TestRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		p := limit.Breaker(s.Cloud, limit.Outage{}, slog.New(slog.DiscardHandler))
		spec := s.spec("a", 1)
		spec.Image = "nothing"
		began := time.Now()
		if _, err := p.Launch(t.Context(), spec); cloud.CodeOf(err) != cloud.CodeNotFound || time.Since(began) != 0 {
			t.Errorf("launch: %v after %v", err, time.Since(began))
		}
	})
}

// Whoever watches a launch hears that it waits, why, and when it went on.
func TestPausesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		began, launches := time.Now(), 0
		p := limit.Breaker(outage(s.Cloud, began.Add(25*time.Second), &launches), limit.Outage{}, slog.New(slog.DiscardHandler))
		var told []limit.Pause
		ctx := limit.WithPauses(t.Context(), func(p limit.Pause) { told = append(told, p) })
		for _, name := range []string{"a", "b"} { // the second does not wait: nothing is told of it
			if _, err := p.Launch(ctx, s.spec(name, 1)); err != nil {
				t.Fatal(err)
			}
		}
		if len(told) != 4 {
			t.Fatalf("told %d times: %v", len(told), told)
		}
		for i, p := range told {
			if p.Waited != time.Duration(i)*10*time.Second || p.Since != began || p.Over != (i == 3) || p.Failed || p.Call.Verb != cloud.VerbLaunch {
				t.Errorf("%d: %+v", i, p)
			}
		}
		want := "the provider does not answer since " + began.Local().Format("15:04") + ": "
		if got := told[0].Reason(); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "connection refused") {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// Launches that are throttled for longer than Retry has patience wait, though all other calls go through.
func TestThrottledLaunchesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		began, launches := time.Now(), 0
		crowded := cloud.Intercept(s.Cloud, func(ctx context.Context, call cloud.Call, do func(context.Context) error) error {
			if call.Verb == cloud.VerbLaunch {
				if launches++; time.Since(began) < time.Minute {
					return &cloud.Error{Call: call.String(), Code: cloud.CodeThrottled, Err: errors.New("slow down")}
				}
			}
			return do(ctx)
		})
		p := limit.Breaker(crowded, limit.Outage{}, slog.New(slog.DiscardHandler))
		var last limit.Pause
		ctx := limit.WithPauses(t.Context(), func(p limit.Pause) { last = p })
		if _, err := p.Launch(ctx, s.spec("a", 1)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != time.Minute || launches != 7 {
			t.Errorf("launched after %v and %d tries, want one every 10 s", took, launches)
		}
		if !last.Over || !strings.Contains(last.Reason(), "throttles launches since") {
			t.Errorf("told %+v", last)
		}
	})
}

func TestOtherThrottledCallsAreNotHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		began := time.Now()
		crowded := cloud.Intercept(s.Cloud, func(ctx context.Context, call cloud.Call, do func(context.Context) error) error {
			if call.Verb == cloud.VerbImages {
				return &cloud.Error{Call: call.String(), Code: cloud.CodeThrottled, Err: errors.New("slow down")}
			}
			return do(ctx)
		})
		p := limit.Breaker(crowded, limit.Outage{}, slog.New(slog.DiscardHandler))
		if _, err := p.Images(t.Context(), cloud.Filter{}); cloud.CodeOf(err) != cloud.CodeThrottled {
			t.Errorf("images: %v", err)
		}
		if _, err := p.Launch(t.Context(), s.spec("a", 1)); err != nil || time.Since(began) != 0 {
			t.Errorf("launch: %v after %v", err, time.Since(began))
		}
	})
}
