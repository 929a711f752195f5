package cloudtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
)

// PassingInterfaces lets network interfaces of this host come and go until the test ends, as those of
// other environments' servers do all the time. It takes root.
func PassingInterfaces(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var passing sync.WaitGroup
	t.Cleanup(passing.Wait)
	t.Cleanup(cancel)
	link := func(args ...string) {
		// Not broken off: an interface that was added is deleted.
		out, err := exec.CommandContext(context.WithoutCancel(ctx), "ip", append([]string{"link"}, args...)...).CombinedOutput()
		if err != nil {
			t.Errorf("ip link %v: %s", args, out)
		}
	}
	for i := range 4 {
		passing.Go(func() {
			for name := fmt.Sprintf("pass%d-%d", os.Getpid()%1e7, i); ctx.Err() == nil; { // of 15 bytes at most
				link("add", name, "type", "veth")
				link("delete", name)
			}
		})
	}
}
