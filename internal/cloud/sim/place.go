package sim

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// CreateNetwork takes the lowest free 10.64.n.0/24, so that a test knows the addresses beforehand.
func (c *Cloud) CreateNetwork(ctx context.Context, spec cloud.NetworkSpec) (got cloud.Network, err error) {
	err = c.do(ctx, cloud.VerbCreateNetwork, spec.Name, func(w *world, _ time.Time) error {
		if n := find(w.Networks, func(n *network) bool { return n.Name == spec.Name }); n != nil {
			if n.Tags.Owner != spec.Tags.Owner {
				return refuse(cloud.CodeConflict, "network %s belongs to %s", spec.Name, n.Tags.Owner)
			}
			got = n.Network
			return nil
		}
		for i := range 256 {
			prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64, byte(i), 0}), 24)
			if find(w.Networks, func(n *network) bool { return n.Prefix == prefix }) != nil {
				continue
			}
			addresses, err := cloud.Reserve(prefix, spec.Servers)
			if err != nil {
				return err
			}
			got = cloud.Network{
				ID: cloud.NetworkID(w.next("net")), Name: spec.Name, Addresses: addresses, Prefix: prefix,
				Gateway: prefix.Addr().Next(), Cache: c.opts.Cache, Tags: spec.Tags,
			}
			w.Networks = append(w.Networks, &network{Network: got, Egress: slices.Clone(spec.Egress)})
			return nil
		}
		return refuse(cloud.CodeCapacity, "all 256 networks are taken")
	})
	return got, err
}

// AllowAdmin remembers the list; Reachable answers from it.
func (c *Cloud) AllowAdmin(ctx context.Context, id cloud.NetworkID, addresses []netip.Addr) error {
	return c.do(ctx, cloud.VerbAllowAdmin, string(id), func(w *world, _ time.Time) error {
		n := w.network(id)
		if n == nil {
			return notFound("network", id)
		}
		for _, a := range addresses {
			if !n.Prefix.Contains(a) {
				return refuse(cloud.CodeRefused, "%v is not in %v", a, n.Prefix)
			}
		}
		n.Admin = slices.Clone(addresses)
		return nil
	})
}

// Reachable reports whether Hallmark's host would get through to tcp/22 of a running server.
func (c *Cloud) Reachable(ctx context.Context, address netip.Addr) (open bool, err error) {
	err = c.do(ctx, "reachable", address.String(), func(w *world, now time.Time) error {
		for _, s := range w.Servers {
			if s.Address == address && !s.Lost && s.state(now) == cloud.Running {
				open = slices.Contains(w.network(s.Network).Admin, address)
			}
		}
		return nil
	})
	return open, err
}

// DeleteNetwork refuses while servers or volumes are in the network.
func (c *Cloud) DeleteNetwork(ctx context.Context, id cloud.NetworkID) error {
	return c.do(ctx, cloud.VerbDeleteNetwork, string(id), func(w *world, _ time.Time) error {
		if s := find(w.Servers, func(s *server) bool { return s.Network == id && !s.Lost }); s != nil {
			return refuse(cloud.CodeRefused, "server %s is in it", s.Name)
		}
		if v := find(w.Volumes, func(v *volume) bool { return v.Network == id }); v != nil {
			return refuse(cloud.CodeRefused, "volume %s is in it", v.Name)
		}
		w.Networks = slices.DeleteFunc(w.Networks, func(n *network) bool { return n.ID == id })
		return nil
	})
}

// CreateVolume makes a volume that is found at /mnt/hallmark/<name>.
func (c *Cloud) CreateVolume(ctx context.Context, spec cloud.VolumeSpec) (got cloud.Volume, err error) {
	err = c.do(ctx, cloud.VerbCreateVolume, spec.Name, func(w *world, _ time.Time) error {
		if w.network(spec.Network) == nil {
			return notFound("network", spec.Network)
		}
		v := find(w.Volumes, func(v *volume) bool { return v.Network == spec.Network && v.Name == spec.Name })
		if v == nil {
			v = &volume{Network: spec.Network, Volume: cloud.Volume{
				ID: cloud.VolumeID(w.next("vol")), Name: spec.Name, Path: "/mnt/hallmark/" + spec.Name, Tags: spec.Tags,
			}}
			w.Volumes = append(w.Volumes, v)
		}
		got = v.Volume
		return nil
	})
	return got, err
}

