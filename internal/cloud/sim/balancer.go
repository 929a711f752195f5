package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

var _ cloud.Balancer = (*Cloud)(nil)

// pool is a set of servers that share requests.
type pool struct {
	Name    string                       `json:"name"`
	Owner   string                       `json:"owner"`
	Joined  map[cloud.ServerID]time.Time `json:"joined"`  // since when a server is in it
	Drained map[cloud.ServerID]time.Time `json:"drained"` // when one that leaves has left
}

// group is a set of servers of which only the image is kept: which servers it has, nobody asks.
type group struct {
	Name  string        `json:"name"`
	Owner string        `json:"owner"`
	Image cloud.ImageID `json:"image"` // before the first roll
	Rolls []*roll       `json:"rolls"`
}

// roll is where a group goes, at a pace that follows from the clock.
type roll struct {
	cloud.Roll
	From  cloud.ImageID `json:"from"`
	Began time.Time     `json:"began"`
	Fails bool          `json:"fails"` // its servers are called unhealthy: at its end it turns back
	Undo  time.Time     `json:"undo"`  // when it was asked to go back; zero: never
}

// AddPool puts an empty pool there.
func (c *Cloud) AddPool(ctx context.Context, name, owner string) error {
	return c.do(ctx, "add-pool", name, func(w *world, _ time.Time) error {
		w.Pools = append(w.Pools, &pool{Name: name, Owner: owner, Joined: map[cloud.ServerID]time.Time{}, Drained: map[cloud.ServerID]time.Time{}})
		return nil
	})
}

// AddGroup puts a group there whose servers were launched from an image.
func (c *Cloud) AddGroup(ctx context.Context, name, owner string, image cloud.ImageID) error {
	return c.do(ctx, "add-group", name, func(w *world, _ time.Time) error {
		w.Groups = append(w.Groups, &group{Name: name, Owner: owner, Image: image})
		return nil
	})
}

// Ail makes balancers call a server unhealthy, or those that groups launch from an image, until it ends.
func (c *Cloud) Ail(ctx context.Context, serverOrImage string, ails bool) error {
	return c.do(ctx, "ail", serverOrImage, func(w *world, _ time.Time) error {
		w.Ailing = slices.DeleteFunc(w.Ailing, func(id string) bool { return id == serverOrImage })
		if ails {
			w.Ailing = append(w.Ailing, serverOrImage)
		}
		return nil
	})
}

// Pooled are the servers of a pool that get requests.
func (c *Cloud) Pooled(ctx context.Context, name string) (got []cloud.ServerID, err error) {
	err = c.do(ctx, "pooled", name, func(w *world, _ time.Time) error {
		p, err := w.pool(name)
		if err == nil {
			got = slices.Sorted(maps.Keys(p.Joined))
		}
		return err
	})
	return got, err
}

// GroupImage is what a group launches.
func (c *Cloud) GroupImage(ctx context.Context, name string) (got cloud.ImageID, err error) {
	err = c.do(ctx, "group-image", name, func(w *world, now time.Time) error {
		g, err := w.group(name)
		if err == nil {
			got = g.image(now, c.opts.Replace)
		}
		return err
	})
	return got, err
}

func (w *world) pool(name string) (*pool, error) {
	if p := find(w.Pools, func(p *pool) bool { return p.Name == name }); p != nil {
		return p, nil
	}
	return nil, notFound("pool", name)
}

func (w *world) group(name string) (*group, error) {
	if g := find(w.Groups, func(g *group) bool { return g.Name == name }); g != nil {
		return g, nil
	}
	return nil, notFound("group", name)
}

// Leave takes Options.Drain.
func (c *Cloud) Leave(ctx context.Context, name string, id cloud.ServerID) error {
	var left time.Time
	err := c.do(ctx, cloud.VerbLeave, string(id), func(w *world, now time.Time) error {
		p, err := w.pool(name)
		if err != nil {
			return err
		}
		if s := w.server(id); s == nil {
			delete(p.Joined, id)
			delete(p.Drained, id)
		} else if err := p.belongsTo(s.Tags.Owner); err != nil {
			return err
		}
		if _, in := p.Joined[id]; in {
			delete(p.Joined, id)
			p.Drained[id] = now.Add(c.opts.Drain)
		}
		left = p.Drained[id]
		return nil
	})
	if wait := left.Sub(c.opts.Clock.Now()); err == nil && wait > 0 {
		err = c.opts.Clock.Sleep(ctx, wait)
	}
	return err
}

func (p *pool) belongsTo(owner string) error {
	if p.Owner != owner {
		return refuse(cloud.CodeConflict, "pool %s belongs to %q", p.Name, p.Owner)
	}
	return nil
}

// Join takes Options.Check, and longer while the server ails.
func (c *Cloud) Join(ctx context.Context, name string, id cloud.ServerID, patience time.Duration) error {
	deadline := c.opts.Clock.Now().Add(patience)
	for {
		var checked time.Time
		healthy := false
		err := c.do(ctx, cloud.VerbJoin, string(id), func(w *world, now time.Time) error {
			p, err := w.pool(name)
			if err != nil {
				return err
			}
			s := w.server(id)
			if s == nil {
				return notFound("server", id)
			}
			if err := p.belongsTo(s.Tags.Owner); err != nil {
				return err
			}
			if state := s.state(now); state != cloud.Running {
				return refuse(cloud.CodeRefused, "server %s is %s", s.Name, state)
			}
			if _, in := p.Joined[id]; !in {
				p.Joined[id] = now
				delete(p.Drained, id)
			}
			checked = p.Joined[id].Add(c.opts.Check)
			healthy = !now.Before(checked) && !slices.Contains(w.Ailing, string(id))
			return nil
		})
		if err != nil || healthy {
			return err
		}
		now := c.opts.Clock.Now()
		if !now.Before(deadline) {
			return verdict.Errorf(verdict.HealthFailed, string(id), "put %s into %s: after %s it is unhealthy", id, name, patience)
		}
		if err := c.opts.Clock.Sleep(ctx, max(checked.Sub(now), time.Second)); err != nil {
			return err
		}
	}
}

