package product

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hallmark-ci/hallmark/internal/config"
)

const hieraFile = "puppet/hiera.yaml"

// hieraConfig is what is read of a hiera.yaml, version 5.
type hieraConfig struct {
	Version  int          `yaml:"version"`
	Defaults hieraLevel   `yaml:"defaults"`
	Levels   []hieraLevel `yaml:"hierarchy"`
	Rest     []hieraLevel `yaml:"default_hierarchy"`
}

type hieraLevel struct {
	Name        string   `yaml:"name"`
	DataDir     string   `yaml:"datadir"`
	Path        string   `yaml:"path"`
	Paths       []string `yaml:"paths"`
	Glob        string   `yaml:"glob"`
	Globs       []string `yaml:"globs"`
	MappedPaths []string `yaml:"mapped_paths"`
	URI         string   `yaml:"uri"`
	URIs        []string `yaml:"uris"`

	line int
}

// UnmarshalYAML keeps the line of a level.
func (l *hieraLevel) UnmarshalYAML(n *yaml.Node) error {
	type plainLevel hieraLevel
	if err := n.Decode((*plainLevel)(l)); err != nil {
		return err
	}
	l.line = n.Line
	return nil
}

// dataEndings are the files that Hiera reads.
var dataEndings = []string{".yaml", ".yml", ".eyaml", ".json", ".conf"}

// hiera finds levels of data that hold nothing, and data that no level reads.
func (p *Product) hiera(all []entry) (problems []*config.Error, err error) {
	i := slices.IndexFunc(all, func(e entry) bool { return e.name == hieraFile })
	if i < 0 {
		return strayData(all, nil, "there is no "+hieraFile), nil
	}
	data, err := p.read(all[i])
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) { // a link that leads nowhere, told as that
			return nil, nil
		}
		return nil, err
	}
	wrong := func(line int, problem, remedy string) []*config.Error {
		return []*config.Error{{File: hieraFile, Line: line, Problem: problem, Remedy: remedy}}
	}
	document, err := parse(data)
	if err != nil {
		return nil, nil // told by the check of Hiera's syntax
	}
	for _, d := range duplicates(document) {
		problems = append(problems, wrong(d.line, d.problem, d.remedy)...)
	}
	if len(problems) > 0 {
		return problems, nil
	}
	const convert = "write it as version 5: https://www.puppet.com/docs/puppet/7/hiera_config_yaml_5"
	var c hieraConfig
	if err := document.Decode(&c); err != nil {
		line := 1
		if shape, ok := errors.AsType[*yaml.TypeError](err); ok && len(shape.Errors) > 0 {
			_, _ = fmt.Sscanf(shape.Errors[0], "line %d:", &line) // no number: the first line
		}
		return wrong(line, "is of another shape than version 5", convert), nil
	}
	if c.Version != 5 {
		return wrong(1, versionOf(document)+", so servers would read nothing by it", convert), nil
	}
	h := hierarchy{product: p, files: all}
	levels := append(slices.Clone(c.Levels), c.Rest...)
	if len(levels) == 0 { // Puppet's own default
		h.patterns = append(h.patterns, exact(path.Join(puppetDir, "data", "common.yaml")))
	}
	for _, l := range levels {
		if l.DataDir == "" {
			l.DataDir = c.Defaults.DataDir
		}
		if l.DataDir == "" {
			l.DataDir = "data"
		}
		for _, problem := range h.level(l) {
			problems = append(problems, wrong(l.line, problem[0], problem[1])...)
		}
	}
	return append(problems, strayData(all, h.patterns, "no level of "+hieraFile+" reads it")...), nil
}

func versionOf(document *yaml.Node) string {
	if len(document.Content) > 0 && document.Content[0].Kind == yaml.MappingNode {
		for key, value := range attributes(document.Content[0]) {
			switch {
			case key.Value == "version":
				return "is version " + value.Value
			case strings.HasPrefix(key.Value, ":"):
				return "is version 3 or older"
			}
		}
	}
	return "has no version"
}

// hierarchy collects which files the levels read.
type hierarchy struct {
	product  *Product
	files    []entry
	patterns []*regexp.Regexp
}

