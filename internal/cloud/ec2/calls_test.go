package ec2_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
)

// eight is a usual environment: two of its servers have a volume.
var eight = []string{"bastion", "web-1", "web-2", "web-3", "app-1", "app-2", "db-1", "db-2"}

// between is how often an environment looks at its servers.
const between = 5 * time.Second

// slack is for looks that come just when something happens.
const slack = 2

// launchEight launches an environment as package environment does: one server after the other, then a look at all of
// them until they run.
func (b *bench) launchEight(env string, deployed func()) error {
	ctx, t := b.Context(), cloud.Tags{Owner: start.Owner, Run: start.Run, Environment: env}
	n, err := b.p.CreateNetwork(ctx, cloud.NetworkSpec{Name: env, Tags: t, Servers: eight})
	if err != nil {
		return err
	}
	base, err := b.p.ResolveBase(ctx, cloud.BaseSpec{Name: baseName})
	if err != nil {
		return err
	}
	volumes := map[string][]cloud.VolumeID{}
	for _, name := range eight {
		if !strings.HasPrefix(name, "db") {
			continue
		}
		v, err := b.p.CreateVolume(ctx, cloud.VolumeSpec{Name: name + "-data", Network: n.ID, SizeMiB: 64, Tags: t})
		if err != nil {
			return err
		}
		volumes[name] = []cloud.VolumeID{v.ID}
	}
	for _, name := range eight {
		_, err := b.p.Launch(ctx, cloud.ServerSpec{
			Name: name, Network: n.ID, Image: base.ID, Address: n.Addresses[name], Token: env + name, Tags: t, Volumes: volumes[name],
		})
		if err != nil {
			return err
		}
	}
	if err := b.p.AllowAdmin(ctx, n.ID, []netip.Addr{n.Addresses["bastion"]}); err != nil {
		return err
	}
	deployed()
	return b.reach(env, len(eight), cloud.Running)
}

// reach looks at an environment's servers until they are all in a state.
func (b *bench) reach(env string, servers int, state cloud.State) error {
	for {
		list, err := b.p.Servers(b.Context(), cloud.Filter{Owner: start.Owner, Environment: env})
		if err != nil {
			return err
		}
		if len(list) == servers && !slices.ContainsFunc(list, func(s cloud.Server) bool { return s.State != state }) {
			return nil
		}
		time.Sleep(between) // the bubble's
	}
}

// removeEight removes an environment as package environment does: kind after kind, those of one kind at once.
func (b *bench) removeEight(env string) error {
	owned, err := b.p.Owned(b.Context(), start.Owner)
	if err != nil {
		return err
	}
	for _, kind := range []cloud.ResourceKind{cloud.KindServer, cloud.KindVolume, cloud.KindNetwork} {
		var all sync.WaitGroup
		errs := make([]error, len(owned))
		for i, r := range owned {
			if r.Kind == kind && r.Tags.Environment == env {
				all.Go(func() { errs[i] = b.p.Delete(b.Context(), r) })
			}
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return nil
}

// The laboratory takes its time here as EC2 does, and the same time always: so a change that makes more calls is seen.
func TestCallsOfAnEnvironment(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.wire.forget()
		var launched map[string]int
		must(b, b.launchEight("env-1", func() {
			launched = b.wire.tally()
			b.wire.forget()
		}))
		waiting := b.wire.tally()
		b.wire.forget()
		must(b, b.removeEight("env-1"))
		removed := b.wire.tally()
		b.Logf("launched with %v\nwaited with %v\nremoved with %v", launched, waiting, removed)
		for what, calls := range map[string]struct{ got, most int }{
			"launching":                     {launched["all"], 108},
			"launching: RunInstances":       {launched["ec2:RunInstances"], 8},
			"a look at all servers":         {waiting["ec2:DescribeInstances"], 1},
			"looks: anything but instances": {waiting["all"] - waiting["ec2:DescribeInstances"] - waiting["ec2:DescribeInstanceStatus"], 0},
			"removing":                      {removed["all"], 55},
		} {
			if calls.got > calls.most+slack {
				b.Errorf("%s: %d calls, it has been done with %d", what, calls.got, calls.most)
			}
		}
	})
}

func TestCallsOfAnImage(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.wire.forget()
		spec := b.spec(b.network("bench"), "bench")
		must(b, b.p.AllowAdmin(b.Context(), spec.Network, []netip.Addr{spec.Address}))
		s, err := b.p.Launch(b.Context(), spec)
		must(b, err)
		must(b, b.reach("env-1", 1, cloud.Running))
		must(b, b.p.Stop(b.Context(), s.ID, false))
		must(b, b.reach("env-1", 1, cloud.Stopped))
		_, err = b.p.Capture(b.Context(), s.ID, imageSpec)
		must(b, err)
		made := b.wire.tally()
		b.wire.forget()
		must(b, b.removeEight("env-1"))
		removed := b.wire.tally()
		b.Logf("made with %v\nbench removed with %v", made, removed)
		if made["all"] > 54+slack || removed["all"] > 30+slack {
			b.Errorf("%d calls to make an image, %d to remove its server and network: it has been done with 54 and 30", made["all"], removed["all"])
		}
	})
}

// many is how many environments are at once: `make bench` has 200, which takes the laboratory minutes.
var many = flag.Int("environments", 20, "how many environments TestManyEnvironments has at once")

// Many environments at once, with twenty calls a second for all of them.
func TestManyEnvironments(t *testing.T) {
	const calls = 20
	environments := *many
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var waits []time.Duration
		b := newBench(t, ec2lab.Config{Delays: slow}, func(c *ec2.Config) {
			c.Calls = calls
			c.Waited = func(d time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				waits = append(waits, d)
			}
		})
		began := time.Now()
		ctx, cancel := context.WithCancelCause(b.Context())
		defer cancel(nil)
		var all sync.WaitGroup
		var up time.Duration
		for n := range environments {
			all.Go(func() {
				env := fmt.Sprintf("env-%d", n)
				err := b.launchEight(env, func() {})
				mu.Lock()
				up = max(up, time.Since(began))
				mu.Unlock()
				if err == nil {
					err = b.removeEight(env)
				}
				if err != nil {
					cancel(fmt.Errorf("%s: %w", env, err))
				}
			})
		}
		all.Wait()
		must(b, context.Cause(ctx))
		took := time.Since(began)
		if left, err := b.p.Owned(b.Context(), start.Owner); err != nil || len(left) > 0 {
			b.Errorf("%d things are left, %v", len(left), err)
		}
		slices.Sort(waits)
		at := func(part int) time.Duration { return waits[len(waits)*part/100].Round(10 * time.Millisecond) }
		tally := b.wire.tally()
		t.Logf("%d environments of %d: %d calls (%d each), %.1f a second; the last was up after %s, all were gone after %s; a call waits %s (p50), %s (p95), %s (p99)",
			environments, len(eight), tally["all"], tally["all"]/environments, float64(tally["all"])/took.Seconds(), up.Round(time.Second), took.Round(time.Second), at(50), at(95), at(99))
		if rate := float64(tally["all"]) / took.Seconds(); rate > calls+1 {
			t.Errorf("%.1f calls a second, at most %d were wanted", rate, calls)
		}
		if at(95) > 2*time.Minute {
			t.Errorf("a call waits %s (p95)", at(95))
		}
	})
}
