package environmenttest

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

func cause(text string) verdict.Cause { return verdict.Cause(text) }

// Provider is the provider to give to whoever is tested: what it does to servers, the World sees.
func (w *World) Provider() cloud.Provider {
	can := cloud.CapabilitiesOf(w.provider)
	if can.Snapshotter != nil {
		can.Snapshotter = snapshots{can.Snapshotter, w}
	}
	return cloud.With(provider{w.provider, w}, can)
}

// provider lets the World see what happens to its servers.
type provider struct {
	cloud.Provider
	world *World
}

func (p provider) AllowAdmin(ctx context.Context, id cloud.NetworkID, addresses []netip.Addr) error {
	if err := p.Provider.AllowAdmin(ctx, id, addresses); err != nil {
		return err
	}
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	p.world.admitted[id] = addresses
	return nil
}

func (p provider) Launch(ctx context.Context, spec cloud.ServerSpec) (cloud.Server, error) {
	s, err := p.Provider.Launch(ctx, spec)
	if err != nil {
		return s, err
	}
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	if p.world.hosts[s.ID] == nil {
		if p.world.hosts[s.ID], err = p.world.newHost(s, spec); err != nil {
			return s, err
		}
	}
	return s, nil
}

// Console has a failed provisioning's report at its end.
func (p provider) Console(ctx context.Context, id cloud.ServerID) ([]byte, error) {
	said, err := p.Provider.Console(ctx, id)
	if err != nil {
		return nil, err
	}
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	if h := p.world.hosts[id]; h != nil {
		if p.world.settle(h); h.announced {
			said = fmt.Appendf(said, "%s%s has to leave\n", puppet.HandOverPrefix, environment.BootstrapUser)
		}
		if h.status != nil {
			said = fmt.Appendf(said, "hallmark-provision: report %s\n", encode(h.status))
		}
		if !h.booted.IsZero() {
			said = fmt.Appendf(said, "cloud-init[131]: Cloud-init v. 22.4.2 finished at %s. Datasource DataSourceNoCloud.\n", h.booted.UTC().Format(time.RFC1123Z))
		}
	}
	return said, nil
}

func (p provider) Reboot(ctx context.Context, id cloud.ServerID) error {
	if err := p.Provider.Reboot(ctx, id); err != nil {
		return err
	}
	p.world.booted(id)
	return nil
}

func (p provider) Start(ctx context.Context, id cloud.ServerID) error {
	if err := p.Provider.Start(ctx, id); err != nil {
		return err
	}
	p.world.booted(id)
	return nil
}

// booted gives a server a new boot; its unit starts again.
func (w *World) booted(id cloud.ServerID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h := w.hosts[id]; h != nil && !w.trouble[h.name].Stuck {
		h.boot, h.booted = w.nextBoot(), w.clock.Now()
		clear(h.inside)
		if !h.began.IsZero() {
			h.start(w.clock.Now())
		}
	}
}

// snapshots takes the inside of servers back along with the outside.
type snapshots struct {
	cloud.Snapshotter
	world *World
}

func (s snapshots) Snapshot(ctx context.Context, id cloud.ServerID, name string) error {
	if err := s.Snapshotter.Snapshot(ctx, id, name); err != nil {
		return err
	}
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	if h := s.world.hosts[id]; h != nil {
		c := *h
		c.files = maps.Clone(h.files)
		h.snapshots[name] = &c
	}
	return nil
}

func (s snapshots) Restore(ctx context.Context, id cloud.ServerID, name string) error {
	if err := s.Snapshotter.Restore(ctx, id, name); err != nil {
		return err
	}
	s.world.mu.Lock()
	if h := s.world.hosts[id]; h != nil && h.snapshots[name] != nil {
		then := h.snapshots[name]
		h.files, h.status, h.bootstrap, h.admin = maps.Clone(then.files), then.status, then.bootstrap, then.admin
	}
	s.world.mu.Unlock()
	s.world.booted(id)
	return nil
}
