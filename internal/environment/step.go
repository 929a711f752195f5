package environment

import "context"

// Step is one named, idempotent piece of work: one cloud mutation, or one wait for a server. A list
// of steps is how environments, upgrades and suites tell the pipeline what is to be done, so that
// each can be made durable without these packages knowing how. A step whose process died is simply
// done again: it adopts what it finds.
type Step struct {
	Name string // unique in its list, stable over restarts: "launch web-1"
	Do   func(ctx context.Context) error
}

// Do runs steps in order and stops at the first error.
func Do(ctx context.Context, steps []Step) error {
	for _, s := range steps {
		if err := s.Do(ctx); err != nil {
			return err
		}
	}
	return nil
}
