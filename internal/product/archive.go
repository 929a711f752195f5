package product

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/atomicfile"
)

// Archive writes the files of a commit as a tar.gz to file: as git keeps them, whatever its attributes and
// filters say, and the same bytes for the same commit. It appears whole or not at all. One that is there is
// read through: it is taken if it is whole and of this commit, and made anew if it is not.
func (r *Repository) Archive(ctx context.Context, commit, file string) error {
	if commitID.MatchString(commit) && whole(file, commit) {
		return nil
	}
	commit, err := r.Commit(ctx, commit)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("archive %s: %w", commit, err)
	}
	err = atomicfile.WriteFrom(file, 0o644, func(out io.Writer) error {
		zip := gzip.NewWriter(out) // without a name or a time in its header
		return errors.Join(r.pack(ctx, commit, zip), zip.Close())
	})
	if err != nil {
		return fmt.Errorf("archive %s: %w", commit, err)
	}
	return nil
}

// ofCommit is where a tar says which commit it is of; `git get-tar-commit-id` reads it too.
const ofCommit = "comment"

// whole reports whether a file is a complete archive of a commit: by gzip's own checksum, and by its end.
func whole(file, commit string) bool {
	found := ""
	err := eachFile(file, func(h *tar.Header, _ io.Reader) error {
		if h.Typeflag == tar.TypeXGlobalHeader {
			found = h.PAXRecords[ofCommit]
		}
		return nil
	})
	return err == nil && found == commit
}

// eachFile reads a tar.gz through to its end.
func eachFile(file string, do func(*tar.Header, io.Reader) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	zip, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		return err
	}
	files := tar.NewReader(zip)
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, zip) // what follows the last file, and the checksum
			return err
		}
		if err == nil {
			err = do(h, files)
		}
		if err != nil {
			return err
		}
	}
}

// git's modes of what a tree holds.
const (
	gitFile       = "100644"
	gitExecutable = "100755"
	gitLink       = "120000"
	gitSubmodule  = "160000"
)

// blob is a file of a commit, as git names it.
type blob struct{ mode, object, name string }

// pack writes the files of a commit as a tar. A submodule becomes an empty folder, as in a clone.
func (r *Repository) pack(ctx context.Context, commit string, out io.Writer) error {
	listed, err := r.git(ctx, "ls-tree", "-r", "-z", "--full-tree", commit)
	if err != nil {
		return err
	}
	stamp, err := r.git(ctx, "show", "-s", "--no-show-signature", "--format=%ct", commit)
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return fmt.Errorf("git show: time of the commit: %w", err)
	}
	var blobs []blob
	for line := range strings.SplitSeq(strings.TrimSuffix(listed, "\x00"), "\x00") {
		about, name, ok := strings.Cut(line, "\t")
		fields := strings.Fields(about)
		if !ok || len(fields) != 3 {
			if line == "" { // a commit without files
				continue
			}
			return fmt.Errorf("git ls-tree printed %q", line)
		}
		blobs = append(blobs, blob{fields[0], fields[2], name})
	}
	contents, err := r.contents(ctx)
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	p := packer{tar: w, contents: contents, at: time.Unix(seconds, 0), made: map[string]bool{".": true}}
	err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{ofCommit: commit}})
	for _, b := range blobs {
		if err == nil {
			err = p.add(b)
		}
	}
	return errors.Join(err, contents.close(), w.Close())
}

// packer writes one tar.
type packer struct {
	tar      *tar.Writer
	contents *contents
	at       time.Time
	made     map[string]bool // folders
}

func (p *packer) add(b blob) error {
	if err := p.folder(filepath.Dir(b.name)); err != nil {
		return err
	}
	header := &tar.Header{Name: b.name, Mode: 0o644, ModTime: p.at, Typeflag: tar.TypeReg}
	switch b.mode {
	case gitSubmodule:
		return p.folder(b.name)
	case gitFile:
	case gitExecutable:
		header.Mode = 0o755
	case gitLink:
		header.Typeflag, header.Mode = tar.TypeSymlink, 0o777
	default:
		return fmt.Errorf("%s has mode %s, which Hallmark does not know", b.name, b.mode)
	}
	size, content, err := p.contents.of(b)
	if err != nil {
		return err
	}
	if header.Typeflag == tar.TypeSymlink {
		target, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		header.Linkname = string(target)
		return p.tar.WriteHeader(header)
	}
	header.Size = size
	if err := p.tar.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(p.tar, content)
	return err
}

