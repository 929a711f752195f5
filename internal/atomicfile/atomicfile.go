// Package atomicfile writes what Hallmark reads back later: files that are there whole or not at all, also
// after a crash, a loss of power or on a full disk; and it keeps the folder of such files from other users. It
// knows nothing of what is in them; a reader still has to check what it reads.
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// prefix begins the names of files and folders in the making. They lie beside their target, because a rename
// works within one file system only.
const prefix = ".new-"

// Write makes path a file with this content, in place of one that is there.
func Write(path string, content []byte, mode os.FileMode) error {
	return WriteFrom(path, mode, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// WriteFrom is Write for content that comes piece by piece. If fill fails, path stays as it is.
func WriteFrom(path string, mode os.FileMode, fill func(io.Writer) error) error {
	fresh, err := finished(path, mode, fill)
	if err != nil {
		return err
	}
	defer os.Remove(fresh) // gone already if all went well
	return Rename(fresh, path)
}

// Create makes path a file with this content if nothing is there; fs.ErrExist says that something is. Of
// several processes that create the same file at once, one succeeds.
func Create(path string, content []byte, mode os.FileMode) error {
	fresh, err := finished(path, mode, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
	if err != nil {
		return err
	}
	defer os.Remove(fresh)
	if err := os.Link(fresh, path); err != nil { // unlike a rename it never replaces a file
		return err
	}
	return syncDir(filepath.Dir(path))
}

// Rename moves a finished file or folder to its place, so that it is found there also after a loss of power.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

// finished writes a file beside path and flushes it to the disk.
func finished(path string, mode os.FileMode, fill func(io.Writer) error) (fresh string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), prefix+"*")
	if err != nil {
		return "", err
	}
	err = fill(f)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// syncDir flushes a folder's list of names.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
