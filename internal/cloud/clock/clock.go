// Package clock gives simulated clouds and scripted faults their time: the machine's, or one that a
// test moves by hand. It is apart from both because each is used without the other.
package clock

import (
	"context"
	"sync"
	"time"
)

// Clock tells the time and lets it pass.
type Clock interface {
	Now() time.Time
	// Sleep returns after d, or earlier with the context's error.
	Sleep(ctx context.Context, d time.Duration) error
}

// Machine is the machine's own clock.
type Machine struct{}

// Now is the current time.
func (Machine) Now() time.Time { return time.Now() }

// Sleep waits for d or until ctx is done.
func (Machine) Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Manual is a clock that moves only when told to. Whoever sleeps on it moves it, so that a test with
// one line of work never waits. Its methods may be called at the same time.
type Manual struct {
	mu  sync.Mutex
	now time.Time
}

// NewManual makes a clock that stands at start.
func NewManual(start time.Time) *Manual { return &Manual{now: start} }

// Now is where the clock stands.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// Advance moves the clock by d.
func (m *Manual) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
}

// Sleep moves the clock by d, or gives the context's error if it is done already.
func (m *Manual) Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.Advance(d)
	return nil
}
