package incusd

import (
	"context"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
)

// haltNow makes systemd shut down. It is SIGRTMIN+3 by number, which is what Incus sends and every
// shell's kill takes: see "Signals" in systemd(1).
var haltNow = []string{"/bin/sh", "-c", "kill -37 1"}

// Remind repeats a request to shut down until the function it gives is called, which waits for it to
// end, or until another system runs in the container.
//
// A system that is just booting loses the request that Incus sends once, and one that shuts down already
// does not mind another. Asking Incus again is no way: after a stop that came too late it thinks the
// container is gone as soon as its processes are, and a start then meets what is still being taken down
// (Incus 6.0: "forkstart: exit status 1", "no such file or directory").
func Remind(ctx context.Context, c *Client, name string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		remind(ctx, c, name)
	}()
	return func() {
		cancel()
		<-done
	}
}

func remind(ctx context.Context, c *Client, name string) {
	system := int64(0) // process id of the init that was asked first
	for wait := time.Second; ; wait *= 2 {
		state, err := c.InstanceState(ctx, name)
		switch {
		case err != nil || state.StatusCode != Running || system != 0 && state.PID != system:
			return
		case system != 0:
			// The command may never end in a container that goes down, and perhaps there is nothing
			// any more to run it in: neither matters.
			_ = c.Exec(ctx, name, haltNow...)
		}
		system = state.PID
		if (clock.Machine{}).Sleep(ctx, wait) != nil {
			return
		}
	}
}