// Roll takes Options.Replace there, and as long back.
func (c *Cloud) Roll(ctx context.Context, spec cloud.Roll) error {
	return c.rolled(ctx, cloud.VerbRoll, spec, func(w *world, g *group, r *roll, now time.Time) error {
		switch {
		case r != nil:
			return nil
		case w.launchable(spec.Image) == nil:
			return notFound("image", spec.Image)
		case len(g.Rolls) > 0:
			if s := g.Rolls[len(g.Rolls)-1].progress(now, c.opts.Replace).State; s == cloud.RollGoing || s == cloud.RollBack {
				return refuse(cloud.CodeConflict, "group %s is %s", g.Name, s)
			}
		}
		g.Rolls = append(g.Rolls, &roll{
			Roll: spec, From: g.image(now, c.opts.Replace), Began: now, Fails: slices.Contains(w.Ailing, string(spec.Image)),
		})
		return nil
	})
}

// Rolled tells how far a roll is.
func (c *Cloud) Rolled(ctx context.Context, spec cloud.Roll) (got cloud.RollProgress, err error) {
	err = c.rolled(ctx, cloud.VerbRolled, spec, func(_ *world, _ *group, r *roll, now time.Time) error {
		if r == nil {
			return notFound("roll", spec.Token)
		}
		got = r.progress(now, c.opts.Replace)
		return nil
	})
	return got, err
}

// Unroll goes back as slowly as there, wherever it turns.
func (c *Cloud) Unroll(ctx context.Context, spec cloud.Roll) error {
	return c.rolled(ctx, cloud.VerbUnroll, spec, func(w *world, g *group, r *roll, now time.Time) error {
		if r == nil {
			return nil
		}
		if s := r.progress(now, c.opts.Replace).State; s == cloud.RollBack || s == cloud.RollUndone {
			return nil
		}
		if r != g.Rolls[len(g.Rolls)-1] {
			return refuse(cloud.CodeConflict, "group %s was rolled since", g.Name)
		}
		if i := w.image(r.From); i != nil && i.Revoked {
			return refuse(cloud.CodeRefused, "image %s, which group %s launched before, was revoked", r.From, g.Name)
		}
		r.Undo = now
		return nil
	})
}

// rolled does something with a group and its roll, nil if it was not begun.
func (c *Cloud) rolled(ctx context.Context, verb cloud.Verb, spec cloud.Roll, do func(*world, *group, *roll, time.Time) error) error {
	return c.do(ctx, verb, spec.Group, func(w *world, now time.Time) error {
		g, err := w.group(spec.Group)
		if err != nil {
			return err
		}
		r := find(g.Rolls, func(r *roll) bool { return r.Token == spec.Token })
		switch {
		case g.Owner != spec.Owner:
			return refuse(cloud.CodeConflict, "group %s belongs to %q", g.Name, g.Owner)
		case spec.Token == "":
			return refuse(cloud.CodeRefused, "no token")
		case r != nil && r.Image != spec.Image:
			return refuse(cloud.CodeConflict, "the token rolled the group to %s", r.Image)
		}
		return do(w, g, r, now)
	})
}

// image is what a group launches.
func (g *group) image(now time.Time, takes time.Duration) cloud.ImageID {
	if len(g.Rolls) == 0 {
		return g.Image
	}
	last := g.Rolls[len(g.Rolls)-1]
	if last.progress(now, takes).State == cloud.RollDone {
		return last.Image
	}
	return last.From
}

// progress is where a roll is at a moment.
func (r *roll) progress(now time.Time, takes time.Duration) cloud.RollProgress {
	there := share(now.Sub(r.Began), takes)
	if r.Fails && !now.Before(r.Began.Add(takes)) && r.Undo.IsZero() {
		back := share(now.Sub(r.Began)-takes, takes)
		return undoing(0, back, verdict.HealthFailed, fmt.Sprintf("new servers from %s were unhealthy", r.Image))
	}
	switch {
	case !r.Undo.IsZero():
		turned := share(r.Undo.Sub(r.Began), takes)
		return undoing(r.percent(turned), share(now.Sub(r.Undo), takes), verdict.Unexplained, "it was asked for")
	case there < 100:
		return cloud.RollProgress{State: cloud.RollGoing, Percent: r.percent(there)}
	}
	return cloud.RollProgress{State: cloud.RollDone, Percent: 100}
}

// percent of the servers that are new and in service: none of those that fail.
func (r *roll) percent(of int) int {
	if r.Fails {
		return 0
	}
	return of
}

func undoing(from, back int, cause verdict.Cause, reason string) cloud.RollProgress {
	p := cloud.RollProgress{State: cloud.RollBack, Percent: from * (100 - back) / 100, Cause: cause, Reason: reason}
	if back == 100 {
		p.State = cloud.RollUndone
	}
	return p
}

// share is how much of a time has passed, in percent.
func share(passed, of time.Duration) int {
	if passed >= of {
		return 100
	}
	return int(100 * passed / of)
}
