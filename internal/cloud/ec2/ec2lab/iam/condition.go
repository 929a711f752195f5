package iam

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// condition compares one key of a request with values, of which one is to match.
type condition struct {
	key      string // in lower case
	operator operator
	ifExists bool // it holds as well if the request has no such key
	set      string
	values   []string
}

// operator says whether values of a condition fit those of a request.
type operator struct {
	match func(pattern, value string) bool
	not   bool // it holds if none matches, and so also without the key
	null  bool // it asks for the key, not for a value
}

func equal(a, b string) bool { return a == b }

// operators are those that are known; each but Null may end with IfExists.
var operators = map[string]operator{
	"StringEquals":    {match: equal},
	"StringNotEquals": {match: equal, not: true},
	"StringLike":      {match: glob},
	"StringNotLike":   {match: glob, not: true},
	"ArnEquals":       {match: likeARN}, // IAM has two names for the same
	"ArnLike":         {match: likeARN},
	"Bool":            {match: strings.EqualFold},
	"Null":            {match: strings.EqualFold, null: true},
}

// Set operators, before another, are for keys with several values.
const (
	forAll = "ForAllValues" // each value of the request; none is well, too
	forAny = "ForAnyValue"
)

func parseCondition(name, key string, text json.RawMessage, keys []string) (condition, error) {
	base, ifExists := strings.CutSuffix(name, "IfExists")
	set, rest, ok := strings.Cut(base, ":")
	if !ok {
		set, rest = "", base
	}
	o, ok := operators[rest]
	if !ok || o.null && base != name || o.null && set != "" || set != "" && set != forAll && set != forAny {
		return condition{}, fmt.Errorf("the operator %q is not known; there are %v", name, slices.Sorted(maps.Keys(operators)))
	}
	c := condition{key: strings.ToLower(key), operator: o, ifExists: ifExists, set: set}
	if !slices.ContainsFunc(keys, func(k string) bool {
		k = strings.ToLower(k)
		if strings.HasSuffix(k, "/") {
			return strings.HasPrefix(c.key, k) && len(c.key) > len(k)
		}
		return k == c.key
	}) {
		return c, fmt.Errorf("the condition key %q is not known", key)
	}
	var yes bool
	if json.Unmarshal(text, &yes) == nil && string(text) != "null" { // IAM takes true beside "true"
		text = fmt.Appendf(nil, "%q", fmt.Sprint(yes))
	}
	var err error
	c.values, err = words("value of "+key, text)
	return c, err
}

// holds compares with a request's keys, which are in lower case.
func (c condition) holds(keys map[string][]string) bool {
	given, there := keys[c.key]
	there = there && len(given) > 0
	matched := func(v string) bool {
		return slices.ContainsFunc(c.values, func(pattern string) bool { return c.operator.match(pattern, v) })
	}
	fits := func(v string) bool { return matched(v) != c.operator.not }
	switch {
	case c.operator.null:
		return matched(fmt.Sprint(!there))
	case c.set == forAll:
		return !slices.ContainsFunc(given, func(v string) bool { return !fits(v) })
	case !there:
		return c.ifExists || c.operator.not && c.set == ""
	case c.set == forAny:
		return slices.ContainsFunc(given, fits)
	}
	return slices.ContainsFunc(given, matched) != c.operator.not
}

// glob matches * and ? as IAM has them; nothing escapes them.
func glob(pattern, text string) bool {
	star, from := -1, 0 // where the last * is, and from where on the text was not yet tried
	p, t := 0, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			from++
			p, t = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// likeARN matches each of an ARN's six parts on its own: a * does not go beyond its part.
func likeARN(pattern, arn string) bool {
	a, ok := segments(pattern)
	b, fits := segments(arn)
	if !ok || !fits {
		return false
	}
	for n := range a {
		if !glob(a[n], b[n]) {
			return false
		}
	}
	return true
}
