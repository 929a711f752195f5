package product

import (
	"fmt"
	"slices"
)

// arrange puts groups into provisioning order, otherwise keeping the file's. If that cannot be done
// it gives a cycle of roles, the first repeated at its end.
func arrange(groups []fileGroup) (ordered []fileGroup, cycle []string) {
	byRole := map[string]fileGroup{}
	for _, g := range groups {
		byRole[g.Role] = g
	}
	const entered, done = 1, 2
	state := map[string]int{}
	var path []string
	var visit func(role string) bool
	visit = func(role string) bool {
		switch state[role] {
		case done:
			return true
		case entered:
			cycle = append(slices.Clone(path[slices.Index(path, role):]), role)
			return false
		}
		state[role] = entered
		path = append(path, role)
		for _, before := range byRole[role].After {
			if !visit(before) {
				return false
			}
		}
		path = path[:len(path)-1]
		state[role] = done
		ordered = append(ordered, byRole[role])
		return true
	}
	for _, g := range groups {
		if !visit(g.Role) {
			return nil, cycle
		}
	}
	return ordered, nil
}

// Bastion is the name of the role through which admins come in.
func (p *Product) Bastion() string {
	for name, r := range p.Roles {
		if r.Bastion {
			return name
		}
	}
	return ""
}

// Servers gives every server of the topology in provisioning order, the bastion first.
func (p *Product) Servers() []Server {
	var servers []Server
	for _, g := range p.Topology {
		servers = append(servers, p.ServersOf(g.Role)...)
	}
	return servers
}

// ServersOf gives the servers of one role, in the order of their numbers.
func (p *Product) ServersOf(role string) []Server {
	var servers []Server
	for _, g := range p.Topology {
		if g.Role != role {
			continue
		}
		for n := range g.Count {
			name := fmt.Sprintf("%s-%d", g.Role, n+1)
			if p.Roles[g.Role].Bastion {
				name = "bastion"
			}
			servers = append(servers, Server{Name: name, Role: g.Role, Volumes: slices.Clone(g.Volumes)})
		}
	}
	return servers
}

// Levels groups the servers so that each depends on earlier levels only: those of one level may be
// provisioned in parallel. The bastion is alone in the first.
func (p *Product) Levels() [][]Server {
	level := map[string]int{}
	var levels [][]Server
	for _, g := range p.Topology { // stands after what it depends on
		at := 0
		for _, before := range g.After {
			at = max(at, level[before]+1)
		}
		level[g.Role] = at
		for len(levels) <= at {
			levels = append(levels, nil)
		}
		levels[at] = append(levels[at], p.ServersOf(g.Role)...)
	}
	return levels
}
