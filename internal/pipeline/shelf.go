package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

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
		return c, nil
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, fmt.Errorf("keep the product's code: %w", err)
	}
	if err := s.repository.Checkout(ctx, commit, dir); err != nil {
		return nil, fmt.Errorf("check out %s: %w", commit, err)
	}
	p, err := product.Read(dir, commit)
	if err != nil {
		return nil, ofProduct(err)
	}
	c := &copyOf{Product: p, archive: archive}
	s.loaded[commit] = c
	return c, nil
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
