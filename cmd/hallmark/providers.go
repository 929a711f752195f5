package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/hallmark-ci/hallmark/internal/base"
	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2"
	"github.com/hallmark-ci/hallmark/internal/cloud/fault"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/verifier"
)

// place is a provider with what differs between providers beside it.
type place struct {
	cloud  cloud.Provider
	dialer environment.Dialer
	host   verifier.Host // nil: the machine this runs on
	// base gives the reference base, building it if need be or if fresh.
	base func(ctx context.Context, p cloud.Provider, fresh bool, out io.Writer) (cloud.Image, error)
	room func(context.Context) (room, error) // nil: it has no end
	// outside is an address of this machine that no environment may reach, but for the package cache on it.
	outside netip.Addr
}

// provider is a kind of place, and how to open it.
type provider struct {
	open      func(context.Context, config.Config, *slog.Logger) (place, error)
	publishes bool // it tells others what channels hold: who moves them needs it open
}

// providers is the whole list; a new one is one line here. The simulator is not in it: what only
// plays servers must promote nothing. Tests of the command line have a list of their own.
var providers = map[string]provider{
	"incus": {open: onIncus},
	"ec2":   {open: onEC2, publishes: true},
}

func onIncus(ctx context.Context, cfg config.Config, log *slog.Logger) (place, error) {
	if os.Geteuid() != 0 {
		return place{}, usage("Incus and the building of bases need root: run hallmark as root")
	}
	i := cfg.Provider.Incus
	p, err := incus.New(ctx, incus.Config{
		Socket: i.Socket, Pool: i.Pool, Range: i.Range, CacheAddress: i.Cache.Addr(), CachePort: i.Cache.Port(), Log: log,
		Usual: incusd.Bounds{
			CPUs: i.Server.CPUs, CPUShare: i.CPUShare, MemoryMiB: int(i.Server.Memory.MiB()), DiskMiB: i.Server.Disk.MiB(), Processes: i.Server.Processes,
		},
	})
	if err != nil {
		return place{}, noIncus(err)
	}
	withFaults, err := faults(cfg, p)
	return place{
		cloud:   withFaults,
		dialer:  environment.SSH{},
		outside: i.Cache.Addr(),
		base: func(ctx context.Context, p cloud.Provider, fresh bool, out io.Writer) (cloud.Image, error) {
			sources, err := base.HostSources(base.SourcesFile)
			if err != nil {
				return cloud.Image{}, err
			}
			recipe, err := base.Debian12(sources)
			if err != nil {
				return cloud.Image{}, err
			}
			builder := base.Builder{Dir: filepath.Join(cfg.StateDir, "base"), Cache: "http://" + i.Cache.String()}
			return builder.Ensure(ctx, p, base.Spec{Recipe: recipe, Tags: cloud.Tags{Owner: cfg.Owner}, MaxAge: cfg.Base.MaxAge, Fresh: fresh}, out)
		},
		room: func(ctx context.Context) (room, error) {
			s, err := p.Space(ctx)
			if err != nil {
				return room{}, err
			}
			if s.Disk != "" {
				return room{"the disk under storage pool " + s.Pool, s.Free, "make room on the disk of " + s.Disk}, nil
			}
			return room{"storage pool " + s.Pool, s.Free, fmt.Sprintf("make the pool bigger: `incus storage set %s size=…`", s.Pool)}, nil
		},
	}, err
}

// onEC2 takes the vendor's base as it finds it: there is nothing to build.
func onEC2(ctx context.Context, cfg config.Config, log *slog.Logger) (place, error) {
	e := cfg.Provider.EC2
	p, err := ec2.New(ctx, ec2.Config{
		Region: e.Region, Regions: e.Regions, Role: e.Role, Endpoint: e.Endpoint, Subnets: e.Subnets, Reach: e.Reach, Types: e.Types,
		Spot: e.Spot, Calls: e.Calls, Cache: e.Cache, KMSKey: e.KMSKey, Parameters: e.Parameters, Publish: offers(e.Publish), Log: log,
	})
	if err != nil {
		return place{}, usage("provider.ec2: %w", err)
	}
	outside, err := addressWithin(e.Reach)
	if err != nil {
		return place{}, err
	}
	withFaults, err := faults(cfg, p)
	return place{
		cloud:   withFaults,
		dialer:  environment.SSH{},
		outside: outside,
		base: func(ctx context.Context, p cloud.Provider, _ bool, _ io.Writer) (cloud.Image, error) {
			return p.ResolveBase(ctx, cloud.BaseSpec{Name: cfg.Base.Name, MaxAge: cfg.Base.MaxAge})
		},
	}, err
}

func offers(list []config.Offer) []ec2.Offer {
	var all []ec2.Offer
	for _, o := range list {
		all = append(all, ec2.Offer(o))
	}
	return all
}

// addressWithin is this machine's address in one of the ranges from which bastions may be reached.
func addressWithin(ranges []netip.Prefix) (netip.Addr, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("this machine's addresses: %w", err)
	}
	for _, a := range addresses {
		own, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		for _, r := range ranges {
			if r.Contains(own.Addr()) {
				return own.Addr(), nil
			}
		}
	}
	return netip.Addr{}, usage("provider.ec2.reach: this machine has no address in %v, so it would not be let in to a bastion: add its own", ranges)
}

// noIncus says what to do when Incus is not there, or not as it was set up.
func noIncus(err error) error {
	var dial *net.OpError
	switch {
	case errors.As(err, &dial):
		return usage("Incus does not answer (%w): `make host` installs and starts it; provider.incus.socket says where it listens", dial)
	case cloud.CodeOf(err) == cloud.CodeNotFound:
		return usage("%w: `make host` makes the storage pool that provider.incus.pool names", err)
	}
	return err
}

// faults puts scripted trouble around a provider: to try, on real servers, how a run takes a refused
// launch.
func faults(cfg config.Config, p cloud.Provider) (cloud.Provider, error) {
	file := cfg.Provider.Faults
	if file == "" {
		return p, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, usage("provider.faults: %w", err)
	}
	script, err := fault.Parse(text)
	if err != nil {
		return nil, usage("%s: %w", file, err)
	}
	return fault.Inject(p, script, clock.Machine{}), nil
}
