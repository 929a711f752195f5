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
	"github.com/hallmark-ci/hallmark/internal/config"
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
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("archive %s: %w", commit, err)
	}
	err = atomicfile.WriteFrom(file, 0o600, func(out io.Writer) error {
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

// mostArchive bounds what an archive holds, in bytes: the files and, for each, what tar says of it.
const mostArchive = mostBytes + mostEntries*(2*mostPath)

var errTooMuch = errors.New("it holds more than an archive of ours can")

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
	content := &io.LimitedReader{R: zip, N: mostArchive}
	files := tar.NewReader(content)
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, content) // what follows the last file, and the checksum
			if err == nil && content.N == 0 {
				err = errTooMuch
			}
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

// What a commit may hold. A product is code; servers get all of it.
const (
	mostEntries = 100_000 // files
	mostBytes   = 1 << 30 // of all files
	mostPath    = 4 << 10 // bytes of a file's name with its folders
)

// Unfit is what is wrong with the files of a commit, such that they are not even checked out.
type Unfit struct{ config.Errors }

// Unwrap gives the problems.
func (u Unfit) Unwrap() error { return u.Errors }

func unfit(file, problem, remedy string) error {
	return Unfit{config.Errors{{File: file, Problem: problem, Remedy: remedy}}}
}

// pack writes the files of a commit as a tar. A submodule becomes an empty folder, as in a clone.
func (r *Repository) pack(ctx context.Context, commit string, out io.Writer) error {
	stamp, err := r.git(ctx, "log", "--no-walk", "--max-count=1", "--format=%ct", commit, "--") // show would go through the tree, which may have no end
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return fmt.Errorf("git log: time of the commit: %w", err)
	}
	blobs, err := r.tree(ctx, commit)
	if err != nil {
		return err
	}
	contents, err := r.contents(ctx)
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	p := packer{tar: w, contents: contents, at: time.Unix(seconds, 0), made: map[string]bool{".": true}, files: map[string]bool{}, left: mostBytes}
	err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{ofCommit: commit}})
	for _, b := range blobs {
		if err == nil {
			err = p.add(b)
		}
	}
	if err != nil {
		contents.stop()
		return err
	}
	return errors.Join(contents.close(), w.Close())
}

// tree lists the files of a commit. It stops where a commit has more than a product can have: a few small trees
// can stand for more files than there is memory.
func (r *Repository) tree(ctx context.Context, commit string) (blobs []blob, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	said := capped{most: mostMessage}
	cmd := r.command(ctx, "ls-tree", "-r", "-z", "--full-tree", commit)
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, gitFailed(ctx, "ls-tree", "", err)
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, mostPath+100) // mode, kind and object stand before a name
	lines.Split(func(data []byte, end bool) (int, []byte, error) {
		if i := bytes.IndexByte(data, 0); i >= 0 {
			return i + 1, data[:i], nil
		}
		return 0, nil, nil
	})
	for err == nil && lines.Scan() {
		var b blob
		if b, err = readBlob(lines.Text()); err == nil {
			blobs = append(blobs, b)
		}
		if len(blobs) > mostEntries {
			err = unfit(commit, fmt.Sprintf("has more than %d files", mostEntries), "keep what is not the product's code in another repository")
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		err = unfit(commit, fmt.Sprintf("has a file with a path of more than %d bytes", mostPath), "give it a shorter name")
	}
	if err != nil {
		stop()
		_ = cmd.Wait() // it was ended
		return nil, err
	}
	if err := cmd.Wait(); err != nil {
		return nil, gitFailed(ctx, "ls-tree", said.String(), err)
	}
	return blobs, lines.Err()
}

// readBlob reads a line of git ls-tree. git itself makes no names that are none of a file in a folder, but a tree
// that somebody made by hand can hold them.
func readBlob(line string) (blob, error) {
	about, name, ok := strings.Cut(line, "\t")
	fields := strings.Fields(about)
	if !ok || len(fields) != 3 {
		return blob{}, fmt.Errorf("git ls-tree printed %q", line)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || strings.EqualFold(part, ".git") {
			return blob{}, unfit(name, "is no name of a file that git would commit", "make the commit anew with git; see `git fsck`")
		}
	}
	return blob{fields[0], fields[2], name}, nil
}

// packer writes one tar.
type packer struct {
	tar      *tar.Writer
	contents *contents
	at       time.Time
	made     map[string]bool // folders
	files    map[string]bool // and links
	left     int64           // bytes that more files may have
}

func (p *packer) add(b blob) error {
	if err := p.folder(filepath.Dir(b.name)); err != nil {
		return err
	}
	if p.made[b.name] || p.files[b.name] {
		return unfit(b.name, "is there twice", "make the commit anew with git; see `git fsck`")
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
	p.files[b.name] = true
	size, content, err := p.contents.of(b)
	if err != nil {
		return err
	}
	if p.left -= size; p.left < 0 {
		return unfit(b.name, fmt.Sprintf("makes the files of the commit larger than %d MiB", mostBytes>>20), "keep large files elsewhere, and have Puppet fetch them")
	}
	if header.Typeflag == tar.TypeSymlink {
		if size > mostPath {
			return unfit(b.name, "links to a path that is too long", "link to a file of the repository")
		}
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
	if p.files[name] {
		return unfit(name, "is a file and a folder", "make the commit anew with git; see `git fsck`")
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
	stop   func()            // instead of close, when not all was read
	last   *io.LimitedReader // of the object before, to be read to its end
}

func (r *Repository) contents(ctx context.Context) (*contents, error) {
	ctx, stop := context.WithCancel(ctx)
	said := capped{most: mostMessage}
	args := []string{"cat-file", "--batch"}
	cmd := r.command(ctx, args...)
	cmd.Stderr = &said
	ask, err := cmd.StdinPipe()
	if err != nil {
		stop()
		return nil, err
	}
	answer, err := cmd.StdoutPipe()
	if err != nil {
		stop()
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		stop()
		return nil, gitFailed(ctx, args[0], "", err)
	}
	ended := func() {
		stop()
		_ = cmd.Wait() // it was ended
	}
	return &contents{ask: ask, answer: bufio.NewReader(answer), stop: ended, wait: func() error {
		defer stop()
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
