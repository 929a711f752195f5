package product

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/config"
)

// What servers apply: one manifest, with modules of one folder and those of Debian's packages.
const (
	puppetDir       = "puppet"
	siteManifest    = "puppet/manifests/site.pp"
	modulesDir      = "puppet/modules"
	environmentConf = "environment.conf"
)

// notApplied are folders in which Puppet code is not for servers: tests, examples, documentation. Plans are
// for Bolt.
var notApplied = []string{"spec", "test", "tests", "fixtures", "examples", "acceptance", "docs", "doc", "plans"}

// loaded are the folders of a module in which Puppet looks for its language.
var loaded = append([]string{"manifests", "functions", "types"}, notApplied...)

// strayPuppet finds Puppet code and settings that Puppet would read in an environment of its own, and that
// servers do not apply.
func (p *Product) strayPuppet(all []entry) (problems []*config.Error, err error) {
	linked := p.linkedModules(all)
	homeless := map[string][]string{} // folders with code that is not looked for: their files
	for _, e := range all {
		switch dir, base := path.Dir(e.name), e.base(); {
		case base == "Puppetfile" && (dir == "." || dir == puppetDir):
			problems = append(problems, &config.Error{
				File: e.name, Problem: "is not evaluated, so servers would lack the modules that it names",
				Remedy: "commit the modules to " + modulesDir + ", or name Debian's packages of them under puppet.packages in " + File + "; then remove it",
			})
		case base == environmentConf && dir == puppetDir:
			found, err := p.environmentConf(e)
			if err != nil {
				return nil, err
			}
			problems = append(problems, found...)
		case dir == "." && (base == environmentConf || base == "hiera.yaml"):
			problems = append(problems, &config.Error{File: e.name, Problem: "is not read: servers apply what is under " + puppetDir + "/", Remedy: "move it to " + puppetDir + "/" + base + ", with what it names"})
		case e.ext() != ".pp" || e.name == siteManifest || slices.ContainsFunc(linked, e.under):
		case dir == path.Dir(siteManifest) || strings.HasPrefix(dir, path.Dir(siteManifest)+"/"):
			problems = append(problems, &config.Error{File: e.name, Problem: "is not applied: servers apply " + siteManifest + " only", Remedy: "make it a class of a module, or move what it says to " + siteManifest})
		case e.under(modulesDir):
			if parts := e.parts(); len(parts) < 5 || !slices.Contains(loaded, parts[3]) && !slices.ContainsFunc(parts[3:len(parts)-1], delivered) {
				problems = append(problems, &config.Error{File: e.name, Problem: "is not where Puppet looks for the code of a module", Remedy: "move it to " + modulesDir + "/<module>/manifests/"})
			}
		case !slices.ContainsFunc(e.parts(), func(part string) bool { return slices.Contains(notApplied, part) }):
			top := e.parts()[0]
			if e.under(puppetDir) && strings.Count(e.name, "/") > 1 {
				top = path.Join(puppetDir, e.parts()[1])
			}
			homeless[top] = append(homeless[top], e.name)
		}
	}
	for _, dir := range sortedNames(homeless) {
		problems = append(problems, homelessProblem(dir, homeless[dir]))
	}
	return append(problems, p.environmentCode(all)...), nil
}

// delivered are folders of a module whose files are for servers, whatever is in them.
func delivered(part string) bool { return part == "files" || part == "templates" }

func homelessProblem(dir string, files []string) *config.Error {
	if len(files) == 1 && files[0] == dir {
		return &config.Error{File: dir, Problem: "is not applied: servers apply " + siteManifest + " and modules of " + modulesDir, Remedy: "make it a class of a module there"}
	}
	return &config.Error{
		File: dir, Problem: fmt.Sprintf("holds Puppet code that no server applies (%s): modules are looked for in %s only", some(files), modulesDir),
		Remedy: "move its modules to " + modulesDir + ", and what else it says to " + siteManifest,
	}
}

