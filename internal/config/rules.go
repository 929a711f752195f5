package config

import (
	"fmt"
	"net/url"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/egress"
	"github.com/hallmark-ci/hallmark/internal/notify"
)

// kinds of runs.
var kinds = []string{"nightly", "release"}

// Check says what does not fit together in the whole.
func (c *Config) Check(at Place) {
	at.Name("owner", c.Owner, 20)
	switch ami := regexp.MustCompile(`^(ami-[0-9a-f]+|ssm:/.+|[^/]+/.+)$`); {
	case c.Provider.Kind != "ec2":
		at.Name("base.name", c.Base.Name, 40)
	case !ami.MatchString(c.Base.Name):
		at.Problem("base.name", fmt.Sprintf("%q names no AMI", c.Base.Name), "write owner/name-pattern, such as 136693071363/debian-12-amd64-*, or ami-…, or ssm:/parameter")
	}
	at.OneOf("upgrade", c.Upgrade, UpgradeRequired, UpgradeNoneYet)
	c.checkDeadline(at)
	names := map[string]int{}
	for i, s := range c.Schedules {
		if first, ok := names[s.Name]; ok {
			at.Problem(fmt.Sprintf("schedules[%d].name", i), fmt.Sprintf("%q is also the name of schedule %d", s.Name, first+1), "give each schedule a name of its own")
		}
		names[s.Name] = i
	}
	for kind := range c.Policy {
		at.OneOf("policy."+kind, kind, kinds...)
	}
	c.checkChannels(at)
	priced := map[string]int{}
	for i, p := range c.Prices.Types {
		if first, ok := priced[p.Type]; ok {
			at.Problem(fmt.Sprintf("prices.types[%d].type", i), fmt.Sprintf("%q has a price already, in entry %d", p.Type, first+1), "remove one of them")
		}
		priced[p.Type] = i
	}
	for channel, age := range c.Freshness {
		if !c.mayBe(channel) {
			at.Problem("freshness."+channel, "no channel has this name: "+Hint(channel, c.Channels()), "name a channel of policy, or remove this one")
		}
		if age == 0 {
			at.Problem("freshness."+channel, "is forever, which is no objective", "write a duration such as 36h, or remove the channel")
		}
	}
	waived := map[string]int{}
	for i, w := range c.Waivers {
		if first, ok := waived[w.Test]; ok {
			at.Problem(fmt.Sprintf("waivers[%d].test", i), fmt.Sprintf("%q is waived by waiver %d already", w.Test, first+1), "remove one of them")
		}
		waived[w.Test] = i
	}
}

// checkDeadline wants environments that are made as a run begins to live as long as the run may work.
func (c *Config) checkDeadline(at Place) {
	switch run, deadline := c.Timeouts.Run, c.Environment.Deadline; {
	case run <= deadline || !at.sound("timeouts.run") || !at.sound("environment"):
	case at.Has("timeouts.run"):
		at.Problem("timeouts.run", fmt.Sprintf("%s is longer than environment.deadline (%s), at which environments of the run power themselves off", run, deadline),
			fmt.Sprintf("use %s at most, or set environment.deadline to %s or more", deadline, run))
	default:
		at.Problem("environment.deadline", fmt.Sprintf("%s is shorter than timeouts.run (%s): environments of a run would power themselves off while it works", deadline, run),
			fmt.Sprintf("use %s or more, or set timeouts.run to %s at most", run, deadline))
	}
}

// Check knows branches and globs.
func (p *Product) Check(at Place) {
	p.checkAddress(at)
	if p.Development == "" {
		at.Problem("development", "is empty", "name the development branch")
	}
	if _, err := path.Match(p.Releases, ""); err != nil {
		at.Problem("releases", fmt.Sprintf("%q is no glob", p.Releases), "write it as release/*")
	} else if ok, _ := path.Match(p.Releases, p.Development); ok {
		at.Problem("releases", fmt.Sprintf("%q also matches the development branch %s", p.Releases, p.Development), "use a glob for release branches only")
	}
}

// scheme is how an address of a repository begins, and elsewhere the short form of ssh: user@host:path.
var (
	scheme    = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*)(?:://|::)`)
	elsewhere = regexp.MustCompile(`^[^/:]+:`)
)

// Remote reports whether the repository is an address, and not a directory of this machine.
func (p *Product) Remote() bool {
	return scheme.MatchString(p.Repository) || elsewhere.MatchString(p.Repository)
}

