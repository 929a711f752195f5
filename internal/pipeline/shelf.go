package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/product"
)

// shelf keeps the product's code by commit: a checkout and the archive that servers get.
type shelf struct {
	repository *product.Repository
	dir        string
	mu         sync.Mutex
	loaded     map[string]*copyOf
}

// copyOf is the product at one commit.
type copyOf struct {
	*product.Product
	archive string
}

func newShelf(repository *product.Repository, dir string) *shelf {
	return &shelf{repository: repository, dir: dir, loaded: map[string]*copyOf{}}
}

// badProduct is what is wrong with the product's own files at a commit, and not with the repository.
type badProduct struct{ error }

// Unwrap gives the problems, a config.Errors.
func (b badProduct) Unwrap() error { return b.error }

// ofProduct marks an error that came of reading a checkout, if it tells of the files in it.
func ofProduct(err error) error {
	if _, wrong := errors.AsType[config.Errors](err); wrong {
		return badProduct{err}
	}
	return err
}

// get checks out, archives and loads a commit, named by its full id, once; after a crash it takes what is
// there if it is whole and unchanged. An error of the product's own files is a badProduct.
func (s *shelf) get(ctx context.Context, commit string) (*copyOf, error) {
	if !product.IsCommitID(commit) { // a folder of that name would be taken for the commit for ever
		return nil, fmt.Errorf("%q is not the full id of a commit", commit)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	dir, archive := filepath.Join(s.dir, commit), filepath.Join(s.dir, commit+".tar.gz")
	if c, ok := s.loaded[commit]; ok && there(dir) && there(archive) {
		touch(archive)
		return c, nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("keep the product's code: %w", err)
	}
	if err := s.repository.Checkout(ctx, commit, dir); err != nil {
		if unfit, ok := errors.AsType[product.Unfit](err); ok {
			return nil, badProduct{unfit}
		}
		return nil, fmt.Errorf("check out %s: %w", commit, err)
	}
	p, err := product.Read(dir, commit)
	if err != nil {
		return nil, ofProduct(err)
	}
	c := &copyOf{Product: p, archive: archive}
	s.loaded[commit] = c
	touch(archive)
	return c, nil
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// touch notes by an archive's time that its commit was asked for. It only says which commits are tidied away
// first, so it does not matter if it fails.
func touch(archive string) {
	now := time.Now()
	_ = os.Chtimes(archive, now, now)
}

// removed begins the name of a checkout that is being removed: what a crash leaves of it is none.
const removed = ".old-"

// abandoned is after how long nothing that is in the making will be finished.
const abandoned = 24 * time.Hour

// tidy removes checkouts and archives but those of the commits that were asked for last, so many, and those
// that are needed.
func (s *shelf) tidy(newest int, needed map[string]bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("tidy the product's code: %w", err)
	}
	asked := map[string]time.Time{}
	var failed error
	for _, e := range entries {
		info, err := e.Info()
		if err != nil { // gone meanwhile
			continue
		}
		if strings.HasPrefix(e.Name(), ".") { // in the making, or being removed: a crash leaves such
			if strings.HasPrefix(e.Name(), removed) || time.Since(info.ModTime()) > abandoned {
				failed = errors.Join(failed, os.RemoveAll(filepath.Join(s.dir, e.Name())))
			}
			continue
		}
		commit, packed := strings.CutSuffix(e.Name(), ".tar.gz")
		if _, known := asked[commit]; packed || !known {
			asked[commit] = info.ModTime()
		}
	}
	commits := slices.SortedFunc(maps.Keys(asked), func(a, b string) int { return cmp.Or(asked[b].Compare(asked[a]), cmp.Compare(a, b)) })
	for i, commit := range commits {
		if i >= newest && !needed[commit] {
			failed = errors.Join(failed, s.remove(commit))
		}
	}
	return failed
}

// remove removes a commit's archive and checkout, each at once: what is there is whole.
func (s *shelf) remove(commit string) error {
	delete(s.loaded, commit)
	dir := filepath.Join(s.dir, commit)
	aside := filepath.Join(s.dir, removed+commit)
	if err := os.Remove(dir + ".tar.gz"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("tidy the product's code: %w", err)
	}
	if err := os.Rename(dir, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("tidy the product's code: %w", err)
	}
	return os.RemoveAll(aside)
}
