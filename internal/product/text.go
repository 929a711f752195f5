package product

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"go.yaml.in/yaml/v3"

	"github.com/hallmark-ci/hallmark/internal/config"
)

// mostText bounds a file of the product that Hallmark reads itself, in bytes: people write them.
const mostText = 4 << 20

// Text gives the content of a file of the product, named by its path in the repository. A link that leads out of
// the repository is not followed, and what is no text for people is not read: both are config.Errors. fs.ErrNotExist
// says that there is no such file.
func (p *Product) Text(name string) ([]byte, error) { return text(p.Dir, name) }

func (p *Product) read(e entry) ([]byte, error) { return p.Text(e.name) }

func text(dir, name string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would have us wait for its other end
	if err != nil {
		return nil, outside(root, name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, config.Errors{{File: name, Problem: "is no file", Remedy: "put a file there, or remove it"}}
	case info.Size() > mostText:
		return nil, tooLarge(name)
	}
	data, err := io.ReadAll(io.LimitReader(f, mostText+1))
	if err == nil && len(data) > mostText { // it grows
		return nil, tooLarge(name)
	}
	return data, err
}

func tooLarge(name string) error {
	return config.Errors{{File: name, Problem: fmt.Sprintf("is larger than %d MiB, and is not read", mostText>>20), Remedy: "split it, or keep data elsewhere"}}
}

// outside tells of a link out of the repository as what it is.
func outside(root *os.Root, name string, err error) error {
	if info, failed := root.Lstat(name); failed != nil || info.Mode().Type() != fs.ModeSymlink || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	target, _ := root.Readlink(name) // it is a link
	return config.Errors{{File: name, Problem: fmt.Sprintf("links to %s, which is not read: it leads out of the repository, or nowhere", target), Remedy: linkRemedy}}
}

// status is os.Stat of a path in the repository; a link out of it is config.Errors.
func status(dir, name string) (fs.FileInfo, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := root.Stat(name)
	if err != nil {
		return nil, outside(root, name, err)
	}
	return info, nil
}

// readlink is os.Readlink of a path in the repository.
func readlink(dir, name string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	return root.Readlink(name)
}

// subfolders lists the folders in a folder of the repository, by name.
func subfolders(dir, name string) (names []string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), name)
	if err != nil {
		return nil, outside(root, name, err)
	}
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// mostValues bounds what the aliases of a YAML document may stand for.
const mostValues = 100_000

// parse reads a YAML document, of which aliases are safe to follow: none contains itself, and all that they stand
// for is bounded. An empty text gives an empty node.
func parse(text []byte) (*yaml.Node, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	w := weigher{known: map[*yaml.Node]int{}}
	_, err := w.weigh(&document)
	return &document, err
}

// weigher counts the values of nodes, each once.
type weigher struct {
	known map[*yaml.Node]int // 0: being counted
}

func (w *weigher) weigh(n *yaml.Node) (int, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if values, ok := w.known[n]; ok {
		if values == 0 {
			return 0, fmt.Errorf("yaml: line %d: anchor %s contains itself", n.Line, n.Anchor)
		}
		return values, nil
	}
	w.known[n] = 0
	total := 1
	for _, child := range n.Content {
		values, err := w.weigh(child)
		if err != nil {
			return 0, err
		}
		if child.Kind == yaml.AliasNode && values+total > mostValues {
			return 0, fmt.Errorf("yaml: line %d: aliases stand for more than %d values", child.Line, mostValues)
		}
		total += values
	}
	w.known[n] = total
	return total, nil
}
