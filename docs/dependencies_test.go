// Package docs holds the documentation to what it describes.
package docs

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// A module that go.mod requires directly has a row in the table, with its version, and a row has its module.
func TestDependencies(t *testing.T) {
	page, err := os.ReadFile("dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json", "../go.mod").Output()
	if err != nil {
		t.Fatalf("read go.mod: %v", err)
	}
	var module struct {
		Require []required
	}
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	for _, problem := range dependencies(string(page), module.Require) {
		t.Error(problem)
	}
}

// required is a line of go.mod.
type required struct {
	Path, Version string
	Indirect      bool
}

// dependencies compares the page with go.mod and gives what is wrong with it.
func dependencies(page string, modules []required) (problems []string) {
	wrong := func(line int, format string, args ...any) {
		problems = append(problems, fmt.Sprintf("docs/dependencies.md:%d: ", line)+fmt.Sprintf(format, args...))
	}
	const columns = 7
	rows := map[string]int{}
	lines := strings.Split(page, "\n")
	for i, line := range lines {
		path, ok := strings.CutPrefix(line, "| `")
		if !ok {
			continue
		}
		path, _, _ = strings.Cut(path, "`")
		if first := rows[path]; first != 0 {
			wrong(i+1, "%s has a row already, in line %d: remove one", path, first)
		}
		rows[path] = i + 1
		cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "|"), "|"), "|")
		for j := range cells {
			cells[j] = strings.TrimSpace(cells[j])
		}
		if len(cells) != columns || slices.Contains(cells, "") {
			wrong(i+1, "the row of %s has not %d filled cells: fill them", path, columns)
			continue
		}
		at := slices.IndexFunc(modules, func(m required) bool { return m.Path == path && !m.Indirect })
		switch {
		case at < 0:
			wrong(i+1, "go.mod does not require %s directly: remove the row", path)
		case modules[at].Version != cells[1]:
			wrong(i+1, "go.mod has %s %s, the row has %s: look at it again, and write what is true now", path, modules[at].Version, cells[1])
		}
	}
	for _, m := range modules {
		if !m.Indirect && rows[m.Path] == 0 {
			wrong(len(lines), "%s %s has no row: say what it is for, its licence, its newest version, what it links and what is reported against it", m.Path, m.Version)
		}
	}
	return problems
}

func TestDependenciesAreCompared(t *testing.T) {
	const row = "| `a.org/a` | v1.0.0 | for | MIT | = | 0 (0) | none |\n"
	a := required{Path: "a.org/a", Version: "v1.0.0"}
	for name, c := range map[string]struct {
		page    string
		modules []required
		want    string // "": nothing is wrong
	}{
		"as it should be":        {row, []required{a, {Path: "b.org/b", Version: "v1.0.0", Indirect: true}}, ""},
		"another table":          {row + "| x | y |\n", []required{a}, ""},
		"a module without a row": {row, []required{a, {Path: "b.org/b", Version: "v2.0.0"}}, "docs/dependencies.md:2: b.org/b v2.0.0 has no row"},
		"a row without a module": {row, nil, "docs/dependencies.md:1: go.mod does not require a.org/a directly"},
		"a row of an indirect":   {row, []required{{Path: "a.org/a", Version: "v1.0.0", Indirect: true}}, "docs/dependencies.md:1: go.mod does not require a.org/a directly"},
		"another version":        {row, []required{{Path: "a.org/a", Version: "v1.1.0"}}, "docs/dependencies.md:1: go.mod has a.org/a v1.1.0, the row has v1.0.0"},
		"two rows":               {row + row, []required{a}, "docs/dependencies.md:2: a.org/a has a row already, in line 1"},
		"an empty cell":          {strings.Replace(row, "MIT", "", 1), []required{a}, "docs/dependencies.md:1: the row of a.org/a has not 7 filled cells"},
		"a missing cell":         {strings.Replace(row, "| MIT ", "", 1), []required{a}, "docs/dependencies.md:1: the row of a.org/a has not 7 filled cells"},
	} {
		t.Run(name, func(t *testing.T) {
			got := dependencies(c.page, c.modules)
			if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], c.want)) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
