package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// Leftover is a resource that nothing needs any more, and why that is known.
type Leftover struct {
	cloud.Resource
	Why string `json:"why"`
}

// Reap removes what outlived its purpose: resources of environments whose lease or deadline is over,
// whose run has ended, or of which nothing is known, and images that the ledger does not know. A dry
// run removes nothing. It gives what it found; what could not be removed is in the error, and the
// next call tries again.
func Reap(ctx context.Context, parts Parts, dry bool) ([]Leftover, error) {
	owned, err := parts.Cloud.Owned(ctx, parts.Config.Owner)
	if err != nil {
		return nil, fmt.Errorf("list what is ours: %w", err)
	}
	r := reaper{Parts: parts, environments: map[string]string{}}
	var found []Leftover
	for _, resource := range owned {
		why, err := r.why(ctx, resource)
		if err != nil {
			return found, err
		}
		if why != "" {
			found = append(found, Leftover{resource, why})
		}
	}
	order := cloud.Kinds()
	slices.SortStableFunc(found, func(a, b Leftover) int { return slices.Index(order, a.Kind) - slices.Index(order, b.Kind) })
	if dry {
		return found, nil
	}
	var failed error
	for _, l := range found {
		var err error
		if l.Kind == cloud.KindImage {
			err = withdraw(ctx, parts, cloud.ImageID(l.ID))
		}
		if err == nil {
			err = parts.Cloud.Delete(ctx, l.Resource)
		}
		if l.Kind == cloud.KindImage && cloud.CodeOf(err) == cloud.CodeConflict { // servers are still launched from it
			parts.Log.Debug("image stays", "image", l.ID, "err", err)
			continue
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s %s: %w", l.Kind, l.Name, err))
			continue
		}
		parts.Log.Info("reaped", "kind", l.Kind, "name", l.Name, "why", l.Why)
	}
	return found, errors.Join(failed, r.forget(ctx))
}

type reaper struct {
	Parts
	environments map[string]string // id → why it is over, "" if it is not
}

// why says why a resource is left over, "" if it is not.
func (r *reaper) why(ctx context.Context, resource cloud.Resource) (string, error) {
	switch resource.Kind {
	case cloud.KindImage:
		return r.whyImage(ctx, resource)
	case cloud.KindSnapshot:
		return r.whyUnmade(ctx, "it belongs to no image")
	}
	id := resource.Tags.Environment
	if id == "" {
		return "it is ours, and of no environment", nil
	}
	if d := resource.Tags.Deadline; !d.IsZero() && d.Before(r.Now()) {
		r.environments[id] = "its deadline is over"
	}
	if why, ok := r.environments[id]; ok {
		return why, nil
	}
	env, err := r.Ledger.Environment(ctx, id)
	why := "the ledger knows no environment " + id
	if !errors.Is(err, ledger.ErrNotFound) {
		if err != nil {
			return "", err
		}
		if why, err = r.whyEnvironment(ctx, env); err != nil {
			return "", err
		}
	}
	r.environments[id] = why
	return why, nil
}

func (r *reaper) whyEnvironment(ctx context.Context, env ledger.Environment) (string, error) {
	switch {
	case env.State == ledger.Destroyed:
		return "its environment was destroyed", nil
	case env.Expired(r.Now()):
		return "its lease is over", nil
	case env.Keep || env.Run == "":
		return "", nil
	}
	run, err := r.Ledger.Run(ctx, env.Run)
	if errors.Is(err, ledger.ErrNotFound) {
		return "the ledger knows no run " + env.Run, nil
	}
	if err == nil && (run.State == ledger.Finished || run.State == ledger.Cancelled) {
		return "its run has ended", nil
	}
	return "", err
}

// whyImage leaves reference bases and what the ledger knows; superseded images are the runs' own
// business. The ledger knows a published image by its name: its copies elsewhere have other ids.
func (r *reaper) whyImage(ctx context.Context, resource cloud.Resource) (string, error) {
	if resource.Tags.Run == "" {
		return "", nil
	}
	images, err := r.Ledger.Images(ctx, ledger.ImageFilter{Deleted: true})
	if err != nil {
		return "", err
	}
	copies := r.publisher() != nil // of an image, where it is published to, have its name
	if i := slices.IndexFunc(images, func(i ledger.Image) bool {
		return i.ProviderID == resource.ID || copies && i.ID == resource.Name
	}); i >= 0 {
		if images[i].Deleted.IsZero() {
			return "", nil
		}
		return "it was superseded", nil
	}
	return r.whyUnmade(ctx, "the ledger does not know it")
}

// whyUnmade leaves what may become an image while a run is at work.
func (r *reaper) whyUnmade(ctx context.Context, why string) (string, error) {
	working, err := r.Ledger.Runs(ctx, ledger.RunFilter{States: []ledger.RunState{ledger.Queued, ledger.Working, ledger.Cancelling}})
	if err != nil || len(working) > 0 {
		return "", err
	}
	return why + ", and no run is at work", nil
}

// forget marks the environments that are over as destroyed, those too of which nothing was left:
// their secrets serve nobody any more.
func (r *reaper) forget(ctx context.Context) error {
	known, failed := r.Ledger.Environments(ctx, ledger.EnvironmentFilter{})
	for _, env := range known {
		if _, ok := r.environments[env.ID]; ok {
			continue
		}
		why, err := r.whyEnvironment(ctx, env)
		failed = errors.Join(failed, err)
		r.environments[env.ID] = why
	}
	for id, why := range r.environments {
		if why == "" || id == "" {
			continue
		}
		_, err := r.Ledger.UpdateEnvironment(ctx, id, func(env *ledger.Environment) {
			env.State, env.Sealed = ledger.Destroyed, nil
		})
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}
