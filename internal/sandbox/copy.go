package sandbox

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// copyTree writes the files, folders and links of a folder as a tar, but for git's own. What is neither (sockets,
// pipes) is left out, and no link is followed.
func copyTree(from string, out io.Writer) error {
	source, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer source.Close()
	w := tar.NewWriter(out)
	err = fs.WalkDir(source.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == ".":
			return nil
		case name == ".git" && e.IsDir():
			return fs.SkipDir
		case name == ".git":
			return nil
		case e.IsDir():
			return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
		case e.Type() == fs.ModeSymlink:
			link, err := source.Readlink(name)
			if err != nil {
				return err
			}
			return w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: link, Mode: 0o777})
		case e.Type().IsRegular():
			return copyFile(source, name, w)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.Close()
}

func copyFile(source *os.Root, name string, w *tar.Writer) error {
	in, err := source.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %w", name, errChanged)
	}
	if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: int64(info.Mode().Perm() | 0o200), Size: info.Size(), ModTime: info.ModTime()}); err != nil {
		return err
	}
	n, err := io.Copy(w, io.LimitReader(in, info.Size()))
	if err == nil && n < info.Size() {
		err = fmt.Errorf("%s: %w", name, errChanged)
	}
	return err
}

var errChanged = errors.New("changed while it was copied: check a folder that nobody writes to")
