package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// Leftover is a resource that nothing needs any more, and why that is known.
type Leftover struct {
	cloud.Resource
	Why string `json:"why"`
	// Quarantined is since when it is kept all the same, because the ledger may not know all that happened:
	// a confirmation removes it, or keep.unknown. Zero: it is certain, and the next look removes it.
	Quarantined time.Time `json:"quarantined,omitzero"`
}

// Sweep says what one call of Reap may do.
type Sweep struct {
	Dry     bool     // remove nothing
	Unknown bool     // a person confirmed that what is in quarantine is to be removed, all of it
	IDs     []string // or these
}

// Reap is a Sweep that removes what is certain, or nothing in a dry run.
func Reap(ctx context.Context, parts Parts, dry bool) ([]Leftover, error) {
	return Sweep{Dry: dry}.Reap(ctx, parts)
}

// Reap removes what outlived its purpose: resources of environments whose lease or deadline is over or
// whose run has ended, and images that were superseded or never recorded by their run. What the ledger does
// not know at all, and after a loss or a restoration of the ledger what is older than that, is put in
// quarantine instead. It gives what it found; what could not be removed is in the error, and the next call
// tries again.
func (s Sweep) Reap(ctx context.Context, parts Parts) ([]Leftover, error) {
	owned, err := parts.Cloud.Owned(ctx, parts.Config.Owner)
	if err != nil {
		return nil, fmt.Errorf("list what is ours: %w", err)
	}
	r, found, err := survived(ctx, parts, owned)
	if err != nil {
		return found, err
	}
	order := cloud.Kinds()
	slices.SortStableFunc(found, func(a, b Leftover) int { return slices.Index(order, a.Kind) - slices.Index(order, b.Kind) })
	if found, err = quarantine(ctx, parts, found); err != nil || s.Dry {
		return found, err
	}
	var failed error
	stays := map[string]bool{} // environments of which something stays in quarantine
	for _, l := range found {
		if !s.may(parts, l) {
			stays[l.Tags.Environment] = true
			continue
		}
		failed = errors.Join(failed, r.remove(ctx, l))
	}
	for _, l := range found {
		if env := l.Tags.Environment; l.Kind != cloud.KindImage && !l.Quarantined.IsZero() && !stays[env] {
			r.environments[env] = finding{why: l.Why, certain: true}
		}
	}
	return found, errors.Join(failed, r.forget(ctx))
}

// may reports whether a leftover is certain, confirmed, or in quarantine for longer than things stay there.
func (s Sweep) may(parts Parts, l Leftover) bool {
	return l.Quarantined.IsZero() || s.Unknown || slices.Contains(s.IDs, l.ID) || parts.Config.Keep.Unknown.Over(l.Quarantined, parts.Now())
}

// survived finds what is left over. If a resource shows that the ledger lacks a run, that is noted, and
// everything is judged again.
func survived(ctx context.Context, parts Parts, owned []cloud.Resource) (*reaper, []Leftover, error) {
	for {
		r, err := newReaper(ctx, parts, owned)
		if err != nil {
			return nil, nil, err
		}
		var found []Leftover
		for _, resource := range owned {
			f, err := r.judge(ctx, resource)
			if err != nil {
				return nil, found, err
			}
			if f.why == "" {
				continue
			}
			l := Leftover{Resource: resource, Why: f.why}
			if !f.certain {
				l.Quarantined = parts.Now()
			}
			found = append(found, l)
		}
		if r.lacks == "" {
			return r, found, nil
		}
		parts.Log.Warn("the ledger lacks a run that this installation made: an older ledger was put in its place, or two installations have one name; what is older than now is not removed without a confirmation, see `hallmark gc`", "run", r.lacks)
		if err := parts.Ledger.Forgot(ctx, r.lacks); err != nil {
			return nil, nil, err
		}
	}
}

