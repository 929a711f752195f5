// Package iam reads policies of IAM identities and says what they allow. It owns the documents' grammar
// and the rules by which they are evaluated; what resources a request touches, and which condition keys
// it has, its caller says.
//
// It is strict: an element, an operator or a condition key that it does not know is an error and never
// ignored, so that a document it takes means here what it means to AWS. It has no NotAction, NotResource,
// principals and policy variables.
package iam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// version is the one of the grammar that is spoken here.
const version = "2012-10-17"

// Policy is a document that was read.
type Policy struct{ Statements []Statement }

// Statement allows or denies actions on resources under conditions, all of which must hold.
type Statement struct {
	Sid        string // "": it has none
	Deny       bool
	Actions    []string // with * and ?
	Resources  []string // ARNs with * and ?, or "*"
	conditions []condition
}

// Parse reads a document. Condition keys must be among those given, without regard to case; one that
// ends with a slash stands for all that begin with it, such as "aws:ResourceTag/".
func Parse(text []byte, keys []string) (Policy, error) {
	if err := unambiguous(text); err != nil {
		return Policy{}, fmt.Errorf("read a policy: %w", err)
	}
	var document struct {
		Version   string
		ID        string `json:"Id"`
		Statement json.RawMessage
	}
	if err := strictly(text, &document); err != nil {
		return Policy{}, fmt.Errorf("read a policy: %w", err)
	}
	if document.Version != version {
		return Policy{}, fmt.Errorf("read a policy: version %q: use %q", document.Version, version)
	}
	raw, err := several[json.RawMessage](document.Statement, '{')
	if err != nil || len(raw) == 0 {
		return Policy{}, errors.New("read a policy: it has no statements")
	}
	var p Policy
	seen := map[string]bool{}
	for n, one := range raw {
		s, err := parseStatement(one, keys)
		if err == nil && s.Sid != "" && seen[s.Sid] {
			err = fmt.Errorf("the Sid %s is used twice", s.Sid)
		}
		if err != nil {
			return Policy{}, fmt.Errorf("read a policy: statement %d: %w", n+1, err)
		}
		seen[s.Sid] = true
		p.Statements = append(p.Statements, s)
	}
	return p, nil
}

var sid = regexp.MustCompile(`^[A-Za-z0-9]*$`)

func parseStatement(text []byte, keys []string) (Statement, error) {
	var in struct {
		Sid, Effect      string
		Action, Resource json.RawMessage
		Condition        map[string]map[string]json.RawMessage
	}
	if err := strictly(text, &in); err != nil {
		return Statement{}, err
	}
	s := Statement{Sid: in.Sid, Deny: in.Effect == "Deny"}
	if !sid.MatchString(in.Sid) {
		return s, fmt.Errorf("the Sid %q: letters and digits only", in.Sid)
	}
	if in.Effect != "Allow" && in.Effect != "Deny" {
		return s, fmt.Errorf("the Effect %q: Allow or Deny", in.Effect)
	}
	var err error
	if s.Actions, err = words("Action", in.Action); err != nil {
		return s, err
	}
	if s.Resources, err = words("Resource", in.Resource); err != nil {
		return s, err
	}
	for _, a := range s.Actions {
		if !action.MatchString(a) {
			return s, fmt.Errorf("the action %q: say service:Action, with * and ?", a)
		}
	}
	for _, r := range s.Resources {
		if _, ok := segments(r); !ok && r != "*" {
			return s, fmt.Errorf("the resource %q is neither an ARN nor *", r)
		}
	}
	for operator, tests := range in.Condition {
		if len(tests) == 0 {
			return s, fmt.Errorf("the condition %s compares nothing", operator)
		}
		for key, values := range tests {
			c, err := parseCondition(operator, key, values, keys)
			if err != nil {
				return s, err
			}
			s.conditions = append(s.conditions, c)
		}
	}
	return s, nil
}

var action = regexp.MustCompile(`^(\*|[a-z0-9-]+:[A-Za-z0-9*?]+)$`)

// segments are an ARN's six parts.
func segments(arn string) ([]string, bool) {
	parts := strings.SplitN(arn, ":", 6)
	return parts, len(parts) == 6 && parts[0] == "arn"
}

// words reads one string or several, at least one.
func words(what string, text json.RawMessage) ([]string, error) {
	if len(text) == 0 {
		return nil, fmt.Errorf("it has no %s", what)
	}
	list, err := several[string](text, '"')
	if err != nil || len(list) == 0 {
		return nil, fmt.Errorf("the %s is neither a string nor a list of some", what)
	}
	for _, w := range list {
		if strings.Contains(w, "${") {
			return nil, fmt.Errorf("the %s %q has a policy variable, and these are not known here", what, w)
		}
	}
	return list, nil
}

// several reads a list, or one value that begins with the character given.
func several[T any](text json.RawMessage, single byte) ([]T, error) {
	var list []T
	if t := bytes.TrimSpace(text); len(t) > 0 && t[0] == single {
		text = append(append([]byte{'['}, t...), ']')
	}
	err := json.Unmarshal(text, &list)
	return list, err
}

// strictly decodes one value and refuses fields that there is no place for. Names that differ in case
// only are refused as well, which encoding/json would take.
func strictly(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	var names map[string]json.RawMessage
	if err := json.Unmarshal(text, &names); err != nil {
		return err
	}
	for name := range names {
		if !known[name] {
			return fmt.Errorf("the element %q is not known", name)
		}
	}
	return nil
}

// known are the elements of documents and statements, in their one spelling.
var known = map[string]bool{
	"Version": true, "Id": true, "Statement": true, "Sid": true, "Effect": true, "Action": true, "Resource": true, "Condition": true,
}

// unambiguous refuses what says the same name twice, where encoding/json would take the last one, and
// what goes on after its end.
func unambiguous(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := value(d, 0); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after its end")
	}
	return nil
}

// deepest is more than a policy needs.
const deepest = 10

func value(d *json.Decoder, depth int) error {
	if depth > deepest {
		return errors.New("it is nested too deeply")
	}
	t, err := d.Token()
	if err != nil {
		return err
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	names := map[string]bool{}
	for d.More() {
		if open == '{' {
			name, err := d.Token()
			if err != nil {
				return err
			}
			n, ok := name.(string)
			if !ok || names[n] {
				return fmt.Errorf("%v is there twice", name)
			}
			names[n] = true
		}
		if err := value(d, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}
