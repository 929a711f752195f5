package sim

import (
	"context"
	"slices"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// state is what a server is at a moment: nothing ticks in this cloud, so it follows from the clock.
func (s *server) state(now time.Time) cloud.State {
	done := !now.Before(s.Changes)
	switch {
	case s.Broken:
		return cloud.Broken
	case s.On && done:
		return cloud.Running
	case s.On:
		return cloud.Pending
	case done:
		return cloud.Stopped
	}
	return cloud.Running // shutting down
}

func (s *server) view(now time.Time) cloud.Server {
	v := s.Server
	v.State = s.state(now)
	return v
}

func (s *server) boot(now time.Time, takes time.Duration) {
	s.On, s.Changes = true, now.Add(takes)
	s.Boots++
}

// rootMiB is the size that every root disk has.
const rootMiB = 4 << 10

// Confidential says that private files are brought, as far as there are files in this cloud: it keeps them no more
// than user-data.
func (c *Cloud) Confidential() {}

// Launch checks what a real cloud would check: network, image, name, address, volumes, room.
func (c *Cloud) Launch(ctx context.Context, spec cloud.ServerSpec) (got cloud.Server, err error) {
	err = c.do(ctx, cloud.VerbLaunch, spec.Name, func(w *world, now time.Time) error {
		if spec.Token != "" {
			if s := find(w.Servers, func(s *server) bool { return s.Token == spec.Token && !s.Lost }); s != nil {
				if s.Name != spec.Name || s.Network != spec.Network {
					return refuse(cloud.CodeConflict, "the token belongs to server %s", s.Name)
				}
				got = s.view(now)
				return nil
			}
		}
		if err := c.acceptable(w, spec); err != nil {
			return err
		}
		s := &server{Server: cloud.Server{
			ID: cloud.ServerID(w.next("srv")), Name: spec.Name, Address: spec.Address, Image: spec.Image, Tags: spec.Tags,
			Type: "sim", RootMiB: rootMiB, Launched: now,
		}, Network: spec.Network, Token: spec.Token}
		s.boot(now, c.opts.Boot)
		for _, id := range spec.Volumes {
			w.volume(id).Attached = s.ID
		}
		w.Servers = append(w.Servers, s)
		got = s.view(now)
		return nil
	})
	return got, err
}

func (c *Cloud) acceptable(w *world, spec cloud.ServerSpec) error {
	n := w.network(spec.Network)
	switch {
	case n == nil:
		return notFound("network", spec.Network)
	case w.launchable(spec.Image) == nil:
		return notFound("image", spec.Image)
	case spec.Name == "" || spec.Token == "":
		return refuse(cloud.CodeRefused, "a server needs a name and a token")
	case !n.Prefix.Contains(spec.Address) || spec.Address == n.Gateway:
		return refuse(cloud.CodeRefused, "address %v is not free in %v", spec.Address, n.Prefix)
	}
	live := 0
	for _, s := range w.Servers {
		if s.Lost {
			continue
		}
		live++
		if s.Network != spec.Network {
			continue
		}
		if s.Name == spec.Name || s.Address == spec.Address {
			return refuse(cloud.CodeConflict, "server %s has that name or address %v", s.Name, spec.Address)
		}
	}
	for _, id := range spec.Volumes {
		switch v := w.volume(id); {
		case v == nil:
			return notFound("volume", id)
		case v.Network != spec.Network:
			return refuse(cloud.CodeRefused, "volume %s is in another network", v.Name)
		case v.Attached != "":
			return refuse(cloud.CodeRefused, "volume %s is attached to %s", v.Name, v.Attached)
		}
	}
	if c.opts.Capacity > 0 && live >= c.opts.Capacity {
		return refuse(cloud.CodeCapacity, "%d servers are all there is room for", c.opts.Capacity)
	}
	return nil
}

// Servers lists in the order of creation.
func (c *Cloud) Servers(ctx context.Context, filter cloud.Filter) (got []cloud.Server, err error) {
	err = c.do(ctx, cloud.VerbServers, "", func(w *world, now time.Time) error {
		for _, s := range w.Servers {
			if !s.Lost && fits(s.Tags, filter) {
				got = append(got, s.view(now))
			}
		}
		return nil
	})
	return got, err
}

// fits reports whether tags pass a filter.
func fits(tags cloud.Tags, f cloud.Filter) bool {
	return (f.Owner == "" || f.Owner == tags.Owner) && (f.Environment == "" || f.Environment == tags.Environment) &&
		(f.Run == "" || f.Run == tags.Run)
}

// on changes one server that must be there.
func (c *Cloud) on(ctx context.Context, verb cloud.Verb, id cloud.ServerID, change func(w *world, s *server, now time.Time) error) error {
	return c.do(ctx, verb, string(id), func(w *world, now time.Time) error {
		s := w.server(id)
		if s == nil {
			return notFound("server", id)
		}
		return change(w, s, now)
	})
}

// Reboot is Pending again until the boot is done.
func (c *Cloud) Reboot(ctx context.Context, id cloud.ServerID) error {
	return c.on(ctx, cloud.VerbReboot, id, func(_ *world, s *server, now time.Time) error {
		if !s.On {
			return refuse(cloud.CodeRefused, "server %s is not running", s.Name)
		}
		s.boot(now, c.opts.Boot)
		return nil
	})
}

// Stop without force takes Options.Shutdown, with force no time.
func (c *Cloud) Stop(ctx context.Context, id cloud.ServerID, force bool) error {
	return c.on(ctx, cloud.VerbStop, id, func(_ *world, s *server, now time.Time) error {
		switch {
		case force:
			s.On, s.Changes = false, now
		case s.On:
			s.On, s.Changes = false, now.Add(c.opts.Shutdown)
		}
		return nil
	})
}

// Start boots a stopped server.
func (c *Cloud) Start(ctx context.Context, id cloud.ServerID) error {
	return c.on(ctx, cloud.VerbStart, id, func(_ *world, s *server, now time.Time) error {
		if !s.On {
			s.boot(now, c.opts.Boot)
		}
		return nil
	})
}

// Destroy takes a server away at once and lets go of its volumes.
func (c *Cloud) Destroy(ctx context.Context, id cloud.ServerID) error {
	return c.do(ctx, cloud.VerbDestroy, string(id), func(w *world, _ time.Time) error {
		w.release(id)
		w.Servers = slices.DeleteFunc(w.Servers, func(s *server) bool { return s.ID == id })
		return nil
	})
}

func (w *world) release(id cloud.ServerID) {
	for _, v := range w.Volumes {
		if v.Attached == id {
			v.Attached = ""
		}
	}
}

// Lose makes a server vanish, as a host that died would: it is not listed any more, its volumes are free.
func (c *Cloud) Lose(ctx context.Context, id cloud.ServerID) error {
	return c.on(ctx, "lose", id, func(w *world, s *server, _ time.Time) error {
		s.Lost = true
		w.release(id)
		return nil
	})
}

// Break makes the provider itself call a server unhealthy from now on.
func (c *Cloud) Break(ctx context.Context, id cloud.ServerID) error {
	return c.on(ctx, "break", id, func(_ *world, s *server, _ time.Time) error {
		s.Broken = true
		return nil
	})
}

// Boots counts how often a server has booted, which is what a boot ID would tell.
func (c *Cloud) Boots(ctx context.Context, id cloud.ServerID) (n int, err error) {
	err = c.on(ctx, "boots", id, func(_ *world, s *server, _ time.Time) error {
		n = s.Boots
		return nil
	})
	return n, err
}

// Snapshot remembers a name for a server; there is nothing else to remember.
func (c *Cloud) Snapshot(ctx context.Context, id cloud.ServerID, name string) error {
	return c.on(ctx, cloud.VerbSnapshot, id, func(_ *world, s *server, now time.Time) error {
		if _, taken := s.Snapshots[name]; taken {
			return nil
		}
		if s.Snapshots == nil {
			s.Snapshots = map[string]time.Time{}
		}
		s.Snapshots[name] = now
		return nil
	})
}

// Restore boots a server that runs, and leaves a stopped one stopped.
func (c *Cloud) Restore(ctx context.Context, id cloud.ServerID, name string) error {
	return c.on(ctx, cloud.VerbRestore, id, func(_ *world, s *server, now time.Time) error {
		if _, taken := s.Snapshots[name]; !taken {
			return notFound("snapshot", name)
		}
		if s.On {
			s.boot(now, c.opts.Boot)
		}
		return nil
	})
}