// folder makes a folder and those above it, once.
func (p *packer) folder(name string) error {
	if p.made[name] {
		return nil
	}
	if err := p.folder(filepath.Dir(name)); err != nil {
		return err
	}
	p.made[name] = true
	return p.tar.WriteHeader(&tar.Header{Name: name + "/", Mode: 0o755, ModTime: p.at, Typeflag: tar.TypeDir})
}

// contents asks git for one object after another.
type contents struct {
	ask    io.WriteCloser
	answer *bufio.Reader
	wait   func() error
	last   *io.LimitedReader // of the object before, to be read to its end
}

func (r *Repository) contents(ctx context.Context) (*contents, error) {
	said := capped{most: mostMessage}
	args := []string{"cat-file", "--batch"}
	cmd := r.command(ctx, args...)
	cmd.Stderr = &said
	ask, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	answer, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, gitFailed(ctx, args[0], "", err)
	}
	return &contents{ask: ask, answer: bufio.NewReader(answer), wait: func() error {
		_, drained := io.Copy(io.Discard, answer)
		if err := cmd.Wait(); err != nil {
			return gitFailed(ctx, args[0], said.String(), err)
		}
		return drained
	}}, nil
}

// of gives an object's size in bytes and its content, which lasts until the next call.
func (c *contents) of(b blob) (size int64, content io.Reader, err error) {
	if c.last != nil {
		if _, err := io.Copy(io.Discard, c.last); err != nil {
			return 0, nil, err
		}
		if _, err := c.answer.Discard(1); err != nil { // the line's end after it
			return 0, nil, err
		}
	}
	if _, err := io.WriteString(c.ask, b.object+"\n"); err != nil {
		return 0, nil, fmt.Errorf("git cat-file: %w", err)
	}
	line, err := c.answer.ReadString('\n')
	if err != nil {
		return 0, nil, fmt.Errorf("git cat-file: %w", err)
	}
	fields := strings.Fields(line)
	if len(fields) != 3 || fields[1] != "blob" {
		return 0, nil, fmt.Errorf("git cat-file says of %s: %s: the repository is damaged or not complete; see `git fsck`", b.name, strings.TrimSpace(line))
	}
	if size, err = strconv.ParseInt(fields[2], 10, 64); err != nil {
		return 0, nil, fmt.Errorf("git cat-file printed %q", line)
	}
	c.last = &io.LimitedReader{R: c.answer, N: size}
	return size, c.last, nil
}

func (c *contents) close() error { return errors.Join(c.ask.Close(), c.wait()) }

// errDiffers says that a folder is not what an archive holds.
var errDiffers = errors.New("it differs from its archive")

// unchanged reports whether a folder holds what an archive holds, and nothing else.
func unchanged(dir, archive string) (bool, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false, nil //nolint:nilerr // it is no folder
	}
	defer root.Close()
	held := map[string]bool{".": true}
	err = eachFile(archive, func(h *tar.Header, content io.Reader) error {
		if h.Typeflag == tar.TypeXGlobalHeader {
			return nil
		}
		name := filepath.Clean(h.Name)
		held[name] = true
		return same(root, name, h, content)
	})
	if err == nil {
		err = fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
			if err == nil && !held[name] {
				return errDiffers
			}
			return err
		})
	}
	if errors.Is(err, errDiffers) || errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// same compares one file with what an archive says of it.
func same(root *os.Root, name string, h *tar.Header, content io.Reader) error {
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if info.Mode().Type() != h.FileInfo().Mode().Type() {
		return errDiffers
	}
	switch h.Typeflag {
	case tar.TypeSymlink:
		if target, err := root.Readlink(name); err != nil || target != h.Linkname {
			return errors.Join(errDiffers, err)
		}
	case tar.TypeReg:
		if info.Size() != h.Size || (info.Mode()^h.FileInfo().Mode())&0o111 != 0 {
			return errDiffers
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		return sameBytes(f, content)
	}
	return nil
}

func sameBytes(a, b io.Reader) error {
	var as, bs [32 << 10]byte
	for {
		n, errA := io.ReadFull(a, as[:])
		m, errB := io.ReadFull(b, bs[:])
		if !bytes.Equal(as[:n], bs[:m]) {
			return errDiffers
		}
		for _, err := range []error{errA, errB} {
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return err
			}
		}
		if errA != nil || errB != nil { // both, or the lengths would differ
			return nil
		}
	}
}