// AttachVolume refuses a volume that another server has.
func (c *Cloud) AttachVolume(ctx context.Context, id cloud.VolumeID, to cloud.ServerID) error {
	return c.do(ctx, cloud.VerbAttachVolume, string(id), func(w *world, _ time.Time) error {
		v, s := w.volume(id), w.server(to)
		switch {
		case v == nil:
			return notFound("volume", id)
		case s == nil:
			return notFound("server", to)
		case v.Network != s.Network:
			return refuse(cloud.CodeRefused, "volume %s is in another network than server %s", v.Name, s.Name)
		case v.Attached != "" && v.Attached != to:
			return refuse(cloud.CodeRefused, "volume %s is attached to %s", v.Name, v.Attached)
		}
		v.Attached = to
		return nil
	})
}

// DetachVolume takes a volume from its server.
func (c *Cloud) DetachVolume(ctx context.Context, id cloud.VolumeID) error {
	return c.do(ctx, cloud.VerbDetachVolume, string(id), func(w *world, _ time.Time) error {
		if v := w.volume(id); v != nil {
			v.Attached = ""
		}
		return nil
	})
}

// DeleteVolume refuses while the volume is attached.
func (c *Cloud) DeleteVolume(ctx context.Context, id cloud.VolumeID) error {
	return c.do(ctx, cloud.VerbDeleteVolume, string(id), func(w *world, _ time.Time) error {
		if v := w.volume(id); v != nil && v.Attached != "" {
			return refuse(cloud.CodeRefused, "volume %s is attached to %s", v.Name, v.Attached)
		}
		w.Volumes = slices.DeleteFunc(w.Volumes, func(v *volume) bool { return v.ID == id })
		return nil
	})
}

// Owned lists servers, volumes, networks and images, each in the order of creation.
func (c *Cloud) Owned(ctx context.Context, owner string) (got []cloud.Resource, err error) {
	err = c.do(ctx, cloud.VerbOwned, owner, func(w *world, _ time.Time) error {
		add := func(kind cloud.ResourceKind, id, name string, tags cloud.Tags) {
			if tags.Owner == owner {
				got = append(got, cloud.Resource{Kind: kind, ID: id, Name: name, Tags: tags})
			}
		}
		for _, s := range w.Servers {
			if !s.Lost {
				add(cloud.KindServer, string(s.ID), s.Name, s.Tags)
			}
		}
		for _, v := range w.Volumes {
			add(cloud.KindVolume, string(v.ID), v.Name, v.Tags)
		}
		for _, n := range w.Networks {
			add(cloud.KindNetwork, string(n.ID), n.Name, n.Tags)
		}
		for _, i := range w.Images {
			add(cloud.KindImage, string(i.ID), i.Name, i.Tags)
		}
		return nil
	})
	return got, err
}

// Delete removes a resource that Owned listed.
func (c *Cloud) Delete(ctx context.Context, r cloud.Resource) error {
	switch r.Kind {
	case cloud.KindServer:
		return c.Destroy(ctx, cloud.ServerID(r.ID))
	case cloud.KindVolume:
		return c.DeleteVolume(ctx, cloud.VolumeID(r.ID))
	case cloud.KindNetwork:
		return c.DeleteNetwork(ctx, cloud.NetworkID(r.ID))
	case cloud.KindImage:
		return c.DeleteImage(ctx, cloud.ImageID(r.ID))
	}
	return &cloud.Error{Call: "delete " + r.Name, Code: cloud.CodeRefused, Err: fmt.Errorf("unknown kind %q", r.Kind)}
}
