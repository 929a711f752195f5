package environment

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// An environment's record belongs to every process that works on it: the daemon, and `hallmark env …`.
// So a change is a read, an alteration and a write in one transaction of the store; what this process has
// in memory is a copy, made anew with every change, step and login.

// load reads an environment from the store; ledger.ErrNotFound if there is none.
func (s *Site) load(ctx context.Context, id string) (*Environment, error) {
	stored, err := s.Store.Environment(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("adopt environment %s: %w", id, err)
	}
	kept, err := open(stored)
	if err != nil {
		return nil, fmt.Errorf("adopt environment %s: %w", id, err)
	}
	e := s.newEnvironment(kept.rec, kept.keys, kept.state)
	e.body = stored.Body
	return e, nil
}

// kept is what the store holds of an environment.
type kept struct {
	rec   record
	keys  keyring
	state string // of ledger.Environment
}

func open(stored ledger.Environment) (kept, error) {
	k := kept{state: stored.State}
	if err := json.Unmarshal(stored.Body, &k.rec); err != nil {
		return kept{}, fmt.Errorf("its record: %w", err)
	}
	var err error
	if stored.State != ledger.Destroyed {
		k.keys, err = openKeyring(stored.Sealed)
	}
	return k, err
}

func (k kept) close() (body, sealed []byte, err error) {
	if body, err = json.Marshal(k.rec); err != nil {
		return nil, nil, fmt.Errorf("encode its record: %w", err)
	}
	sealed, err = k.keys.seal()
	return body, sealed, err
}

// create writes the first record, before anything uses its keys.
func (e *Environment) create(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	body, sealed, err := kept{e.rec, e.keys, e.state}.close()
	if err != nil {
		return fmt.Errorf("environment %s: %w", e.id, err)
	}
	e.body = body
	return e.site.Store.SaveEnvironment(ctx, ledger.Environment{
		ID: e.id, Run: e.rec.Spec.Run, Name: e.rec.Spec.Name, State: e.state,
		Lease: e.rec.Spec.Lease, Deadline: e.rec.Spec.Deadline, Created: e.site.clock().Now(),
		Body: body, Sealed: sealed,
	})
}

// change alters the record, in the store and in memory. alter gets the newest record, and is called again
// if the store repeats its transaction. Without a stored record nothing that was created can be found
// again, so the caller goes no further on an error. An environment that was destroyed changes no more.
func (e *Environment) change(ctx context.Context, alter func(*record)) error {
	return e.update(ctx, func(k *kept) error {
		if k.state == ledger.Destroyed {
			return verdict.Errorf(verdict.CloudLost, "", "environment %s: %w", e.id, ErrDestroyed)
		}
		alter(&k.rec)
		return nil
	})
}

// update is change for all that is kept. It leaves what belongs to people (Keep, Lease).
func (e *Environment) update(ctx context.Context, alter func(*kept) error) error {
	e.mu.Lock()
	gone, err := e.write(ctx, alter)
	e.mu.Unlock()
	e.dropAll(gone)
	return err
}

// write expects e.mu to be held. It gives what take gives.
func (e *Environment) write(ctx context.Context, alter func(*kept) error) (gone []string, err error) {
	var (
		k       kept
		body    []byte
		refused error
	)
	_, err = e.site.Store.UpdateEnvironment(ctx, e.id, func(stored *ledger.Environment) {
		var sealed []byte
		if k, refused = open(*stored); refused == nil {
			refused = alter(&k)
		}
		if refused == nil {
			body, sealed, refused = k.close()
		}
		if refused == nil {
			stored.State, stored.Body, stored.Sealed = k.state, body, sealed
		}
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("environment %s: save its record: %w", e.id, err)
	case refused != nil:
		return nil, fmt.Errorf("environment %s: change its record: %w", e.id, refused)
	}
	return e.take(k, body), nil
}

// take makes what the store holds this process's copy. It expects e.mu to be held, and gives the servers
// that are not the same any more: sessions on them are to be dropped. Keys never change; secrets may be added.
func (e *Environment) take(k kept, body []byte) (gone []string) {
	for _, was := range e.rec.Servers {
		if is := k.rec.find(was.Name); was.ID != "" && (is == nil || is.ID != was.ID) || k.state == ledger.Destroyed {
			gone = append(gone, was.Name)
		}
	}
	e.rec, e.state, e.body = k.rec, k.state, body
	if e.keys.admin != nil {
		e.keys.secrets = maps.Clone(k.keys.secrets)
	}
	return gone
}

func (e *Environment) dropAll(servers []string) {
	for _, server := range servers {
		e.ways.drop(server)
	}
}

// refresh takes over what another process has changed.
func (e *Environment) refresh(ctx context.Context) error {
	stored, err := e.site.Store.Environment(ctx, e.id)
	if err != nil {
		return fmt.Errorf("environment %s: read its record: %w", e.id, err)
	}
	e.mu.Lock()
	if stored.State == e.state && bytes.Equal(stored.Body, e.body) {
		e.mu.Unlock()
		return nil
	}
	k, err := open(stored)
	var gone []string
	if err == nil {
		gone = e.take(k, stored.Body)
	}
	e.mu.Unlock()
	if err != nil {
		return fmt.Errorf("environment %s: %w", e.id, err)
	}
	e.dropAll(gone)
	return nil
}
