package incusd

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// What every instance gets, and that a bound of nothing is none.
func TestWall(t *testing.T) {
	root := map[string]string{"type": "disk", "path": "/", "pool": "p"}
	n := NewInstance{Config: map[string]string{"user.x": "y"}, Devices: Devices{"root": root}}
	n.Wall(Bounds{CPUs: 2, CPUShare: 50, MemoryMiB: 512, DiskMiB: 4096, Processes: 300})
	deny := n.Config["security.syscalls.deny"]
	delete(n.Config, "security.syscalls.deny")
	want := map[string]string{
		"user.x": "y", "security.guestapi": "false", "security.idmap.isolated": "true",
		"limits.cpu": "2", "limits.cpu.allowance": "50%", "limits.memory": "512MiB", "limits.memory.swap": "false", "limits.processes": "300",
	}
	if !reflect.DeepEqual(n.Config, want) {
		t.Errorf("%v\nwant %v", n.Config, want)
	}
	if n.Devices["root"]["size"] != "4096MiB" || len(root) != 3 {
		t.Errorf("root is %v, and what the caller has %v", n.Devices["root"], root)
	}
	// The kernel compares 32 bits of the number: so must the filter.
	if lines := strings.Split(deny, "\n"); len(lines) != 4 || strings.Count(deny, ",SCMP_CMP_MASKED_EQ,0xffffffff]") != 4 {
		t.Error(deny)
	}

	var bare NewInstance
	bare.Wall(Bounds{})
	if bare.Config["security.idmap.isolated"] != "true" || bare.Config["limits.memory"] != "" || bare.Devices["root"] != nil {
		t.Errorf("%+v", bare)
	}
}

func TestNoIDs(t *testing.T) {
	if !NoIDs(errors.New("Failed creating instance record: Failed initializing instance: Failed to create container: Not enough uid/gid available for the container")) ||
		NoIDs(errors.New("no space left on device")) || NoIDs(nil) {
		t.Error("cannot tell that ids are used up")
	}
}
