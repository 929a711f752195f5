package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// settleFor is how long a fresh attempt waits after the one before it failed, unless Parts.Settle says
// otherwise: a provider that was just started again still refuses what it does otherwise.
const settleFor = 15 * time.Second

// attempts counts the fresh environments that a piece of work may have. An outage of the provider counts
// none: it costs waiting. All of it is worked out again from the stored steps when a run is resumed.
type attempts struct {
	used int
	last string // what the provider said when it refused the last one
}

// another reports whether a failed attempt is followed by a fresh one, once it waited for a reason to hope.
// The number is that of the attempt that failed.
//
// A fresh attempt comes when something has changed: the provider answers (again), and some time has passed.
// What the provider refuses twice in the same words it will refuse again. How long all of this may take, the
// run's own time bounds.
func (e *Engine) another(ctx dbos.Context, run, what string, number int, a *attempts, failed error, note func(string)) (bool, error) {
	cause := verdict.CauseOf(failed)
	if cause != verdict.CloudDown {
		a.used++
	}
	if a.used >= e.Config.Limits.Attempts {
		return false, nil
	}
	refused := ""
	if cause == verdict.CloudRefused {
		refused = refusal(failed)
	}
	if refused != "" && refused == a.last {
		e.Log.Warn("no further attempt: the provider refuses in the same words", "run", run, "stage", what, "attempt", number, "err", failed)
		return false, nil
	}
	a.last = refused
	e.Log.Warn("attempt given up; a fresh one comes when the provider answers", "run", run, "stage", what, "attempt", number, "err", failed)
	note(fmt.Sprintf("attempt %d comes when the provider answers", number+1))
	_, err := step(ctx, e, run, fmt.Sprintf("%s: wait before attempt %d", what, number+1), func(ctx context.Context) (bool, error) {
		return true, e.settle(ctx)
	})
	return err == nil, err
}

// refusal is what the provider said, without what differs from attempt to attempt: identifiers have digits.
func refusal(err error) string {
	said := []rune(firstLine(err.Error()))
	kept := said[:0]
	for _, r := range said {
		if r < '0' || r > '9' {
			kept = append(kept, r)
		}
	}
	return string(kept)
}

// settle waits until some time has passed and the provider answers.
func (e *Engine) settle(ctx context.Context) error {
	for {
		if err := wait(ctx, e.settleTime()); err != nil {
			return err
		}
		_, err := e.Cloud.Servers(ctx, cloud.Filter{Owner: "nobody"})
		if code := cloud.CodeOf(err); code != cloud.CodeDown && code != cloud.CodeThrottled {
			return nil // it answers; whether it likes what it is asked, the attempt finds out
		}
	}
}

func (e *Engine) settleTime() time.Duration {
	if e.Settle > 0 {
		return e.Settle
	}
	return settleFor
}

// wait lets time pass, or gives the context's cause.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// final reports whether an error ends a piece of work whatever attempts are left.
func final(err error) bool {
	return errors.Is(err, errStopped) || verdict.CauseOf(err) == verdict.Cancelled || verdictOf(err) != verdict.Inconclusive
}
