package ec2lab

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// filter selects by an attribute. Values are alternatives, filters must all match.
type filter struct {
	Name  string `query:"required"`
	Value []string
}

// attributes are what one kind of resource can be filtered by, tags aside.
type attributes map[string][]string

// attr is an attribute with one value.
func attr(v string) []string { return []string{v} }

// sift keeps the resources that pass. It refuses filters which of does not give, also when there is
// nothing to be filtered: of is asked with an empty resource for that.
func sift[T any, P resource[T]](c *call, filters []filter, list []P, of func(P) attributes) ([]P, error) {
	known := of(new(T))
	for _, f := range filters {
		if _, ok := known[f.Name]; !ok && !strings.HasPrefix(f.Name, "tag:") && f.Name != "tag-key" {
			return nil, query.Errorf("InvalidParameterValue", "The filter '%s' is invalid", f.Name)
		}
		if len(f.Value) == 0 {
			return nil, query.Errorf("InvalidParameterValue", "The filter '%s' has no value", f.Name)
		}
	}
	byTag := slices.DeleteFunc(slices.Clone(filters), func(f filter) bool { _, ok := known[f.Name]; return ok })
	kept := list[:0:0]
	for _, it := range list {
		tags := c.r.tags[it.who().id]
		if passes(byTag, nil, tags) && passes(filters, of(it), tags) { // tags first: they leave little to look at
			kept = append(kept, it)
		}
	}
	return kept, nil
}

func passes(filters []filter, has attributes, tags tagSet) bool {
	for _, f := range filters {
		values := has[f.Name]
		if key, ok := strings.CutPrefix(f.Name, "tag:"); ok {
			values = nil
			if v, ok := tags[key]; ok {
				values = attr(v)
			}
		} else if f.Name == "tag-key" {
			values = tags.keys()
		}
		if !slices.ContainsFunc(values, func(v string) bool { return matches(f.Value, v) }) {
			return false
		}
	}
	return true
}

func matches(patterns []string, v string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return glob(p, v) })
}

// glob matches with * for any characters and ? for one, as filters do; \ takes the next literally.
func glob(pattern, s string) bool {
	for pattern != "" {
		switch pattern[0] {
		case '*':
			for i := len(s); i >= 0; i-- {
				if glob(pattern[1:], s[i:]) {
					return true
				}
			}
			return false
		case '?':
			if s == "" {
				return false
			}
		default:
			if pattern[0] == '\\' && len(pattern) > 1 {
				pattern = pattern[1:]
			}
			if s == "" || s[0] != pattern[0] {
				return false
			}
		}
		pattern, s = pattern[1:], s[1:]
	}
	return s == ""
}

// pages is embedded by requests whose answers come in pages.
type pages struct {
	MaxResults int
	NextToken  string
}

// page gives one page of a list and the token of the next. A token is the id after which to go on,
// so that what is made or removed in between does not shift the pages.
func page[T any, P resource[T]](list []P, p pages) ([]P, string, error) {
	if p.NextToken != "" {
		raw, err := base64.RawURLEncoding.DecodeString(p.NextToken)
		after, converr := strconv.Atoi(string(raw))
		if err != nil || converr != nil {
			return nil, "", query.Errorf("InvalidNextToken", "The token '%s' is invalid", p.NextToken)
		}
		list = list[len(list)-len(slices.DeleteFunc(slices.Clone(list), func(it P) bool { return it.who().born <= after })):]
	}
	if p.MaxResults < 0 || p.MaxResults > 1000 {
		return nil, "", query.Errorf("InvalidParameterValue", "Value (%d) for parameter maxResults is invalid", p.MaxResults)
	}
	if p.MaxResults == 0 || len(list) <= p.MaxResults {
		return list, "", nil
	}
	list = list[:p.MaxResults]
	last := strconv.Itoa(list[len(list)-1].who().born)
	return list, base64.RawURLEncoding.EncodeToString([]byte(last)), nil
}
