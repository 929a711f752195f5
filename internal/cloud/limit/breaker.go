package limit

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Outage says how Breaker waits one out. Zero fields mean the defaults.
type Outage struct {
	Look time.Duration // between two looks whether the provider answers again; default 10 s
	Most time.Duration // how long a launch waits altogether; default 30 min
}

// Breaker is a circuit breaker around launches: while p is down (cloud.CodeDown), a launch waits until it
// answers again instead of failing, so that an outage costs nobody a fresh environment. A launch that
// found p down is tried again then; it is idempotent by its token. All other calls pass, and tell whether
// p answers.
//
// A launch that is throttled (cloud.CodeThrottled) makes launches pause too: it belongs outside of Retry,
// so one that comes here was throttled for all of Retry's patience, and to give its environment up
// would only make more calls, of its removal and of the next one's launches. Other calls that are
// throttled say nothing of launches, and launches that are throttled are not let go because others are
// not: EC2 counts each action by itself. So a launch is tried again after every look.
//
// It says in the log when launches pause and when they go on, and to whoever watches a launch (WithPauses).
func Breaker(p cloud.Provider, outage Outage, log *slog.Logger) cloud.Provider {
	b := &breaker{inner: p, look: orDefault(outage.Look, 10*time.Second), most: orDefault(outage.Most, 30*time.Minute), log: log}
	return cloud.Intercept(p, b.around)
}

// Pause is a launch that waits.
type Pause struct {
	Call   cloud.Call
	Waited time.Duration // until now
	Since  time.Time     // since when the provider does not answer
	Why    error         // what was met last
	Over   bool          // it waits no more
	Failed bool          // and was not launched
}

// Reason is why it waits, or did.
func (p Pause) Reason() string {
	what := "does not answer"
	if cloud.CodeOf(p.Why) == cloud.CodeThrottled {
		what = "throttles launches"
	}
	return fmt.Sprintf("the provider %s since %s: %v", what, p.Since.Local().Format("15:04"), p.Why)
}

type pausesKey struct{}

// WithPauses makes told hear of launches under ctx that wait: when one begins to, with every look, and
// once when its wait is over. It is called by the goroutine that launches.
func WithPauses(ctx context.Context, told func(Pause)) context.Context {
	return context.WithValue(ctx, pausesKey{}, told)
}

type breaker struct {
	inner      cloud.Provider
	look, most time.Duration
	log        *slog.Logger

	mu    sync.Mutex
	since time.Time // launches pause since then; zero: they do not
	why   error     // what made them pause, or was met last
}

func (b *breaker) around(ctx context.Context, call cloud.Call, do func(context.Context) error) (err error) {
	if call.Verb != cloud.VerbLaunch {
		return b.note(ctx, call, do(ctx))
	}
	told, _ := ctx.Value(pausesKey{}).(func(Pause))
	if told == nil {
		told = func(Pause) {}
	}
	waiting, cancel := context.WithTimeout(ctx, b.most)
	defer cancel()
	began, pause := time.Now(), Pause{Call: call}
	tell := func() {
		pause.Waited = time.Since(began)
		told(pause)
	}
	defer func() {
		if pause.Why != nil {
			pause.Over, pause.Failed = true, err != nil
			tell()
		}
	}()
	for {
		err = b.closed(waiting, &pause, tell)
		if err == nil {
			err = b.note(ctx, call, do(ctx))
		}
		if !outage(call, err) || waiting.Err() != nil {
			return err
		}
	}
}

// outage reports whether launches better wait after such an error.
func outage(call cloud.Call, err error) bool {
	code := cloud.CodeOf(err)
	return code == cloud.CodeDown || code == cloud.CodeThrottled && call.Verb == cloud.VerbLaunch
}

// note remembers from an error whether the provider answers.
func (b *breaker) note(ctx context.Context, call cloud.Call, err error) error {
	if ctx.Err() != nil {
		return err // the caller went away: that says nothing
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	throttled := cloud.CodeOf(b.why) == cloud.CodeThrottled
	switch {
	case outage(call, err):
		if b.since.IsZero() {
			b.since = time.Now()
			b.log.WarnContext(ctx, "launches pause until the provider answers", "err", err)
		}
		b.why = err
	case !b.since.IsZero() && (call.Verb == cloud.VerbLaunch || !throttled):
		b.log.WarnContext(ctx, "the provider answers again: launches go on", "after", time.Since(b.since).Round(time.Second))
		b.since, b.why = time.Time{}, nil
	}
	return err
}

// closed waits until a launch may be tried, looking now and then, and notes so in pause; the error is the
// last answer's.
func (b *breaker) closed(ctx context.Context, pause *Pause, tell func()) error {
	tick := time.NewTicker(b.look)
	defer tick.Stop()
	for b.open(pause) {
		tell()
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: given up after %v: %w", pause.Call, pause.Waited.Round(time.Second), pause.Why)
		case <-tick.C:
		}
		_, err := b.inner.Servers(ctx, cloud.Filter{Owner: "nobody"})
		if b.note(ctx, cloud.Call{Verb: cloud.VerbServers}, err) == nil && cloud.CodeOf(pause.Why) == cloud.CodeThrottled {
			return nil // only a launch can tell
		}
	}
	return nil
}

// open reports whether launches pause, and why.
func (b *breaker) open(pause *Pause) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.since.IsZero() {
		return false
	}
	pause.Since, pause.Why = b.since, b.why
	return true
}
