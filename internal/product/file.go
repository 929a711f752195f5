package product

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/egress"
)

// File is the product's own file, at the top of the infrastructure repository.
const File = "hallmark.yaml"

// ReservedSecret is the TOTP seed of an environment's bastion; every environment has one.
const ReservedSecret = "totp_seed"

// file is hallmark.yaml as it is written; configs/hallmark.schema.json says the same to editors.
type file struct {
	Version   int                 `key:"version,required"`
	Name      string              `key:"name,required"`
	Admin     string              `key:"admin"`
	Puppet    filePuppet          `key:"puppet"`
	UnitTests *fileUnitTests      `key:"unit-tests"`
	Roles     map[string]fileRole `key:"roles,required"`
	Topology  []fileGroup         `key:"topology,required"`
	Secrets   []fileSecret        `key:"secrets"`
	Egress    []string            `key:"egress"`
	Logs      []fileLogRule       `key:"logs"`
	Seal      []fileSealRule      `key:"seal"`

	released bool           // it does not change any more
	policy   *egress.Policy // what the installation allows; nil: that is not known here
	most     *Most          // likewise
}

type filePuppet struct {
	Packages []string      `key:"packages"`
	Timeout  time.Duration `key:"timeout"`
}

type fileUnitTests struct {
	Command string        `key:"command,required"`
	Timeout time.Duration `key:"timeout"`
}

type fileRole struct {
	Bastion bool        `key:"bastion"`
	Health  *fileHealth `key:"health"`

	// What each server of the role may use. 0: what the installation gives by default.
	CPUs      int         `key:"cpus"`
	Memory    config.Size `key:"memory"`
	Disk      config.Size `key:"disk"`
	Processes int         `key:"processes"`
}

type fileHealth struct {
	Command string        `key:"command,required"`
	Within  time.Duration `key:"within"`
}

type fileGroup struct {
	Role    string       `key:"role,required"`
	Count   int          `key:"count"`
	After   []string     `key:"after"`
	Volumes []fileVolume `key:"volumes"`
}

type fileVolume struct {
	Name string      `key:"name,required"`
	Size config.Size `key:"size,required"`
}

type fileSecret struct {
	Name   string   `key:"name,required"`
	Length int      `key:"length"`
	Roles  []string `key:"roles"`
}

type fileLogRule struct {
	Match  string `key:"match,required"`
	Reason string `key:"reason,required"`
	Role   string `key:"role"`
}

type fileSealRule struct {
	Path   string `key:"path,required"`
	Reason string `key:"reason,required"`
	Role   string `key:"role"`
}

func (f *file) Default() {
	f.Admin = "testadmin"
	f.Puppet.Default()
}

func (p *filePuppet) Default()    { p.Timeout = 15 * time.Minute }
func (u *fileUnitTests) Default() { u.Timeout = 10 * time.Minute }
func (h *fileHealth) Default()    { h.Within = time.Minute }
func (g *fileGroup) Default()     { g.Count = 1 }
func (s *fileSecret) Default()    { s.Length = 32 }

