package product

import (
	"slices"
	"time"
)

// Product is a validated hallmark.yaml: what the users' infrastructure consists of at one commit.
type Product struct {
	Version   int
	Name      string
	Admin     string // the account tests log in with; default testadmin
	Puppet    Puppet
	UnitTests UnitTests
	Roles     map[string]Role
	Topology  []Group // in provisioning order: every group stands after those it depends on
	Secrets   []Secret
	Egress    []string // allow-list: "address/prefix:port"
	Logs      []LogRule
	Seal      []SealRule
	Procedure Procedure // from release/procedure.yaml, else the usual one

	Dir    string // checkout it was read from
	Commit string
}

// Puppet says how servers are configured.
type Puppet struct {
	Packages []string // Debian packages a server needs before its first run; puppet-agent is one of them
	Timeout  time.Duration
}

// UnitTests is the product's own quick check, run in the checkout before anything is launched.
type UnitTests struct {
	Command string
	Timeout time.Duration
}

// Role is a type of server.
type Role struct {
	Name      string
	Bastion   bool    // exactly one role is the bastion
	Health    *Health // nil: a server is healthy when it is provisioned
	CPUs      int     // of each server, as the rest; 0: the provider's default
	MemoryMiB int
	DiskMiB   int64 // of the root file system
	Processes int
}

// Health is a command that says, by exit code 0, that a server works.
type Health struct {
	Command string
	Within  time.Duration
}

// Group is some servers of one role in the topology. Servers are called role-1, role-2, …; the
// single bastion is called bastion.
type Group struct {
	Role    string
	Count   int
	After   []string // roles that must be provisioned and healthy before
	Volumes []Volume
}

// Volume is a data volume that each server of a group has.
type Volume struct {
	Name    string
	SizeMiB int64
}

// Secret is generated anew for every environment, and given to the servers of its roles only.
type Secret struct {
	Name   string
	Length int      // characters
	Roles  []string // none, of code that was released before secrets named roles: every role
}

// For reports whether the servers of a role get the secret.
func (s Secret) For(role string) bool { return len(s.Roles) == 0 || slices.Contains(s.Roles, role) }

// LogRule names log lines that are known and harmless.
type LogRule struct {
	Match  string // regular expression
	Reason string
	Role   string // "" : every role
}

// SealRule names a path that images may keep, although what is there looks like a secret, an identity or a trace.
type SealRule struct {
	Path   string // pattern of path.Match
	Reason string
	Role   string // "" : every role
}

// SealOf gives the rules for images of a role.
func (p *Product) SealOf(role string) []SealRule {
	var all []SealRule
	for _, rule := range p.Seal {
		if rule.Role == "" || rule.Role == role {
			all = append(all, rule)
		}
	}
	return all
}

// Server is one server of the topology, by name.
type Server struct {
	Name    string
	Role    string
	Volumes []Volume
}
