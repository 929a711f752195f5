package ec2

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Offer says where images of channels are published beside Config.Region, and to whom. What several
// offers say of one channel adds up.
type Offer struct {
	Channels       []string          // patterns of path.Match
	Regions        []string          // of Config.Regions
	Accounts       []string          // that may launch them, and copy their snapshots
	Organisations  []string          // ARNs of organisations and organisational units that may launch them
	Keys           map[string]string // KMS key by region that encrypts the copy there; none: the account's default key
	DeprecateAfter time.Duration     // from when on others are not offered them any more, counted from their creation; 0: never
}

// check says which offers could never be kept.
func (c *Config) check(call string) error {
	for _, o := range c.Publish {
		for _, pattern := range o.Channels {
			if _, err := path.Match(pattern, ""); err != nil {
				return refuse(call, "%q is no pattern for channels", pattern)
			}
		}
		for _, region := range o.Regions {
			if region == c.Region || !slices.Contains(c.Regions, region) {
				return refuse(call, "%s is not among the configured regions to publish to", region)
			}
		}
	}
	return nil
}

// publication is what all channels that hold an image want together: it is offered wherever one of them
// wants it, to whomever one of them wants, until the last does not want it any more.
type publication struct {
	regions, accounts, organisations []string // sorted
	keys                             map[string]string
	after                            time.Duration // 0: never deprecated
}

func (c *Config) publication(channels []string) publication {
	p := publication{keys: map[string]string{}}
	lasts := false
	for _, channel := range channels {
		var after time.Duration
		for _, o := range c.Publish {
			if !slices.ContainsFunc(o.Channels, func(pattern string) bool {
				ok, _ := path.Match(pattern, channel) // check refused those that are none
				return ok
			}) {
				continue
			}
			p.regions = append(p.regions, o.Regions...)
			p.accounts = append(p.accounts, o.Accounts...)
			p.organisations = append(p.organisations, o.Organisations...)
			for _, region := range o.Regions {
				if key := o.Keys[region]; key != "" {
					p.keys[region] = key
				}
			}
			after = max(after, o.DeprecateAfter)
		}
		lasts = lasts || after == 0
		p.after = max(p.after, after)
	}
	if lasts {
		p.after = 0
	}
	for _, list := range []*[]string{&p.regions, &p.accounts, &p.organisations} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return p
}

// deprecated is when an image is deprecated that was made at a time; zero: never.
func (p publication) deprecated(made time.Time) time.Time {
	if p.after == 0 {
		return time.Time{}
	}
	return made.Add(p.after)
}

// An image that is published, or is to be withdrawn, is marked in its tags: so one look at many images
// tells which are, for whom, and with which something is left to do. That an image is protected does not
// tell: a person may want to keep one.
var (
	begun    = tags{tagChannels: "", tagOffer: "begun"}
	unmarked = tags{tagChannels: "", tagOffer: ""} // what marked it is not deleted: that would take another permission
)

// mark gives the tags of an image that is published for channels, when all is done. The second one
// changes with the configuration.
func (p publication) mark(channels []string) tags {
	d := digest(fmt.Sprintf("%q", []any{p.regions, p.accounts, p.organisations, p.keys, p.after.String()}))
	return tags{tagChannels: strings.Join(channels, " "), tagOffer: fmt.Sprintf("%x", d[:8])}
}

// has reports whether tags carry the mark.
func (t tags) has(mark tags) bool {
	return t[tagChannels] == mark[tagChannels] && t[tagOffer] == mark[tagOffer]
}

// channels for which an image is marked.
func (t tags) channels() []string { return strings.Fields(t[tagChannels]) }

// offered says whether an image and its copies, by region, are as they should be for the channels that
// it is marked for. Who may launch it is taken from the mark: to ask for it costs two calls for each.
func (c *Config) offered(found *types.Image, copies map[string]*types.Image) bool {
	t := read(found.Tags)
	channels := t.channels()
	pub := c.publication(channels)
	if len(channels) == 0 || !t.has(pub.mark(channels)) || !protected(found) || found.State != types.ImageStateAvailable {
		return false
	}
	for region, one := range copies {
		if protected(one) && !slices.Contains(pub.regions, region) {
			return false // it was offered for channels that have left
		}
	}
	return !slices.ContainsFunc(pub.regions, func(region string) bool {
		one := copies[region]
		return one == nil || one.State != types.ImageStateAvailable || !protected(one)
	})
}
