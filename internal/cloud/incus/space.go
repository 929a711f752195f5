package incus

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
)

// Space is the room that a storage pool has.
type Space struct {
	Pool string
	Free int64  // bytes that servers, volumes and unpacked images may still take
	Disk string // the folder whose disk bounds Free more than the pool does; "": the pool itself does
}

// Space asks how much room the pool has. A pool in a sparse file promises what the disk under the
// file may not have; then the disk counts, if it can be seen from here.
func (p *Provider) Space(ctx context.Context) (Space, error) {
	call := "measure storage pool " + p.cfg.Pool
	c := p.connect("")
	pool, err := c.Pool(ctx, p.cfg.Pool)
	if err != nil {
		return Space{}, fail(call, err)
	}
	has, err := c.PoolSpace(ctx, p.cfg.Pool)
	if err != nil {
		return Space{}, fail(call, err)
	}
	s := Space{Pool: p.cfg.Pool, Free: has.Total - has.Used}
	source := pool.Config["source"]
	allocated, disk, err := backing(source)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoFile) {
		return s, nil
	}
	if err != nil {
		return Space{}, fail(call, err)
	}
	if bound := behind(has.Used, allocated, disk); bound < s.Free {
		s.Free, s.Disk = bound, filepath.Dir(source)
	}
	return s, nil
}

// behind is the room of a pool by the disk under its file: what the file holds already and the pool
// does not use, and what the disk has free.
func behind(used, allocated, disk int64) int64 { return max(0, allocated-used) + disk }

// errNoFile says that a pool lies on a device or elsewhere.
var errNoFile = errors.New("no file")

// backing gives what a pool's file occupies on its disk, and what that disk has free, in bytes.
func backing(file string) (allocated, free int64, err error) {
	if !filepath.IsAbs(file) {
		return 0, 0, errNoFile
	}
	var its syscall.Stat_t
	if err := syscall.Stat(file, &its); err != nil {
		return 0, 0, err
	}
	if its.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return 0, 0, errNoFile
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(file, &disk); err != nil {
		return 0, 0, err
	}
	return its.Blocks * 512, int64(disk.Bavail) * disk.Bsize, nil // blocks of 512 bytes: stat(2)
}
