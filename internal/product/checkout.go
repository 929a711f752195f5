package product

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Checkout puts the files of a commit into dir, without git's own. It appears whole or not at all,
// so one that is there already is taken as it is; several callers may ask at once.
func (r *Repository) Checkout(ctx context.Context, commit, dir string) error {
	if present(dir) {
		return nil
	}
	commit, err := r.Commit(ctx, commit)
	if err != nil {
		return err
	}
	fresh, err := beside(dir)
	if err != nil {
		return fmt.Errorf("check out %s: %w", commit, err)
	}
	defer func() { _ = os.RemoveAll(fresh) }() // gone already if all went well
	if err := r.unpack(ctx, commit, fresh); err != nil {
		return fmt.Errorf("check out %s: %w", commit, err)
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		return err
	}
	if err := os.Rename(fresh, dir); err != nil && !present(dir) {
		return fmt.Errorf("check out %s: %w", commit, err)
	}
	return nil // a rename that lost against another caller's is as good
}

func (r *Repository) unpack(ctx context.Context, commit, dir string) error {
	var said bytes.Buffer
	tar := exec.CommandContext(ctx, "tar", "-x", "-p", "--no-same-owner", "-C", dir)
	tar.Stderr = &said
	tar.WaitDelay = 5 * time.Second
	in, err := tar.StdinPipe()
	if err != nil {
		return err
	}
	if err := tar.Start(); err != nil {
		return err
	}
	packed := r.archive(ctx, commit, in)
	closed := in.Close()
	if err := tar.Wait(); err != nil {
		return errors.Join(packed, fmt.Errorf("tar: %w: %s", err, strings.TrimSpace(said.String())))
	}
	return errors.Join(packed, closed)
}

// archive writes the commit's files as a tar, the same bytes every time.
func (r *Repository) archive(ctx context.Context, commit string, out io.Writer) error {
	var said bytes.Buffer
	args := []string{"archive", "--format=tar", commit}
	cmd := r.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = out, &said
	if err := cmd.Run(); err != nil {
		return gitFailed(ctx, args, said.String(), err)
	}
	return nil
}

// Archive writes the files of a commit as a tar.gz to file: the same bytes for the same commit. Like
// Checkout it appears whole or not at all, and one that is there is taken as it is.
func (r *Repository) Archive(ctx context.Context, commit, file string) (err error) {
	if present(file) {
		return nil
	}
	if commit, err = r.Commit(ctx, commit); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("archive %s: %w", commit, err)
		}
	}()
	dir, err := beside(file)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	fresh := filepath.Join(dir, "archive")
	f, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	zip := gzip.NewWriter(f) // without a name or a time in its header
	packed := r.archive(ctx, commit, zip)
	if err := errors.Join(packed, zip.Close(), f.Close()); err != nil {
		return err
	}
	return os.Rename(fresh, file)
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
