package incus

import (
	"context"

	"github.com/lxc/incus/v6/shared/api"

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
	if _, _, err := c.GetInstanceSnapshot(instance, name); !absent(err) {
		return fail(call, err)
	}
	for _, v := range volumesOf(in) {
		if _, _, err := c.GetStoragePoolVolumeSnapshot(p.cfg.Pool, custom, v, name); err == nil {
			op, err := c.DeleteStoragePoolVolumeSnapshot(p.cfg.Pool, custom, v, name) // of an attempt that broke off
			if _, err = incusd.Finish(c, op, err); err != nil {
				return fail(call, err)
			}
		}
		op, err := c.CreateStoragePoolVolumeSnapshot(p.cfg.Pool, custom, v, api.StorageVolumeSnapshotsPost{Name: name})
		if _, err = incusd.Finish(c, op, err); err != nil {
			return fail(call, err)
		}
	}
	return fail(call, incusd.Patiently(ctx, c, instance, func() error {
		op, err := c.CreateInstanceSnapshot(instance, api.InstanceSnapshotsPost{Name: name})
		_, err = incusd.Finish(c, op, err)
		return err
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
	if _, _, err := c.GetInstanceSnapshot(instance, name); err != nil {
		return fail(call, err)
	}
	if err := p.Stop(ctx, id, true); err != nil {
		return err
	}
	err = incusd.Patiently(ctx, c, instance, func() error {
		op, err := c.UpdateInstance(instance, api.InstancePut{Restore: name}, "")
		_, err = incusd.Finish(c, op, err)
		return err
	})
	if err != nil {
		return fail(call, err)
	}
	for _, v := range volumesOf(in) {
		if err := c.UpdateStoragePoolVolume(p.cfg.Pool, custom, v, api.StorageVolumePut{Restore: name}, ""); err != nil {
			return fail(call, err)
		}
	}
	return p.Start(ctx, id)
}

// volumesOf names the volumes that a server has.
func volumesOf(in *api.Instance) []string {
	var names []string
	for device, d := range in.Devices {
		if d["type"] == "disk" && d["source"] != "" && device == deviceName(d["source"]) {
			names = append(names, d["source"])
		}
	}
	return names
}
