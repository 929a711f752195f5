package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/report"
)

func (c *cli) env() *cobra.Command {
	return group("env", "Environments: list, keep, reboot, relaunch a server, destroy", `  hallmark env list
  hallmark env keep e4k2xq7a --for 2h
  hallmark env destroy e4k2xq7a`,
		c.envList(), c.envKeep(),
		c.envVerb("relaunch ENV SERVER", "Destroy a server without a clean shutdown and launch it again, its volumes kept",
			"  hallmark env relaunch e4k2xq7a web-1", 2,
			func(ctx context.Context, env *environment.Environment, args []string) error {
				return c.steps(ctx, env.RelaunchServer(args[1]))
			}),
		c.envVerb("reboot ENV", "Reboot every server and prove it", "  hallmark env reboot e4k2xq7a", 1,
			func(ctx context.Context, env *environment.Environment, _ []string) error {
				return c.steps(ctx, env.Reboot())
			}),
		c.envVerb("destroy ENV", "Remove an environment and all that belongs to it", "  hallmark env destroy e4k2xq7a", 1,
			func(ctx context.Context, env *environment.Environment, _ []string) error {
				return c.steps(ctx, []environment.Step{{Name: "destroy " + env.ID(), Do: env.Destroy}})
			}),
	)
}

func (c *cli) envList() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "list", Short: "Environments that are there", Example: "  hallmark env list\n  hallmark env list --all -o json", Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, l, err := c.book(cmd)
			if err != nil {
				return err
			}
			defer l.Close()
			envs, err := l.Environments(cmd.Context(), ledger.EnvironmentFilter{Destroyed: all})
			if err != nil {
				return err
			}
			views, rows := []envView{}, [][]string{}
			for _, e := range envs {
				views = append(views, viewOf(e))
				rows = append(rows, []string{e.ID, e.Name, e.State, dash(e.Run), when(e.Lease), when(e.Deadline)})
			}
			return c.show(views, []string{"environment", "name", "state", "run", "lease", "deadline"}, rows)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "also those that were destroyed")
	return cmd
}

func (c *cli) envKeep() *cobra.Command {
	var span time.Duration
	cmd := &cobra.Command{
		Use: "keep ENV", Short: "Keep an environment beyond its run, for a time and at most up to its deadline", Example: "  hallmark env keep e4k2xq7a --for 2h", Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, l, err := c.book(cmd)
			if err != nil {
				return err
			}
			defer l.Close()
			env, err := l.UpdateEnvironment(cmd.Context(), args[0], func(e *ledger.Environment) {
				if e.State != ledger.Destroyed {
					e.Keep, e.Lease = true, leaseUntil(*e, time.Now().Add(span))
				}
			})
			switch {
			case errors.Is(err, ledger.ErrNotFound):
				return unknownEnvironment(args[0])
			case err != nil:
				return err
			case env.State == ledger.Destroyed:
				return usage("environment %s is destroyed already", env.ID)
			case c.format == "json":
				return c.json(viewOf(env))
			}
			c.printf("%s is kept until %s\n", env.ID, when(env.Lease))
			return nil
		},
	}
	cmd.Flags().DurationVar(&span, "for", 2*time.Hour, "how long from now")
	return cmd
}

func unknownEnvironment(id string) error {
	return usage("no environment %q: `hallmark env list` shows those there are", id)
}

// envView is an environment as programs are told of it.
type envView struct {
	ID       string    `json:"id"`
	Run      string    `json:"run"`
	Name     string    `json:"name"`
	State    string    `json:"state"`
	Keep     bool      `json:"keep"`
	Lease    time.Time `json:"lease"`
	Deadline time.Time `json:"deadline"`
}

func viewOf(e ledger.Environment) envView {
	return envView{e.ID, e.Run, e.Name, e.State, e.Keep, e.Lease, e.Deadline}
}

// leaseUntil never takes away what was granted, and never goes beyond the deadline.
func leaseUntil(e ledger.Environment, end time.Time) time.Time {
	if end.Before(e.Lease) {
		end = e.Lease
	}
	if !e.Deadline.IsZero() && e.Deadline.Before(end) {
		end = e.Deadline
	}
	return end
}

// envVerb is a command that does something to one environment.
func (c *cli) envVerb(use, short, example string, args int, do func(context.Context, *environment.Environment, []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Example: example, Args: takes(args, args),
		RunE: func(cmd *cobra.Command, args []string) error {
			parts, err := c.open(cmd)
			if err != nil {
				return err
			}
			defer parts.Ledger.Close()
			env, err := parts.Site.Adopt(cmd.Context(), args[0])
			if errors.Is(err, ledger.ErrNotFound) {
				return unknownEnvironment(args[0])
			}
			if err != nil {
				return err
			}
			defer env.Close()
			return do(cmd.Context(), env, args)
		},
	}
}

// steps does steps and says each.
func (c *cli) steps(ctx context.Context, steps []environment.Step) error {
	for _, s := range steps {
		started := time.Now()
		if err := s.Do(ctx); err != nil {
			return err
		}
		c.say("%s (%s)\n", s.Name, report.Duration(time.Since(started)))
	}
	return nil
}
