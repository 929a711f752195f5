package ec2lab

import (
	"maps"
	"slices"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

type tagSet map[string]string

func (t tagSet) keys() []string { return slices.Sorted(maps.Keys(t)) }

type tag struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

// view gives tags in the order of their keys.
func (t tagSet) view() []tag {
	list := make([]tag, 0, len(t))
	for _, k := range t.keys() {
		list = append(list, tag{k, t[k]})
	}
	return list
}

// tagSpecification gives tags to what a request makes.
type tagSpecification struct {
	ResourceType string `query:"required"`
	Tag          []tag
}

// kinds of resources by the prefix of their ids.
var kinds = map[string]string{
	"i": "instance", "ami": "image", "snap": "snapshot", "vol": "volume", "sg": "security-group", "eni": "network-interface",
	"subnet": "subnet", "vpc": "vpc", "key": "key-pair", "lt": "launch-template", "sir": "spot-instances-request", "sgr": "security-group-rule",
}

func kindOf(id string) string {
	prefix, _, _ := strings.Cut(id, "-")
	return kinds[prefix]
}

// limits of a resource's tags.
const (
	mostTags = 50
	longKey  = 128
	longTag  = 256
)

func checkTags(tags []tag) error {
	seen := map[string]bool{}
	for _, t := range tags {
		switch {
		case t.Key == "" || len([]rune(t.Key)) > longKey:
			return query.Errorf("InvalidParameterValue", "Tag key '%s': a key has 1 to %d characters", t.Key, longKey)
		case len([]rune(t.Value)) > longTag:
			return query.Errorf("InvalidParameterValue", "Tag value of '%s' exceeds the maximum length of %d characters", t.Key, longTag)
		case strings.HasPrefix(strings.ToLower(t.Key), "aws:"):
			return query.Errorf("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		case seen[t.Key]:
			return query.Errorf("InvalidParameterValue", "Duplicate tag key '%s' specified.", t.Key)
		}
		seen[t.Key] = true
	}
	if len(tags) > mostTags {
		return query.Errorf("TagLimitExceeded", "The maximum number of tags for a resource is %d", mostTags)
	}
	return nil
}

// specified gives the tags of a request by the kind of resource; only the kinds given may occur.
func specified(list []tagSpecification, allowed ...string) (map[string]tagSet, error) {
	all := map[string]tagSet{}
	for _, s := range list {
		if !slices.Contains(allowed, s.ResourceType) {
			return nil, query.Errorf("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", s.ResourceType)
		}
		if all[s.ResourceType] != nil {
			return nil, query.Errorf("InvalidParameterValue", "The same resource type may not be specified more than once in tag specifications: %s", s.ResourceType)
		}
		if err := checkTags(s.Tag); err != nil {
			return nil, err
		}
		set := tagSet{}
		for _, t := range s.Tag {
			set[t.Key] = t.Value
		}
		all[s.ResourceType] = set
	}
	return all, nil
}

// tag sets the first tags of a new resource.
func (r *region) tag(id string, tags tagSet) {
	if len(tags) > 0 {
		r.tags[id] = maps.Clone(tags)
	}
}

// exists says whether there is something with this id that can have tags.
func (r *region) exists(id string) bool {
	switch kindOf(id) {
	case "instance":
		return r.instances[id] != nil
	case "image":
		return r.images[id] != nil
	case "snapshot":
		return r.snapshots[id] != nil
	case "volume":
		return r.volumes[id] != nil
	case "security-group":
		return r.groups[id] != nil
	case "network-interface":
		return r.nics[id] != nil
	case "key-pair":
		return slices.ContainsFunc(slices.Collect(maps.Values(r.keys)), func(k *keyPair) bool { return k.id == id })
	case "launch-template":
		return r.templates[id] != nil
	case "spot-instances-request":
		return r.spots[id] != nil
	case "vpc":
		return r.vpc.id == id
	case "subnet":
		_, err := r.subnet(id)
		return err == nil
	}
	return false
}

func (r *region) mustExist(ids []string) error {
	for _, id := range ids {
		if !r.exists(id) {
			return query.Errorf("InvalidID", "The ID '%s' is not valid", id)
		}
	}
	return nil
}

type createTags struct {
	dry
	ResourceID []string `query:"required"`
	Tag        []tag    `query:"required"`
}

func (c *call) createTags(in *createTags) (any, error) {
	if err := joined(checkTags(in.Tag), c.r.mustExist(in.ResourceID)); err != nil {
		return nil, err
	}
	for _, id := range in.ResourceID {
		merged := maps.Clone(c.r.tags[id])
		if merged == nil {
			merged = tagSet{}
		}
		for _, t := range in.Tag {
			merged[t.Key] = t.Value
		}
		if len(merged) > mostTags {
			return nil, query.Errorf("TagLimitExceeded", "The maximum number of tags for a resource is %d", mostTags)
		}
		c.r.tags[id] = merged
	}
	return done{true}, nil
}

type deleteTags struct {
	dry
	ResourceID []string `query:"required"`
	Tag        []struct {
		Key   string
		Value *string
	}
}

func (c *call) deleteTags(in *deleteTags) (any, error) {
	if err := c.r.mustExist(in.ResourceID); err != nil {
		return nil, err
	}
	for _, id := range in.ResourceID {
		if len(in.Tag) == 0 {
			delete(c.r.tags, id)
		}
		for _, t := range in.Tag {
			if t.Value == nil || c.r.tags[id][t.Key] == *t.Value {
				delete(c.r.tags[id], t.Key)
			}
		}
	}
	return done{true}, nil
}

type describeTags struct {
	dry
	pages
	Filter []filter
}

// labelled is one tag of one resource, as DescribeTags lists them.
type labelled struct {
	identity `xml:"-"`
	Key      string `xml:"key"`
	Resource string `xml:"resourceId"`
	Kind     string `xml:"resourceType"`
	Value    string `xml:"value"`
}

func (c *call) describeTags(in *describeTags) (any, error) {
	var all []*labelled
	for _, id := range slices.Sorted(maps.Keys(c.r.tags)) {
		for _, t := range c.r.tags[id].view() {
			all = append(all, &labelled{identity{id, len(all) + 1}, t.Key, id, kindOf(id), t.Value})
		}
	}
	kept, err := sift(c, in.Filter, all, func(t *labelled) attributes {
		return attributes{"key": attr(t.Key), "resource-id": attr(t.Resource), "resource-type": attr(t.Kind), "value": attr(t.Value)}
	})
	if err != nil {
		return nil, err
	}
	kept, next, err := page(kept, in.pages)
	return struct {
		Tags []*labelled `xml:"tagSet>item"`
		Next string      `xml:"nextToken,omitempty"`
	}{kept, next}, err
}
