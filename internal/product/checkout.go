package product

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
	"regexp"
	"slices"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/atomicfile"
)

// Checkout puts the files of a commit into dir, without git's own, by way of their archive, which stays
// beside dir as dir.tar.gz. It appears whole or not at all. One that is there is compared with the archive:
// it is taken if nothing in it was changed, and replaced if something was. Several callers may ask at once.
func (r *Repository) Checkout(ctx context.Context, commit, dir string) error {
	archive := dir + ".tar.gz"
	if err := r.Archive(ctx, commit, archive); err != nil {
		return err
	}
	if present(dir) {
		sound, err := unchanged(dir, archive)
		if err != nil {
			return fmt.Errorf("look at the checkout %s: %w", dir, err)
		}
		if sound {
			return nil
		}
		if err := discard(dir); err != nil {
			return fmt.Errorf("remove the damaged checkout %s: %w", dir, err)
		}
	}
	fresh, err := beside(dir)
	if err != nil {
		return fmt.Errorf("check out %s: %w", commit, err)
	}
	defer func() { _ = os.RemoveAll(fresh) }() // gone already if all went well
	if err := unpack(ctx, archive, fresh); err != nil {
		return fmt.Errorf("check out %s: %w", commit, err)
	}
	if err := atomicfile.Rename(fresh, dir); err != nil && !present(dir) {
		return fmt.Errorf("check out %s: %w", commit, err)
	}
	return nil // a rename that lost against another caller's is as good
}

// discard removes a folder at once from its place, so that half of it is never found there.
func discard(dir string) error {
	away, err := beside(dir)
	if err != nil {
		return err
	}
	if err := os.Rename(dir, filepath.Join(away, "old")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, os.RemoveAll(away))
	}
	return os.RemoveAll(away)
}

// unpack puts the files of an archive into an empty folder, and nothing beside it.
func unpack(ctx context.Context, archive, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return eachFile(archive, func(h *tar.Header, content io.Reader) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := filepath.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeXGlobalHeader:
			return nil
		case tar.TypeDir:
			return root.Mkdir(name, 0o755)
		case tar.TypeSymlink:
			return root.Symlink(h.Linkname, name)
		case tar.TypeReg:
			f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return err
			}
			_, err = io.Copy(f, content)
			return errors.Join(err, f.Chmod(h.FileInfo().Mode().Perm()), f.Close())
		}
		return fmt.Errorf("%s is of a kind that no archive of ours has", h.Name)
	})
}

// liveReleases filters and sorts branches.
func liveReleases(branches []string, glob string, retired []string) ([]string, error) {
	var live []string
	for _, b := range branches {
		ok, err := path.Match(glob, b)
		if err != nil {
			return nil, fmt.Errorf("releases %q: %w", glob, err)
		}
		if ok && !slices.Contains(retired, b) {
			live = append(live, b)
		}
	}
	slices.SortFunc(live, compareVersions)
	return live, nil
}

var digitsOrNot = regexp.MustCompile(`\d+|\D+`)

// compareVersions orders text in which numbers count as numbers.
func compareVersions(a, b string) int {
	as, bs := digitsOrNot.FindAllString(a, -1), digitsOrNot.FindAllString(b, -1)
	return slices.CompareFunc(as, bs, func(x, y string) int {
		if number(x) && number(y) {
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if len(x) != len(y) {
				return len(x) - len(y)
			}
		}
		return strings.Compare(x, y)
	})
}

func number(s string) bool { return s[0] >= '0' && s[0] <= '9' }
