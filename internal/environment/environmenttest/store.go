package environmenttest

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// Store is an environment.Store in memory. Its zero value is ready.
type Store struct {
	mu   sync.Mutex
	kept map[string]ledger.Environment
}

// SaveEnvironment implements environment.Store.
func (s *Store) SaveEnvironment(_ context.Context, e ledger.Environment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = map[string]ledger.Environment{}
	}
	if e.State == ledger.Destroyed {
		e.Sealed = nil
	}
	e.Body, e.Sealed = bytes.Clone(e.Body), bytes.Clone(e.Sealed)
	s.kept[e.ID] = e
	return nil
}

// UpdateEnvironment implements environment.Store.
func (s *Store) UpdateEnvironment(ctx context.Context, id string, change func(*ledger.Environment)) (ledger.Environment, error) {
	e, err := s.Environment(ctx, id)
	if err != nil {
		return ledger.Environment{}, err
	}
	change(&e)
	if err := s.SaveEnvironment(ctx, e); err != nil {
		return ledger.Environment{}, err
	}
	return s.Environment(ctx, id)
}

// Environment implements environment.Store.
func (s *Store) Environment(_ context.Context, id string) (ledger.Environment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.kept[id]
	if !ok {
		return ledger.Environment{}, fmt.Errorf("environment %s: %w", id, ledger.ErrNotFound)
	}
	return e, nil
}
