package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var start = time.Date(2026, 11, 28, 3, 0, 0, 0, time.UTC)

// watched gives a gauge of two cores after a while in which every second was as change makes it.
func watched(seconds int, change func(second int, s *Sample)) *Gauge {
	g := &Gauge{}
	s := Sample{At: start, Cores: 2, Pressure: true}
	change(0, &s)
	g.Add(s)
	for second := 1; second <= seconds; second++ {
		s.At = s.At.Add(time.Second)
		change(second, &s)
		g.Add(s)
	}
	return g
}

// How much longer work takes follows from what the host says.
func TestStretch(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		second   func(*Sample)
		from, to float64
	}{
		"idle":                    {func(s *Sample) { s.Runnable = 0 }, 1, 1},
		"busy without waiting":    {func(s *Sample) { s.Runnable = 2 }, 1, 1},
		"a bit too much":          {func(s *Sample) { s.Runnable = 3; s.CPU += 500 * time.Millisecond }, 1.4, 1.6},
		"four for each core":      {func(s *Sample) { s.Runnable = 8; s.CPU += time.Second }, 3.9, 4.1},
		"far too much":            {func(s *Sample) { s.Runnable = 100; s.CPU += time.Second }, Bound, Bound},
		"waits for the disk":      {func(s *Sample) { s.IO += 500 * time.Millisecond }, 1.9, 2.1},
		"waits for memory":        {func(s *Sample) { s.Memory += 750 * time.Millisecond }, 3.9, 4.1},
		"given to other guests":   {func(s *Sample) { s.Stolen += time.Second }, 1.9, 2.1},
		"no PSI, load of a day":   {func(s *Sample) { s.Pressure, s.Load = false, 1.2 }, 1, 1},
		"no PSI, load of a night": {func(s *Sample) { s.Pressure, s.Load = false, 8 }, 3.9, 4.1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := watched(60, func(_ int, s *Sample) { c.second(s) })
			if got := g.Stretch(); got < c.from || got > c.to {
				t.Errorf("work takes %.2f times as long, want %.1f to %.1f", got, c.from, c.to)
			}
		})
	}
	if got := (&Gauge{}).Stretch(); got != 1 {
		t.Errorf("nothing was seen: %.2f", got)
	}
}

// Work was given what the host had left for it, never less than a part of the time that passed; time that
// the sampler did not see counts in full.
func TestGiven(t *testing.T) {
	t.Parallel()
	busy := func(second int, s *Sample) {
		s.CPU += time.Second
		if s.Runnable = 8; second > 60 {
			s.Runnable = 1000
		}
	}
	g := watched(120, busy)
	at := func(second float64) time.Time { return start.Add(time.Duration(second * float64(time.Second))) }
	for _, c := range []struct{ since, until, from, to float64 }{
		{0, 60, 14, 16},
		{100, 120, 2.4, 2.6},
		{0.5, 1.5, 0.2, 0.3},
		{-60, 0, 60, 60},
		{-60, 60, 74, 76},
		{120, 180, 60, 60},
		{60, 60, 0, 0},
	} {
		if got := g.Given(at(c.since), at(c.until)).Seconds(); got < c.from || got > c.to {
			t.Errorf("from %v to %v: given %.2f s, want %v to %v", c.since, c.until, got, c.from, c.to)
		}
	}
	g.Add(Sample{At: start, Cores: 2}) // the clock stepped back
	if got := g.Given(at(0), at(60)).Seconds(); got < 14 || got > 16 {
		t.Errorf("after a step of the clock: %.2f s", got)
	}
}

// What stretched time-outs make up for is no excuse; what lies beyond them is told with figures.
func TestStrain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		second func(second int, s *Sample)
		says   string
	}{
		"idle":              {func(int, *Sample) {}, ""},
		"within the bound":  {func(_ int, s *Sample) { s.Runnable = 12; s.CPU += time.Second }, ""},
		"a peak":            {func(n int, s *Sample) { s.Runnable = map[bool]int{true: 60}[n%60 < 5]; s.CPU += time.Second }, ""},
		"beyond the bound":  {func(_ int, s *Sample) { s.Runnable = 40; s.CPU += time.Second }, "the host was starved: 40.0 processes wanted its 2 cores"},
		"swaps":             {func(_ int, s *Sample) { s.Memory += 200 * time.Millisecond; s.SwappedB += 1 << 20 }, "short of memory: work stood still for 20% of the last 5m0s, 300 MiB came back from swap"},
		"killed a process":  {func(n int, s *Sample) { s.Killed = uint64(n / 200); s.Memory += 10 * time.Millisecond }, "the kernel killed 1 processes"},
		"its own limit":     {func(n int, s *Sample) { s.Killed = uint64(n / 200) }, ""},
		"killed before all": {func(_ int, s *Sample) { s.Killed = 7 }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := strings.Join(watched(300, c.second).Since(start).Findings, "\n")
			if c.says == "" && got != "" || !strings.Contains(got, c.says) {
				t.Errorf("says %q, want %q", got, c.says)
			}
		})
	}
}