// some names a few of many.
func some(names []string) string {
	const most = 2
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// linkedModules lists the folders of the product that links in the folder of modules lead to.
func (p *Product) linkedModules(all []entry) (dirs []string) {
	for _, e := range all {
		if !e.link() || !e.under(modulesDir) {
			continue
		}
		if target, err := readlink(p.Dir, e.name); err == nil && !path.IsAbs(target) {
			dirs = append(dirs, path.Join(path.Dir(e.name), target))
		}
	}
	return dirs
}

// environmentCode finds functions, types and plugins of an environment: servers have no environment.
func (p *Product) environmentCode(all []entry) (problems []*config.Error) {
	told := map[string]bool{}
	for _, e := range all {
		parts := e.parts()
		if len(parts) < 3 || parts[0] != puppetDir || !slices.Contains([]string{"functions", "types", "lib", "facts.d"}, parts[1]) || e.documentation() {
			continue
		}
		dir := path.Join(parts[0], parts[1])
		if e.ext() == ".pp" || told[dir] { // told as code without a module
			continue
		}
		told[dir] = true
		problems = append(problems, &config.Error{File: dir, Problem: fmt.Sprintf("is not loaded by servers (%s)", e.name), Remedy: "move it into a module, " + modulesDir + "/<module>/" + parts[1]})
	}
	return problems
}

// sameAsOurs are the settings of an environment that servers apply anyway.
var sameAsOurs = map[string][]string{
	"modulepath": {"modules", "./modules", "$basemodulepath", "/usr/share/puppet/modules"},
	"manifest":   {"manifests/site.pp", "./manifests/site.pp", "manifests", "./manifests", "manifests/", "./manifests/"},
}

var remedies = map[string]string{
	"modulepath": "move the modules to " + modulesDir + ", and take the folder out of the line",
	"manifest":   "move what it says to " + siteManifest + ", and remove the line",
}

func (p *Product) environmentConf(e entry) (problems []*config.Error, err error) {
	data, err := p.read(e)
	if err != nil {
		return nil, err
	}
	for i, line := range strings.Split(string(data), "\n") {
		key, value, ok := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if strings.HasPrefix(key, "#") || !ok && key == "" || strings.HasPrefix(key, "[") {
			continue
		}
		ours := sameAsOurs[key]
		if ours == nil {
			problems = append(problems, &config.Error{File: e.name, Line: i + 1, Key: key, Problem: "is not followed", Remedy: "remove the line"})
			continue
		}
		parts := []string{value}
		if key == "modulepath" {
			parts = strings.Split(value, ":")
		}
		for _, part := range parts {
			if !slices.Contains(ours, strings.TrimSpace(part)) {
				problems = append(problems, &config.Error{File: e.name, Line: i + 1, Key: key, Problem: fmt.Sprintf("%s is not looked at", strings.TrimSpace(part)), Remedy: remedies[key]})
			}
		}
	}
	return problems, nil
}

// byRole finds the usual classification: a class role::<role> for every role.
var byRole = regexp.MustCompile(`(?m)^[^#\n]*\brole::\$\{?(?:facts\[['"]hallmark_role['"]\]|(?:::)?hallmark_role)\}?`)

// roleClasses finds roles for which the usual classification cannot find a class.
func (p *Product) roleClasses([]entry) (problems []*config.Error, err error) {
	site, err := p.Text(siteManifest)
	switch {
	case errors.Is(err, fs.ErrNotExist): // told as missing
		return nil, nil
	case err != nil || !byRole.Match(site):
		return nil, err
	}
	for _, role := range sortedNames(p.Roles) {
		if strings.Contains(role, "-") {
			problems = append(problems, &config.Error{
				File: File, Key: "roles." + role, Problem: fmt.Sprintf("its servers would include class role::%s, and Puppet allows no dash in the name of a class", role),
				Remedy: "call it by one word, or map its name in " + siteManifest + ": regsubst($facts['hallmark_role'], '-', '_', 'G')",
			})
			continue
		}
		if _, err := status(p.Dir, path.Join(modulesDir, "role")); errors.Is(err, fs.ErrNotExist) {
			continue // the module may come with a package
		}
		file := path.Join(modulesDir, "role", "manifests", role+".pp")
		if _, err := status(p.Dir, file); errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, &config.Error{
				File: file, Problem: fmt.Sprintf("is missing: servers of role %s include class role::%s (%s)", role, role, siteManifest), Remedy: "add the class",
			})
		}
	}
	return problems, nil
}

// checkLayout wants the manifest that every server applies.
func (p *Product) checkLayout() error {
	if _, err := status(p.Dir, siteManifest); errors.Is(err, fs.ErrNotExist) {
		return config.Errors{{File: siteManifest, Problem: "is missing, so servers would have nothing to apply", Remedy: "add it; it includes the class of the server's role"}}
	} else if err != nil {
		return fmt.Errorf("look at %s: %w", siteManifest, err)
	}
	return nil
}
