// Package seal finds on the disk of a stopped server what an image must not keep: what would be the same on every
// server launched from the image and must differ, what lets somebody in, and what tells of the server that the image
// was made on. It owns the list of these things and how each is recognised: an identity or a trace by its place, a
// key or a credential by its content, wherever it lies.
//
// It reads a file system and nothing else, and changes nothing. A link to a small file is looked at as if the file lay
// there, on this disk; one to a folder is not followed. How the disk of a stopped server is reached is a provider's
// matter (cloud.DiskReader). What removes things is the cleaning before the shutdown (puppet.SealScript). What packages
// bring under /usr is theirs and not looked at; /usr/local is.
//
// It does not find a credential that has no form of its own, such as a password that a product writes into its own
// configuration: of these it knows only the secrets of the build.
package seal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/mask"
)

// Bounds of what is read. Nothing on an honest server's root disk comes near them.
const (
	mostOfFile   = 1 << 30  // bytes; a larger file is named, and not read
	mostOfAll    = 16 << 30 // bytes of all files; what is behind them is named as not read
	mostFindings = 1000
	chunk        = 1 << 20 // bytes that are read at once; smaller files are seen whole
)

// Finding is something that an image must not keep.
type Finding struct {
	Path   string `json:"path"` // of the server: /etc/machine-id
	What   string `json:"what"`
	Remedy string `json:"remedy"`

	secret bool // of the build: nothing excuses it
}

// Kept is a path that a product allows to stay, with its reason. Path is a pattern of path.Match.
type Kept struct {
	Path   string
	Reason string
}

// Excused is a finding that a product allows.
type Excused struct {
	Finding
	Reason string
}

// Report is what was found.
type Report struct {
	Left    []Finding // by path: nobody allows it
	Excused []Excused // by path
	Idle    []Kept    // what the product allows, and nothing was found there
	Files   int       // that were looked at
	Bytes   int64     // that were read
}

// Check looks at the root file system of a stopped server. disk has to be a fs.ReadLinkFS or its links are looked at
// as what they point to. secrets are those of the build, kept is what the product allows. An error means that
// something could not be read, so that nothing is known.
func Check(ctx context.Context, disk fs.FS, secrets []string, kept []Kept) (Report, error) {
	c := &check{disk: disk, secrets: mask.NewFinder(secrets...), kept: kept, used: make([]bool, len(kept))}
	if err := fs.WalkDir(disk, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("/%s: %w", name, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		return c.visit(ctx, name, entry)
	}); err != nil && !errors.Is(err, errEnough) {
		return Report{}, fmt.Errorf("look at the disk: %w", err)
	}
	for i, k := range kept {
		if !c.used[i] {
			c.report.Idle = append(c.report.Idle, k)
		}
	}
	byPath := func(a, b Finding) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.What, b.What)) }
	slices.SortFunc(c.report.Left, byPath)
	slices.SortFunc(c.report.Excused, func(a, b Excused) int { return byPath(a.Finding, b.Finding) })
	return c.report, nil
}

// check is one look at one disk.
type check struct {
	disk    fs.FS
	secrets *mask.Finder
	kept    []Kept
	used    []bool // of kept
	report  Report
	buffer  []byte
}

// errEnough ends the walk: a disk like this is refused, and nobody reads more than this of why.
var errEnough = errors.New("enough")