// remove removes one leftover.
func (r *reaper) remove(ctx context.Context, l Leftover) error {
	var err error
	if l.Kind == cloud.KindImage {
		if id := r.superseded[l.ID]; id != "" {
			err = r.Ledger.RetireImage(ctx, id, r.Now())
		}
		if errors.Is(err, ledger.ErrHeld) { // a channel has just moved to it
			return nil
		}
		if err == nil {
			err = withdraw(ctx, r.Parts, cloud.ImageID(l.ID))
		}
	}
	if err == nil {
		err = r.Cloud.Delete(ctx, l.Resource)
	}
	if l.Kind == cloud.KindImage && cloud.CodeOf(err) == cloud.CodeConflict { // a channel names it, or servers are still launched from it
		r.Log.Debug("image stays", "image", l.ID, "err", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", l.Kind, l.Name, err)
	}
	r.Log.Info("reaped", "kind", l.Kind, "name", l.Name, "why", l.Why)
	return nil
}

// finding is why something is left over, "" if it is not. It is certain if the ledger knows all about it.
type finding struct {
	why     string
	certain bool
	known   bool // of an environment: the ledger has it
}

type reaper struct {
	Parts
	forgotten    time.Time // the ledger may lack what happened before
	created      time.Time // the ledger
	environments map[string]finding
	images       map[string]ledger.ImageFact // by the provider's id, and by name where there are copies
	superseded   map[string]string           // images that nobody needs, but the ledger may not know all: provider's id → id
	busy         bool                        // a run is at work, and may be making images
	lacks        string                      // a run that the ledger lacks, and should not
}

func newReaper(ctx context.Context, parts Parts, owned []cloud.Resource) (*reaper, error) {
	is, err := identify(ctx, parts)
	if err != nil {
		return nil, err
	}
	r := &reaper{
		Parts: parts, forgotten: is.Forgotten, created: is.Created,
		environments: map[string]finding{}, images: map[string]ledger.ImageFact{}, superseded: map[string]string{},
	}
	working, err := parts.Ledger.Runs(ctx, ledger.RunFilter{States: []ledger.RunState{ledger.Queued, ledger.Working, ledger.Cancelling}, Limit: 1})
	if err != nil {
		return nil, err
	}
	r.busy = len(working) > 0
	var names []string
	for _, o := range owned {
		if o.Kind == cloud.KindImage && o.Tags.Run != "" {
			names = append(names, o.ID, o.Name)
		}
	}
	facts, err := parts.Ledger.ImageFacts(ctx, names)
	if err != nil {
		return nil, err
	}
	for _, f := range facts {
		r.images[f.ProviderID] = f
		if parts.publisher() != nil { // of an image, where it is published to, copies have its name and other ids
			r.images[f.ID] = f
		}
	}
	if r.forgotten.IsZero() || r.busy {
		return r, nil
	}
	images, err := unneeded(ctx, parts, "")
	for _, i := range images {
		if r.doubtful(i.Created) {
			r.superseded[i.ProviderID] = i.ID
		}
	}
	return r, err
}

// identify asks the ledger which one it is, and tells of one that lacks something.
func identify(ctx context.Context, parts Parts) (ledger.Identity, error) {
	is, noticed, err := parts.Ledger.Identify(ctx)
	if noticed {
		parts.Log.Warn("this is not the ledger that was used here last: it was lost, or an older copy was put in its place; what is older than now is not removed without a confirmation, see `hallmark gc`", "ledger", is.ID)
	}
	return is, err
}

// doubtful reports whether the ledger may lack what happened to something that was created at that time.
func (r *reaper) doubtful(created time.Time) bool { return created.Before(r.forgotten) }

func (r *reaper) judge(ctx context.Context, resource cloud.Resource) (finding, error) {
	switch resource.Kind {
	case cloud.KindImage:
		return r.judgeImage(ctx, resource)
	case cloud.KindSnapshot:
		return r.judgeUnmade(ctx, resource, "it belongs to no image")
	}
	id := resource.Tags.Environment
	if id == "" {
		made, err := r.madeHere(ctx, resource.Tags.Run)
		return finding{why: "it is ours, and of no environment", certain: made}, err
	}
	f, ok := r.environments[id]
	if !ok {
		var err error
		if f, err = r.lookUp(ctx, id, resource.Tags.Run); err != nil {
			return f, err
		}
	}
	if d := resource.Tags.Deadline; f.known && !d.IsZero() && d.Before(r.Now()) { // no ledger could have extended it
		f = finding{"its deadline is over", true, true}
	}
	r.environments[id] = f
	return f, nil
}

func (r *reaper) lookUp(ctx context.Context, id, run string) (finding, error) {
	env, err := r.Ledger.Environment(ctx, id)
	if !errors.Is(err, ledger.ErrNotFound) {
		if err != nil {
			return finding{}, err
		}
		return r.judgeEnvironment(ctx, env)
	}
	_, err = r.madeHere(ctx, run)
	return finding{why: "the ledger knows no environment " + id}, err
}

func (r *reaper) judgeEnvironment(ctx context.Context, env ledger.Environment) (finding, error) {
	f := finding{known: true, certain: !r.doubtful(env.Created)} // else a person may have kept it since
	switch {
	case env.State == ledger.Destroyed:
		f.why, f.certain = "its environment was destroyed", true
		return f, nil
	case env.Expired(r.Now()):
		f.why = "its lease is over"
		return f, nil
	case env.Keep || env.Run == "":
		return f, nil
	}
	run, err := r.Ledger.Run(ctx, env.Run)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		f.why, f.certain, err = "the ledger knows no run "+env.Run, false, nil
	case err == nil && (run.State == ledger.Finished || run.State == ledger.Cancelled):
		f.why = "its run has ended"
	}
	return f, err
}

