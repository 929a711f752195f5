package config

import (
	"net/netip"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cost"
	"github.com/hallmark-ci/hallmark/internal/notify"
)

// Config is the daemon's configuration (hallmark.yaml beside the daemon, not the product's file of
// that name). Load gives it complete and checked. configs/hallmark.yaml is a commented example.
type Config struct {
	StateDir    string            `key:"state-dir"` // absolute; ledger, workflows, checkouts and records live there
	Owner       string            `key:"owner"`     // this installation, in the tags of what it creates
	Product     Product           `key:"product"`
	Provider    Provider          `key:"provider"`
	Base        Base              `key:"base"`
	Limits      Limits            `key:"limits"`
	Timeouts    Timeouts          `key:"timeouts"`
	Environment Environment       `key:"environment"`
	Keep        Keep              `key:"keep"`
	Prices      cost.Prices       `key:"prices"` // for the estimate of what runs cost; none: hours only
	Schedules   []Schedule        `key:"schedules"`
	Policy      map[string]Policy `key:"policy"`  // by run kind; what a file leaves out stays as in Default, key by key
	Upgrade     string            `key:"upgrade"` // UpgradeRequired or UpgradeNoneYet
	Waivers     []Waiver          `key:"waivers"`
	Notify      Notify            `key:"notify"`
	Freshness   map[string]Age    `key:"freshness"` // by channel: how old the set that it holds may be

	File string // the file it was read from, "" if none
}

// Product says where the infrastructure repository is and which of its branches count.
type Product struct {
	Repository  string   `key:"repository,required"` // a git repository: a directory, bare or not, absolute; or an address of ssh or https
	SSHKey      string   `key:"ssh-key"`             // file with the private key for an address of ssh; absolute
	SSHAgent    string   `key:"ssh-agent"`           // socket of an agent that has it; absolute
	KnownHosts  string   `key:"known-hosts"`         // file with the host's key, as ssh writes it; absolute
	Credentials string   `key:"credentials"`         // file of git-credential-store for an address of https; absolute
	Development string   `key:"development"`         // the development branch
	Releases    string   `key:"releases"`            // glob of release branches, as path.Match has it
	Retired     []string `key:"retired"`             // release branches that are no longer live
}

// Provider chooses where servers run and holds each provider's own settings.
type Provider struct {
	Kind   string `key:"kind"` // incus or ec2; tests have more
	Incus  Incus  `key:"incus"`
	EC2    EC2    `key:"ec2"`
	Faults string `key:"faults"` // file that scripts trouble around the provider, "" for none; absolute
}

// Incus is an Incus host.
type Incus struct {
	Socket string         `key:"socket"` // "" : where Incus puts it
	Pool   string         `key:"pool"`   // storage pool, made by `make host`
	Range  netip.Prefix   `key:"range"`  // every environment gets a free /24 of it
	Cache  netip.AddrPort `key:"cache"`  // package cache as servers reach it

	Server   Resources `key:"server"`    // what a server may use whose role asks for nothing else
	Most     Resources `key:"most"`      // what a role may ask for
	CPUShare int       `key:"cpu-share"` // percent of what a process of the host gets, for a server, while the processors are busy
}

// Resources are what a server may use of its host.
type Resources struct {
	CPUs      int  `key:"cpus"` // 0: all that the host has
	Memory    Size `key:"memory"`
	Disk      Size `key:"disk"` // its root file system; as a bound, also of each of its volumes
	Processes int  `key:"processes"`
}

// EC2 is one AWS account and region; docs/ec2.md says what they have to bring.
type EC2 struct {
	Region     string         `key:"region"`
	Role       string         `key:"role"`       // ARN of a role to assume, "" for none
	Endpoint   string         `key:"endpoint"`   // of a laboratory, "" for AWS
	Subnets    []string       `key:"subnets"`    // of one VPC, one or more for each zone
	Reach      []netip.Prefix `key:"reach"`      // from where bastions may be reached
	Types      []string       `key:"types"`      // of instances, in the order in which they are tried
	Spot       bool           `key:"spot"`       // launch on spare capacity
	Calls      int            `key:"calls"`      // requests a second, at most; 0: as many as EC2 takes
	Cache      netip.AddrPort `key:"cache"`      // package cache or proxy as servers reach it
	KMSKey     string         `key:"kms-key"`    // encrypts volumes, "" for the account's default key
	Regions    []string       `key:"regions"`    // where images are published beside Region
	Parameters string         `key:"parameters"` // SSM path under which channels point to images
	Publish    []Offer        `key:"publish"`    // what is offered to others, and where
}

// Offer says where the images of channels are published beside the provider's region, and to whom. What
// several say of one channel adds up.
type Offer struct {
	Channels       []string          `key:"channels,required"` // patterns, as path.Match has it
	Regions        []string          `key:"regions"`           // of EC2.Regions
	Accounts       []string          `key:"accounts"`          // that may launch them and copy their snapshots
	Organisations  []string          `key:"organisations"`     // ARNs of organisations and their units that may launch them
	Keys           map[string]string `key:"keys"`              // KMS key by region, for the copy there
	DeprecateAfter time.Duration     `key:"deprecate-after"`   // from the image's creation; 0: never
}

// Base is the reference base, the only allowed parent of an image.
type Base struct {
	Name   string        `key:"name"`    // on EC2: owner/pattern, ami-…, or ssm:/parameter
	MaxAge time.Duration `key:"max-age"` // an older one is rebuilt, or not taken
}

