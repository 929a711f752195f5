package incusd

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
)

// Bounds are what an instance may use of its host. The zero value of a field is no bound.
type Bounds struct {
	CPUs      int   // of the host's
	CPUShare  int   // percent of what a group of the host's processes gets while the processors are busy
	MemoryMiB int   // with the page cache of its files; it gets no swap
	DiskMiB   int64 // of the root file system
	Processes int   // and threads
}

// subvolumes are the ioctls that make a btrfs subvolume or a snapshot: linux/btrfs.h. A subvolume is in no
// quota of the one in which it lies, so a root file system's size would bound nothing. The kernel reads the
// low 32 bits of the number only.
var subvolumes = []uint32{
	0x5000940e, // BTRFS_IOC_SUBVOL_CREATE
	0x50009418, // BTRFS_IOC_SUBVOL_CREATE_V2
	0x50009401, // BTRFS_IOC_SNAP_CREATE
	0x50009417, // BTRFS_IOC_SNAP_CREATE_V2
}

// notTTY is what an ioctl answers on a file system that does not know it. systemd makes a directory then.
const notTTY = 25

// Wall bounds the instance, gives it a range of user and group ids that no other instance has, and closes
// its ways to the host. Every instance that is made gets it; its root disk must be among its devices.
func (n *NewInstance) Wall(b Bounds) {
	n.Config, n.Devices = maps.Clone(n.Config), maps.Clone(n.Devices)
	if n.Config == nil {
		n.Config = map[string]string{}
	}
	n.Config["security.guestapi"] = "false" // it has no business with its host
	n.Config["security.idmap.isolated"] = "true"
	var deny []string
	for _, number := range subvolumes {
		deny = append(deny, fmt.Sprintf("ioctl errno %d [1,%#x,SCMP_CMP_MASKED_EQ,0xffffffff]", notTTY, number))
	}
	n.Config["security.syscalls.deny"] = strings.Join(deny, "\n")
	n.Config["limits.memory.swap"] = "false"
	for key, bound := range map[string]struct {
		value int
		unit  string
	}{
		"limits.cpu":           {b.CPUs, ""},
		"limits.cpu.allowance": {b.CPUShare, "%"},
		"limits.memory":        {b.MemoryMiB, "MiB"},
		"limits.processes":     {b.Processes, ""},
	} {
		if bound.value > 0 {
			n.Config[key] = strconv.Itoa(bound.value) + bound.unit
		}
	}
	if b.DiskMiB > 0 {
		root := maps.Clone(n.Devices["root"])
		root["size"] = strconv.FormatInt(b.DiskMiB, 10) + "MiB"
		n.Devices["root"] = root
	}
}

// NoIDs reports whether an instance was not made because the range of user and group ids that the host gives
// Incus is used up: each walled instance takes 65,536 of it.
func NoIDs(err error) bool {
	return err != nil && strings.Contains(strings.ToLower(err.Error()), "not enough uid/gid")
}
