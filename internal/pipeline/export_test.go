package pipeline

import (
	"context"

	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// Ending is closed once the process has begun to end: no step is noted as done any more.
func (e *Engine) Ending() <-chan struct{} { return e.dbos.Done() }

// AlignUnlessBusy is what the daemon does every minute.
func AlignUnlessBusy(ctx context.Context, parts Parts) error { return align(ctx, parts, false) }

// TakeQueued is one look for runs to work on.
func (e *Engine) TakeQueued(ctx context.Context) error { return e.takeQueued(ctx) }

// PublishAndMove is Move for tests of publishing: what the ledger says goes, without a repository.
func PublishAndMove(ctx context.Context, parts Parts, m ledger.Move, expected int64) (ledger.Channel, error) {
	return move(ctx, parts, m, expected, func() (bool, error) { return parts.Ledger.CheckMove(ctx, m, expected) })
}

// Prune is what every run does at its end with images.
func (e *Engine) Prune(ctx context.Context) error { return prune(ctx, e.Parts, "") }

// DetailOf is what a stage tells of its error.
var DetailOf = detailOf
