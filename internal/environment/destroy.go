package environment

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/product"
)

// sweeps is how often Destroy looks whether anything is left: a launch that was under way when its
// process died may show up late.
const sweeps = 3

// Destroy removes everything that carries the environment's tag but images: servers, volumes, the
// network, also what was created but never recorded. Then the record is marked destroyed and its
// secrets are gone. It is idempotent.
func (e *Environment) Destroy(ctx context.Context) error {
	if err := e.move(ctx, ledger.Destroying); err != nil {
		return err
	}
	e.closeSessions()
	for range sweeps {
		left, err := e.owned(ctx)
		if err != nil {
			return fmt.Errorf("destroy environment %s: %w", e.ID(), err)
		}
		if len(left) == 0 {
			return e.bury(ctx)
		}
		if err := e.count(ctx, left); err != nil {
			e.site.log().Warn("the run's cost leaves out servers that a process launched just before it ended", "run", e.settings().Spec.Run, "env", e.ID(), "err", e.discreet(err))
		}
		if err := e.sweep(ctx, left); err != nil {
			return fmt.Errorf("destroy environment %s: %w", e.ID(), err)
		}
	}
	left, err := e.owned(ctx)
	if err != nil || len(left) > 0 {
		return fmt.Errorf("destroy environment %s: %d resources are left: %w", e.ID(), len(left), err)
	}
	return e.bury(ctx)
}

// owned lists what Destroy removes.
func (e *Environment) owned(ctx context.Context) ([]cloud.Resource, error) {
	all, err := e.site.Provider.Owned(ctx, e.settings().Spec.Owner)
	if err != nil {
		return nil, err
	}
	var mine []cloud.Resource
	for _, r := range all {
		if r.Tags.Environment == e.ID() && slices.Contains(swept, r.Kind) {
			mine = append(mine, r)
		}
	}
	return mine, nil
}

// count adds servers to the uses that the record does not know: a process ended between a launch and its
// note. It leaves out volumes, of which no provider tells the age.
func (e *Environment) count(ctx context.Context, left []cloud.Resource) error {
	known := map[string]bool{}
	for _, m := range e.machines() {
		known[string(m.ID)] = true
	}
	if !slices.ContainsFunc(left, func(r cloud.Resource) bool { return r.Kind == cloud.KindServer && !known[r.ID] }) {
		return nil
	}
	servers, err := e.site.Provider.Servers(ctx, cloud.Filter{Owner: e.settings().Spec.Owner, Environment: e.ID()})
	if err != nil {
		return err
	}
	return e.change(ctx, func(r *record) {
		for _, s := range servers {
			var role product.Role
			if m := r.find(s.Name); m != nil {
				role = r.Spec.Product.Roles[m.Role]
			}
			r.began(s, role, e.site.clock().Now())
		}
	})
}

// swept is what goes with an environment, in the order in which it can be removed. Images outlive the
// benches that they were made on, and so do their snapshots while there is an image.
var swept = []cloud.ResourceKind{cloud.KindServer, cloud.KindVolume, cloud.KindNetwork}

// sweep removes resources, kind after kind, those of one kind at the same time.
func (e *Environment) sweep(ctx context.Context, left []cloud.Resource) error {
	for _, kind := range swept {
		group, ctx := errgroup.WithContext(ctx)
		for _, r := range left {
			if r.Kind == kind {
				group.Go(func() error { return e.site.Provider.Delete(ctx, r) })
			}
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return nil
}

func (e *Environment) bury(ctx context.Context) error {
	if err := e.move(ctx, ledger.Destroyed); err != nil {
		return err
	}
	e.mu.Lock()
	e.keys = keyring{}
	e.mu.Unlock()
	e.site.release(e.ID())
	return nil
}
