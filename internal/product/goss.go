package product

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hallmark-ci/hallmark/internal/config"
)

// gossKinds are the kinds of checks that a goss file may name (goss v0.4), with what each may say. goss
// ignores everything else, and a test that is ignored can't fail.
var gossKinds = map[string][]string{
	"addr":         {"address", "local-address", "reachable", "timeout"},
	"command":      {"exec", "exit-status", "stdout", "stderr", "timeout"},
	"dns":          {"resolve", "resolveable", "resolvable", "addrs", "timeout", "server"},
	"file":         {"path", "exists", "mode", "size", "owner", "uid", "group", "gid", "linked-to", "filetype", "contains", "contents", "md5", "sha256", "sha512"},
	"gossfile":     {"file"},
	"group":        {"groupname", "exists", "gid"},
	"http":         {"url", "method", "status", "allow-insecure", "no-follow-redirects", "timeout", "request-headers", "request-body", "headers", "body", "username", "password", "ca-file", "cert-file", "key-file", "proxy"},
	"interface":    {"name", "exists", "addrs", "mtu"},
	"kernel-param": {"name", "value"},
	"matching":     {"content", "as-reader", "matches"},
	"mount":        {"mountpoint", "exists", "opts", "vfs-opts", "source", "filesystem", "timeout", "usage"},
	"package":      {"name", "installed", "versions"},
	"port":         {"port", "listening", "ip"},
	"process":      {"comm", "running"},
	"service":      {"name", "enabled", "running", "runlevels"},
	"user":         {"username", "exists", "uid", "gid", "groups", "home", "shell"},
}

// gossAlways may stand in every check.
var gossAlways = []string{"title", "meta", "skip"}

var gossNames = slices.Sorted(maps.Keys(gossKinds))

// gossError is what is wrong with the text of a goss file.
type gossError struct {
	line            int // 0: not known
	problem, remedy string
}

// gossProblems lists what is wrong with the text of a goss file.
func gossProblems(data []byte) []gossError {
	problems := varsProblems(data)
	if templateLine.Match(data) { // it becomes YAML only on the server
		return append(problems, includeProblems(data)...)
	}
	document, err := parse(data)
	if err != nil {
		return []gossError{{0, "is not valid YAML: " + strings.TrimPrefix(err.Error(), "yaml: "), "mind indentation, colons and quotes"}}
	}
	empty := []gossError{{1, "is empty", "add a check, such as service or port"}}
	if len(document.Content) == 0 {
		return empty
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		if root.ShortTag() == "!!null" {
			return empty
		}
		return []gossError{{root.Line, "is no goss file", "write kinds of checks (service, port, file …) as keys"}}
	}
	if len(root.Content) == 0 {
		return empty
	}
	for _, d := range duplicates(root) {
		problems = append(problems, gossError(d))
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		problems = append(problems, kindProblems(root.Content[i], root.Content[i+1])...)
	}
	return problems
}

// kindProblems looks at one kind of checks, such as everything under service.
func kindProblems(key, value *yaml.Node) (problems []gossError) {
	if gossKinds[key.Value] == nil {
		return []gossError{{key.Line, fmt.Sprintf("%q is no kind of check that goss knows", key.Value), config.Hint(key.Value, gossNames)}}
	}
	value = target(value)
	if value.Kind != yaml.MappingNode || len(value.Content) == 0 {
		return []gossError{{key.Line, fmt.Sprintf("%s names nothing to check", key.Value), "add a check under it, or remove it"}}
	}
	for i := 0; i+1 < len(value.Content); i += 2 {
		problems = append(problems, checkProblems(key.Value, value.Content[i], target(value.Content[i+1]))...)
	}
	return problems
}

