package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/hallmark-ci/hallmark/internal/pipeline"
)

// stopWithin is how long steps in flight get at SIGTERM; what is not finished is resumed.
const stopWithin = 5 * time.Second

func (c *cli) serve() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "The daemon: follows the schedules, works on queued runs, removes what outlived its lease",
		Long: `Serve works until SIGTERM or SIGINT. It then stops within 10 seconds; runs are not lost, the next
process on the same state resumes each at the step it was in.`,
		Example: "  hallmark serve --config /etc/hallmark/hallmark.yaml -v",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			parts, err := c.open(cmd, enoughRoom, c.probeThere)
			if err != nil {
				return err
			}
			defer parts.Ledger.Close()
			release, mine, err := lock(parts.Config, byDaemon)
			if err != nil {
				return err
			}
			if !mine {
				return usage("another process works on %s: stop it first, or give this one its own --state-dir", parts.Config.StateDir)
			}
			defer release()
			ctx := cmd.Context()
			engine, err := pipeline.Start(context.WithoutCancel(ctx), parts, parts.Config.WorkflowFile())
			if err != nil {
				return err
			}
			if err := c.showSchedules(ctx, parts.Config, parts.Ledger); err != nil {
				return err
			}
			engine.Serve(ctx)
			c.printf("stopping; runs at work are resumed by the next process\n")
			if err := engine.Stop(stopWithin); err != nil {
				parts.Log.Info("steps were cut short", "err", err)
			}
			return nil
		},
	}
}