// visit looks at one entry of a folder.
func (c *check) visit(ctx context.Context, name string, entry fs.DirEntry) error {
	full := "/" + name
	if entry.IsDir() {
		if full != "/usr" && path.Dir(full) == "/usr" && full != "/usr/local" {
			return fs.SkipDir
		}
		return nil
	}
	if path.Dir(full) == "/usr" {
		return nil
	}
	info, err := entry.Info()
	if err != nil {
		return fmt.Errorf("%s: %w", full, err)
	}
	linked := entry.Type()&fs.ModeSymlink != 0
	if linked {
		if name, info = c.follow(name); info == nil || info.Size() > chunk {
			return nil
		}
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return nil // nothing says nothing, wherever it is
	}
	c.report.Files++
	f := file{path: full, size: info.Size(), linked: linked}
	switch {
	case f.size > mostOfFile:
		f.found(fmt.Sprintf("a file of %d MiB, which is more than is looked through", f.size>>20), "remove it, or keep it on a volume")
	case c.report.Bytes+f.size > mostOfAll:
		f.found("what is read of a disk ended before this file", "remove what fills the disk, or keep it on a volume")
	default:
		if err := c.read(ctx, name, &f); err != nil {
			return fmt.Errorf("%s: %w", full, err)
		}
	}
	for _, finding := range f.findings {
		c.judge(finding)
	}
	if len(c.report.Left) >= mostFindings || c.report.Bytes+f.size > mostOfAll {
		return errEnough
	}
	return nil
}

// follow gives what a link leads to, on this disk; nil if that is nothing.
func (c *check) follow(name string) (target string, info fs.FileInfo) {
	for range 8 {
		to, err := fs.ReadLink(c.disk, name)
		if err != nil {
			return "", nil
		}
		if !path.IsAbs(to) {
			to = path.Join("/", path.Dir(name), to)
		}
		if name = strings.TrimPrefix(path.Clean(to), "/"); !fs.ValidPath(name) {
			return "", nil
		}
		if info, err = fs.Lstat(c.disk, name); err != nil {
			return "", nil
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			return name, info
		}
	}
	return "", nil
}

// judge keeps a finding where it belongs.
func (c *check) judge(f Finding) {
	if !f.secret {
		for i, k := range c.kept {
			if match, _ := path.Match(k.Path, f.Path); match {
				c.used[i] = true
				c.report.Excused = append(c.report.Excused, Excused{f, k.Reason})
				return
			}
		}
	}
	c.report.Left = append(c.report.Left, f)
}

// read looks at the content of a file: as a whole if it is not larger than a chunk, else at overlapping pieces.
func (c *check) read(ctx context.Context, name string, f *file) error {
	content, err := c.disk.Open(name)
	if err != nil {
		return err
	}
	defer content.Close()
	overlap := max(c.secrets.Longest(), longestText)
	piece := int(min(chunk, f.size+1)) // one more tells that the file ends
	if len(c.buffer) < piece+overlap {
		c.buffer = make([]byte, piece+overlap)
	}
	whole := f.size <= chunk
	held := 0 // of the buffer: the end of the piece before
	for first := true; ; first = false {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(content, c.buffer[held:held+piece])
		c.report.Bytes += int64(n)
		ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !ended {
			return err
		}
		text := c.buffer[:held+n]
		if c.secrets.In(text) {
			f.findings = append(f.findings, Finding{f.path, "a secret of the build", "have Puppet write it at stage launch only", true})
		}
		if first {
			f.byPlace(text, whole)
			f.byForm(text, whole)
		}
		f.byText(text)
		if ended {
			f.once()
			return nil
		}
		held = copy(c.buffer, text[max(0, len(text)-overlap):])
	}
}

// file is one that is looked at.
type file struct {
	path     string
	size     int64
	linked   bool // path is a link to it
	findings []Finding
}

func (f *file) found(what, remedy string) {
	f.findings = append(f.findings, Finding{Path: f.path, What: what, Remedy: remedy})
}

// once leaves one finding of each kind: a file with a hundred keys is named once.
func (f *file) once() {
	seen := map[string]bool{}
	f.findings = slices.DeleteFunc(f.findings, func(one Finding) bool {
		again := seen[one.What]
		seen[one.What] = true
		return again
	})
}

// String is "/etc/machine-id: the machine's id: …", on one line whatever the path is.
func (f Finding) String() string {
	name := f.Path
	if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		name = fmt.Sprintf("%q", name)
	}
	return name + ": " + f.What + ": " + f.Remedy
}
