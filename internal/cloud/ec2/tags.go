package ec2

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// The keys of our tags. Every resource has the owner's; all others say whose it is or what it is.
const (
	tagPrefix      = "hallmark:"
	tagOwner       = tagPrefix + "owner"
	tagRun         = tagPrefix + "run"
	tagEnvironment = tagPrefix + "environment"
	tagDeadline    = tagPrefix + "deadline"
	tagExtra       = tagPrefix + "extra:" // and the key

	tagNetwork  = tagPrefix + "network"   // of all that belongs to a network: its name
	tagServer   = tagPrefix + "server"    // of an instance and its interface: the server's name
	tagToken    = tagPrefix + "token"     // of an instance: its launch token
	tagVolume   = tagPrefix + "volume"    // of a data volume: its name
	tagGroup    = tagPrefix + "group"     // of a security group: which of the two
	tagImage    = tagPrefix + "image"     // of an image and its snapshots: the image's name
	tagCopy     = tagPrefix + "copy-of"   // of a published copy: region and id of its source
	tagKind     = tagPrefix + "kind"      // of an image: its cloud.Kind
	tagProperty = tagPrefix + "property:" // of an image, and the key
	tagChannels = tagPrefix + "channels"  // of an image: for which channels it is published
	tagOffer    = tagPrefix + "offer"     // of an image: digest of how it is published
	tagName     = "Name"                  // what the console shows
)

// EC2's limits.
const (
	mostTags     = 50
	mostKey      = 128
	mostTagValue = 256
)

// tags of one resource.
type tags map[string]string

// label adds whose a resource is to what it is.
func label(t cloud.Tags, what tags) tags {
	all := maps.Clone(what)
	if all == nil {
		all = tags{}
	}
	all[tagOwner] = t.Owner
	if t.Run != "" {
		all[tagRun] = t.Run
	}
	if t.Environment != "" {
		all[tagEnvironment] = t.Environment
	}
	if !t.Deadline.IsZero() {
		all[tagDeadline] = t.Deadline.UTC().Format(time.RFC3339Nano)
	}
	for k, v := range t.Extra {
		all[tagExtra+k] = v
	}
	return all
}

// check says what EC2 would not keep, or would not let us find again.
func (t tags) check(call string) error {
	if t[tagOwner] == "" {
		return refuse(call, "no owner in its tags")
	}
	if len(t) > mostTags {
		return refuse(call, "%d tags are more than EC2 keeps (%d)", len(t), mostTags)
	}
	for k, v := range t {
		if len(k) > mostKey || len(v) > mostTagValue {
			return refuse(call, "the tag %s is longer than EC2 keeps (%d characters for a key, %d for a value)", k, mostKey, mostTagValue)
		}
	}
	return nil
}

// of gives the tags as a creation wants them, the same for each type of resource.
func (t tags) of(kinds ...types.ResourceType) []types.TagSpecification {
	list := t.list()
	var specs []types.TagSpecification
	for _, kind := range kinds {
		specs = append(specs, types.TagSpecification{ResourceType: kind, Tags: list})
	}
	return specs
}

func (t tags) list() []types.Tag {
	list := make([]types.Tag, 0, len(t))
	for _, k := range slices.Sorted(maps.Keys(t)) {
		list = append(list, types.Tag{Key: aws.String(k), Value: aws.String(t[k])})
	}
	return list
}

func read(list []types.Tag) tags {
	t := tags{}
	for _, one := range list {
		t[aws.ToString(one.Key)] = aws.ToString(one.Value)
	}
	return t
}

// cloud reads what label wrote. What cannot be read, because a person changed it, is left out.
func (t tags) cloud() cloud.Tags {
	c := cloud.Tags{Owner: t[tagOwner], Run: t[tagRun], Environment: t[tagEnvironment], Extra: t.under(tagExtra)}
	if at, err := time.Parse(time.RFC3339Nano, t[tagDeadline]); err == nil {
		c.Deadline = at
	}
	return c
}

// under gives the tags whose keys begin with prefix, without it; nil if there are none.
func (t tags) under(prefix string) map[string]string {
	var found map[string]string
	for k, v := range t {
		if key, ok := strings.CutPrefix(k, prefix); ok {
			if found == nil {
				found = map[string]string{}
			}
			found[key] = v
		}
	}
	return found
}

// where gives filters for tags by pairs of key and value; an empty value selects everything that has
// the key.
func where(pairs ...string) []types.Filter {
	var filters []types.Filter
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			filters = append(filters, types.Filter{Name: aws.String("tag-key"), Values: []string{pairs[i]}})
			continue
		}
		filters = append(filters, has("tag:"+pairs[i], literal(pairs[i+1])))
	}
	return filters
}

// has is a filter by an attribute; values are alternatives and may hold * and ?.
func has(attribute string, values ...string) types.Filter {
	return types.Filter{Name: aws.String(attribute), Values: values}
}

// literal keeps a filter from reading a name as a pattern.
func literal(s string) string { return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`).Replace(s) }

// selected gives the filters of a cloud.Filter. What has no owner is not ours and never passes.
func selected(f cloud.Filter) []types.Filter {
	filters := where(tagOwner, f.Owner)
	if f.Environment != "" {
		filters = append(filters, where(tagEnvironment, f.Environment)...)
	}
	if f.Run != "" {
		filters = append(filters, where(tagRun, f.Run)...)
	}
	return filters
}

// ours says that a resource has the tags of the wanted owner, or why it must be left alone.
func ours(call string, found tags, owner string) error {
	if got := found[tagOwner]; got == "" {
		return conflict(call, "it does not carry Hallmark's tags")
	} else if owner != "" && got != owner {
		return conflict(call, "it belongs to %q", got)
	}
	return nil
}

// token makes an idempotency token of whatever makes a call different from others.
func token(parts ...string) string { return fmt.Sprintf("hallmark-%x", digest(parts...))[:64] }
