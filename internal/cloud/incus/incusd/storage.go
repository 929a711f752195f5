package incusd

import (
	"context"
	"maps"
	"strings"
)

// Pool is a storage pool.
type Pool struct {
	Name   string            `json:"name"`
	Driver string            `json:"driver"` // btrfs, dir, lvm, zfs, …
	Config map[string]string `json:"config"`
}

// Pool reads one.
func (c *Client) Pool(ctx context.Context, name string) (Pool, error) {
	return get[Pool](ctx, c, nil, "storage-pools", name)
}

// PoolSpace is the room of a pool, in bytes.
type PoolSpace struct {
	Total int64 `json:"total"`
	Used  int64 `json:"used"`
}

// PoolSpace measures it.
func (c *Client) PoolSpace(ctx context.Context, pool string) (PoolSpace, error) {
	resources, err := get[struct {
		Space PoolSpace `json:"space"`
	}](ctx, c, nil, "storage-pools", pool, "resources")
	return resources.Space, err
}

// custom is the type of volumes that belong to no instance, which are all that Hallmark makes.
const custom = "custom"

// Volume is a custom storage volume.
type Volume struct {
	Name    string            `json:"name"`
	Project string            `json:"project"`
	Config  map[string]string `json:"config"`
	UsedBy  []string          `json:"used_by"` // paths, such as /1.0/instances/web-1?project=env-1
}

// Volume reads one.
func (c *Client) Volume(ctx context.Context, pool, name string) (Volume, error) {
	return get[Volume](ctx, c, nil, "storage-pools", pool, "volumes", custom, name)
}

// Volumes lists the custom volumes of the project, without their snapshots.
func (c *Client) Volumes(ctx context.Context, pool string) ([]Volume, error) {
	all, err := list[Volume](ctx, c, "storage-pools", pool, "volumes", custom)
	return withoutSnapshots(all), err
}

// AllVolumes lists the custom volumes of all projects, without their snapshots.
func (c *Client) AllVolumes(ctx context.Context, pool string) ([]Volume, error) {
	all, err := listAll[Volume](ctx, c, "storage-pools", pool, "volumes", custom)
	return withoutSnapshots(all), err
}

// withoutSnapshots leaves out what Incus lists as "volume/snapshot".
func withoutSnapshots(all []Volume) []Volume {
	var some []Volume
	for _, v := range all {
		if !strings.Contains(v.Name, "/") {
			some = append(some, v)
		}
	}
	return some
}

// CreateVolume makes a file system. The ids on its disk are those inside the instances that have it, one after
// the other, each with its own range of the host's (Wall): so no file need be changed for the next one, which a
// crash could interrupt. On the host only root gets to where volumes are.
func (c *Client) CreateVolume(ctx context.Context, pool, name string, config map[string]string) error {
	config = maps.Clone(config)
	if config == nil {
		config = map[string]string{}
	}
	config["security.shifted"] = "true"
	return c.createVolume(ctx, pool, name, config, nil)
}

// CopyVolume makes a volume that holds what another one of the pool and project does.
func (c *Client) CopyVolume(ctx context.Context, pool, name string, from Volume) error {
	return c.createVolume(ctx, pool, name, from.Config, map[string]any{"type": "copy", "pool": pool, "name": from.Name, "volume_only": true})
}

func (c *Client) createVolume(ctx context.Context, pool, name string, config map[string]string, source map[string]any) error {
	body := map[string]any{"name": name, "type": custom, "content_type": "filesystem", "config": config}
	if source != nil {
		body["source"] = source
	}
	_, err := c.post(ctx, body, "storage-pools", pool, "volumes")
	return err
}

// DeleteVolume removes a volume that nothing uses.
func (c *Client) DeleteVolume(ctx context.Context, pool, name string) error {
	return c.remove(ctx, "storage-pools", pool, "volumes", custom, name)
}

// FindVolumeSnapshot reports whether a volume has a snapshot: Absent of its error tells that it has not.
func (c *Client) FindVolumeSnapshot(ctx context.Context, pool, volume, snapshot string) error {
	return find(ctx, c, "storage-pools", pool, "volumes", custom, volume, "snapshots", snapshot)
}

// CreateVolumeSnapshot keeps a volume as it is, under a name.
func (c *Client) CreateVolumeSnapshot(ctx context.Context, pool, volume, snapshot string) error {
	_, err := c.post(ctx, map[string]string{"name": snapshot}, "storage-pools", pool, "volumes", custom, volume, "snapshots")
	return err
}

// DeleteVolumeSnapshot removes one.
func (c *Client) DeleteVolumeSnapshot(ctx context.Context, pool, volume, snapshot string) error {
	return c.remove(ctx, "storage-pools", pool, "volumes", custom, volume, "snapshots", snapshot)
}

// RestoreVolume takes a volume back to a snapshot.
func (c *Client) RestoreVolume(ctx context.Context, pool, volume, snapshot string) error {
	return c.put(ctx, map[string]string{"restore": snapshot}, "", "storage-pools", pool, "volumes", custom, volume)
}
