package docs

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	testName   = regexp.MustCompile("`(Test[A-Za-z0-9_]+)`")
	testDefine = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(`)
)

// Each wall has a test that holds it, and that test exists.
func TestWallsHaveTests(t *testing.T) {
	page, err := os.ReadFile("security.md")
	if err != nil {
		t.Fatal(err)
	}
	there, err := tests("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range walls(string(page), there) {
		t.Error(problem)
	}
}

// walls gives what is wrong with the page's tables of threats, walls and tests.
func walls(page string, tests map[string]bool) (problems []string) {
	threats := false
	for i, line := range strings.Split(page, "\n") {
		switch {
		case !strings.HasPrefix(line, "|"):
			threats = false
			continue
		case strings.HasPrefix(line, "| threat |"):
			threats = true
			continue
		case !threats || strings.HasPrefix(line, "|---"):
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		named := testName.FindAllStringSubmatch(cells[len(cells)-1], -1)
		if len(named) == 0 {
			problems = append(problems, fmt.Sprintf("docs/security.md:%d: the wall has no test: name one in the last column", i+1))
		}
		for _, name := range named {
			if !tests[name[1]] {
				problems = append(problems, fmt.Sprintf("docs/security.md:%d: there is no %s: name the test that holds this wall", i+1, name[1]))
			}
		}
	}
	return problems
}

// tests are the names of all tests of the project.
func tests(root string) (map[string]bool, error) {
	names := map[string]bool{}
	return names, fs.WalkDir(os.DirFS(root), ".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && slices.Contains([]string{".git", ".state", "bin", "testdata"}, e.Name()):
			return fs.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := fs.ReadFile(os.DirFS(root), path)
		for _, name := range testDefine.FindAllSubmatch(text, -1) {
			names[string(name[1])] = true
		}
		return err
	})
}

func TestWalls(t *testing.T) {
	for name, c := range map[string]struct{ page, want string }{
		"good":          {"| threat | wall | test |\n|---|---|---|\n| a | b | `TestA`, `TestB` |\n", ""},
		"none":          {"| threat | wall | test |\n|---|---|---|\n| a | b | soon |\n", "docs/security.md:3: the wall has no test"},
		"gone":          {"x\n| threat | wall | test |\n|---|---|---|\n| a | b | `TestA` `TestGone` |\n", "docs/security.md:4: there is no TestGone"},
		"another table": {"| threat | wall | test |\n|---|---|---|\n\n| who | may |\n|---|---|\n| a | b |\n", ""},
	} {
		got := strings.Join(walls(c.page, map[string]bool{"TestA": true, "TestB": true}), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