// checkProblems looks at one check.
func checkProblems(kind string, key, value *yaml.Node) (problems []gossError) {
	include := kind == "gossfile"
	what := kind + " " + key.Value
	says, skipped, reason := 0, false, false
	file := key.Value
	known := append(slices.Clone(gossKinds[kind]), gossAlways...)
	for attribute, value := range attributes(value) {
		switch {
		case attribute.Value == "skip":
			skipped = value.Value == "true"
		case attribute.Value == "meta":
			reason = hasReason(value)
		case attribute.Value == "file" && include:
			file = value.Value
		case !slices.Contains(known, attribute.Value):
			problems = append(problems, gossError{attribute.Line, fmt.Sprintf("%s: goss would ignore %q", what, attribute.Value), config.Hint(attribute.Value, known)})
		case attribute.Value != "title":
			says++
		}
	}
	switch {
	case include && !path.IsAbs(file):
		problems = append(problems, includeProblem(key.Line, file))
	case !include && says == 0 && len(problems) == 0:
		problems = append(problems, gossError{key.Line, what + " compares nothing", "say what has to be so, for example exists, running or exit-status"})
	}
	if skipped && !reason {
		problems = append(problems, gossError{key.Line, what + " is skipped without a reason, which no gate accepts", "say why: `meta: {reason: …}`; or remove the check"})
	}
	return problems
}

// attributes gives keys and values of a mapping, those of merged ones (<<) too.
func attributes(m *yaml.Node) func(yield func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		if m.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(m.Content); i += 2 {
			key, value := m.Content[i], target(m.Content[i+1])
			if key.Value != "<<" {
				if !yield(key, value) {
					return
				}
				continue
			}
			for k, v := range attributes(value) {
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

func hasReason(meta *yaml.Node) bool {
	for key, value := range attributes(meta) {
		if key.Value == "reason" && strings.TrimSpace(value.Value) != "" {
			return true
		}
	}
	return false
}

// target is the node itself, or the one that an alias stands for.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func includeProblem(line int, file string) gossError {
	return gossError{line, fmt.Sprintf("includes %s, which would be looked for beside the suite on the server, where only the suite itself is", file),
		"write its checks into this file; or name a file that is on every such server by its absolute path"}
}

// templateLine finds goss files in which more than values is templated.
var templateLine = regexp.MustCompile(`(?m)^\s*\{\{`)

var (
	includeSection = regexp.MustCompile(`^gossfile:\s*(#.*)?$`)
	includeEntry   = regexp.MustCompile(`^\s+["']?([^"':]+)["']?:`)
	fileOfEntry    = regexp.MustCompile(`^\s+file:\s*["']?([^"'\s]+)`)
)

// includeProblems finds includes in the text of a template.
func includeProblems(data []byte) (problems []gossError) {
	inside, entry := false, 0
	for i, line := range strings.Split(string(data), "\n") {
		switch {
		case includeSection.MatchString(line):
			inside = true
		case !inside || strings.TrimSpace(line) == "":
		case line[0] != ' ' && line[0] != '\t' && line[0] != '{':
			inside = false
		default:
			m := fileOfEntry.FindStringSubmatch(line)
			if n := len(problems); m != nil && n > 0 && problems[n-1].line == entry {
				problems = problems[:n-1] // the entry's name is no file's then
			}
			if m == nil {
				if m = includeEntry.FindStringSubmatch(line); m != nil {
					entry = i + 1
				}
			}
			if m != nil && !path.IsAbs(m[1]) {
				problems = append(problems, includeProblem(i+1, m[1]))
			}
		}
	}
	return problems
}

// serverFacts are the variables that a goss file finds on a server: Hallmark's facts.
var serverFacts = []string{"hallmark", "hallmark_role", "hallmark_stage"}

var variable = regexp.MustCompile(`\.Vars\.([A-Za-z_]\w*)`)

// varsProblems finds variables that no server has; goss takes them for empty.
func varsProblems(data []byte) (problems []gossError) {
	for i, line := range strings.Split(string(data), "\n") {
		for _, m := range variable.FindAllStringSubmatch(line, -1) {
			if !slices.Contains(serverFacts, m[1]) {
				problems = append(problems, gossError{i + 1, fmt.Sprintf(".Vars.%s is on no server: variables are Hallmark's facts", m[1]), config.Hint(m[1], serverFacts)})
			}
		}
	}
	return problems
}
