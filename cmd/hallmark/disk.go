package main

import (
	"context"
	"fmt"
)

// room is the disk that a place has left for what work makes.
type room struct {
	where string
	free  int64  // bytes
	more  string // how somebody gets more of it
}

// What has to be free, in bytes.
const (
	// roomNeeded is what a run of a product like the reference product has to find: the images of all
	// roles, packed and unpacked, and what is written on servers.
	roomNeeded = 5 << 30
	// imageNeeded is what one image has to find, packed and unpacked.
	imageNeeded = 2 << 30
	// leastNeeded is what servers need to go on: below it, they fail for want of it.
	leastNeeded = 256 << 20
)

// enoughRoom refuses work for which there is too little disk. Trouble half-way would look like the
// servers'.
func enoughRoom(ctx context.Context, p place) error {
	if err := p.roomFor(ctx, "a run", roomNeeded); err != nil {
		return usageError{err}
	}
	return nil
}

// roomFor says by an error that a place has less than what something needs.
func (p place) roomFor(ctx context.Context, what string, needed int64) error {
	if p.room == nil {
		return nil
	}
	r, err := p.room(ctx)
	if err != nil {
		return err
	}
	if r.free < needed {
		return fmt.Errorf("%s has %s free, %s needs %s: remove what is not needed with `hallmark gc`, or %s",
			r.where, gib(r.free), what, gib(needed), r.more)
	}
	return nil
}

// look is roomFor for a later time.
func (p place) look(what string, needed int64) func(context.Context) error {
	return func(ctx context.Context) error { return p.roomFor(ctx, what, needed) }
}

func gib(bytes int64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }
