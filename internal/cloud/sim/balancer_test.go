package sim_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
	"github.com/hallmark-ci/hallmark/internal/cloud/cloudtest"
	"github.com/hallmark-ci/hallmark/internal/cloud/sim"
)

func TestBalancer(t *testing.T) {
	takes := func(hand clock.Clock) sim.Options {
		return sim.Options{Clock: hand, Drain: 5 * time.Minute, Check: 30 * time.Second, Replace: 10 * time.Minute}
	}
	for name, open := range map[string]func(*testing.T, clock.Clock) (*sim.Cloud, error){
		"in memory": func(_ *testing.T, hand clock.Clock) (*sim.Cloud, error) { return sim.New(takes(hand)), nil },
		"on disk": func(t *testing.T, hand clock.Clock) (*sim.Cloud, error) {
			return sim.Open(filepath.Join(t.TempDir(), "cloud.json"), takes(hand))
		},
	} {
		t.Run(name, func(t *testing.T) {
			hand := clock.NewManual(start)
			c, err := open(t, hand)
			if err != nil {
				t.Fatal(err)
			}
			balanced(t, c, hand)
		})
	}
}

func balanced(t *testing.T, c *sim.Cloud, hand *clock.Manual) {
	ctx := t.Context()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	spec := place(t, c)
	s, err := c.Launch(ctx, spec("web-1", 10))
	ok(err)
	images := map[string]cloud.ImageID{}
	for _, name := range []string{"old", "new", "bad"} {
		i, err := c.AddBase(ctx, cloud.ImageSpec{Name: name, Tags: s.Tags})
		ok(err)
		images[name] = i.ID
	}
	owner := s.Tags.Owner
	ok(c.AddPool(ctx, "web", owner))
	ok(c.AddPool(ctx, "theirs", "them"))
	ok(c.AddGroup(ctx, "web", owner, images["old"]))
	ok(c.AddGroup(ctx, "theirs", "them", images["old"]))
	ok(c.Ail(ctx, string(images["bad"]), true))
	cloudtest.RunBalancer(t, cloudtest.Fleet{
		Balancer: cloud.CapabilitiesOf(c).Balancer, Pool: "web", Theirs: "theirs", Server: s.ID,
		Ail:  func(t *testing.T, ails bool) { ok(c.Ail(t.Context(), string(s.ID), ails)) },
		Roll: cloud.Roll{Token: "release-1.1", Owner: owner, Group: "web", Image: images["new"]}, Old: images["old"], Bad: images["bad"],
		Launches: func(t *testing.T) cloud.ImageID {
			id, err := c.GroupImage(t.Context(), "web")
			ok(err)
			return id
		},
		Patience: time.Minute, Pause: hand.Advance,
	})
	before := hand.Now()
	ok(c.Join(ctx, "web", s.ID, time.Minute))
	if got, err := c.Pooled(ctx, "web"); err != nil || len(got) != 1 || hand.Now().Sub(before) < 30*time.Second {
		t.Errorf("pooled %v after %s (%v)", got, hand.Now().Sub(before), err)
	}
	ok(c.Destroy(ctx, s.ID))
	ok(c.Leave(ctx, "web", s.ID))
	if got, err := c.Pooled(ctx, "web"); err != nil || len(got) != 0 {
		t.Errorf("a server that is gone is in the pool: %v (%v)", got, err)
	}
}

// No group goes back to an image that was revoked.
func TestUnrollToARevokedImage(t *testing.T) {
	c, ctx := sim.New(sim.Options{Clock: clock.NewManual(start), Replace: 10 * time.Minute}), t.Context()
	roll := cloud.Roll{Group: "web", Owner: "test", Token: "one"}
	var images [2]cloud.ImageID
	for n, name := range []string{"old", "new"} {
		i, err := c.AddBase(ctx, cloud.ImageSpec{Name: name, Tags: cloud.Tags{Owner: roll.Owner}})
		if err != nil {
			t.Fatal(err)
		}
		images[n] = i.ID
	}
	roll.Image = images[1]
	for _, err := range []error{c.AddGroup(ctx, roll.Group, roll.Owner, images[0]), c.Roll(ctx, roll), c.Revoke(ctx, images[0])} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Unroll(ctx, roll); cloud.CodeOf(err) != cloud.CodeRefused {
		t.Errorf("it goes back: %v", err)
	}
}
