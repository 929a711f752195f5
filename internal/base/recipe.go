// Package base makes the reference base of Incus environments: a clean Debian 12, built from nothing
// by mmdebstrap, that boots as a system container with cloud-init and sshd. It owns the recipe, the
// build on this host, and the rule when a base is used again. How an image gets into a provider is
// the provider's (cloud.BaseImporter); where a vendor's image is the base there is nothing to build,
// and Ensure only finds it.
package base

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
)

// The recipe's files: packages (one a line), finish.sh (runs last, outside the tree), and root, which
// is laid over the tree.
//
//go:embed debian12
var debian12 embed.FS

// Family is how the names of all bases built here begin.
const Family = "debian-12-"

// Recipe is everything that decides what a base becomes, but for the day on which it is built.
type Recipe struct {
	Suite        string
	Architecture string   // Debian's name: amd64
	Sources      []string // one-line apt sources, kept in the base: what servers install from
	Packages     []string
	Files        map[string]string // laid over the tree: path below / → content
	Finish       string            // shell script; its argument is the tree
}

// Debian12 is the recipe of this version of Hallmark. Sources come from HostSources.
func Debian12(sources []string) (Recipe, error) {
	r := Recipe{Suite: "bookworm", Architecture: runtime.GOARCH, Sources: sources, Files: map[string]string{}}
	packages, err := debian12.ReadFile("debian12/packages")
	if err != nil {
		return Recipe{}, err
	}
	r.Packages = lines(packages)
	finish, err := debian12.ReadFile("debian12/finish.sh")
	if err != nil {
		return Recipe{}, err
	}
	r.Finish = string(finish)
	root, err := fs.Sub(debian12, "debian12/root")
	if err != nil {
		return Recipe{}, err
	}
	err = fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(root, path)
		r.Files[path] = string(content)
		return err
	})
	return r, err
}

// Digest names the recipe: "sha256:…". Bases of one digest differ by their day only.
func (r Recipe) Digest() string {
	text, err := json.Marshal(r) // maps are written in the order of their keys
	if err != nil {
		panic(fmt.Sprintf("a recipe of strings cannot be written as JSON: %v", err))
	}
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// lines gives the lines of a text without comments, which begin with #, and without empty ones.
func lines(text []byte) []string {
	var all []string
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		line, _, _ := strings.Cut(s.Text(), "#")
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	return all
}
