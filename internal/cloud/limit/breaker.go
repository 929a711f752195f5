package limit

import (
	"context"
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
// p answers. It says in the log when launches pause and when they go on. It belongs outside of Retry.
func Breaker(p cloud.Provider, outage Outage, log *slog.Logger) cloud.Provider {
	b := &breaker{inner: p, look: orDefault(outage.Look, 10*time.Second), most: orDefault(outage.Most, 30*time.Minute), log: log}
	return cloud.Intercept(p, b.around)
}

type breaker struct {
	inner      cloud.Provider
	look, most time.Duration
	log        *slog.Logger

	mu   sync.Mutex
	down time.Time // since when; zero: it answers
}

func (b *breaker) around(ctx context.Context, call cloud.Call, do func(context.Context) error) error {
	if call.Verb != cloud.VerbLaunch {
		return b.note(ctx, do(ctx))
	}
	waiting, cancel := context.WithTimeout(ctx, b.most)
	defer cancel()
	for {
		err := b.closed(waiting)
		if err == nil {
			err = b.note(ctx, do(ctx))
		}
		if cloud.CodeOf(err) != cloud.CodeDown || waiting.Err() != nil {
			return err
		}
	}
}

// note remembers from an error whether the provider answers.
func (b *breaker) note(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err // the caller went away: that says nothing
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	down := cloud.CodeOf(err) == cloud.CodeDown
	switch {
	case down && b.down.IsZero():
		b.down = time.Now()
		b.log.WarnContext(ctx, "the provider does not answer: launches pause until it does", "err", err)
	case !down && !b.down.IsZero():
		b.log.WarnContext(ctx, "the provider answers again: launches go on", "after", time.Since(b.down).Round(time.Second))
		b.down = time.Time{}
	}
	return err
}

// closed waits until the provider answers, looking now and then; the error is the last answer's.
func (b *breaker) closed(ctx context.Context) error {
	tick := time.NewTicker(b.look)
	defer tick.Stop()
	var err error
	for b.open() {
		select {
		case <-ctx.Done():
			if err == nil {
				err = ctx.Err()
			}
			return err
		case <-tick.C:
		}
		_, err = b.inner.Servers(ctx, cloud.Filter{Owner: "nobody"})
		err = b.note(ctx, err)
	}
	return nil
}

func (b *breaker) open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.down.IsZero()
}
