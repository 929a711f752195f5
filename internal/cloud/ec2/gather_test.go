package ec2

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
)

func TestGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var asked [][]string
		g := gather{ask: func(_ context.Context, ids []string) (map[string]bool, error) {
			mu.Lock()
			asked = append(asked, ids)
			mu.Unlock()
			time.Sleep(time.Second) // the bubble's
			return map[string]bool{"i-2": true}, nil
		}}
		held := map[string]bool{}
		var all sync.WaitGroup
		ask := func(id string) {
			all.Go(func() {
				holds, err := g.holds(t.Context(), clock.Machine{}, time.Second, id)
				mu.Lock()
				defer mu.Unlock()
				if held[id] = holds; err != nil {
					t.Error(err)
				}
			})
		}
		for _, id := range []string{"i-3", "i-1", "i-2", "i-1"} {
			ask(id)
		}
		time.Sleep(1500 * time.Millisecond) // the bubble's
		ask("i-4")                          // too late for the first question
		all.Wait()
		if len(asked) != 2 || !slices.Equal(asked[0], []string{"i-1", "i-2", "i-3"}) || !slices.Equal(asked[1], []string{"i-4"}) {
			t.Errorf("asked %v", asked)
		}
		if !held["i-2"] || held["i-1"] || held["i-3"] || held["i-4"] {
			t.Errorf("held: %v", held)
		}
	})
}

// Whoever asks for all may give up: the others are answered all the same.
func TestGatherWithoutItsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gather{ask: func(ctx context.Context, _ []string) (map[string]bool, error) {
			return map[string]bool{"i-2": true}, ctx.Err()
		}}
		first, giveUp := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := g.holds(first, clock.Machine{}, time.Second, "i-1"); !errors.Is(err, context.Canceled) {
				t.Errorf("whoever gave up got %v", err)
			}
		})
		synctest.Wait()
		all.Go(func() {
			if holds, err := g.holds(t.Context(), clock.Machine{}, time.Second, "i-2"); !holds || err != nil {
				t.Errorf("%t, %v", holds, err)
			}
		})
		synctest.Wait()
		giveUp()
		all.Wait()
	})
}

func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := turns{clock: clock.Machine{}, every: 50 * time.Millisecond}
		began := time.Now()
		var all sync.WaitGroup
		for range 120 {
			all.Go(func() {
				if err := turns.wait(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if took := time.Since(began); took < 4900*time.Millisecond || took > 5*time.Second {
			t.Errorf("120 turns at 20 a second, of which the first second's are saved, took %s", took)
		}
		gone, end := context.WithCancel(t.Context())
		end()
		if err := turns.wait(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("a turn that nobody waits for: %v", err)
		}
	})
}
