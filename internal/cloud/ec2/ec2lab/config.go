package ec2lab

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/machines"
)

// Config says what a lab is. The zero value of every field has a meaning.
type Config struct {
	Name    string        // two labs of a host need two names (and ranges); "": ec2lab
	Host    machines.Host // nil: Incus; machines.NewMemory for the API alone
	Socket  string        // Incus': "": where Incus puts it
	Pool    string        // Incus' storage pool; "": hallmark
	Account string        // 12 digits; "": 123456789012
	Regions []Region      // none: eu-lab-1 with zones a, b and c; at most four
	CIDR    netip.Prefix  // a /16: VPCs are a quarter of it each, subnets a /22; zero: 10.92.0.0/16
	Seeds   []Seed
	Delays  Delays
	Watch   time.Duration // how often the lab looks for machines that powered themselves off; 0: 1 s
	Clock   clock.Clock   // nil: the machine's
	Log     *slog.Logger  // nil: nothing is logged
}

// Region is a name and the letters of its zones.
type Region struct {
	Name  string
	Zones []string
}

// Seed is an image of the host that appears as a public AMI in every region.
type Seed struct {
	Name        string
	Fingerprint string // the host's name for it, with Incus the whole fingerprint
	Owner       string // account id, 12 digits
	Parameter   string // of SSM, that names the AMI, as vendors have for their newest; "": none
}

// Delays are added to what the real work takes; and for how long things are hidden or remembered.
type Delays struct {
	Visible  time.Duration // from RunInstances until the instance can be found
	Launch   time.Duration // pending
	Stop     time.Duration // stopping, shutting-down
	Image    time.Duration // of images and snapshots: pending
	Copy     time.Duration // of copied images: pending
	Volume   time.Duration // creating, attaching, detaching
	Validate time.Duration // until a parameter of type aws:ec2:image is there to be read
	Refresh  time.Duration // for how long an instance refresh may come no further before it fails; 0: 1 h
	Forget   time.Duration // for how long terminated instances are visible; 0: 1 h
}

var (
	accountID  = regexp.MustCompile(`^[0-9]{12}$`)
	labName    = regexp.MustCompile(`^[a-z][a-z0-9-]{0,40}$`)
	regionName = regexp.MustCompile(`^[a-z]{2}-[a-z]+-[0-9]$`)
	zoneLetter = regexp.MustCompile(`^[a-z]$`)
)

// complete fills in what was left out and says what cannot be.
func (c *Config) complete() error {
	if c.Name == "" {
		c.Name = "ec2lab"
	}
	if c.Account == "" {
		c.Account = "123456789012"
	}
	if len(c.Regions) == 0 {
		c.Regions = []Region{{Name: "eu-lab-1", Zones: []string{"a", "b", "c"}}}
	}
	if !c.CIDR.IsValid() {
		c.CIDR = netip.MustParsePrefix("10.92.0.0/16")
	}
	if c.Delays.Forget == 0 {
		c.Delays.Forget = time.Hour
	}
	if c.Delays.Refresh == 0 {
		c.Delays.Refresh = time.Hour
	}
	if c.Watch == 0 {
		c.Watch = time.Second
	}
	if c.Clock == nil {
		c.Clock = clock.Machine{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case !labName.MatchString(c.Name):
		return fmt.Errorf("lab name %q: use lower-case letters, digits and hyphens", c.Name)
	case !accountID.MatchString(c.Account):
		return fmt.Errorf("account %q: an account id has 12 digits", c.Account)
	case !c.CIDR.Addr().Is4() || c.CIDR.Bits() != 16 || c.CIDR != c.CIDR.Masked():
		return fmt.Errorf("range %s: give an IPv4 /16", c.CIDR)
	case len(c.Regions) > 4:
		return errors.New("at most four regions fit in the range")
	}
	for _, r := range c.Regions {
		if !regionName.MatchString(r.Name) || len(r.Zones) == 0 || len(r.Zones) > 15 {
			return fmt.Errorf("region %q: give a name like eu-lab-1 and one to fifteen zones", r.Name)
		}
		for _, z := range r.Zones {
			if !zoneLetter.MatchString(z) {
				return fmt.Errorf("zone %q of %s: give a letter", z, r.Name)
			}
		}
	}
	for _, s := range c.Seeds {
		if s.Name == "" || s.Fingerprint == "" || !accountID.MatchString(s.Owner) {
			return fmt.Errorf("seed %q: give name, fingerprint and the owner's account id", s.Name)
		}
	}
	return nil
}