// Limits bound what is done at once and how often it is tried.
type Limits struct {
	Servers     int `key:"servers"`      // servers over all work
	Lanes       int `key:"lanes"`        // environments under test at once
	ImageBuilds int `key:"image-builds"` // images in the making at once
	Attempts    int `key:"attempts"`     // fresh environments for one lane when infrastructure fails, the first included
}

// Timeouts bound how long one thing may take. A product's own file may ask for more for Puppet and
// for health checks.
type Timeouts struct {
	Boot      time.Duration `key:"boot"`      // from launch or reboot to sshd
	Provision time.Duration `key:"provision"` // from boot to converged
	Test      time.Duration `key:"test"`      // one test
	Run       time.Duration `key:"run"`       // a whole run
}

// Environment bounds the life of environments, and what their servers may reach.
type Environment struct {
	Lease    time.Duration `key:"lease"`    // granted at creation and at every extension
	Deadline time.Duration `key:"deadline"` // hard cap from creation; at least Timeouts.Run
	Egress   []string      `key:"egress"`   // what a product may ask for, as it does: address/prefix:port
}

// Keep says how much stays of what nothing needs any more. What a channel holds or can go back to, a live
// release, or a run at work needs always stays.
type Keep struct {
	Candidates   int `key:"candidates"`    // newest image sets of a branch that were never promoted
	GoneBranches Age `key:"gone-branches"` // those of a branch that was deleted or retired, from when that is known
	Unknown      Age `key:"unknown"`       // what is this installation's and the ledger does not know
	Checkouts    int `key:"checkouts"`     // newest commits whose checkout and archive stay
	Records      Age `key:"records"`       // consoles and reports of a run, from its end
}

// Schedule starts runs by the clock.
type Schedule struct {
	Name     string  `key:"name,required"`
	Kind     string  `key:"kind,required"` // nightly or release
	Branch   string  `key:"branch"`        // "" : nightly: the development branch; release: every live release branch
	Cron     string  `key:"cron,required"` // five fields
	Timezone string  `key:"timezone"`      // IANA name
	Overlap  string  `key:"overlap"`       // skip or queue: what to do when the previous run still works
	CatchUp  CatchUp `key:"catch-up"`      // how late a missed tick is still acted on
}

// Waiver excuses one known failure until it expires.
type Waiver struct {
	Test    string    `key:"test,required"` // the test's name as reports show it
	Ticket  string    `key:"ticket,required"`
	Reason  string    `key:"reason,required"`
	Expires time.Time `key:"expires,required"` // from this moment on the failure counts again
}

// Notify says how people are told of events: docs/notify.md.
type Notify struct {
	Command []string      `key:"command"` // program and arguments, no shell; none: no notices are sent
	Events  []string      `key:"events"`  // of which it is told
	Timeout time.Duration `key:"timeout"` // of one try
}

// Default sets what holds when the file is silent.
func (c *Config) Default() {
	c.StateDir = "/var/lib/hallmark"
	c.Owner = "hallmark"
	c.Product.Default()
	c.Provider.Default()
	c.Base.Default()
	c.Limits.Default()
	c.Timeouts.Default()
	c.Environment.Default()
	c.Keep.Default()
	c.Notify.Default()
	c.Policy, c.Upgrade = defaultPolicies(), UpgradeRequired
}

// Default sets the usual branches.
func (p *Product) Default() { p.Development, p.Releases = "main", "release/*" }

// Default chooses Incus on this machine.
func (p *Provider) Default() {
	p.Kind = "incus"
	p.Incus.Default()
	p.EC2.Parameters = "/hallmark"
}

// Default is what `make host` sets up.
func (i *Incus) Default() {
	i.Pool = "hallmark"
	i.Range = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 91}), 16)
	i.Cache = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 90, 0, 1}), 3142)
	i.Server = Resources{Memory: 2 * GiB, Disk: 8 * GiB, Processes: 2000}
	i.Most = Resources{Memory: 4 * GiB, Disk: 16 * GiB, Processes: 8000}
	i.CPUShare = 100
}

// Default is Debian 12, at most a week old.
func (b *Base) Default() { b.Name, b.MaxAge = "debian-12", 7*24*time.Hour }

// Default suits one machine of two cores.
func (l *Limits) Default() { *l = Limits{Servers: 24, Lanes: 2, ImageBuilds: 2, Attempts: 2} }

// Default is generous for containers on a busy machine.
func (t *Timeouts) Default() {
	*t = Timeouts{
		Boot: 3 * time.Minute, Provision: 15 * time.Minute, Test: 5 * time.Minute,
		Run: 3 * time.Hour,
	}
}

// Default covers a lane with room to spare.
func (e *Environment) Default() { e.Lease, e.Deadline = time.Hour, 4*time.Hour }

// Default keeps little that can be made again, and all of what the ledger does not know.
func (k *Keep) Default() {
	const day = Age(24 * time.Hour)
	*k = Keep{Candidates: 1, GoneBranches: 14 * day, Checkouts: 3, Records: 90 * day}
}

// Default has all events and no command.
func (n *Notify) Default() { n.Events, n.Timeout = notify.Names(), 30*time.Second }

// Default is UTC, one run at a time, and no catching up.
func (s *Schedule) Default() {
	s.Timezone, s.Overlap, s.CatchUp = "UTC", "skip", 0
}
