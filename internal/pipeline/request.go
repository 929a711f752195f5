package pipeline

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/product"
)

// Request is a run that a person or a schedule asks for.
type Request struct {
	Kind    string
	Branch  string // "" : nightly: the development branch
	Commit  string // "" : the branch's head; else a name of a commit on the branch
	Trigger string // hand, or the schedule's name
	Actor   string
	Options ledger.RunOptions

	ofHead bool // Commit was left open and became the branch's head
}

// resolve fills in the branch, and the commit as its full id, and refuses what no run may promote: a
// branch that does not fit the kind, a commit that is not on the branch.
func (r *Request) resolve(ctx context.Context, parts Parts) error {
	switch {
	case r.Kind != Nightly && r.Kind != Release:
		return fmt.Errorf("unknown kind of run %q: use %s or %s", r.Kind, Nightly, Release)
	case r.Branch == "" && r.Kind == Nightly:
		r.Branch = parts.Config.Product.Development
	case r.Branch == "":
		return fmt.Errorf("a release run needs a branch: add --branch, one of those matching %q", parts.Config.Product.Releases)
	}
	head, err := parts.Product.Head(ctx, r.Branch)
	if err != nil {
		return err
	}
	if err := r.fits(parts); err != nil {
		return err
	}
	if r.Commit == "" {
		r.Commit, r.ofHead = head, true
		return nil
	}
	name := r.Commit
	if r.Commit, err = parts.Product.Commit(ctx, name); err != nil {
		return err
	}
	r.Options.NotHead = !r.ofHead && r.Commit != head
	on, err := parts.Product.Contains(ctx, head, r.Commit)
	if err == nil && !on {
		err = fmt.Errorf("commit %s is not on branch %s: name its branch by --branch, or leave --commit out to take the branch's head", called(name, r.Commit), r.Branch)
	}
	return err
}

// fits says why no run of this kind is made of this branch. A nightly run that promotes nothing may be of
// any branch.
func (r *Request) fits(parts Parts) error {
	promotes := !r.Options.NoPromote && parts.Config.Policy[r.Kind].Channel != ""
	if r.Kind == Nightly && !promotes {
		return nil
	}
	if err := parts.Config.Fits(r.Kind, r.Branch); err != nil {
		if r.Kind == Nightly {
			return fmt.Errorf("%w: add --no-promote to try another branch", err)
		}
		return fmt.Errorf("%w: name a live release branch by --branch", err)
	}
	_, err := parts.Config.Channel(r.Kind, r.Branch)
	return err
}

// called is the name that a person gave a commit and, if that is another, its id.
func called(name, id string) string {
	if name == id {
		return id
	}
	return name + " (" + id + ")"
}

// Preflight fills in what the request leaves open and reads the product's own files at that commit,
// so that a person's mistake is told before anything is recorded or launched. A commit that its channel
// would not move to is such a mistake, unless the run is not to promote.
func Preflight(ctx context.Context, parts Parts, r *Request) error {
	if err := r.resolve(ctx, parts); err != nil {
		return err
	}
	if err := noneYet(ctx, parts); err != nil {
		return err
	}
	if !r.Options.NoPromote {
		channel, err := parts.Config.Channel(r.Kind, r.Branch)
		if err != nil {
			return err
		}
		why, err := goesBack(ctx, parts, channel, r.Branch, r.Commit)
		if err != nil {
			return err
		}
		if why != "" {
			return fmt.Errorf("%s, so the run would not move the channel: add --no-promote to run it all the same", why)
		}
	}
	p, err := newShelf(parts.Product, parts.Config.ProductsDir()).get(ctx, r.Commit)
	if err != nil {
		return err
	}
	if err := p.Unused(); err != nil {
		return err
	}
	return fits(p.Product, parts.Slots.Max())
}

// fits says before anything is launched whether a product's servers fit under the cap, with the
// neighbour that stands beside them.
func fits(p *product.Product, most int) error {
	if n := len(p.Servers()) + 1; n > most {
		return fmt.Errorf("the topology of commit %s needs %d servers at once, one beside its own included, and limits.servers allows %d: raise it", p.Commit, n, most)
	}
	return nil
}

// Enqueue records a run to be worked on by whichever process has the engine.
func Enqueue(ctx context.Context, parts Parts, r Request) (ledger.Run, error) {
	if err := r.resolve(ctx, parts); err != nil {
		return ledger.Run{}, err
	}
	run, err := r.run(parts.Now())
	if err != nil {
		return ledger.Run{}, err
	}
	return run, parts.Ledger.CreateRun(ctx, run)
}

// run is what a resolved request asks for.
func (r *Request) run(now time.Time) (ledger.Run, error) {
	id, err := ledger.RunID(now, r.Kind, rand.Reader)
	return ledger.Run{ID: id, Kind: r.Kind, Branch: r.Branch, Commit: r.Commit, Trigger: r.Trigger, Actor: r.Actor, State: ledger.Queued, Options: r.Options, Created: now}, err
}
