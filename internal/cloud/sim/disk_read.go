package sim

import (
	"context"
	"io/fs"
	"testing/fstest"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// ReadDisk shows Options.Disk.
func (c *Cloud) ReadDisk(ctx context.Context, id cloud.ServerID, look func(context.Context, fs.FS) error) error {
	err := c.on(ctx, cloud.VerbReadDisk, id, func(w *world, s *server, now time.Time) error {
		if state := s.state(now); state != cloud.Stopped {
			return refuse(cloud.CodeRefused, "server %s is %s, not stopped", s.Name, state)
		}
		return nil
	})
	if err != nil {
		return err
	}
	disk := c.opts.Disk
	if disk == nil {
		disk = fstest.MapFS{"etc/os-release": {Data: []byte("ID=debian\n"), Mode: 0o644}}
	}
	return look(ctx, disk)
}
