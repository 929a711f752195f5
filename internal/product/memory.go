package product

import (
	"bufio"
	"bytes"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/host"
)

// memory is what the kernel says about a shortage of memory up to a moment.
type memory struct {
	own     uint64        // processes of Hallmark's control group that an out-of-memory killer ended
	host    uint64        // the same of the whole host
	stalled time.Duration // time in which every process that could have run waited for memory
}

// readMemory reads the kernel's counters; what a kernel does not count stays 0.
func readMemory() memory {
	m := memory{own: ownKills()}
	if machine, err := host.NewLinux("/proc"); err == nil {
		if now, err := machine.Read(); err == nil {
			m.host, m.stalled = now.Killed, now.Memory
		}
	}
	return m
}

// ownKills reads the counter of the control group that this process and its children are in, of version 2
// or 1. The root group has none: there the host's has to do.
func ownKills() uint64 {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	var most uint64
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 || fields[2] == "/" {
			continue
		}
		switch fields[1] {
		case "":
			for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
				most = max(most, counter(path.Join(root, fields[2], "memory.events"), "oom_kill"))
			}
		case "memory":
			most = max(most, counter(path.Join("/sys/fs/cgroup/memory", fields[2], "memory.oom_control"), "oom_kill"))
		}
	}
	return most
}

// counter reads one line "name number" of a file; 0 if it is not there.
func counter(file, name string) uint64 {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(value), 10, 64) // no number: not counted
			return n
		}
	}
	return 0
}

// starving is the share of its time that a command's host stood still for want of memory, from which a kill
// is put down to that: programs such as systemd-oomd and earlyoom kill without the kernel's counting it.
const starving = 0.1

// shortage says how the host's memory ended a command that began at before and took so long: "" if it did
// not. killed says that the command, or one that it waited for, was ended by SIGKILL.
func shortage(before, after memory, took time.Duration, killed bool) string {
	switch {
	case after.own > before.own:
		return "the kernel's out-of-memory killer ended a process of it"
	case killed && after.host > before.host:
		return "it was killed while the kernel's out-of-memory killer was at work on this host"
	case killed && took > 0 && (after.stalled-before.stalled).Seconds() > starving*took.Seconds():
		return "it was killed while this host stood still for want of memory"
	}
	return ""
}
