package product

import (
	"fmt"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/config"
)

// Most is what an installation lets a product ask for at most, for each server of a role. A zero field is no bound.
type Most struct {
	CPUs      int
	MemoryMiB int
	DiskMiB   int64 // of its root file system, and of each of its volumes
	Processes int
}

// MostOf is what a daemon's configuration allows. On EC2 it bounds nothing: provider.ec2.types does.
func MostOf(c config.Config) Most {
	if c.Provider.Kind == "ec2" {
		return Most{}
	}
	m := c.Provider.Incus.Most
	return Most{CPUs: m.CPUs, MemoryMiB: int(m.Memory.MiB()), DiskMiB: m.Disk.MiB(), Processes: m.Processes}
}

// excess is one thing that a product asks too much of.
type excess struct {
	key   string // of hallmark.yaml
	said  string
	bound string // of Most, by its key in the daemon's configuration
}

// role lists what a role asks too much of.
func (m Most) role(r Role) []excess {
	key := "roles." + r.Name + "."
	return list(
		m.compare(key+"cpus", "cpus", int64(r.CPUs), int64(m.CPUs), ""),
		m.compare(key+"memory", "memory", int64(r.MemoryMiB), int64(m.MemoryMiB), "MiB"),
		m.compare(key+"disk", "disk", r.DiskMiB, m.DiskMiB, "MiB"),
		m.compare(key+"processes", "processes", int64(r.Processes), int64(m.Processes), ""),
	)
}

// volume is what one volume, at a key of the file, is too large by.
func (m Most) volume(key string, sizeMiB int64) []excess {
	return list(m.compare(key, "disk", sizeMiB, m.DiskMiB, "MiB"))
}

func (Most) compare(key, bound string, asked, most int64, unit string) excess {
	if most == 0 || asked <= most {
		return excess{}
	}
	return excess{key, fmt.Sprintf("is %d%s, more than the %d%s that it may have", asked, unit, most, unit), "provider.incus.most." + bound}
}

func list(all ...excess) []excess {
	var some []excess
	for _, e := range all {
		if e.key != "" {
			some = append(some, e)
		}
	}
	return some
}

// Beyond says what a product asks too much of, with the keys of the file and of the bounds; "" if of nothing.
func (p *Product) Beyond(m Most) string {
	var all []excess
	for _, name := range sortedNames(p.Roles) {
		all = append(all, m.role(p.Roles[name])...)
	}
	for _, g := range p.Topology {
		for _, v := range g.Volumes {
			all = append(all, m.volume("topology: the volume "+v.Name+" of "+g.Role, v.SizeMiB)...)
		}
	}
	var said []string
	for _, e := range all {
		said = append(said, e.key+" "+e.said+" ("+e.bound+" of the daemon's configuration)")
	}
	return strings.Join(said, "; ")
}

// checkMost looks at what is asked for each server.
func (f *file) checkMost(at config.Place) {
	if f.most == nil {
		return
	}
	var all []excess
	for _, name := range f.roleNames() {
		all = append(all, f.most.role(f.Roles[name].role(name))...)
	}
	for i, g := range f.Topology {
		for j, v := range g.Volumes {
			all = append(all, f.most.volume(fmt.Sprintf("topology[%d].volumes[%d].size", i, j), v.Size.MiB())...)
		}
	}
	for _, e := range all {
		at.Problem(e.key, e.said, "ask for less, or ask the people who run Hallmark to raise "+e.bound)
	}
}
