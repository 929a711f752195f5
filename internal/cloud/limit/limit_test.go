package limit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
	"github.com/hallmark-ci/hallmark/internal/cloud/cloudtest"
	"github.com/hallmark-ci/hallmark/internal/cloud/fault"
	"github.com/hallmark-ci/hallmark/internal/cloud/limit"
	"github.com/hallmark-ci/hallmark/internal/cloud/sim"
)

// site is a simulated cloud with a network, for launching by name.
type site struct {
	*sim.Cloud
	base cloud.Image
	net  cloud.Network
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{Cloud: sim.New(sim.Options{})}
	var err error
	tags := cloud.Tags{Owner: "site"}
	if s.base, err = s.AddBase(t.Context(), cloud.ImageSpec{
		Name: "base", Tags: tags, Properties: map[string]string{cloud.PropertyRecipe: "sha256:abc"}}); err != nil {
		t.Fatal(err)
	}
	if s.net, err = s.CreateNetwork(t.Context(), cloud.NetworkSpec{Name: "net", Tags: tags}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) spec(environment string, n int) cloud.ServerSpec {
	name := fmt.Sprintf("%s-%d", environment, n)
	return cloud.ServerSpec{
		Name: name, Token: name, Network: s.net.ID, Image: s.base.ID, Tags: cloud.Tags{Owner: "site", Environment: environment},
		Address: netip.AddrFrom4([4]byte{10, 64, 0, byte(10 + n + 100*int(environment[0]-'a'))}),
	}
}

func (s *site) slots(t *testing.T, max int) (*limit.Slots, cloud.Provider) {
	t.Helper()
	slots, err := limit.NewSlots(t.Context(), s.Cloud, "site", max)
	if err != nil {
		t.Fatal(err)
	}
	return slots, slots.Provider()
}

func TestLaunchWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		slots, p := s.slots(t, 1)
		first, err := p.Launch(t.Context(), s.spec("a", 1))
		if err != nil {
			t.Fatal(err)
		}
		if again, err := p.Launch(t.Context(), s.spec("a", 1)); err != nil || again.ID != first.ID {
			t.Errorf("the same launch again: %v, %v", again.ID, err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := p.Launch(t.Context(), s.spec("b", 1))
			done <- err
		}()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("launched over the cap: %v", err)
		default:
		}
		if err := p.Destroy(t.Context(), first.ID); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if slots.Live() != 1 {
			t.Errorf("%d slots taken, want 1", slots.Live())
		}
	})
}

func TestLaunchGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		slots, p := s.slots(t, 1)
		if _, err := p.Launch(t.Context(), s.spec("a", 1)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := p.Launch(ctx, s.spec("b", 1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("launch over the cap: %v", err)
		}
		if slots.Live() != 1 {
			t.Errorf("%d slots taken, want 1", slots.Live())
		}
	})
}

func TestFailedLaunchTakesNoSlot(t *testing.T) {
	s := newSite(t)
	slots, p := s.slots(t, 1)
	bad := s.spec("a", 1)
	bad.Image = "none"
	if _, err := p.Launch(t.Context(), bad); cloud.CodeOf(err) != cloud.CodeNotFound {
		t.Errorf("launch: %v", err)
	}
	if slots.Live() != 0 {
		t.Errorf("%d slots taken", slots.Live())
	}
}

// A restart finds servers there, and the steps of the run that it goes on with launch them again.
func TestRestartCountsWhatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		_, before := s.slots(t, 2)
		for n := 1; n <= 2; n++ {
			if _, err := before.Launch(t.Context(), s.spec("a", n)); err != nil {
				t.Fatal(err)
			}
		}
		slots, after := s.slots(t, 2)
		if slots.Live() != 2 {
			t.Fatalf("adopted %d servers, want 2", slots.Live())
		}
		if _, err := after.Launch(t.Context(), s.spec("a", 2)); err != nil {
			t.Errorf("launch what is there: %v", err)
		}
		if _, err := slots.Reserve(t.Context(), "a", 2); err != nil {
			t.Errorf("reserve what it has: %v", err)
		}
	})
}

// A server that nobody destroyed through us gives its slot back all the same.
func TestLostServerGivesItsSlotBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		slots, p := s.slots(t, 1)
		first, err := p.Launch(t.Context(), s.spec("a", 1))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Lose(t.Context(), first.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Launch(t.Context(), s.spec("b", 1)); err != nil {
			t.Error(err)
		}
		if slots.Live() != 1 {
			t.Errorf("%d slots taken, want 1", slots.Live())
		}
	})
}

