package environment

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/egress"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Origin is what servers are launched from.
type Origin string

// The two origins (DESIGN.md section 1).
const (
	Base     Origin = "base"
	Prebuilt Origin = "prebuilt"
)

// Code is the product at one commit: what it says, and the tarball of it that servers get.
type Code struct {
	Product *product.Product
	Commit  string
	Archive string // path on this host
}

// Spec describes an environment.
type Spec struct {
	ID       string // deterministic, at most 8 of [a-z0-9], a letter first; see ID
	Owner    string // cloud.Tags.Owner
	Run      string
	Name     string // lane and attempt, for people
	Product  *product.Product
	Commit   string
	Archive  string // tarball of the product's code on this host
	Origin   Origin
	Images   map[string]cloud.ImageID // by role; with Base, the reference base for every role
	Control  cloud.ImageID            // the reference base, for a control server when an audit needs one; "": none
	Deadline time.Time                // hard cap: resources carry it as a tag
	Lease    time.Time                // may be extended up to Deadline
}

func (s Spec) code() Code { return Code{Product: s.Product, Commit: s.Commit, Archive: s.Archive} }

// ID makes an environment's id from what it is for: the same words give the same id.
func ID(words ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	return "e" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:7])
}

var validID = regexp.MustCompile(`^[a-z][a-z0-9]{0,7}$`)

func (s Spec) check() error {
	switch {
	case !validID.MatchString(s.ID):
		return fmt.Errorf("environment id %q: use at most 8 lower-case letters and digits, a letter first", s.ID)
	case s.Owner == "":
		return fmt.Errorf("environment %s: no owner", s.ID)
	case s.Product == nil || s.Commit == "":
		return fmt.Errorf("environment %s: no product or no commit", s.ID)
	case s.Origin != Base && s.Origin != Prebuilt:
		return fmt.Errorf("environment %s: origin %q: use base or prebuilt", s.ID, s.Origin)
	case s.Origin == Base && s.Archive == "":
		return fmt.Errorf("environment %s: servers from a base need an archive of the product's code", s.ID)
	}
	return nil
}

// allowed are the destinations that the product asks for, if the site allows all that it asks for. What is in it twice is allowed once: providers
// refuse the same rule again.
func (s *Site) allowed(p *product.Product) ([]cloud.Egress, error) {
	if beyond := p.Beyond(s.Most); beyond != "" {
		return nil, verdict.Errorf(verdict.CheckFailed, "", "%s", beyond)
	}
	var list []cloud.Egress
	var asked []egress.Destination
	for _, entry := range p.Egress {
		d, err := egress.Parse(entry)
		if err != nil {
			return nil, verdict.Errorf(verdict.CheckFailed, "", "egress: %q %w", entry, err)
		}
		why, err := s.Egress.Refusal(d)
		if err != nil {
			return nil, fmt.Errorf("egress: %w", err)
		}
		if why != "" {
			return nil, verdict.Errorf(verdict.CheckFailed, "", "egress: %q %s; see environment.egress of the daemon's configuration", entry, why)
		}
		asked = append(asked, d)
		if e := (cloud.Egress{Prefix: d.Prefix, Port: d.Port}); !slices.Contains(list, e) {
			list = append(list, e)
		}
	}
	if wide := egress.TooWide(asked); wide != "" {
		return nil, verdict.Errorf(verdict.CheckFailed, "", "egress %s", wide)
	}
	return list, nil
}
