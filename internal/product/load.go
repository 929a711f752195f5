package product

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/hallmark-ci/hallmark/internal/config"
)

// Load reads the product in the directory dir, a checkout of commit: hallmark.yaml, the release
// procedure, and whether the files that every product has are there. What exists in it and would silently
// not be used is wrong, too. What is wrong comes as config.Errors, all of it at once, with paths relative
// to dir.
func Load(dir, commit string) (*Product, error) {
	return load(dir, commit, false)
}

// Read is Load for code that was released, from which upgrades begin and which does not change any more:
// without Unused, and secrets that name no roles are every role's.
func Read(dir, commit string) (*Product, error) {
	return load(dir, commit, true)
}

func load(dir, commit string, released bool) (*Product, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("product: %w", err)
	}
	data, err := text(dir, File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, config.Errors{{File: File, Problem: "is not in the repository", Remedy: "add one at its top; it names roles and topology"}}
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", File, err)
	}
	p, err := decode(data, released)
	if err != nil {
		return nil, err
	}
	p.Dir, p.Commit = dir, commit
	var problems []*config.Error
	collect := func(err error) error {
		if list, ok := errors.AsType[config.Errors](err); ok {
			problems = append(problems, list...)
			return nil
		}
		return err
	}
	look := p.Unused
	if released {
		look = func() error { return nil }
	}
	if err := errors.Join(collect(p.loadProcedure()), collect(p.checkLayout()), collect(p.checkSuites()), collect(look())); err != nil {
		return nil, err
	}
	if err := config.Join(problems); err != nil {
		return nil, err
	}
	return p, nil
}

// decode reads hallmark.yaml.
func decode(data []byte, released bool) (*Product, error) {
	f := file{released: released}
	if err := config.Decode(File, data, &f); err != nil {
		return nil, err
	}
	return f.product(), nil
}

func (f *file) product() *Product {
	p := &Product{
		Version: f.Version, Name: f.Name, Admin: f.Admin,
		Puppet: Puppet{Packages: f.Puppet.Packages, Timeout: f.Puppet.Timeout},
		Roles:  map[string]Role{}, Egress: f.Egress,
	}
	if !slices.Contains(p.Puppet.Packages, "puppet-agent") {
		p.Puppet.Packages = append([]string{"puppet-agent"}, p.Puppet.Packages...)
	}
	if f.UnitTests != nil {
		p.UnitTests = UnitTests{Command: f.UnitTests.Command, Timeout: f.UnitTests.Timeout}
	}
	for name, r := range f.Roles {
		p.Roles[name] = r.role(name)
	}
	bastion := p.Bastion()
	ordered, _ := arrange(f.bastionFirst(bastion)) // Check found no cycle
	for _, g := range ordered {
		group := Group{Role: g.Role, Count: g.Count, After: g.After}
		for _, v := range g.Volumes {
			group.Volumes = append(group.Volumes, Volume{Name: v.Name, SizeMiB: v.Size.MiB()})
		}
		p.Topology = append(p.Topology, group)
	}
	for _, s := range f.Secrets {
		p.Secrets = append(p.Secrets, Secret(s))
	}
	for _, s := range f.Seal {
		p.Seal = append(p.Seal, SealRule(s))
	}
	for _, l := range f.Logs {
		p.Logs = append(p.Logs, LogRule(l))
	}
	return p
}

// bastionFirst makes every group depend on the bastion, through which it is reached.
func (f *file) bastionFirst(bastion string) []fileGroup {
	groups := slices.Clone(f.Topology)
	for i, g := range groups {
		if g.Role != bastion && !slices.Contains(g.After, bastion) {
			groups[i].After = append([]string{bastion}, g.After...)
		}
	}
	return groups
}

func (r fileRole) role(name string) Role {
	return Role{
		Name: name, Bastion: r.Bastion, Health: r.Health.health(),
		CPUs: r.CPUs, MemoryMiB: int(r.Memory.MiB()), DiskMiB: r.Disk.MiB(), Processes: r.Processes,
	}
}

func (h *fileHealth) health() *Health {
	if h == nil {
		return nil
	}
	return &Health{Command: h.Command, Within: h.Within}
}

func (p *Product) loadProcedure() (err error) {
	data, err := p.Text(ProcedureFile)
	if errors.Is(err, fs.ErrNotExist) {
		p.Procedure = p.usualProcedure()
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", ProcedureFile, err)
	}
	p.Procedure, err = decodeProcedure(data, p)
	return err
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
