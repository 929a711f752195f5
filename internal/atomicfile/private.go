package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// Shared is a folder that is not ours alone, so that what lies in it may be somebody else's.
type Shared struct {
	Path    string // the folder, one above it, or an entry
	Problem string
	Remedy  string
}

func (s *Shared) Error() string { return s.Path + " " + s.Problem + "; " + s.Remedy }

// Private makes dir, and all that lies directly in it, readable for our user alone, and makes the folder if it is
// not there. What another user owns or could write to, and what every user could exchange, is not taken: that is
// *Shared.
func Private(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	if real, err = filepath.Abs(real); err != nil {
		return err
	}
	for above := filepath.Dir(real); ; above = filepath.Dir(above) {
		if err := exchangeable(above); err != nil {
			return err
		}
		if above == filepath.Dir(above) {
			break
		}
	}
	if err := own(real); err != nil {
		return err
	}
	entries, err := os.ReadDir(real)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type() == fs.ModeSymlink { // nobody else can have made it
			continue
		}
		if err := own(filepath.Join(real, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// exchangeable refuses a folder in which every user could put something else in the place of ours. The owner of a
// folder above ours is not asked for: root's state may lie in the clone of a developer.
func exchangeable(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return &Shared{dir, "can be written by every user, who could exchange what is below it", "`chmod o-w` it, or choose another folder"}
	}
	return nil
}

// own makes a file or folder ours alone, if nobody else could have written to it.
func own(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	switch who := ownerOf(info); {
	case who != os.Geteuid():
		return &Shared{path, "belongs to " + name(who), "run as " + name(who) + ", or choose a folder of your own"}
	case info.Mode()&0o022 != 0:
		return &Shared{path, "can be written by other users", "look whether all that is in it is yours, then `chmod -R go-rwx` it"}
	case info.Mode()&0o077 != 0:
		return os.Chmod(path, info.Mode().Perm()&0o700)
	}
	return nil
}

func ownerOf(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return -1 // no user
}

func name(uid int) string {
	if account, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return account.Username
	}
	return fmt.Sprintf("uid %d", uid)
}
