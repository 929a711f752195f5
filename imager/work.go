package imager

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// maxBenches is how often one image can be begun anew: by retries, and by crashes while sealing.
const maxBenches = 50

// openBench finds the bench to work on. A bench serves once: if there was one and it is gone, or
// its server was being sealed when the process died, the next one is taken. Nothing in the cloud is
// made yet.
func openBench(ctx context.Context, b *build) error {
	for n := range maxBenches {
		b.benchID = environment.ID(b.spec.Owner, "image", b.spec.Name(), strconv.Itoa(n))
		bench, err := b.deps.Benches(ctx, environment.BenchSpec{
			ID:       b.benchID,
			Owner:    b.spec.Owner,
			Run:      b.spec.Run,
			Name:     "build " + b.spec.Role,
			Role:     b.spec.Role,
			Product:  b.spec.Product,
			Commit:   b.spec.Commit,
			Archive:  b.spec.Archive,
			Base:     b.spec.Base.ID,
			Deadline: b.spec.Deadline,
			Lease:    b.spec.Deadline,
		})
		if errors.Is(err, environment.ErrDestroyed) {
			continue
		} else if err != nil {
			return err
		}
		entry, err := b.deps.Journal.Load(ctx, b.benchID)
		switch {
		case errors.Is(err, ErrUnknownBench):
			b.bench = bench
			return nil
		case err != nil:
			return err
		case entry.Sealed:
			b.bench, b.sealed, b.description = bench, true, entry.Description
			return nil
		}
		if err := bench.Destroy(ctx); err != nil {
			return fmt.Errorf("remove a half-sealed bench: %w", err)
		}
	}
	return verdict.Errorf(verdict.Unexplained, "", "begun %d times", maxBenches)
}

// clearBench removes server and network.
func clearBench(ctx context.Context, b *build) error {
	if b.bench == nil {
		return nil
	}
	return b.bench.Destroy(ctx)
}

func launch(ctx context.Context, b *build) error {
	return b.each(ctx, "launch", b.bench.Up())
}

// provision has the server converge at stage bake. If Puppet fails, the error names the resource.
func provision(ctx context.Context, b *build) error {
	err := b.each(ctx, "provision", b.bench.Provision())
	if err != nil && ctx.Err() == nil {
		b.readLog(ctx)
	}
	return err
}

// readLog keeps the end of what the server said; it is for people, so it may be missing.
func (b *build) readLog(ctx context.Context) {
	session, err := b.bench.Session(ctx)
	if err != nil {
		return
	}
	result, err := session.Run(ctx, remote.Command{Line: "tail -n 60 " + puppet.LogPath, Sudo: true, Timeout: time.Minute})
	if err == nil {
		b.lines = tail(result.Stdout, 60)
	}
}

// provisioners runs what a Packer template adds, if this build is one of Packer's.
func provisioners(ctx context.Context, b *build) error {
	if b.hook == nil {
		return nil
	}
	session, err := b.bench.Session(ctx)
	if err != nil {
		return err
	}
	data := map[string]any{"ID": string(b.bench.Server())}
	return b.hook.Run(ctx, packersdk.HookProvision, b.ui, NewCommunicator(ctx, session), data)
}

// describe learns what the image will consist of.
func describe(ctx context.Context, b *build) error {
	session, err := b.bench.Session(ctx)
	if err != nil {
		return err
	}
	if b.description.Packages, err = environment.Packages(ctx, session, environment.BenchServer); err != nil {
		return err
	}
	report, ok := b.bench.Report()
	if !ok {
		return verdict.Errorf(verdict.Unexplained, environment.BenchServer, "Puppet converged without a report")
	}
	b.description.PuppetReport = report
	return nil
}

// stop shuts the sealed server down; from then on it is ready to be captured, by whatever process.
func stop(ctx context.Context, b *build) error {
	if err := b.bench.Stop(ctx); err != nil {
		return err
	}
	return b.deps.Journal.Save(ctx, b.benchID, Entry{Sealed: true, Description: b.description})
}
