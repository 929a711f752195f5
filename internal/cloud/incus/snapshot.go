package incus

import (
	"context"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

// Snapshot keeps the disk of a server and its volumes as they are, under a name; one that is there
// already is kept. The parts are taken one after another, as after a power failure: stop the server
// before if that is not good enough.
func (p *Provider) Snapshot(ctx context.Context, id cloud.ServerID, name string) error {
	call := "snapshot " + string(id)
	c, in, err := p.lookup(ctx, id)
	if err != nil {
		return fail(call, err)
	}
	instance := in.Name
	// The instance comes last: its snapshot says that all of them are there.
	if err := c.FindInstanceSnapshot(ctx, instance, name); !absent(err) {
		return fail(call, err)
	}
	for _, v := range volumesOf(in) {
		if err := c.FindVolumeSnapshot(ctx, p.cfg.Pool, v, name); err == nil {
			if err := c.DeleteVolumeSnapshot(ctx, p.cfg.Pool, v, name); err != nil { // of an attempt that broke off
				return fail(call, err)
			}
		}
		if err := c.CreateVolumeSnapshot(ctx, p.cfg.Pool, v, name); err != nil {
			return fail(call, err)
		}
	}
	return fail(call, incusd.Patiently(ctx, c, instance, func() error {
		return c.CreateInstanceSnapshot(ctx, instance, name)
	}))
}

// Restore takes a server and its volumes back. Its plug is pulled before, and it runs afterwards,
// whatever it did before: so a call that broke off can be repeated.
func (p *Provider) Restore(ctx context.Context, id cloud.ServerID, name string) error {
	call := "restore " + string(id)
	c, in, err := p.lookup(ctx, id)
	if err != nil {
		return fail(call, err)
	}
	instance := in.Name
	if err := c.FindInstanceSnapshot(ctx, instance, name); err != nil {
		return fail(call, err)
	}
	if err := p.Stop(ctx, id, true); err != nil {
		return err
	}
	err = incusd.Patiently(ctx, c, instance, func() error {
		return c.RestoreInstance(ctx, instance, name)
	})
	if err != nil {
		return fail(call, err)
	}
	for _, v := range volumesOf(in) {
		if err := c.RestoreVolume(ctx, p.cfg.Pool, v, name); err != nil {
			return fail(call, err)
		}
	}
	return p.Start(ctx, id)
}

// volumesOf names the volumes that a server has.
func volumesOf(in incusd.Instance) []string {
	var names []string
	for device, d := range in.Devices {
		if d["type"] == "disk" && d["source"] != "" && device == deviceName(d["source"]) {
			names = append(names, d["source"])
		}
	}
	return names
}
