package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// faults are errors of goss that come from the text of a test, whatever the server is like. Errors in
// reading what a server has (a command that ran out of time, output that is no number) are not among
// them: those are results.
var faults = regexp.MustCompile(`^(` + strings.Join([]string{
	`Syntax Error:`,                                // an unknown matcher, or a wrong argument of one
	`HavePatterns matcher expects `,                // a number or a map where text is wanted
	`error parsing regexp: `,                       // "/root(/"
	`RegExp match failed to compile `,              // match-regexp
	`Expected a valid semver constraint`,           // semver-constraint
	`Expected a number\.`,                          // gt and its like with a text: what is compared with it is a number by then
	`Refusing to compare <nil> to <nil>`,           // equal: null
	`\w+ "[^"]*": unsupported protocol scheme`,     // of a URL
	`parse "[^"]*": |net/http: invalid (method|h)`, // no URL, no method, no header
	`Failed parse root certificate`,
}, "|") + `)`)

// mismatches are errors that say that a matcher does not fit the kind of value it is given. The kinds
// of all values are goss's own, but for those that gjson takes out of an answer.
var mismatches = regexp.MustCompile(`^(matchers\.\w+\{[^}]*\}: )?(Expected (numeric|string|a boolean)\b.*Got|` +
	`(HaveLen|ContainElements?|ConsistOf|HaveKey|HavePrefix|HaveSuffix|ContainSubstring|RegExp)\b.* (matcher expects|matcher requires)|` +
	`Incorrect type )`)

// Kinds of the values that goss reads from a server, for plain comparisons with them.
var (
	boolean = []string{"exists", "installed", "reachable", "listening", "enabled", "running", "resolvable"}
	words   = []string{"mode", "owner", "group", "filetype", "linkedto", "linked-to", "home", "shell", "md5", "sha256", "sha512", "source"}
	numbers = []string{"exit-status", "status", "uid", "gid", "size", "mtu", "usage"}
)

// fault says what is wrong with the text of a test that did not pass; "" if nothing is, and the server
// is what it speaks of.
func (r gossResult) fault() string {
	if r.Err != nil {
		said := strings.Join(strings.Fields(*r.Err), " ")
		if faults.MatchString(said) {
			return said
		}
		if mismatches.MatchString(said) && !strings.Contains(string(r.Matcher.Chain), "gjson") {
			return said
		}
	}
	var wanted any
	if json.Unmarshal(r.Matcher.Expected, &wanted) != nil {
		return ""
	}
	is := func(kind []string) bool { return slices.Contains(kind, strings.ToLower(r.Property)) }
	switch value := wanted.(type) {
	case float64:
		if is(boolean) {
			return fmt.Sprintf("wants true or false, not the number %v", value)
		}
		if is(words) {
			return fmt.Sprintf("wants text, not the number %v: put it between quotes", value)
		}
	case bool:
		if is(words) || is(numbers) {
			return fmt.Sprintf("does not compare with %v", value)
		}
	case string:
		if is(boolean) {
			return fmt.Sprintf("wants true or false, not the text %q", value)
		}
		if _, err := strconv.ParseFloat(value, 64); err != nil && is(numbers) {
			return fmt.Sprintf("wants a number, not the text %q", value)
		}
	}
	return ""
}

// survivable finds what goss would not refuse but panic about, in a goroutine of its own.
func survivable(section string, value *yaml.Node) error {
	for i, child := range value.Content {
		if value.Kind == yaml.SequenceNode && (child.Value == "/" || child.Value == "!/") && child.Kind == yaml.ScalarNode {
			return fmt.Errorf("%d: the pattern %q is no expression: write %q for a slash", child.Line, child.Value, `\/`)
		}
		if value.Kind == yaml.MappingNode && section == "command" && i%2 == 1 && value.Content[i-1].Value == "exit-status" && child.ShortTag() == "!!str" {
			if _, err := strconv.Atoi(child.Value); err != nil {
				return fmt.Errorf("%d: exit-status: wants a number, not the text %q", child.Line, child.Value)
			}
		}
		if err := survivable(section, child); err != nil {
			return err
		}
	}
	return nil
}
