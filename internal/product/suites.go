package product

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/hallmark-ci/hallmark/internal/config"
)

// suitesDir holds a directory for each tier.
const suitesDir = "suites"

// The tiers of DESIGN.md section 1.
var tiers = []string{"smoke", "build", "functional", "application"}

// gossKinds are the kinds of checks that a goss file may name (goss v0.4); goss itself ignores
// others, and a test that is ignored can't fail.
var gossKinds = []string{
	"addr", "command", "dns", "file", "gossfile", "group", "http", "interface", "kernel-param", "matching",
	"mount", "package", "port", "process", "service", "user",
}

// checkSuites finds tests that would silently not be run: directories without any, goss files
// without a check or for a role that does not exist.
func (p *Product) checkSuites() error {
	root := filepath.Join(p.Dir, suitesDir)
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return config.Errors{{File: suitesDir, Problem: "is missing, so nothing would be tested", Remedy: "add suites/smoke and suites/build"}}
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", suitesDir, err)
	}
	var problems []*config.Error
	for _, e := range entries {
		name := path.Join(suitesDir, e.Name())
		switch {
		case !e.IsDir():
		case !slices.Contains(tiers, e.Name()):
			problems = append(problems, &config.Error{File: name, Problem: "is no tier", Remedy: config.Hint(e.Name(), tiers)})
		default:
			found, err := p.checkTier(e.Name())
			if err != nil {
				return err
			}
			problems = append(problems, found...)
		}
	}
	return config.Join(problems)
}

func (p *Product) checkTier(tier string) (problems []*config.Error, err error) {
	dir := path.Join(suitesDir, tier)
	tests := 0
	err = fs.WalkDir(os.DirFS(p.Dir), dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		switch ext := path.Ext(name); {
		case ext == ".yaml" || ext == ".yml":
			tests++
			data, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				return err
			}
			if e := p.checkGoss(name, data); e != nil {
				problems = append(problems, e)
			}
		case ext == ".star" || info.Mode()&0o111 != 0:
			tests++
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", dir, err)
	}
	if tests == 0 {
		problems = append(problems, &config.Error{File: dir, Problem: "has no tests", Remedy: "add a goss file such as all.yaml, or remove the directory"})
	}
	return problems, nil
}

// checkGoss looks at one goss file: suites/<tier>/all.yaml, or <role>.yaml.
func (p *Product) checkGoss(name string, data []byte) *config.Error {
	role, isYAML := strings.CutSuffix(path.Base(name), ".yaml")
	suites := append(sortedNames(p.Roles), "all")
	switch {
	case !isYAML:
		return &config.Error{File: name, Problem: "would not be read", Remedy: "call it .yaml"}
	case strings.Count(name, "/") != 2:
		return &config.Error{File: name, Problem: "lies too deep to be read", Remedy: "put it into suites/<tier>/"}
	case !slices.Contains(suites, role):
		return &config.Error{File: name, Problem: fmt.Sprintf("is for role %q, which is not in %s", role, File), Remedy: config.Hint(role, suites)}
	}
	line, problem, remedy := gossProblem(data)
	if problem == "" || templateLine.Match(data) {
		return nil // a template with statements becomes YAML only on the server
	}
	return &config.Error{File: name, Line: line, Problem: problem, Remedy: remedy}
}

// templateLine finds goss files in which more than values is templated.
var templateLine = regexp.MustCompile(`(?m)^\s*\{\{`)

// gossProblem says what is wrong with the text of a goss file, "" if nothing is.
func gossProblem(data []byte) (line int, problem, remedy string) {
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return 0, "is not valid YAML: " + strings.TrimPrefix(err.Error(), "yaml: "), "mind indentation, colons and quotes"
	}
	const empty, add = "is empty", "add a check, such as service or port"
	if len(document.Content) == 0 {
		return 1, empty, add
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		if root.ShortTag() == "!!null" {
			return 1, empty, add
		}
		return root.Line, "is no goss file", "write kinds of checks (service, port, file …) as keys"
	}
	checks := 0
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if !slices.Contains(gossKinds, key.Value) {
			return key.Line, fmt.Sprintf("%q is no kind of check that goss knows", key.Value), config.Hint(key.Value, gossKinds)
		}
		if value.Kind != yaml.MappingNode || len(value.Content) == 0 {
			return key.Line, fmt.Sprintf("%s names nothing to check", key.Value), "add a check under it, or remove it"
		}
		checks += len(value.Content) / 2
	}
	if checks == 0 {
		return 1, empty, add
	}
	return 0, "", ""
}
