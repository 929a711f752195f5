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

// Btrfs is the driver of pools whose quotas need HoldQuotas.
const Btrfs = "btrfs"

// HoldQuotas makes the sizes of root disks and volumes hold on a pool of this host; other drivers than btrfs
// hold them by themselves. It takes root, and may take a minute.
//
// btrfs stops counting, and from then on lets everybody write without end, when a subvolume with a large tree
// is removed: from a height on that qgroups/drop_subtree_threshold says. It is 3 after every mount (seen on Linux
// 6.18), and 8 is the height of no tree. What was not counted meanwhile is counted again (a rescan).
func HoldQuotas(ctx context.Context, pool Pool) error {
	if pool.Driver != Btrfs {
		return nil
	}
	mount := filepath.Join(folder(), "storage-pools", pool.Name)
	btrfs := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "btrfs", append(args, mount)...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("btrfs %s %s: %w: %s", strings.Join(args, " "), mount, err, strings.TrimSpace(string(out)))
		}
		return string(out), err
	}
	shown, err := btrfs("filesystem", "show")
	if err != nil {
		return err
	}
	id := fileSystem.FindStringSubmatch(shown)
	if id == nil {
		return fmt.Errorf("btrfs filesystem show %s names no file system: %s", mount, shown)
	}
	return holdQuotas(filepath.Join("/sys/fs/btrfs", id[1], "qgroups"), btrfs)
}

var fileSystem = regexp.MustCompile(`uuid: ([0-9a-f-]{36})`)

// holdQuotas works on what the kernel shows of a file system's quotas.
func holdQuotas(qgroups string, btrfs func(args ...string) (string, error)) error {
	if value(qgroups, "enabled") != "1" {
		if _, err := btrfs("quota", "enable"); err != nil {
			return err
		}
	}
	const never = "8" // trees of btrfs have at most 8 levels, 0 to 7
	threshold := filepath.Join(qgroups, "drop_subtree_threshold")
	if now := value(qgroups, "drop_subtree_threshold"); now != "" && now != never { // older kernels always count
		if err := os.WriteFile(threshold, []byte(never), 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) { //nolint:gosec // it is the kernel's
			return err
		}
	}
	if value(qgroups, "inconsistent") == "1" {
		_, err := btrfs("quota", "rescan", "-w")
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
