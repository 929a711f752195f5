package incus

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

// ReadDisk looks where Incus keeps the root file system on its pool (doc/reference/storage_drivers.md: the drivers dir
// and btrfs keep it as a folder that is there while the container is stopped). That is as fast as a disk; the
// daemon's SFTP would ask three questions for each file. os.Root holds every path inside, whatever links are on the
// disk: those in it are absolute, or another root's.
func (p *Provider) ReadDisk(ctx context.Context, id cloud.ServerID, look func(context.Context, fs.FS) error) error {
	call := "read the disk of " + string(id)
	c, in, err := p.lookup(ctx, id)
	if err != nil {
		return fail(call, err)
	}
	state, err := c.InstanceState(ctx, in.Name)
	if err != nil {
		return fail(call, err)
	}
	if state.StatusCode != incusd.Stopped {
		return refuse(call, "%s is %s: stop it first", id, strings.ToLower(state.Status))
	}
	folder := in.Name
	if in.Project != "default" {
		folder = in.Project + "_" + in.Name
	}
	place := filepath.Join(p.cfg.DataDir, "storage-pools", p.cfg.Pool, "containers", folder, "rootfs")
	disk, err := os.OpenRoot(place)
	if err != nil {
		return refuse(call, "%w: Hallmark reads it there as root, on a pool of the driver btrfs or dir", err)
	}
	defer disk.Close()
	return look(ctx, disk.FS())
}
