package limit

import (
	"context"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Patience says how long Retry goes on. Zero fields mean the defaults.
type Patience struct {
	First time.Duration // before the second try; default 500 ms, then growing
	Most  time.Duration // between two tries; default 15 s
	All   time.Duration // for one call altogether; default 2 min
}

// Retry gives p with calls repeated that were throttled or found the provider down. A reboot is not
// repeated when the provider was down, for it may have been heard. Every other error is returned at
// once; so is the last one when patience ends. The optional interfaces of p stay.
func Retry(p cloud.Provider, patience Patience, log *slog.Logger) cloud.Provider {
	return cloud.Intercept(p, func(ctx context.Context, call cloud.Call, do func(context.Context) error) error {
		_, err := backoff.Retry(ctx, func() (struct{}, error) {
			err := do(ctx)
			if err != nil && !repeatable(call.Verb, cloud.CodeOf(err)) {
				err = backoff.Permanent(err)
			}
			return struct{}{}, err
		},
			backoff.WithBackOff(patience.steps()),
			backoff.WithMaxElapsedTime(orDefault(patience.All, 2*time.Minute)),
			backoff.WithNotify(func(err error, next time.Duration) {
				log.WarnContext(ctx, "provider call is repeated", "call", call.String(), "after", next, "err", err)
			}),
		)
		return err
	})
}

// repeatable: every call of a provider but Reboot is idempotent, and a throttled call did nothing.
func repeatable(verb cloud.Verb, code cloud.Code) bool {
	return code == cloud.CodeThrottled || code == cloud.CodeDown && verb != cloud.VerbReboot
}

func (p Patience) steps() backoff.BackOff {
	steps := backoff.NewExponentialBackOff()
	steps.InitialInterval = orDefault(p.First, 500*time.Millisecond)
	steps.MaxInterval = orDefault(p.Most, 15*time.Second)
	return steps
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}
