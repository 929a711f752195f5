package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

func (c *cli) run() *cobra.Command {
	request := pipeline.Request{Trigger: "hand"}
	var follow, detach bool
	var resume string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Build, verify and promote one commit",
		Long: `Run takes one commit through the whole pipeline. With a daemon on the same state it is handed over to
the daemon; without one it is worked on right here, this run alone: other queued runs wait for a daemon. It
ends with the run's verdict as exit code.

A nightly run is of the development branch, and upgrades from every live release branch; with --no-promote it may be
of any branch. A release run is of a live release branch, and upgrades from what production holds. The commit may be
given as git names it, and must be on the branch.

A run whose process ended in the midst of it goes on with the next ` + "`hallmark serve`, or by --resume" + `. Before
that no other run can begin.`,
		Example: `  hallmark run --kind nightly --follow
  hallmark run --kind release --branch release/1.0
  hallmark run --kind nightly --branch feature/search --no-promote
  hallmark run --kind nightly --commit 3e21bb07a3 --no-promote
  hallmark run --resume 20261123-2141-nightly-ab12cd`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if resume != "" {
				for _, other := range []string{"kind", "branch", "commit", "no-promote", "detach"} {
					if cmd.Flags().Changed(other) {
						return usage("--resume goes on with a run as it was asked for: leave --%s out", other)
					}
				}
				return c.resumeRun(cmd, resume, follow)
			}
			request.Actor = actor()
			return c.startRun(cmd, request, follow, detach)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&request.Kind, "kind", pipeline.Nightly, "nightly or release")
	flags.StringVar(&request.Branch, "branch", "", "branch (default: the development branch)")
	flags.StringVar(&request.Commit, "commit", "", "commit (default: the branch's head)")
	flags.BoolVar(&request.Options.NoPromote, "no-promote", false, "judge, but leave the channel alone")
	flags.BoolVarP(&follow, "follow", "f", false, "show the live tree of stages")
	flags.BoolVar(&detach, "detach", false, "hand the run to the daemon and return at once")
	flags.StringVar(&resume, "resume", "", "go on with this run, which waits or which a process left when it ended")
	return cmd
}

// startRun looks at everything that a person can have got wrong before it records the run.
func (c *cli) startRun(cmd *cobra.Command, request pipeline.Request, follow, detach bool) error {
	parts, err := c.open(cmd, enoughRoom, c.probeThere)
	if err != nil {
		return err
	}
	defer parts.Ledger.Close()
	ctx := cmd.Context()
	asked := request.Commit
	if err := pipeline.Preflight(ctx, parts, &request); err != nil {
		return usageError{inProduct(cmp.Or(asked, request.Branch)+":", err)}
	}
	release, mine, err := lock(parts.Config, byHand)
	if err != nil {
		return err
	}
	if mine {
		defer release()
	}
	if detach && (mine || worker(parts.Config) == byHand) {
		return usage("--detach needs a daemon on %s: start one with `hallmark serve`, or leave --detach out", parts.Config.StateDir)
	}
	if mine {
		if err := c.mayBegin(ctx, parts, ""); err != nil {
			return err
		}
	}
	run, err := pipeline.Enqueue(ctx, parts, request)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%s of %s at %s", run.Kind, run.Branch, short(run.Commit))
	switch {
	case mine:
		c.say("run %s: %s\n", run.ID, what)
		return c.workHere(ctx, parts, run.ID, follow)
	case worker(parts.Config) == byHand:
		c.say("run %s waits for another `hallmark run` to end: %s\n", run.ID, what)
		return c.takeTurn(ctx, parts, run.ID, follow)
	}
	c.say("run %s handed over to the daemon: %s\n", run.ID, what)
	if !detach {
		return c.await(ctx, parts, run.ID, follow)
	}
	if c.format == "json" {
		return c.json(run)
	}
	return nil
}

// workHere works on one run in this process until it has ended. An interrupt cancels the run and waits
// until it has cleaned up; a second one ends the process, and the run waits to be resumed.
func (c *cli) workHere(ctx context.Context, parts pipeline.Parts, id string, follow bool) error {
	free := context.WithoutCancel(ctx)
	engine, err := pipeline.StartOne(free, parts, parts.Config.WorkflowFile(), id)
	if err != nil {
		return err
	}
	defer engine.Stop(5 * time.Second) //nolint:errcheck // what is left waits to be resumed
	stopCancel := context.AfterFunc(ctx, func() {
		fmt.Fprintf(c.errOut, "cancelling run %s and cleaning up\n", id)
		if _, err := parts.Ledger.RequestCancel(free, id, actor()); err != nil && !errors.Is(err, ledger.ErrMoved) {
			c.complain(err)
		}
	})
	defer stopCancel()
	return c.await(free, parts, id, follow)
}

// await waits for a run's end, shows it, and gives its verdict.
func (c *cli) await(ctx context.Context, parts pipeline.Parts, id string, follow bool) error {
	l := parts.Ledger
	view := c.follower(follow)
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		run, err := l.Run(ctx, id)
		if err != nil {
			return err
		}
		stages, err := l.Stages(ctx, id)
		if err != nil {
			return err
		}
		view.update(timeline(run, stages))
		if run.State == ledger.Finished || run.State == ledger.Cancelled {
			return c.ended(ctx, parts, run)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("stopped following; run %s goes on in the daemon: `hallmark runs show %s`, `hallmark runs cancel %s`", id, id, id)
		case <-tick.C:
		}
	}
}

// ended shows what a run came to and gives its verdict as the command's.
func (c *cli) ended(ctx context.Context, parts pipeline.Parts, run ledger.Run) error {
	c.say("\n")
	if err := c.showRun(ctx, parts, run); err != nil {
		return err
	}
	if run.Verdict == verdict.Passed {
		return nil
	}
	return verdictError{run.Verdict}
}
