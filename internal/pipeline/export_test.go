package pipeline

import "context"

// Ending is closed once the process has begun to end: no step is noted as done any more.
func (e *Engine) Ending() <-chan struct{} { return e.dbos.Done() }

// AlignUnlessBusy is what the daemon does every minute.
func AlignUnlessBusy(ctx context.Context, parts Parts) error { return align(ctx, parts, false) }

// TakeQueued is one look for runs to work on.
func (e *Engine) TakeQueued(ctx context.Context) error { return e.takeQueued(ctx) }
