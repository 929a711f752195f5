package product

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/hallmark-ci/hallmark/internal/config"
)

// lost finds files that servers would not get as a developer sees them: submodules, pointers to large files,
// links to what is not in the repository, and what git's attributes change or leave out.
func (p *Product) lost(all []entry) (problems []*config.Error, err error) {
	for _, e := range all {
		var found []*config.Error
		switch {
		case e.info.IsDir():
			found = []*config.Error{{File: e.name, Problem: "is a git repository of its own, so servers would get an empty folder", Remedy: "commit its files instead"}}
		case e.name == ".gitmodules":
			found, err = p.submodules(e)
		case e.base() == ".gitattributes" && e.info.Mode().IsRegular():
			found, err = p.attributes(e)
		case e.link():
			found, err = p.strayLink(e)
		case e.info.Mode().IsRegular():
			found, err = p.pointer(e)
		}
		if err != nil {
			return nil, err
		}
		problems = append(problems, found...)
	}
	return problems, nil
}

func (p *Product) submodules(e entry) (problems []*config.Error, err error) {
	data, err := p.read(e)
	if err != nil {
		return nil, err
	}
	for i, line := range strings.Split(string(data), "\n") {
		key, value, _ := strings.Cut(line, "=")
		if strings.TrimSpace(key) == "path" {
			problems = append(problems, &config.Error{
				File: e.name, Line: i + 1, Problem: fmt.Sprintf("submodule %s is not fetched, so servers would get an empty folder", strings.TrimSpace(value)),
				Remedy: "commit its files instead, and remove the submodule",
			})
		}
	}
	return problems, nil
}

// changing are the attributes by which git gives out other files than it keeps.
var changing = map[string]string{
	"export-ignore": "leave files out of what git gives out", "export-subst": "change files as git gives them out",
	"ident": "change files as git gives them out", "filter": "need a filter on every machine that reads them",
	"working-tree-encoding": "change files as git gives them out",
}

// attributes finds lines that set one of these; `-name` and `!name` take one back.
func (p *Product) attributes(e entry) (problems []*config.Error, err error) {
	data, err := p.read(e)
	if err != nil {
		return nil, err
	}
	for i, line := range strings.Split(string(data), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		for _, attribute := range fields[1:] {
			name, _, _ := strings.Cut(attribute, "=")
			if does, ok := changing[name]; ok {
				problems = append(problems, &config.Error{
					File: e.name, Line: i + 1, Key: name, Problem: fmt.Sprintf("would %s (%s): servers get the files of a commit as they are", does, fields[0]),
					Remedy: "remove the attribute; keep out of the repository what servers must not have",
				})
			}
		}
	}
	return problems, nil
}

const linkRemedy = "put the file itself there, or link to one in the repository by a relative path"

// strayLink finds a link that leads out of the product, or nowhere.
func (p *Product) strayLink(e entry) ([]*config.Error, error) {
	root, err := os.OpenRoot(p.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	target, err := root.Readlink(e.name)
	if err != nil {
		return nil, err
	}
	wrong := func(problem string) []*config.Error {
		return []*config.Error{{File: e.name, Problem: fmt.Sprintf("links to %s, %s", target, problem), Remedy: linkRemedy}}
	}
	switch direct := path.Join(path.Dir(e.name), target); {
	case path.IsAbs(target), direct == "..", strings.HasPrefix(direct, "../"):
		return wrong("which is not in the repository"), nil
	case direct == ".git" || strings.HasPrefix(direct, ".git/"):
		return wrong("which servers do not get"), nil
	}
	switch _, err := root.Stat(e.name); {
	case errors.Is(err, fs.ErrNotExist):
		return wrong("which does not exist"), nil
	case errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENOTDIR):
		return wrong("which leads nowhere"), nil
	case err != nil: // by way of another link
		return wrong("which is not in the repository"), nil
	}
	return nil, nil
}

// pointers begin the file that Git LFS commits in the place of a large one.
var pointers = [][]byte{[]byte("version https://git-lfs.github.com/spec/"), []byte("version https://hawser.github.com/spec/")}

const mostPointer = 1024 // bytes, by the specification of Git LFS

func (p *Product) pointer(e entry) ([]*config.Error, error) {
	if e.info.Size() > mostPointer || e.info.Size() < int64(len(pointers[1])) {
		return nil, nil
	}
	head, err := p.read(e)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(pointers, func(p []byte) bool { return bytes.HasPrefix(head, p) }) {
		return nil, nil
	}
	return []*config.Error{{
		File: e.name, Problem: "is a pointer of Git LFS: servers would get these three lines, and not the file",
		Remedy: "commit the file itself, or have Puppet fetch it",
	}}, nil
}
