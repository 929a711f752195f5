// Package limit holds work within what a provider can bear: Slots caps the servers that live at the same
// time over all work, Retry waits out throttling and short silence, Breaker holds launches back while the
// provider is down. All are decorators of cloud.Provider and know nothing of any particular one. Retry
// belongs inside, Breaker around it, Slots outside.
package limit

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// recheck is how often somebody who waits for room looks whether servers went away by other hands.
const recheck = 10 * time.Second

// Slots is room for the servers of one owner at one provider. A server takes a slot from Launch until it
// is destroyed, stopped or not. Whoever waits is served in the order of arrival.
//
// Work that needs several servers before it gives one back must Reserve them all at first: two
// environments that take slots one by one can wait for each other for ever.
type Slots struct {
	inner cloud.Provider
	owner string
	max   int

	mu       sync.Mutex
	changes  int                     // counts changes of live, so that an outdated list is not believed
	live     map[cloud.ServerID]seat // servers that are there
	starting map[string]seat         // by token: launches under way
	reserved map[string]int          // servers that an environment may have without waiting
	queue    []*request
}

// seat is who takes a slot.
type seat struct{ environment, name string }

// request is a wish for room. Both functions are called with mu held; undo takes take back.
type request struct {
	take, undo func()
	granted    chan struct{}
}

// NewSlots caps the servers of owner at p to max, which must be positive. It begins with those that are
// there already, so a restart forgets none.
func NewSlots(ctx context.Context, p cloud.Provider, owner string, max int) (*Slots, error) {
	s := &Slots{
		inner: p, owner: owner, max: max,
		live: map[cloud.ServerID]seat{}, starting: map[string]seat{}, reserved: map[string]int{},
	}
	if err := s.recount(ctx); err != nil {
		return nil, fmt.Errorf("count the servers that are there: %w", err)
	}
	return s, nil
}

// Max is how many servers there may be.
func (s *Slots) Max() int { return s.max }

// Live is how many servers there are, those being launched included.
func (s *Slots) Live() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.live) + len(s.starting)
}

// Reserve waits until an environment can have n servers altogether, counting those it has. They are its
// own until release, which may be called more than once; servers that still live then go on counting.
// More than Max is cloud.CodeRefused at once. Of several reservations for one environment the last counts.
func (s *Slots) Reserve(ctx context.Context, environment string, n int) (release func(), err error) {
	call := fmt.Sprintf("reserve %d servers for %s", n, environment)
	if n > s.max {
		return nil, &cloud.Error{Call: call, Code: cloud.CodeRefused, Err: fmt.Errorf("the cap on servers is %d", s.max)}
	}
	before := 0
	err = s.room(ctx,
		func() { before, s.reserved[environment] = s.reserved[environment], n },
		func() { s.reserved[environment] = before },
	)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", call, err)
	}
	return sync.OnceFunc(func() {
		s.change(func() { delete(s.reserved, environment) })
	}), nil
}

// used counts the slots that are taken: an environment takes what it reserved, or what it has if that
// is more. Called with mu held.
func (s *Slots) used() int {
	taken := map[string]int{}
	for _, seat := range s.live {
		taken[seat.environment]++
	}
	for _, seat := range s.starting {
		taken[seat.environment]++
	}
	for environment, n := range s.reserved {
		taken[environment] = max(n, taken[environment])
	}
	total := 0
	for _, n := range taken {
		total += n
	}
	return total
}

// change alters the count, then grants what fits now.
func (s *Slots) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	s.changes++
	for len(s.queue) > 0 {
		head := s.queue[0]
		head.take()
		if s.used() > s.max {
			head.undo()
			return
		}
		close(head.granted)
		s.queue = s.queue[1:]
	}
}

// room takes, waiting in the queue for it. What needs no more room than is taken already (a launch within
// a reservation, a server that is there) does not queue: those before it may be waiting for its end.
func (s *Slots) room(ctx context.Context, take, undo func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := &request{take, undo, make(chan struct{})}
	s.change(func() {
		before := s.used()
		if take(); s.used() <= before {
			close(r.granted)
			return
		}
		undo()
		s.queue = append(s.queue, r)
	})
	ticker := time.NewTicker(recheck)
	defer ticker.Stop()
	for {
		select {
		case <-r.granted:
			return nil
		case <-ctx.Done():
			s.withdraw(r)
			return ctx.Err()
		case <-ticker.C:
			// A provider that does not answer now is asked again with the next tick.
			_ = s.recount(ctx)
		}
	}
}

// withdraw takes a request back, granted meanwhile or not.
func (s *Slots) withdraw(r *request) {
	s.change(func() {
		if i := slices.Index(s.queue, r); i >= 0 {
			s.queue = slices.Delete(s.queue, i, i+1)
		} else {
			r.undo()
		}
	})
}

// recount believes the provider about which servers there are: one that was lost, or that another
// process destroyed, takes no slot. A list that was outdated before it arrived is thrown away.
func (s *Slots) recount(ctx context.Context) error {
	s.mu.Lock()
	before := s.changes
	s.mu.Unlock()
	list, err := s.inner.Servers(ctx, cloud.Filter{Owner: s.owner})
	if err != nil {
		return err
	}
	s.change(func() {
		if s.changes != before {
			return
		}
		clear(s.live)
		for _, server := range list {
			s.live[server.ID] = seat{server.Tags.Environment, server.Name}
		}
	})
	return nil
}
