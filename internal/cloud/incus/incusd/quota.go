package incusd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Btrfs is the driver of pools whose quotas have to be held.
const Btrfs = "btrfs"

// Quotas are what bounds the root disks and volumes of a storage pool of this host. Other drivers than btrfs hold
// their bounds by themselves: the zero Quotas.
type Quotas struct {
	mount   string // of the pool
	qgroups string // where the kernel shows their state
}

// QuotasOf finds the quotas of a pool, which takes root.
func QuotasOf(ctx context.Context, pool Pool) (Quotas, error) {
	if pool.Driver != Btrfs {
		return Quotas{}, nil
	}
	q := Quotas{mount: filepath.Join(folder(), "storage-pools", pool.Name)}
	shown, err := q.btrfs(ctx, "filesystem", "show")
	if err != nil {
		return Quotas{}, err
	}
	id := fileSystem.FindStringSubmatch(shown)
	if id == nil {
		return Quotas{}, fmt.Errorf("btrfs filesystem show %s names no file system: %s", q.mount, shown)
	}
	q.qgroups = filepath.Join("/sys/fs/btrfs", id[1], "qgroups")
	return q, nil
}

var fileSystem = regexp.MustCompile(`uuid: ([0-9a-f-]{36})`)

func (q Quotas) btrfs(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "btrfs", append(args, q.mount)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("btrfs %s %s: %w: %s", strings.Join(args, " "), q.mount, err, strings.TrimSpace(string(out)))
	}
	return string(out), err
}

// Hold makes the quotas count, and waits for nothing; to be called again and again while servers work. It reads
// three small files if all is well.
//
// The kernel stops counting, and from then on lets everybody write without end, when it removes a subvolume with a
// high tree, or one of which its numbers were wrong (both seen on Linux 6.18). The height is
// qgroups/drop_subtree_threshold, which is 3 after every mount; 8 is that of no tree. Against the other there is only
// to count all again: a rescan, in the background, during which new writing counts.
func (q Quotas) Hold(ctx context.Context) error {
	if q.qgroups == "" {
		return nil
	}
	return holdQuotas(q.qgroups, func(args ...string) error {
		_, err := q.btrfs(ctx, args...)
		return err
	})
}

// holdQuotas works on what the kernel shows of a file system's quotas.
func holdQuotas(qgroups string, btrfs func(args ...string) error) error {
	if value(qgroups, "enabled") != "1" {
		if err := btrfs("quota", "enable"); err != nil {
			return err
		}
	}
	const never = "8" // trees of btrfs have at most 8 levels, 0 to 7
	threshold := filepath.Join(qgroups, "drop_subtree_threshold")
	if now := value(qgroups, "drop_subtree_threshold"); now != "" && now != never { // older kernels have none
		if err := os.WriteFile(threshold, []byte(never), 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) { //nolint:gosec // it is the kernel's
			return err
		}
	}
	if value(qgroups, "inconsistent") != "1" {
		return nil
	}
	if err := btrfs("quota", "rescan"); err != nil && !strings.Contains(strings.ToLower(err.Error()), "in progress") {
		return err
	}
	return nil
}

// value is what a file of the kernel's holds, "" if there is none.
func value(dir, file string) string {
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
