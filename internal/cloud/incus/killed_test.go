package incus_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/limit"
)

// It ends the Incus of this machine, which everything else on it uses: only `make faults` asks for it.
var killIncus = flag.Bool("faults", false, "kill the Incus of this machine in the middle of launches, and start it again")

// TestIncusIsKilled kills Incus while servers are launched, and starts it again as `make host` does: each
// launch waits, nothing was refused or lost, and there is one server of each.
func TestIncusIsKilled(t *testing.T) {
	if !*killIncus {
		t.Skip("kills the Incus of this machine: run `make faults`")
	}
	p, me := provider(t), owner(t)
	image := base(t, p)
	t.Cleanup(func() { clear(t, p, me) })
	tags := cloud.Tags{Owner: me}
	n := network(t, p, cloud.NetworkSpec{Name: me + "-killed", Tags: tags})

	var mu sync.Mutex
	downs := 0
	launching := make(chan struct{})
	began := sync.OnceFunc(func() { close(launching) })
	watched := cloud.Intercept(p, func(ctx context.Context, call cloud.Call, do func(context.Context) error) error {
		if call.Verb == cloud.VerbLaunch {
			began()
		}
		err := do(ctx)
		mu.Lock()
		defer mu.Unlock()
		switch code := cloud.CodeOf(err); {
		case code == cloud.CodeDown:
			downs++
		case err != nil:
			t.Errorf("%s: %v, want it to be told as an outage", call, err)
		}
		return err
	})
	log := slog.New(slog.DiscardHandler)
	patient := limit.Breaker(limit.Retry(watched, limit.Patience{}, log), limit.Outage{Look: time.Second}, log)

	const servers = 6
	var group errgroup.Group
	for i := range servers {
		group.Go(func() error {
			_, err := patient.Launch(t.Context(), cloud.ServerSpec{
				Name: fmt.Sprintf("web-%d", i), Network: n.ID, Image: image.ID, Address: nth(n, 10+i), Token: fmt.Sprintf("once-%d", i), Tags: tags,
			})
			return err
		})
	}
	<-launching
	pid := incusProcess(t)
	must(t, syscall.Kill(pid, syscall.SIGKILL))
	if out, err := exec.CommandContext(t.Context(), "../../../configs/host/setup.sh").CombinedOutput(); err != nil {
		t.Fatalf("start Incus again: %v\n%s", err, out)
	}
	must(t, group.Wait())
	if downs == 0 {
		t.Error("no call met the outage, so this proves nothing: run it again")
	}
	found, err := p.Servers(t.Context(), cloud.Filter{Owner: me})
	must(t, err)
	if len(found) != servers {
		t.Errorf("%d servers, want %d: %+v", len(found), servers, found)
	}
	for _, s := range found {
		if s.State != cloud.Running {
			t.Errorf("%s is %s", s.Name, s.State)
		}
	}
}

// incusProcess is the process id of Incus.
func incusProcess(t *testing.T) int {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", `incus query /1.0 | sed -n 's/.*"server_pid": *\([0-9]*\).*/\1/p'`).Output()
	must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	must(t, err)
	return pid
}