// checkAddress wants an address that can be fetched, and keys for it that no address holds.
func (p *Product) checkAddress(at Place) {
	by := ""
	if m := scheme.FindStringSubmatch(p.Repository); m != nil {
		by = m[1]
	} else if p.Remote() {
		by = "ssh"
	}
	switch by {
	case "", "ssh", "https":
	default:
		at.Problem("repository", fmt.Sprintf("%q is an address of %s", p.Repository, by), "use ssh:// or https://, or a directory of this machine")
		return
	}
	if address, err := url.Parse(p.Repository); by != "" && err == nil && address.User != nil {
		if _, secret := address.User.Password(); secret {
			at.Problem("repository", "holds a password, which would be in logs and reports", "put the address with it into a file of its own, and name that under product.credentials")
		}
	}
	for _, k := range []struct{ key, value, needs, remedy string }{
		{"ssh-key", p.SSHKey, "ssh", "remove it, or give an address of ssh"},
		{"ssh-agent", p.SSHAgent, "ssh", "remove it, or give an address of ssh"},
		{"known-hosts", p.KnownHosts, "ssh", "remove it, or give an address of ssh"},
		{"credentials", p.Credentials, "https", "remove it, or give an address of https"},
	} {
		if k.value != "" && by != k.needs {
			at.Problem(k.key, "is for an address of "+k.needs+", which product.repository is not", k.remedy)
		}
	}
	if by == "ssh" && p.KnownHosts == "" {
		at.Problem("known-hosts", "is missing, so nothing would say that the host is the right one", "write its key to a file with `ssh-keyscan`, compare it, and name the file")
	}
}

// Check knows which providers there are.
func (p *Provider) Check(at Place) {
	if p.Kind == "ec2" {
		p.EC2.check(at)
		return
	}
	at.OneOf("kind", p.Kind, "incus", "ec2", "sim")
}

// check wants what has no default. It is no Check, for without kind ec2 nothing is wanted.
func (e *EC2) check(at Place) {
	for _, k := range []struct {
		key    string
		given  bool
		remedy string
	}{
		{"region", e.Region != "", "name the region, such as eu-central-1"},
		{"subnets", len(e.Subnets) > 0, "list subnets of one VPC, best in several zones"},
		{"reach", len(e.Reach) > 0, "list the ranges from which bastions may be reached, such as 10.20.0.0/24"},
		{"types", len(e.Types) > 0, "list instance types in the order in which they are tried"},
	} {
		if !k.given {
			at.Problem("ec2."+k.key, "is missing", k.remedy)
		}
	}
	e.checkOffers(at)
}

// Check wants room for at least one environment.
func (i *Incus) Check(at Place) {
	if i.Range.IsValid() && (!i.Range.Addr().Is4() || i.Range.Bits() > 24) {
		at.Problem("range", fmt.Sprintf("%s has no room for a /24", i.Range), "use an IPv4 range of /24 or wider, such as 10.91.0.0/16")
	}
	if i.CPUShare < 1 || i.CPUShare > 100 {
		at.Problem("cpu-share", fmt.Sprintf("is %d", i.CPUShare), "use 1 to 100 percent")
	}
	if i.Server.CPUs == 0 && i.Most.CPUs > 0 {
		at.Problem("most.cpus", "bounds roles that ask, and no others: provider.incus.server.cpus is 0, which is all that the host has", "set provider.incus.server.cpus, too")
	}
	for _, r := range []struct {
		key         string
		usual, most int64
		said        string
	}{
		{"cpus", int64(i.Server.CPUs), int64(i.Most.CPUs), fmt.Sprint(i.Most.CPUs)},
		{"memory", int64(i.Server.Memory), int64(i.Most.Memory), i.Most.Memory.String()},
		{"disk", int64(i.Server.Disk), int64(i.Most.Disk), i.Most.Disk.String()},
		{"processes", int64(i.Server.Processes), int64(i.Most.Processes), fmt.Sprint(i.Most.Processes)},
	} {
		if r.most > 0 && r.usual > r.most {
			at.Problem("server."+r.key, "is more than provider.incus.most."+r.key+" ("+r.said+")", "use that at most, or raise provider.incus.most."+r.key)
		}
	}
}

// Check wants room for a system; a bound that bounds nothing is none.
func (r *Resources) Check(at Place) {
	at.AtLeast("cpus", r.CPUs, 0)
	if r.Memory < 128*MiB {
		at.Problem("memory", r.Memory.String()+" is too little for a server", "give it 128MiB or more")
	}
	if r.Disk < GiB {
		at.Problem("disk", r.Disk.String()+" is too little for the system alone", "give it 1GiB or more")
	}
	at.AtLeast("processes", r.Processes, 100)
}

