package iam

import "strings"

// Request is one action on one resource. A call of an API may make several of them, and every one has to
// be allowed.
type Request struct {
	Action   string // such as ec2:StopInstances
	Resource string // ARN, or "*" for actions that know no resources
	Keys     map[string][]string
}

// Decision is what policies say of a request.
type Decision struct {
	Allowed bool
	Denied  bool       // by a statement, and not just allowed by none
	By      *Statement // that allows or denies; nil if none does
	Pattern string     // of its resources, the one that fits
}

// Decide evaluates the policies of an identity together: what a statement denies is denied whatever
// allows it, and what no statement allows is not allowed. Condition keys are not told apart by case.
func Decide(policies []Policy, r Request) Decision {
	keys := make(map[string][]string, len(r.Keys))
	for k, v := range r.Keys {
		keys[strings.ToLower(k)] = v
	}
	var d Decision
	for _, p := range policies {
		for n := range p.Statements {
			s := &p.Statements[n]
			pattern, fits := s.fits(r, keys)
			switch {
			case !fits:
			case s.Deny:
				return Decision{Denied: true, By: s, Pattern: pattern}
			case !d.Allowed:
				d = Decision{Allowed: true, By: s, Pattern: pattern}
			}
		}
	}
	return d
}

// fits says whether a statement speaks of a request, and with which of its resources.
func (s *Statement) fits(r Request, keys map[string][]string) (string, bool) {
	spoken := false
	for _, a := range s.Actions { // actions are not told apart by case
		spoken = spoken || glob(strings.ToLower(a), strings.ToLower(r.Action))
	}
	if !spoken {
		return "", false
	}
	for _, c := range s.conditions {
		if !c.holds(keys) {
			return "", false
		}
	}
	for _, pattern := range s.Resources {
		if pattern == "*" || likeARN(pattern, r.Resource) {
			return pattern, true
		}
	}
	return "", false
}
