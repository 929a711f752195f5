package incusd

import (
	"context"
	"net/url"
	"time"

	client "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"

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
func Remind(ctx context.Context, c client.InstanceServer, name string) (stop func()) {
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

func remind(ctx context.Context, c client.InstanceServer, name string) {
	system := int64(0) // process id of the init that was asked first
	for wait := time.Second; ; wait *= 2 {
		state, _, err := c.GetInstanceState(name)
		switch {
		case err != nil || state.StatusCode != api.Running || system != 0 && state.Pid != system:
			return
		case system != 0:
			halt(c, name)
		}
		system = state.Pid
		if (clock.Machine{}).Sleep(ctx, wait) != nil {
			return
		}
	}
}

// halt does not wait for its command, which may never end in a container that goes down, and does not
// mind if there is nothing to run it in any more. The library's own call for it would listen to the
// output for as long as the process lives.
func halt(c client.InstanceServer, name string) {
	info, err := c.GetConnectionInfo()
	if err != nil {
		return
	}
	path := "/1.0/instances/" + url.PathEscape(name) + "/exec?project=" + url.QueryEscape(info.Project)
	_, _, _ = c.RawQuery("POST", path, api.InstanceExecPost{Command: haltNow}, "")
}