// A time-out counts what was given: it ends later on a busy host, never later than Bound times its length,
// and at once on an idle one.
func TestWithTimeout(t *testing.T) {
	t.Parallel()
	errWhy := errors.New("why")
	for name, c := range map[string]struct {
		runnable int
		from, to time.Duration
	}{
		"idle":             {0, time.Minute, time.Minute + time.Second},
		"four for a core":  {8, 4*time.Minute - 5*time.Second, 4*time.Minute + 5*time.Second},
		"beyond all bound": {1000, 8*time.Minute - 10*time.Second, 8 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, watching := &Gauge{}, make(chan struct{})
				stop, end := context.WithCancel(t.Context())
				s := Sample{Cores: 2, Pressure: true, Runnable: c.runnable}
				go func() {
					defer close(watching)
					g.Watch(stop, func() (Sample, error) {
						s.At, s.CPU = time.Now(), s.CPU+time.Second
						return s, nil
					}, nil)
				}()
				began := time.Now()
				ctx, cancel := WithTimeout(WithPace(t.Context(), g), time.Minute, errWhy)
				defer cancel()
				<-ctx.Done()
				if took := time.Since(began); took < c.from || took > c.to {
					t.Errorf("ended after %s, want %s to %s", took, c.from, c.to)
				}
				if !TimedOut(ctx) || !errors.Is(context.Cause(ctx), errWhy) || !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
					t.Errorf("cause %v", context.Cause(ctx))
				}
				end()
				<-watching
			})
		})
	}
}

func TestTimedOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		busy := WithPace(t.Context(), &Gauge{})
		for name, c := range map[string]struct {
			make func(context.Context) (context.Context, context.CancelFunc)
			busy bool
			want bool
		}{
			"ours, idle": {func(c context.Context) (context.Context, context.CancelFunc) { return WithTimeout(c, time.Second, nil) }, false, true},
			"ours, busy": {func(c context.Context) (context.Context, context.CancelFunc) { return WithTimeout(c, time.Second, nil) }, true, true},
			"another's": {func(c context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(c, time.Second)
			}, true, true},
			"cancellation": {context.WithCancel, true, false},
		} {
			outer := t.Context()
			if c.busy {
				outer = busy
			}
			ctx, cancel := c.make(outer)
			if TimedOut(ctx) {
				t.Errorf("%s: it had not ended", name)
			}
			inner, leave := context.WithCancel(ctx)
			if !c.want {
				cancel()
			}
			<-inner.Done()
			if TimedOut(inner) != c.want {
				t.Errorf("%s: timed out is %v", name, !c.want)
			}
			leave()
			cancel()
		}
		ctx, cancel := WithTimeout(busy, time.Second, nil)
		cancel() // before it is over
		if TimedOut(ctx) {
			t.Error("work that ended in time timed out")
		}
	})
}

// A proc file system is read with and without PSI.
func TestLinux(t *testing.T) {
	t.Parallel()
	proc := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		file := filepath.Join(proc, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("stat", "cpu  10 0 10 10 0 0 0 250 0 0\ncpu0 5 0 5 5 0 0 0 125 0 0\ncpu1 5 0 5 5 0 0 0 125 0 0\nctxt 1\nbtime 1\nprocesses 1\nprocs_running 9\nprocs_blocked 0\n")
	put("loadavg", "3.50 2.00 1.00 9/300 42\n")
	put("vmstat", "nr_free_pages 1\npswpin 2\noom_kill 3\n")
	l, err := NewLinux(proc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Read()
	if err != nil || s.Pressure || s.Cores != 2 || s.Runnable != 8 || s.Load != 3.5 || s.Stolen != 2500*time.Millisecond || s.Killed != 3 || s.SwappedB != 2*uint64(os.Getpagesize()) {
		t.Errorf("without PSI: %+v, %v", s, err)
	}
	for resource, total := range map[string]string{"cpu": "1000000", "io": "2000000", "memory": "3000000"} {
		put("pressure/"+resource, "some avg10=1.00 avg60=1.00 avg300=1.00 total="+total+"\nfull avg10=0.00 avg60=0.00 avg300=0.00 total="+total+"0\n")
	}
	s, err = l.Read()
	if err != nil || !s.Pressure || s.CPU != time.Second || s.IO != 20*time.Second || s.Memory != 30*time.Second {
		t.Errorf("with PSI: %+v, %v", s, err)
	}
	if l, err = NewLinux("/proc"); err == nil {
		_, err = l.Read()
	}
	if err != nil {
		t.Errorf("this machine: %v", err)
	}
}
