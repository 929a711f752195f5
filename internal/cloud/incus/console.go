package incus

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

// consoleBound is more than any boot says, and keeps a server that chatters on its console for days
// from filling our memory.
const consoleBound = 4 << 20

// Console gives what the system has written to its console since its last start, after what it said
// in the run before that (up to 128 KiB of it); at most 4 MiB in all. So host keys, which cloud-init
// prints at the first boot, are still there after one reboot and not after two.
//
// It reads Incus' log file on this host, which takes root. The API would not do: while a container
// runs it gives the unread part of a ring buffer and so takes away what it gives, from us after a
// crash and from every other reader (seen with Incus 6.0.4 and LXC 5.0.2).
func (p *Provider) Console(ctx context.Context, id cloud.ServerID) ([]byte, error) {
	call := "read console of " + string(id)
	_, in, err := p.lookup(ctx, id)
	if err != nil {
		return nil, fail(call, err)
	}
	file, err := os.Open(filepath.Join(incusd.InstanceLogs(p.cfg.LogDir, in.Project, in.Name), "console.log"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil // not started yet
	case err != nil:
		return nil, refuse(call, "%w: run as root on the Incus host", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, consoleBound))
	return text, fail(call, err)
}