var (
	userName    = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`) // Debian policy 5.6.1
	secretName  = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
)

// Check looks at what belongs together: roles, topology, order, names that must be unique.
func (f *file) Check(at config.Place) {
	if f.Version != 1 {
		at.Problem("version", fmt.Sprintf("is %d", f.Version), "this Hallmark reads version 1")
	}
	at.Name("name", f.Name, 40)
	if !userName.MatchString(f.Admin) || f.Admin == "root" {
		at.Problem("admin", fmt.Sprintf("%q cannot be the admin's account", f.Admin), "use a plain user name, not root")
	}
	f.checkRoles(at)
	f.checkTopology(at)
	f.checkSecrets(at)
	f.checkEgress(at)
	f.checkMost(at)
	for i, l := range f.Logs {
		if l.Role != "" {
			f.known(at, fmt.Sprintf("logs[%d].role", i), l.Role)
		}
	}
	unique(at, "seal", f.Seal, func(s fileSealRule) string { return strings.TrimSpace(s.Path + " " + s.Role) })
	for i, s := range f.Seal {
		if s.Role != "" {
			f.known(at, fmt.Sprintf("seal[%d].role", i), s.Role)
		}
	}
}

// checkSecrets wants every secret to name the roles that need it. Code that was released before they did goes on
// giving them to all.
func (f *file) checkSecrets(at config.Place) {
	unique(at, "secrets", f.Secrets, func(s fileSecret) string { return s.Name })
	for i, s := range f.Secrets {
		key := fmt.Sprintf("secrets[%d]", i)
		if len(s.Roles) == 0 && !f.released {
			at.Problem(key+".roles", fmt.Sprintf("no role is named, so no server would get the secret %s", s.Name), "name the roles whose servers need it, such as `roles: ["+f.someRole()+"]`, or remove the secret")
		}
		for j, role := range s.Roles {
			f.known(at, fmt.Sprintf("%s.roles[%d]", key, j), role)
		}
		unique(at, key+".roles", s.Roles, func(role string) string { return role })
	}
}

// someRole is a role for an example: one behind the bastion, if there is one.
func (f *file) someRole() string {
	for _, name := range f.roleNames() {
		if !f.Roles[name].Bastion {
			return name
		}
	}
	return "web"
}

func (f *file) checkRoles(at config.Place) {
	var bastions []string
	for _, name := range f.roleNames() {
		at.Name("roles."+name, name, 20)
		if f.Roles[name].Bastion {
			bastions = append(bastions, name)
		}
		switch name {
		case everyRole:
			at.Problem("roles."+name, "cannot be the name of a role", "its suite would be that of every server, "+everyRole+".yaml; give it another name")
		case SystemSuite, AccessSuite, EnvironmentSuite:
			at.Problem("roles."+name, "cannot be the name of a role", "Hallmark's own tests are the suite "+name+", and do not count as tests of the product; give it another name")
		}
	}
	switch {
	case len(f.Roles) == 0:
		at.Problem("roles", "is empty", "name at least the bastion and one role behind it")
	case len(bastions) == 0:
		at.Problem("roles", "no role is the bastion", "set `bastion: true` on the role through which admins come in")
	case len(bastions) > 1:
		at.Problem("roles."+bastions[1]+".bastion", "a second role is the bastion, beside "+bastions[0], "set `bastion: true` on one role only")
	}
}

// everyRole is the suite of all servers.
const everyRole = "all"

// Suites of Hallmark's own. A role has a suite of its name, so no role is called like one of these.
const (
	SystemSuite      = "system"      // is a server in order
	AccessSuite      = "access"      // do admins get in, and others not
	EnvironmentSuite = "environment" // trouble with the environment itself
)

func (f *file) roleNames() []string {
	names := make([]string, 0, len(f.Roles))
	for name := range f.Roles {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (f *file) known(at config.Place, key, role string) bool {
	if _, ok := f.Roles[role]; ok {
		return true
	}
	at.Problem(key, fmt.Sprintf("role %q is not under roles", role), config.Hint(role, f.roleNames()))
	return false
}

// checkTopology leaves the order itself to arrange, which finds cycles.
func (f *file) checkTopology(at config.Place) {
	unique(at, "topology", f.Topology, func(g fileGroup) string { return g.Role })
	inTopology := map[string]bool{}
	sound := true
	for i, g := range f.Topology {
		key := fmt.Sprintf("topology[%d]", i)
		inTopology[g.Role] = true
		sound = f.known(at, key+".role", g.Role) && sound
		if f.Roles[g.Role].Bastion {
			if g.Count != 1 {
				at.Problem(key+".count", fmt.Sprintf("there would be %d bastions", g.Count), "an environment has exactly one")
			}
			if len(g.After) > 0 {
				at.Problem(key+".after", "the bastion cannot wait for others, which are reached through it", "remove it")
				sound = false
			}
		}
		for j, role := range g.After {
			sound = f.known(at, fmt.Sprintf("%s.after[%d]", key, j), role) && sound
		}
	}
	for _, name := range f.roleNames() {
		if !inTopology[name] {
			at.Problem("roles."+name, "no server of the topology has this role, so it would never be tested", "add it to the topology, or remove it")
			sound = false
		}
	}
	if !sound {
		return
	}
	if _, cycle := arrange(f.Topology); cycle != nil {
		for i, g := range f.Topology {
			if g.Role == cycle[0] {
				at.Problem(fmt.Sprintf("topology[%d].after", i), "the order goes round in a circle: "+strings.Join(cycle, " after "), "remove one of these dependencies")
			}
		}
	}
}

func unique[T any](at config.Place, list string, all []T, name func(T) string) {
	first := map[string]int{}
	for i, one := range all {
		if before, ok := first[name(one)]; ok {
			at.Problem(fmt.Sprintf("%s[%d]", list, i), fmt.Sprintf("%q is there twice, also as entry %d", name(one), before+1), "keep one of them")
			continue
		}
		first[name(one)] = i
	}
}

func (p *filePuppet) Check(at config.Place) {
	for i, name := range p.Packages {
		if !packageName.MatchString(name) {
			at.Problem(fmt.Sprintf("packages[%d]", i), fmt.Sprintf("%q is no name of a Debian package", name), "use lower-case letters, digits, +, - and dots")
		}
	}
	positive(at, "timeout", p.Timeout)
}

func (u *fileUnitTests) Check(at config.Place) {
	filled(at, "command", u.Command)
	positive(at, "timeout", u.Timeout)
}

func (r *fileRole) Check(at config.Place) {
	if r.Health == nil && !r.Bastion {
		at.Problem("health", "is missing, so nobody could tell whether such a server works", "give a command that exits with 0 when it does")
	}
	at.AtLeast("cpus", r.CPUs, 0)
	if r.Memory != 0 && r.Memory < 128*config.MiB {
		at.Problem("memory", r.Memory.String()+" is too little for a server", "give it 128MiB or more")
	}
	if r.Disk != 0 && r.Disk < config.GiB {
		at.Problem("disk", r.Disk.String()+" is too little for the system alone", "give it 1GiB or more")
	}
	if r.Processes != 0 && r.Processes < 100 {
		at.Problem("processes", fmt.Sprintf("%d are too few for the system alone", r.Processes), "allow 100 or more")
	}
}

func (h *fileHealth) Check(at config.Place) {
	filled(at, "command", h.Command)
	positive(at, "within", h.Within)
}

func (g *fileGroup) Check(at config.Place) {
	if g.Count < 1 || g.Count > 100 {
		at.Problem("count", fmt.Sprintf("is %d", g.Count), "use 1 to 100")
	}
	unique(at, "volumes", g.Volumes, func(v fileVolume) string { return v.Name })
}

func (v *fileVolume) Check(at config.Place) {
	at.Name("name", v.Name, 20)
	if v.Size < 64*config.MiB {
		at.Problem("size", v.Size.String()+" is too little for a file system", "give it 64MiB or more")
	}
}

func (s *fileSecret) Check(at config.Place) {
	if !secretName.MatchString(s.Name) {
		at.Problem("name", fmt.Sprintf("%q is no name of a secret", s.Name), "use lower-case letters, digits and underscores: Puppet looks up secret::<name>")
	}
	if s.Name == ReservedSecret {
		at.Problem("name", ReservedSecret+" is given to every environment by Hallmark", "choose another name")
	}
	if s.Length < 8 || s.Length > 256 {
		at.Problem("length", fmt.Sprintf("is %d", s.Length), "use 8 to 256 characters")
	}
}

func filled(at config.Place, key, text string) {
	if strings.TrimSpace(text) == "" {
		at.Problem(key, "is empty", "fill it in")
	}
}

func positive(at config.Place, key string, d time.Duration) {
	if d <= 0 {
		at.Problem(key, "is nothing at all", "give it some time, such as 5m")
	}
}