// judgeImage leaves reference bases and what the ledger knows; superseded images are the runs' own
// business, unless the ledger may not know all of them. The ledger knows a published image by its name:
// its copies elsewhere have other ids.
func (r *reaper) judgeImage(ctx context.Context, resource cloud.Resource) (finding, error) {
	if resource.Tags.Run == "" {
		return finding{}, nil
	}
	fact, known := r.images[resource.ID]
	if !known {
		fact, known = r.images[resource.Name]
	}
	switch {
	case !known:
		return r.judgeUnmade(ctx, resource, "the ledger does not know it")
	case !fact.Deleted.IsZero():
		return finding{why: "it was superseded", certain: true}, nil
	case r.superseded[resource.ID] != "":
		return finding{why: "it is superseded, as far as the ledger knows"}, nil
	}
	return finding{}, nil
}

// judgeUnmade leaves what may become an image while a run is at work.
func (r *reaper) judgeUnmade(ctx context.Context, resource cloud.Resource, why string) (finding, error) {
	made, err := r.madeHere(ctx, resource.Tags.Run)
	if err != nil || r.busy {
		return finding{}, err
	}
	return finding{why: why + ", and no run is at work", certain: made}, nil
}

// madeHere reports whether a run is one that the ledger knows all about. A run of the ledger's own time that
// it does not know shows that it lacks something.
func (r *reaper) madeHere(ctx context.Context, id string) (bool, error) {
	if id == "" {
		return false, nil
	}
	run, err := r.Ledger.Run(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		lacking, err := r.Ledger.Lacks(ctx, id)
		if lacking {
			r.lacks = id
		}
		return false, err
	}
	return err == nil && !r.doubtful(run.Created), err
}

// forget marks the environments that are over as destroyed, those too of which nothing was left:
// their secrets serve nobody any more.
func (r *reaper) forget(ctx context.Context) error {
	known, failed := r.Ledger.Environments(ctx, ledger.EnvironmentFilter{})
	for _, env := range known {
		if _, ok := r.environments[env.ID]; ok {
			continue
		}
		f, err := r.judgeEnvironment(ctx, env)
		failed = errors.Join(failed, err)
		r.environments[env.ID] = f
	}
	for id, f := range r.environments {
		if f.why == "" || !f.certain || id == "" {
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