// level looks at one level and gives pairs of problem and remedy.
func (h *hierarchy) level(l hieraLevel) (problems [][2]string) {
	name := fmt.Sprintf("level %q", l.Name)
	paths, globs := l.Paths, l.Globs
	if l.Path != "" {
		paths = append(paths, l.Path)
	}
	if l.Glob != "" {
		globs = append(globs, l.Glob)
	}
	if l.URI != "" || len(l.URIs) > 0 || path.IsAbs(l.DataDir) {
		return nil // on the server, as Hallmark's secrets are
	}
	if len(l.MappedPaths) == 3 { // variable, name for one of its values, path with that name
		paths = append(paths, strings.ReplaceAll(l.MappedPaths[2], "%{"+l.MappedPaths[1]+"}", "%{*}"))
	}
	if len(paths)+len(globs) == 0 {
		return nil // a function without files
	}
	dir := path.Join(puppetDir, l.DataDir)
	if dynamic(l.DataDir) {
		dir = path.Join(puppetDir, path.Dir(l.DataDir[:strings.Index(l.DataDir, "%{")]+"x"))
	}
	if !h.any(func(e entry) bool { return e.under(dir) }) {
		problems = append(problems, [2]string{fmt.Sprintf("%s reads %s, which is not there", name, dir), "name the folder that holds the data, relative to " + puppetDir + "/, or remove the level"})
	}
	for _, file := range paths {
		full := path.Join(puppetDir, l.DataDir, file)
		patterns, known := h.expand(full)
		h.patterns = append(h.patterns, patterns...)
		if known && len(problems) == 0 && !h.any(func(e entry) bool { return matches(patterns, e.name) }) {
			problems = append(problems, [2]string{fmt.Sprintf("%s reads %s, which is not there", name, full), "add the file, or remove the level"})
		}
	}
	for _, glob := range globs {
		full := path.Join(puppetDir, l.DataDir, glob)
		pattern := globbed(full)
		h.patterns = append(h.patterns, pattern)
		if !dynamic(full) && len(problems) == 0 && !h.any(func(e entry) bool { return pattern.MatchString(e.name) }) {
			problems = append(problems, [2]string{fmt.Sprintf("%s reads %s, and no file is called so", name, full), "add a file, or remove the level"})
		}
	}
	return problems
}

func (h *hierarchy) any(fits func(entry) bool) bool { return slices.ContainsFunc(h.files, fits) }

var (
	interpolation = regexp.MustCompile(`%\{[^}]*\}`)
	ofRole        = regexp.MustCompile(`^%\{(::|facts\.)?hallmark_role\}$`)
	ofStage       = regexp.MustCompile(`^%\{(::|facts\.)?hallmark_stage\}$`)
)

func dynamic(text string) bool { return interpolation.MatchString(text) }

// mostFiles is how many files one path with interpolations may stand for.
const mostFiles = 1000

// expand gives patterns of the files that a path with interpolations may stand for. What Hallmark itself
// gives a server is known; then known says that there are no others.
func (h *hierarchy) expand(full string) (patterns []*regexp.Regexp, known bool) {
	parts := interpolation.Split(full, -1)
	variables := interpolation.FindAllString(full, -1)
	known = true
	texts := []string{regexp.QuoteMeta(parts[0])}
	for i, v := range variables {
		var values []string
		switch {
		case ofRole.MatchString(v):
			values = sortedNames(h.product.Roles)
		case ofStage.MatchString(v):
			values = []string{"bake", "launch"}
		}
		if values == nil || len(texts)*len(values) > mostFiles { // the product's, or more than anybody means
			values, known = []string{".+"}, false
		}
		var longer []string
		for _, text := range texts {
			for _, value := range values {
				longer = append(longer, text+value+regexp.QuoteMeta(parts[i+1]))
			}
		}
		texts = longer
	}
	for _, text := range texts {
		patterns = append(patterns, regexp.MustCompile("^"+text+"$"))
	}
	return patterns, known
}

func exact(name string) *regexp.Regexp { return regexp.MustCompile("^" + regexp.QuoteMeta(name) + "$") }

// globbed translates Ruby's globs; interpolations may be anything.
func globbed(full string) *regexp.Regexp {
	text := regexp.QuoteMeta(interpolation.ReplaceAllString(full, "\x00"))
	for _, r := range [][2]string{{`\*\*/`, `(.+/)?`}, {`\*`, `[^/]*`}, {`\?`, `[^/]`}, {`\{`, `(?:`}, {`\}`, `)`}, {`,`, `|`}, {"\x00", ".+"}} {
		text = strings.ReplaceAll(text, r[0], r[1])
	}
	pattern, err := regexp.Compile("^" + text + "$")
	if err != nil { // braces that do not close: take it for everything rather than accuse files
		return regexp.MustCompile("")
	}
	return pattern
}

func matches(patterns []*regexp.Regexp, name string) bool {
	return slices.ContainsFunc(patterns, func(p *regexp.Regexp) bool { return p.MatchString(name) })
}

// strayData finds data for Hiera that is not read. Modules bring data and a hiera.yaml of their own.
func strayData(all []entry, read []*regexp.Regexp, why string) (problems []*config.Error) {
	for _, e := range all {
		if !e.under(puppetDir) || e.under(modulesDir) || e.name == hieraFile || e.documentation() || !slices.Contains(dataEndings, e.ext()) || matches(read, e.name) {
			continue
		}
		if parts := e.parts(); e.base() == environmentConf || slices.ContainsFunc(parts, func(part string) bool { return slices.Contains(notApplied, part) }) || len(parts) > 2 && slices.Contains([]string{"functions", "types", "lib", "facts.d"}, parts[1]) {
			continue
		}
		problems = append(problems, &config.Error{File: e.name, Problem: "is read by no server: " + why, Remedy: "add a level that reads it, or remove the file"})
	}
	return problems
}
