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

// roomNeeded is what a run of a product like the reference product has to find: the images of all
// roles, packed and unpacked, and what is written on servers.
const roomNeeded = 5 << 30

// enoughRoom refuses work for which there is too little disk. Trouble half-way would look like the
// servers'.
func enoughRoom(ctx context.Context, p place) error {
	if p.room == nil {
		return nil
	}
	r, err := p.room(ctx)
	if err != nil {
		return err
	}
	if r.free < roomNeeded {
		return usage("%s has %s free, a run needs %s: remove what is not needed with `hallmark gc`, or %s",
			r.where, gib(r.free), gib(roomNeeded), r.more)
	}
	return nil
}

func gib(bytes int64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }
