package product

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/config"
)

// entry is a file of the product: a regular one, a link, or a folder that git knows as a submodule.
type entry struct {
	name string // in the repository, with slashes
	info fs.FileInfo
}

func (e entry) base() string     { return path.Base(e.name) }
func (e entry) ext() string      { return path.Ext(e.name) }
func (e entry) parts() []string  { return strings.Split(e.name, "/") }
func (e entry) link() bool       { return e.info.Mode().Type() == fs.ModeSymlink }
func (e entry) executable() bool { return e.info.Mode().IsRegular() && e.info.Mode()&0o111 != 0 }

// under reports whether the file lies in a folder, at any depth.
func (e entry) under(dir string) bool { return strings.HasPrefix(e.name, dir+"/") }

// documentation is for people: Hallmark never reads it, and nobody expects it to.
func (e entry) documentation() bool {
	switch strings.ToLower(e.ext()) {
	case ".md", ".markdown", ".rst", ".adoc", ".txt":
		return !e.executable()
	}
	return strings.HasPrefix(e.base(), ".") && e.ext() != ".star" || strings.HasPrefix(strings.ToUpper(e.base()), "README") && !e.executable()
}

// listing lists the files of a product, sorted by name. Of a working copy it takes what git would take: not
// what git is told to ignore. An empty folder of a checkout is the place of a submodule: git knows no others.
func listing(dir string, checkout bool) ([]entry, error) {
	var names []string
	err := fs.ErrNotExist
	if !checkout { // a commit could bring a .git of its own
		names, err = gitNames(dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		names, err = walk(dir, checkout)
	}
	if err != nil {
		return nil, fmt.Errorf("list the product's files: %w", err)
	}
	var all []entry
	for _, name := range names {
		info, err := os.Lstat(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed from the working copy
		}
		if err != nil {
			return nil, err
		}
		all = append(all, entry{path.Clean(name), info})
	}
	slices.SortFunc(all, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return slices.CompactFunc(all, func(a, b entry) bool { return a.name == b.name }), nil
}

// listTimeout is for git's list of a working copy.
const listTimeout = 5 * time.Minute

// gitNames lists what a working copy at dir would commit; fs.ErrNotExist says that dir is none.
func gitNames(dir string) ([]string, error) {
	if _, err := os.Lstat(filepath.Join(dir, ".git")); err != nil {
		return nil, err
	}
	wrong := func(problem, remedy string) error {
		return config.Errors{{File: dir, Problem: problem, Remedy: remedy}}
	}
	o, err := ownerOf(dir)
	switch {
	case err != nil:
		return nil, err
	case !o.us() && os.Geteuid() != 0:
		return nil, wrong("belongs to "+o.name+", and git may run what its owner wrote there", "run hallmark as "+o.name+" or as root, or check a clone of your own")
	}
	ctx, cancel := context.WithTimeout(context.Background(), listTimeout)
	defer cancel()
	cmd := gitCommand(ctx, []string{"-C", dir}, o.credential(), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	out, err := gitOutput(ctx, cmd, "ls-files")
	if failed := (*gitError)(nil); errors.As(err, &failed) && strings.Contains(failed.said, "dubious ownership") {
		return nil, wrong("belongs to more than one user, and git may run what each of them wrote there", "give all of it to one: chown -R USER "+dir)
	}
	if err != nil {
		return nil, err
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 }), nil
}

// walk lists what lies in a folder. A submodule, with a git of its own or empty, counts as one entry.
func walk(dir string, checkout bool) ([]string, error) {
	var names []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !e.IsDir():
			names = append(names, name)
		case name == ".":
		case present(filepath.Join(dir, name, ".git")):
			names = append(names, name)
			return fs.SkipDir
		case checkout:
			if inside, err := os.ReadDir(filepath.Join(dir, name)); err != nil || len(inside) == 0 {
				names = append(names, name)
				return err
			}
		}
		return nil
	})
	return names, err
}

// Unused finds what exists in the product and would silently not be used: tests that no run runs, Puppet code
// and data that no server applies, files that servers would not get as they are; and secrets that servers
// read and are not given. What it finds is config.Errors.
func (p *Product) Unused() error {
	all, err := p.listing()
	if err != nil {
		return err
	}
	all = p.own(all)
	var problems []*config.Error
	for _, look := range []func([]entry) ([]*config.Error, error){p.lost, p.strayTests, p.suites, p.strayPuppet, p.roleClasses, p.hiera, p.strangeSecrets, p.strayOthers} {
		found, err := look(all)
		if err != nil {
			return err
		}
		problems = append(problems, found...)
	}
	return config.Join(problems)
}

// listing lists the product's files.
func (p *Product) listing() ([]entry, error) { return listing(p.Dir, commitID.MatchString(p.Commit)) }

// own leaves out folders with a hallmark.yaml of their own: each is another product.
func (p *Product) own(all []entry) []entry {
	var others []string
	for _, e := range all {
		if e.base() == File && e.name != File {
			others = append(others, path.Dir(e.name))
		}
	}
	return slices.DeleteFunc(all, func(e entry) bool { return slices.ContainsFunc(others, e.under) })
}

// strayOthers finds files that are called as those that Hallmark reads, in a place where it does not.
func (p *Product) strayOthers(all []entry) (problems []*config.Error, _ error) {
	for _, e := range all {
		switch base := e.base(); {
		case e.name == File || e.name == ProcedureFile || e.documentation():
		case strings.Count(e.name, "/") == 0 && (base == "hallmark.yml" || base == "hallmark.json"):
			problems = append(problems, &config.Error{File: e.name, Problem: "is not read, " + File + " is", Remedy: "merge it into " + File + ", or remove it"})
		case base == "procedure.yaml" || base == "procedure.yml":
			problems = append(problems, &config.Error{File: e.name, Problem: "is not read, so upgrades would not follow it", Remedy: "call it " + ProcedureFile})
		case e.under("release") && (e.ext() == ".yaml" || e.ext() == ".yml"):
			problems = append(problems, &config.Error{File: e.name, Problem: "is not read: the release procedure is one file", Remedy: "move what it says to " + ProcedureFile + ", or remove it"})
		}
	}
	return problems, nil
}
