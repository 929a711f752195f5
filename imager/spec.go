package imager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Spec is one image to build. Run, Variant and Role name it: the same three give the same image.
type Spec struct {
	Product  *product.Product
	Commit   string
	Archive  string // tarball of the product's code at Commit, on this host
	Role     string
	Base     cloud.Image // the parent; it must be a reference base
	Run      string
	Variant  string // "" but where a run builds a role at several commits: the name then has it, too
	Owner    string
	Branch   string
	Deadline time.Time // hard cap on the life of server and network; the image has none

	// Secrets must be nowhere in the image. They are what surrounds the build, never what it needs:
	// at stage bake there are none.
	Secrets []string
}

// Name is the image's name, and that of the build. A role has no dot in it, so that variant and role can be
// told apart.
func (s Spec) Name() string {
	if s.Variant == "" {
		return s.Run + "-" + s.Role
	}
	return s.Run + "-" + s.Variant + "." + s.Role
}

var nameable = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// check finds what is wrong with a Spec without asking anybody.
func (s Spec) check() error {
	wrong := func(format string, args ...any) error {
		return verdict.Errorf(verdict.CheckFailed, "", "image of role %q: "+format, append([]any{s.Role}, args...)...)
	}
	if s.Product == nil {
		return wrong("no product")
	}
	switch _, known := s.Product.Roles[s.Role]; {
	case !known:
		return wrong("the product has no such role")
	case !nameable.MatchString(s.Run), !nameable.MatchString(s.Commit), s.Variant != "" && !nameable.MatchString(s.Variant):
		return wrong("run %q, variant %q and commit %q must be names", s.Run, s.Variant, s.Commit)
	case s.Owner == "":
		return wrong("no owner to tag it with")
	case s.Archive == "":
		return wrong("no code to provision it with")
	case s.Base.Kind != cloud.Base:
		return lineage(s.Base, "it is of kind %q", s.Base.Kind)
	}
	return nil
}

// ErrLineage says that the parent of an image would not be a reference base. It is final: no fresh
// environment cures it.
var ErrLineage = errors.New("only a reference base may be the parent of an image")

func lineage(parent cloud.Image, format string, args ...any) error {
	return verdict.Errorf(verdict.CheckFailed, "", "parent %s (%s): %s: %w", parent.Name, parent.ID, fmt.Sprintf(format, args...), ErrLineage)
}

// Deps are what a build works with.
type Deps struct {
	Provider     cloud.Provider
	ProviderName string // incus, ec2, sim: kept in the ledger
	Benches      Benches
	Journal      Journal
	Log          *slog.Logger   // nil: nothing is logged
	Progress     func(Progress) // may be nil
	Clock        clock.Clock    // nil: the machine's
	Runner       Runner         // nil: step after step
}

// Runner makes what runs the steps. A Packer plugin gives commonsteps.NewRunner, which knows -debug and
// -on-error. The daemon does without: that package links downloaders and the SDKs of three clouds, two
// fifths of the program.
type Runner func(steps []multistep.Step, settings common.PackerConfig, ui packersdk.Ui) multistep.Runner

// Benches gives benches: a planned one, that of an earlier process, or environment.ErrDestroyed for
// one that existed and is gone. OnSite is the real one.
type Benches func(ctx context.Context, spec environment.BenchSpec) (Bench, error)

// OnSite gives the benches of a site. The end of one that was cut short is finished first.
func OnSite(site *environment.Site) Benches {
	return func(ctx context.Context, spec environment.BenchSpec) (Bench, error) {
		known, err := site.Store.Environment(ctx, spec.ID)
		switch {
		case err != nil && !errors.Is(err, ledger.ErrNotFound):
			return nil, fmt.Errorf("bench %s: %w", spec.ID, err)
		case known.State == ledger.Destroyed:
			return nil, environment.ErrDestroyed
		}
		bench, err := site.Bench(ctx, spec)
		if err != nil {
			return nil, err
		}
		if known.State == ledger.Destroying {
			if err := bench.Destroy(ctx); err != nil {
				return nil, err
			}
			return nil, environment.ErrDestroyed
		}
		return bench, nil
	}
}

// Bench is what a build needs of *environment.Bench.
type Bench interface {
	Up() []environment.Step
	Provision() []environment.Step
	Session(ctx context.Context) (remote.Session, error)
	Server() cloud.ServerID
	Secrets() []string
	Report() (puppet.Report, bool)
	Audit(ctx context.Context) verdict.Audit
	Stop(ctx context.Context) error
	Destroy(ctx context.Context) error
}

// Progress is one change in a build, for people who watch.
type Progress struct {
	Role   string
	Step   string
	Done   bool // false: it begins
	Took   time.Duration
	Detail string
	Err    error
}

// Result is what a build gave.
type Result struct {
	Image   ledger.Image // complete if the build gave no error; ID is Spec.Name
	Adopted bool         // the image was there already, from before a crash
	Steps   []Timing     // in the order of work, the clean-up last

	// Of a build that gave an error: what verdict.Judge needs beside its cause, and what people need.
	Audit verdict.Audit
	Lines string // the end of what the server said about it
}

// Timing is how long one step took.
type Timing struct {
	Step string        `json:"step"`
	Took time.Duration `json:"took"`
}
