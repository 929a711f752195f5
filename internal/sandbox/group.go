package sandbox

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroups is where control groups are mounted.
const cgroups = "/sys/fs/cgroup"

// group is a control group of its own for one command: a folder of version 2, or of version 1 one for each
// controller. The zero group bounds nothing: where Hallmark is not root, or the machine has no such groups.
type group struct {
	memory, pids string // folders, which may be the same; "" : none
	unified      bool   // version 2
}

// prefix begins the names of our groups.
const prefix = "hallmark-check-"

// newGroup makes a group with these limits.
func newGroup(l Limits) (*group, error) {
	g := &group{}
	if os.Geteuid() != 0 {
		return g, nil
	}
	random := make([]byte, 6)
	if _, err := rand.Read(random); err != nil {
		return nil, err
	}
	name := prefix + hex.EncodeToString(random)
	memory := fmt.Sprint(l.Memory)
	var settings [][2]string
	switch {
	case controls(filepath.Join(cgroups, "cgroup.subtree_control"), "memory", "pids"):
		g.memory = filepath.Join(cgroups, name)
		g.pids, g.unified = g.memory, true
		settings = [][2]string{{"memory.max", memory}, {"memory.swap.max", "0"}, {"memory.oom.group", "1"}}
	case writable(cgroups+"/memory") && writable(cgroups+"/pids"):
		g.memory, g.pids = filepath.Join(cgroups, "memory", name), filepath.Join(cgroups, "pids", name)
		settings = [][2]string{{"memory.limit_in_bytes", memory}, {"memory.memsw.limit_in_bytes", memory}}
	default:
		return g, nil
	}
	var err error
	for _, dir := range g.dirs() {
		sweep(filepath.Dir(dir))
		err = errors.Join(err, os.Mkdir(dir, 0o700))
	}
	for _, s := range settings {
		set := os.WriteFile(filepath.Join(g.memory, s[0]), []byte(s[1]), 0o600)
		if errors.Is(set, fs.ErrNotExist) || errors.Is(set, fs.ErrPermission) && s[0] != settings[0][0] {
			continue // a kernel that does not count swap
		}
		err = errors.Join(err, set)
	}
	err = errors.Join(err, os.WriteFile(filepath.Join(g.pids, "pids.max"), []byte(strconv.Itoa(l.Processes+8)), 0o600)) // ours beside its own
	if err != nil {
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

// controls reports whether a file lists these controllers.
func controls(file string, names ...string) bool {
	text, err := os.ReadFile(file)
	listed := strings.Fields(string(text))
	return err == nil && !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(listed, name) })
}

// writable reports whether groups can be made in a folder of version 1.
func writable(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "cgroup.procs"))
	return err == nil && syscall.Access(dir, 2) == nil
}

// sweep removes the groups that a crash left. One that holds a process cannot be removed, and one that is
// about to get its own is young.
func sweep(dir string) {
	old, _ := filepath.Glob(filepath.Join(dir, prefix+"*")) // the pattern is sound
	for _, left := range old {
		if info, err := os.Stat(left); err == nil && time.Since(info.ModTime()) > time.Hour {
			_ = os.Remove(left)
		}
	}
}

// dirs lists the folders in which processes are entered.
func (g *group) dirs() []string {
	switch {
	case g.memory == "":
		return nil
	case g.memory == g.pids:
		return []string{g.memory}
	}
	return []string{g.memory, g.pids}
}

// exhausted reports whether the kernel ended a process because the group's own memory was used up, and not the
// machine's.
func (g *group) exhausted() bool {
	switch {
	case g.memory == "":
		return false
	case g.unified:
		return count(filepath.Join(g.memory, "memory.events"), "oom") > 0
	}
	// New kernels no longer count what version 1 refused; it was at its limit if it was close to it.
	limit, most := count(filepath.Join(g.memory, "memory.limit_in_bytes"), ""), count(filepath.Join(g.memory, "memory.max_usage_in_bytes"), "")
	return count(filepath.Join(g.memory, "memory.oom_control"), "oom_kill") > 0 && most > limit-limit/16
}

// count reads a number from the line of a file that begins with a name; 0 if it is not there.
func count(file, name string) int {
	text, _ := os.ReadFile(file) // a kernel that does not count
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name); ok {
			if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
				return n
			}
		}
	}
	return 0
}

// close ends what is still in the group and removes it. What was ended needs a moment to be gone.
func (g *group) close() error {
	var failed error
	for _, dir := range g.dirs() {
		failed = errors.Join(failed, remove(dir, g.unified))
	}
	return failed
}

func remove(dir string, unified bool) error {
	for wait := time.Millisecond; ; wait *= 2 {
		err := os.Remove(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, syscall.EBUSY) || wait > 8*time.Second {
			return fmt.Errorf("end what is left of a check: %w", err)
		}
		if unified {
			_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0o600) // before Linux 5.14 there is none
		}
		members, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs")) // gone meanwhile
		for member := range strings.FieldsSeq(string(members)) {
			if pid, err := strconv.Atoi(member); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		time.Sleep(wait)
	}
}
