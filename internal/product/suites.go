package product

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hallmark-ci/hallmark/internal/config"
)

// suitesDir holds a directory for each tier.
const suitesDir = "suites"

// The tiers of the design page, section 1, and those of them that runs test.
var (
	tiers      = []string{"smoke", "build", "functional", "application"}
	builtTiers = []string{"smoke", "build"}
)

// checkSuites wants tests at all.
func (p *Product) checkSuites() error {
	if _, err := status(p.Dir, suitesDir); errors.Is(err, fs.ErrNotExist) {
		return config.Errors{{File: suitesDir, Problem: "is missing, so nothing would be tested", Remedy: "add suites/smoke and suites/build"}}
	} else if err != nil {
		return fmt.Errorf("read %s: %w", suitesDir, err)
	}
	return nil
}

// suites finds tests that would silently not be run: directories without any, goss files without a check or
// for a role that does not exist, and everything else that is not read.
func (p *Product) suites(all []entry) (problems []*config.Error, err error) {
	folders, err := subfolders(p.Dir, suitesDir)
	if errors.Is(err, fs.ErrNotExist) { // told as missing
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", suitesDir, err)
	}
	tests := map[string]int{}
	for _, e := range all {
		if !e.under(suitesDir) || e.documentation() && e.ext() != ".yaml" && e.ext() != ".yml" {
			continue
		}
		tier := e.parts()[1]
		if strings.Count(e.name, "/") > 1 {
			tests[tier]++
			if !slices.Contains(tiers, tier) {
				continue // told once, of the folder
			}
		}
		found, err := p.suiteFile(e)
		if err != nil {
			return nil, err
		}
		problems = append(problems, found...)
	}
	for _, tier := range folders {
		name := path.Join(suitesDir, tier)
		switch {
		case !slices.Contains(tiers, tier):
			problems = append(problems, &config.Error{File: name, Problem: "is no tier", Remedy: config.Hint(tier, tiers)})
		case tests[tier] == 0:
			problems = append(problems, &config.Error{File: name, Problem: "has no tests", Remedy: "add a goss file such as all.yaml, or remove the directory"})
		}
	}
	if len(problems) == 0 && len(tests) == 0 {
		problems = append(problems, &config.Error{File: suitesDir, Problem: "has no tests", Remedy: "add suites/smoke/all.yaml and suites/build/all.yaml"})
	}
	return problems, nil
}

// suiteFile looks at one file under suites/.
func (p *Product) suiteFile(e entry) ([]*config.Error, error) {
	wrong := func(problem, remedy string) ([]*config.Error, error) {
		return []*config.Error{{File: e.name, Problem: problem, Remedy: remedy}}, nil
	}
	parts := e.parts()
	const notYet = "Hallmark runs goss files of smoke and build only, yet (design page, section 9)"
	switch {
	case len(parts) == 2:
		return wrong("lies in no tier, so no run would use it", "put it into suites/smoke or suites/build")
	case !slices.Contains(builtTiers, parts[1]):
		return wrong("is of tier "+parts[1]+", which no run tests: "+notYet, "say it by goss in suites/build, or keep it outside suites/ until then")
	case e.ext() == ".star":
		return wrong("would not be run: "+notYet, "say it by goss in suites/"+parts[1]+"/<role>.yaml, or keep it outside suites/ until then, with another ending")
	case e.executable():
		return wrong("is a program, which would not be run: "+notYet, "run it as a command of suites/"+parts[1]+"/<role>.yaml; if it is no program, `chmod -x` it")
	case e.ext() == ".yml", e.ext() == ".json":
		return wrong("would not be read", "call it .yaml")
	case e.ext() != ".yaml":
		return wrong("is no test, so no run would use it", "write tests as goss files <role>.yaml; keep other files outside suites/, and notes in a README.md")
	case len(parts) > 3:
		return wrong("lies too deep to be read", "put it into suites/<tier>/")
	}
	role := strings.TrimSuffix(e.base(), ".yaml")
	if known := append(sortedNames(p.Roles), everyRole); !slices.Contains(known, role) {
		return wrong(fmt.Sprintf("is for role %q, which is not in %s", role, File), config.Hint(role, known))
	}
	data, err := p.read(e)
	if e.link() && err != nil {
		return nil, nil // told as a link that leads nowhere
	}
	if err != nil {
		return nil, err
	}
	var problems []*config.Error
	for _, g := range gossProblems(data) {
		problems = append(problems, &config.Error{File: e.name, Line: g.line, Problem: g.problem, Remedy: g.remedy})
	}
	return problems, nil
}

// mostGoss is the size up to which a file is looked at whether it is a test, in bytes.
const mostGoss = 256 << 10

// strayTests finds tests outside suites/: Starlark by its ending, goss files by their name or by what they
// say. Puppet's own folder holds files for servers, which may be anything.
func (p *Product) strayTests(all []entry) (problems []*config.Error, err error) {
	for _, e := range all {
		if e.under(suitesDir) || e.under(puppetDir) || !e.info.Mode().IsRegular() {
			continue
		}
		remedy := "put it into suites/smoke or suites/build as <role>.yaml"
		switch e.ext() {
		case ".star":
			problems = append(problems, &config.Error{File: e.name, Problem: "is a Starlark test, which would not be run here", Remedy: "say it by goss in suites/build/<role>.yaml, or give it another ending"})
		case ".yaml", ".yml", ".json":
			if e.name == File || e.name == ProcedureFile || e.info.Size() > mostGoss {
				continue
			}
			data, err := p.read(e)
			if err != nil {
				return nil, err
			}
			if strings.HasPrefix(e.base(), "goss") || isGoss(data) {
				problems = append(problems, &config.Error{File: e.name, Problem: "is a goss file, which would not be run: runs read suites/<tier>/", Remedy: remedy})
			}
		}
	}
	return problems, nil
}

// isGoss reports whether a text says only what goss knows.
func isGoss(data []byte) bool {
	document, err := parse(data)
	if err != nil || len(document.Content) == 0 {
		return false
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode || len(root.Content) == 0 {
		return false
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		kind, checks := root.Content[i].Value, target(root.Content[i+1])
		if gossKinds[kind] == nil || checks.Kind != yaml.MappingNode || len(checks.Content) == 0 {
			return false
		}
		for j := 1; j < len(checks.Content); j += 2 {
			one := target(checks.Content[j])
			if one.Kind != yaml.MappingNode {
				return false
			}
			for attribute := range attributes(one) {
				if !slices.Contains(gossKinds[kind], attribute.Value) && !slices.Contains(gossAlways, attribute.Value) {
					return false
				}
			}
		}
	}
	return true
}