// Check wants a base that can be used.
func (b *Base) Check(at Place) {
	positive(at, "max-age", b.MaxAge)
}

// Check wants at least one of each.
func (l *Limits) Check(at Place) {
	at.AtLeast("servers", l.Servers, 2) // a bastion and a server behind it
	at.AtLeast("lanes", l.Lanes, 1)
	at.AtLeast("image-builds", l.ImageBuilds, 1)
	at.AtLeast("attempts", l.Attempts, 1)
}

// Check wants time for everything.
func (t *Timeouts) Check(at Place) {
	positive(at, "boot", t.Boot)
	positive(at, "provision", t.Provision)
	positive(at, "test", t.Test)
	positive(at, "run", t.Run)
}

// Check wants the cap beyond the lease.
func (e *Environment) Check(at Place) {
	positive(at, "lease", e.Lease)
	if e.Deadline < e.Lease {
		at.Problem("deadline", fmt.Sprintf("%s is shorter than the lease of %s", e.Deadline, e.Lease), "give it at least the lease")
	}
	var all []egress.Destination
	for i, text := range e.Egress {
		d, err := egress.Parse(text)
		if err != nil {
			at.Problem(fmt.Sprintf("egress[%d]", i), fmt.Sprintf("%q %v", text, err), "write address/prefix:port, such as 192.0.2.7/32:443")
			continue
		}
		all = append(all, d)
	}
	if wide := egress.TooWide(all); wide != "" {
		at.Problem("egress", wide, "name the services that products need, and no more")
	}
}

// EgressPolicy is what products may reach beside the package cache: what lies in a listed range, but no environment's
// addresses. The configuration was checked.
func (c Config) EgressPolicy() egress.Policy {
	var p egress.Policy
	if c.Provider.Kind != "ec2" {
		p.Never = append(p.Never, egress.Range{Prefix: c.Provider.Incus.Range, What: fmt.Sprintf("other environments (provider.incus.range, %s)", c.Provider.Incus.Range)})
	}
	for _, text := range c.Environment.Egress {
		if d, err := egress.Parse(text); err == nil {
			p.Allowed = append(p.Allowed, d)
		}
	}
	return p
}

// Check wants counts.
func (k *Keep) Check(at Place) {
	at.AtLeast("candidates", k.Candidates, 0)
	at.AtLeast("checkouts", k.Checkouts, 0)
}

// Check wants a command that can be run, and events that there are.
func (n *Notify) Check(at Place) {
	for i, event := range n.Events {
		at.OneOf(fmt.Sprintf("events[%d]", i), event, notify.Names()...)
	}
	positive(at, "timeout", n.Timeout)
	if len(n.Command) == 0 {
		return
	}
	if _, err := exec.LookPath(n.Command[0]); err != nil || !filepath.IsAbs(n.Command[0]) && strings.Contains(n.Command[0], "/") {
		at.Problem("command", fmt.Sprintf("%q is no program that can be run", n.Command[0]), "give the absolute path of an executable file, then its arguments, each as an entry of the list: no shell takes them apart")
	}
}

// Check parses the time table and its zone.
func (s *Schedule) Check(at Place) {
	at.Name("name", s.Name, 40)
	at.OneOf("kind", s.Kind, kinds...)
	at.OneOf("overlap", s.Overlap, "skip", "queue")
	if _, err := time.LoadLocation(s.Timezone); err != nil || s.Timezone == "" || s.Timezone == "Local" {
		at.Problem("timezone", fmt.Sprintf("%q is not known", s.Timezone), "use an IANA name such as Europe/Berlin, or UTC")
	}
	if strings.Contains(s.Cron, "TZ=") {
		at.Problem("cron", "names a time zone", "give it under timezone")
		return
	}
	if n := len(strings.Fields(s.Cron)); n != 5 {
		at.Problem("cron", fmt.Sprintf("%q has not five fields but %d", s.Cron, n), `write minute, hour, day of month, month, day of week: "0 2 * * *" is every night at two`)
		return
	}
	if _, err := fiveFields.Parse(s.Cron); err != nil {
		at.Problem("cron", fmt.Sprintf("%q is no time table: %v", s.Cron, err), `write minute, hour, day of month, month, day of week: "0 2 * * *" is every night at two`)
	}
}

func positive(at Place, key string, d time.Duration) {
	if d <= 0 {
		at.Problem(key, "is nothing at all", "give it some time, such as 5m")
	}
}