// Several environments that need all their servers at once get through with a cap that fits only one.
func TestReservationsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		slots, p := s.slots(t, 4)
		if _, err := slots.Reserve(t.Context(), "huge", 5); cloud.CodeOf(err) != cloud.CodeRefused {
			t.Errorf("reserve more than the cap: %v", err)
		}
		var work sync.WaitGroup
		for _, environment := range []string{"a", "b", "c"} {
			work.Go(func() {
				release, err := slots.Reserve(t.Context(), environment, 3)
				if err != nil {
					t.Error(err)
					return
				}
				defer release()
				var ids []cloud.ServerID
				for n := 1; n <= 3; n++ {
					time.Sleep(time.Minute) // on the bubble's clock: others get their chance to interfere
					server, err := p.Launch(t.Context(), s.spec(environment, n))
					if err != nil {
						t.Error(err)
						return
					}
					ids = append(ids, server.ID)
					if live := slots.Live(); live > 4 {
						t.Errorf("%d servers live", live)
					}
				}
				for _, id := range ids {
					if err := p.Destroy(t.Context(), id); err != nil {
						t.Error(err)
					}
				}
			})
		}
		work.Wait()
		if slots.Live() != 0 {
			t.Errorf("%d slots taken at the end", slots.Live())
		}
	})
}

// flaky fails the first calls with a code.
func flaky(p cloud.Provider, fails int, code cloud.Code) (cloud.Provider, *int) {
	calls := 0
	return cloud.Intercept(p, func(ctx context.Context, call cloud.Call, do func(context.Context) error) error {
		if calls++; calls <= fails {
			return &cloud.Error{Call: call.String(), Code: code, Err: errors.New("as scripted")}
		}
		return do(ctx)
	}), &calls
}

func TestRetry(t *testing.T) {
	for name, c := range map[string]struct {
		fails  int
		code   cloud.Code
		reboot bool
		calls  int
		want   cloud.Code
	}{
		"throttled, then fine":   {fails: 3, code: cloud.CodeThrottled, calls: 4},
		"down, then fine":        {fails: 3, code: cloud.CodeDown, calls: 4},
		"refused":                {fails: 3, code: cloud.CodeRefused, calls: 1, want: cloud.CodeRefused},
		"no room":                {fails: 3, code: cloud.CodeCapacity, calls: 1, want: cloud.CodeCapacity},
		"reboot, throttled":      {fails: 3, code: cloud.CodeThrottled, reboot: true, calls: 4, want: cloud.CodeNotFound},
		"reboot, maybe received": {fails: 3, code: cloud.CodeDown, reboot: true, calls: 1, want: cloud.CodeDown},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, calls := flaky(newSite(t), c.fails, c.code)
				p = limit.Retry(p, limit.Patience{}, slog.New(slog.DiscardHandler))
				var err error
				if c.reboot {
					err = p.Reboot(t.Context(), "none")
				} else {
					_, err = p.Images(t.Context(), cloud.Filter{})
				}
				if cloud.CodeOf(err) != c.want || (err == nil) != (c.want == "") || *calls != c.calls {
					t.Errorf("%d calls, %v; want %d calls and code %q", *calls, err, c.calls, c.want)
				}
			})
		})
	}
}

func TestRetryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := flaky(newSite(t), 1<<30, cloud.CodeDown)
		p = limit.Retry(p, limit.Patience{All: time.Minute}, slog.New(slog.DiscardHandler))
		began := time.Now()
		_, err := p.Images(t.Context(), cloud.Filter{})
		if cloud.CodeOf(err) != cloud.CodeDown || time.Since(began) > time.Minute {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err = p.Images(ctx, cloud.Filter{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("at the end of its context: %v", err)
		}
	})
}

// The whole pile, as the daemon builds it, still keeps the contract and its optional interfaces.
func TestContractThroughAllDecorators(t *testing.T) {
	cloudtest.Run(t, func(t *testing.T) cloudtest.Fixture {
		hand := clock.NewManual(time.Date(2026, 11, 23, 21, 0, 0, 0, time.UTC))
		bare := sim.New(sim.Options{Clock: hand, Boot: time.Second})
		base, err := bare.AddBase(t.Context(), cloud.ImageSpec{
			Name: "base", Tags: cloud.Tags{Owner: "site"}, Properties: map[string]string{cloud.PropertyRecipe: "sha256:abc"}})
		if err != nil {
			t.Fatal(err)
		}
		script := fault.Script{{Do: fault.Throttle, Nth: 3, Times: 2}}
		p := limit.Retry(fault.Inject(bare, script, hand), limit.Patience{First: time.Millisecond}, slog.New(slog.DiscardHandler))
		slots, err := limit.NewSlots(t.Context(), p, "contract", 2)
		if err != nil {
			t.Fatal(err)
		}
		p = slots.Provider()
		if can := cloud.CapabilitiesOf(p); can.Snapshotter == nil || can.BaseImporter == nil || can.DiskReader == nil {
			t.Errorf("lost on the way: of the capabilities there are %+v", can)
		}
		return cloudtest.Fixture{
			Provider: p, Owner: "contract", Base: base, Patience: time.Minute, Pause: hand.Advance,
			BaseSpec: cloud.BaseSpec{Name: "base", Digest: "sha256:abc"},
		}
	})
}
