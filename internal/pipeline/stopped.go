package pipeline

import (
	"context"
	"fmt"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// compareStops looks whether the server of a result with cause ServerStopped stopped in every fresh
// environment of the lane so far, and in the same phase. Once is bad luck; each time is told as the
// product's doing. It stays inconclusive: a host can kill a server each time, too.
func (w *work) compareStops(ctx context.Context, r *ledger.Result) error {
	if w.number == 1 {
		return nil
	}
	results, err := w.Ledger.Results(ctx, w.in.Run)
	if err != nil {
		return err
	}
	at := map[int]string{w.number: r.Test}
	for _, before := range results {
		stopped := before.Cause == verdict.ServerStopped || before.Cause == verdict.StoppedItself
		if stopped && before.Server == r.Server && before.Phase == r.Phase && before.Scenario == r.Scenario && before.Origin == r.Origin {
			if _, known := at[before.Attempt]; !known {
				at[before.Attempt] = before.Test
			}
		}
	}
	var said []string
	for attempt := 1; attempt <= w.number; attempt++ {
		test, stopped := at[attempt]
		if !stopped {
			return nil
		}
		said = append(said, fmt.Sprintf("attempt %d: %s", attempt, test))
	}
	r.Cause = verdict.StoppedItself
	r.Message = fmt.Sprintf("%s powers itself off or crashes while it is %s, in each of %d fresh environments (%s): look for what the product does there; met at: %s",
		r.Server, r.Phase, w.number, strings.Join(said, "; "), r.Message)
	return nil
}

// stops completes results that say that a server stopped, and gives the message if it stops each time.
func (w *work) stops(ctx context.Context, results []ledger.Result) (said string, err error) {
	for i := range results {
		r := &results[i]
		if r.Cause != verdict.ServerStopped {
			continue
		}
		if err := w.compareStops(ctx, r); err != nil {
			return "", err
		}
		if r.Cause == verdict.StoppedItself {
			said = r.Message
		}
	}
	return said, nil
}
