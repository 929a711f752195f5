package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/ledger"
)

const (
	nightly = "nightly"
	release = "release"

	branchMark = "{branch}" // stands for the branch in Policy.Channel
)

// Fits says why no run of this kind may promote what it makes of this branch; nil if one may. A
// nightly run is of the development branch, a release run of a live release branch.
func (c *Config) Fits(kind, branch string) error {
	p := c.Product
	if kind == nightly {
		if branch != p.Development {
			return fmt.Errorf("a nightly run promotes the development branch %s and not %s", p.Development, branch)
		}
		return nil
	}
	if ok, err := path.Match(p.Releases, branch); err != nil || !ok {
		return fmt.Errorf("branch %s is no release branch: it does not match product.releases, %q", branch, p.Releases)
	}
	if slices.Contains(p.Retired, branch) {
		return fmt.Errorf("release branch %s is retired: product.retired names it", branch)
	}
	return nil
}

// Channel names the channel into which a good run of this kind and branch goes, "" for none. The
// error says that a branch's own channel would be one that the configuration names itself.
func (c *Config) Channel(kind, branch string) (string, error) {
	p := c.Policy[kind]
	name := p.ChannelFor(branch)
	own := strings.Contains(p.Channel, branchMark) && (kind != nightly || branch != c.Product.Development)
	if own && slices.Contains(c.Channels(), name) {
		return "", fmt.Errorf("the own channel of branch %s would be %q, which is a channel of the configuration: rename the branch, or set policy.%s.channel to something like rc-{branch}", branch, name, kind)
	}
	return name, nil
}

// Channels lists the channels that there are whatever release branches there are: production and
// those of the policies, sorted.
func (c *Config) Channels() []string {
	names := []string{ledger.Production}
	for kind, p := range c.Policy {
		switch {
		case p.Channel == "":
		case !strings.Contains(p.Channel, branchMark):
			names = append(names, p.Channel)
		case kind == nightly: // of one branch only
			names = append(names, p.ChannelFor(c.Product.Development))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// mayBe reports whether a channel of this name is there, or comes with some branch.
func (c *Config) mayBe(name string) bool {
	if slices.Contains(c.Channels(), name) {
		return true
	}
	p := c.Policy[release]
	if !strings.Contains(p.Channel, branchMark) {
		return false
	}
	if strings.ContainsAny(c.Product.Releases, `?[\`) {
		return true
	}
	literals := strings.Split(c.Product.Releases, "*")
	for i, l := range literals {
		literals[i] = ChannelOf(l)
	}
	fits, err := path.Match(strings.ReplaceAll(p.Channel, branchMark, strings.Join(literals, "*")), name)
	return fits || err != nil
}

// checkChannels wants channels that promotions can reach, and schedules of branches that fit.
func (c *Config) checkChannels(at Place) {
	if p := c.Policy[nightly]; p.ChannelFor(c.Product.Development) == ledger.Production {
		at.Problem("policy.nightly.channel", fmt.Sprintf("promotes nightly runs to %s, and these do not test the upgrade from what it holds", ledger.Production),
			"use another channel; release runs and `hallmark promote` move "+ledger.Production)
	}
	for i, s := range c.Schedules {
		if s.Branch == "" || c.Policy[s.Kind].Channel == "" || !slices.Contains(kinds, s.Kind) {
			continue
		}
		if err := c.Fits(s.Kind, s.Branch); err != nil {
			at.Problem(fmt.Sprintf("schedules[%d].branch", i), "does not fit: "+err.Error(), "name a branch that does, or remove branch or schedule")
		}
	}
}

// ChannelFor names the channel into which a run of this branch promotes, "" if into none.
func (p Policy) ChannelFor(branch string) string {
	return strings.ReplaceAll(p.Channel, branchMark, ChannelOf(branch))
}

// mostChannel is how long a channel's name may be: it is part of the names of images, which have 128
// characters on EC2.
const mostChannel = 64

// ChannelOf is a branch's own channel, in lower-case letters, digits, dots, dashes and underscores. No
// two branches have the same: release/1.0 has release-1.0, and release-1.0 has release__1.0. A slash
// becomes a dash, a dash two underscores, a capital letter _ and the letter, any other byte _ and its
// three decimal digits. What is too long is cut, and ends in a digest of the branch.
func ChannelOf(branch string) string {
	var b strings.Builder
	for i := range len(branch) {
		switch c := branch[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '.':
			b.WriteByte(c)
		case c == '/':
			b.WriteByte('-')
		case c == '-':
			b.WriteString("__")
		case 'A' <= c && c <= 'Z':
			b.WriteByte('_')
			b.WriteByte(c - 'A' + 'a')
		default:
			fmt.Fprintf(&b, "_%03d", c)
		}
	}
	name := b.String()
	if len(name) > mostChannel {
		sum := sha256.Sum256([]byte(branch))
		end := "_." + hex.EncodeToString(sum[:8]) // "_." comes of no branch
		name = name[:mostChannel-len(end)] + end
	}
	return name
}
