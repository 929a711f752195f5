package imager

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/hallmark-ci/hallmark/internal/remote"
)

// Communicator is Packer's way to a machine over our own admin session: pinned host keys, no
// second login. Commands run as the session's user; a provisioner that wants root says sudo, as it
// does with Packer. It is as safe for concurrent use as its session.
type Communicator struct {
	session remote.Session
	// Packer's interface has methods without a context; they end with the build all the same.
	background func() context.Context
}

var _ packersdk.Communicator = (*Communicator)(nil)

// NewCommunicator wraps a session, which stays the caller's to close. Uploads and downloads end
// when ctx does.
func NewCommunicator(ctx context.Context, session remote.Session) *Communicator {
	return &Communicator{session: session, background: func() context.Context { return ctx }}
}

// Start starts a command and returns. Its standard output and error come together on cmd.Stdout,
// as they were written. A broken connection ends it with packersdk.CmdDisconnect.
func (c *Communicator) Start(ctx context.Context, cmd *packersdk.RemoteCmd) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	go func() { // ends with the command, which ends with ctx; cmd.Wait is its owner's join
		result, err := c.session.Run(ctx, remote.Command{Line: cmd.Command, Stdin: cmd.Stdin, Output: cmd.Stdout})
		if err != nil {
			if cmd.Stderr != nil {
				fmt.Fprintln(cmd.Stderr, err)
			}
			cmd.SetExited(packersdk.CmdDisconnect)
			return
		}
		cmd.SetExited(result.Exit)
	}()
	return nil
}

// Upload writes a file; its mode is that of info, else 0644.
func (c *Communicator) Upload(dst string, content io.Reader, info *os.FileInfo) error {
	mode := fs.FileMode(0o644)
	if info != nil && *info != nil {
		mode = (*info).Mode().Perm()
	}
	return c.session.Put(c.background(), dst, content, uint32(mode), false)
}

// Download gives a file's content to w.
func (c *Communicator) Download(src string, w io.Writer) error {
	return c.ok("download "+src, remote.Command{Line: "cat -- " + quote(src) + " 2>/dev/null", Output: w})
}

// UploadDir uploads what is in the folder src, leaving out what exclude names (paths or patterns
// relative to src). As with rsync, the folder itself is made in dst unless src ends with a slash.
func (c *Communicator) UploadDir(dst, src string, exclude []string) error {
	if !strings.HasSuffix(src, "/") {
		dst = path.Join(dst, filepath.Base(src))
	}
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := pack(w, src, exclude)
		w.CloseWithError(err)
		written <- err
	}()
	line := fmt.Sprintf("mkdir -p -- %[1]s && tar -x --no-same-owner -C %[1]s", quote(dst))
	err := c.ok("upload "+src, remote.Command{Line: line, Stdin: r})
	r.CloseWithError(errors.New("the other side stopped reading"))
	return errors.Join(<-written, err)
}

// DownloadDir downloads what is in the folder src into dst, leaving out what exclude names
// (patterns of tar). Nothing is written outside of dst, whatever the machine sends.
func (c *Communicator) DownloadDir(src, dst string, exclude []string) error {
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	line := "tar -c"
	for _, e := range exclude {
		line += " --exclude=" + quote(e)
	}
	line += " -C " + quote(src) + " . 2>/dev/null"
	r, w := io.Pipe()
	read := make(chan error, 1)
	go func() {
		err := unpack(r, dst)
		r.CloseWithError(err) // an early end makes the writer notice
		read <- err
	}()
	err := c.ok("download "+src, remote.Command{Line: line, Output: w})
	w.CloseWithError(err)
	return errors.Join(err, <-read)
}

func (c *Communicator) ok(what string, cmd remote.Command) error {
	result, err := c.session.Run(c.background(), cmd)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if result.Exit != 0 {
		return fmt.Errorf("%s: exit code %d: %s", what, result.Exit, strings.TrimSpace(string(result.Stderr)))
	}
	return nil
}

// pack writes a folder's content as tar.
func pack(w io.Writer, dir string, exclude []string) error {
	out := tar.NewWriter(w)
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil || rel == "." {
			return err
		}
		if slices.ContainsFunc(exclude, func(pattern string) bool {
			match, _ := filepath.Match(strings.TrimSuffix(pattern, "/"), rel)
			return match
		}) {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return packEntry(out, name, rel, entry)
	})
	return errors.Join(err, out.Close())
}

func packEntry(out *tar.Writer, name, rel string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(name); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	header.Name = filepath.ToSlash(rel)
	if err := out.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(out, file)
	return err
}

// unpack writes the files and folders of a tar below dir, which os.Root keeps them in; other
// kinds are left out.
func unpack(r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	in := tar.NewReader(r)
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, r) // tar pads its end
			return err
		} else if err != nil {
			return err
		}
		name, mode := path.Clean(header.Name), header.FileInfo().Mode().Perm()
		switch header.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeReg:
			err = unpackFile(root, name, mode, in)
		}
		if err != nil {
			return err
		}
	}
}

func unpackFile(root *os.Root, name string, mode fs.FileMode, content io.Reader) error {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}

// quote makes one word of a shell command.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
