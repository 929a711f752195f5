package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/hallmark-ci/hallmark/internal/atomicfile"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/report"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

func (c *cli) runs() *cobra.Command {
	return group("runs", "Runs: list, show, report, cancel, retry", `  hallmark runs list
  hallmark runs show            # the newest
  hallmark runs report RUN -o html > report.html
  hallmark runs cancel RUN`,
		c.runsList(), c.runsShow(), c.runsReport(), c.runsCancel(), c.runsRetry())
}

func (c *cli) runsList() *cobra.Command {
	var branch string
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Is the branch green, since when, and what ran",
		Example: "  hallmark runs list\n  hallmark runs list --branch release/1.0 --limit 5",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, l, err := c.book(cmd)
			if err != nil {
				return err
			}
			defer l.Close()
			runs, err := l.Runs(cmd.Context(), ledger.RunFilter{Branch: branch, Limit: limit})
			if err != nil {
				return err
			}
			branches := map[string]ledger.BranchStatus{}
			for _, r := range runs {
				if _, ok := branches[r.Branch]; !ok {
					if branches[r.Branch], err = l.BranchStatus(cmd.Context(), r.Branch, ""); err != nil {
						return err
					}
				}
			}
			for _, name := range slices.Sorted(maps.Keys(branches)) {
				c.say("%s\n", branchLine(name, branches[name]))
			}
			if len(branches) > 0 {
				c.say("\n")
			}
			rows := make([][]string, 0, len(runs))
			for _, r := range runs {
				rows = append(rows, []string{r.ID, r.Kind, r.Branch, short(r.Commit), stateOf(r), when(r.Created), took(r.Started, r.Finished), brief(report.Plain(r.Reason))})
			}
			return c.show(map[string]any{"runs": nonNil(runs), "branches": branches},
				[]string{"run", "kind", "branch", "commit", "verdict", "created", "took", "reason"}, rows)
		},
	}
	cmd.Flags().StringVar(&branch, "branch", "", "only runs of this branch")
	cmd.Flags().IntVar(&limit, "limit", 20, "how many")
	return cmd
}

// branchLine answers whether a branch is green, since when, and what changed.
func branchLine(name string, s ledger.BranchStatus) string {
	if s.Last == nil {
		return name + ": no run has reached a verdict yet"
	}
	text := fmt.Sprintf("%s is %s since %s, commit %s", name, colour(s.Verdict), when(s.Since.Created), short(s.Since.Commit))
	switch {
	case s.Before == nil:
	case s.Before.Commit == s.Since.Commit:
		text += fmt.Sprintf("; it was %s before at the same commit", colour(s.Before.Verdict))
	default:
		text += fmt.Sprintf("; it was %s before: git log %s..%s", colour(s.Before.Verdict), short(s.Before.Commit), short(s.Since.Commit))
	}
	if s.Latest.ID != s.Last.ID {
		text += fmt.Sprintf("; the latest run, %s, was inconclusive", s.Latest.ID)
	}
	return text
}

func colour(v verdict.Verdict) string {
	if v == verdict.Passed {
		return "green"
	}
	return "red"
}

func stateOf(r ledger.Run) string {
	if r.State == ledger.Finished {
		return r.Verdict.String()
	}
	return string(r.State)
}

// nonNil makes an empty list of JSON of no list.
func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (c *cli) runsShow() *cobra.Command {
	return &cobra.Command{
		Use:     "show [RUN]",
		Short:   "A run's matrix, failures, stages and gate; without RUN the newest",
		Example: "  hallmark runs show\n  hallmark runs show 20261123-0300-nightly-ab12cd -o json",
		Args:    takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			parts, err := c.reader(cmd)
			if err != nil {
				return err
			}
			defer parts.Ledger.Close()
			run, err := findRun(cmd.Context(), parts.Ledger, args)
			if err != nil {
				return err
			}
			return c.showRun(cmd.Context(), parts, run)
		},
	}
}

// findRun gives the run of that id, or the newest.
func findRun(ctx context.Context, l *ledger.Ledger, args []string) (ledger.Run, error) {
	if len(args) > 0 {
		run, err := l.Run(ctx, args[0])
		return run, unknownRun(args[0], err)
	}
	runs, err := l.Runs(ctx, ledger.RunFilter{Limit: 1})
	if err == nil && len(runs) == 0 {
		err = usage("there is no run yet: start one with `hallmark run`")
	}
	if err != nil {
		return ledger.Run{}, err
	}
	return runs[0], nil
}

// unknownRun tells what to do about a run that is not there; other errors stay as they are.
func unknownRun(id string, err error) error {
	if errors.Is(err, ledger.ErrNotFound) {
		return usage("no run %q: `hallmark runs list` shows those there are", id)
	}
	return err
}

func (c *cli) showRun(ctx context.Context, parts pipeline.Parts, run ledger.Run) error {
	data, err := pipeline.Report(ctx, parts, run)
	if err != nil {
		return err
	}
	switch c.format {
	case "json":
		return report.JSON(c.out, report.New(data))
	case "html":
		return report.HTML(c.out, report.New(data))
	}
	return report.Text(c.out.painted(), report.New(data), c.out.terminal())
}

func (c *cli) runsReport() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:         "report [RUN]",
		Short:       "One self-contained page (-o html) that anyone can open, or text, or JSON",
		Example:     "  hallmark runs report -o html --file report.html",
		Args:        takes(0, 1),
		Annotations: map[string]string{pageOutput: "html"},
		RunE: func(cmd *cobra.Command, args []string) error {
			parts, err := c.reader(cmd)
			if err != nil {
				return err
			}
			defer parts.Ledger.Close()
			run, err := findRun(cmd.Context(), parts.Ledger, args)
			if err != nil {
				return err
			}
			if file == "" {
				return c.showRun(cmd.Context(), parts, run)
			}
			var page bytes.Buffer
			c.out = screenOn(&page)
			if err := c.showRun(cmd.Context(), parts, run); err != nil {
				return err
			}
			if err := save(file, page.Bytes()); err != nil {
				return usage("--file: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "write to this file instead of stdout")
	return cmd
}

// save writes a file whole or not at all, but for what can only be written to, such as /dev/stdout.
func save(file string, content []byte) error {
	if info, err := os.Lstat(file); err == nil && !info.Mode().IsRegular() {
		return os.WriteFile(file, content, 0o644)
	}
	return atomicfile.Write(file, content, 0o644)
}

func (c *cli) runsCancel() *cobra.Command {
	return &cobra.Command{
		Use:     "cancel RUN",
		Short:   "End a run; its servers are destroyed",
		Example: "  hallmark runs cancel 20261123-0300-nightly-ab12cd",
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, l, err := c.book(cmd)
			if err != nil {
				return err
			}
			defer l.Close()
			run, err := l.RequestCancel(cmd.Context(), args[0], actor())
			switch {
			case errors.Is(err, ledger.ErrMoved):
				return usage("run %s cannot be cancelled, it has ended already: `hallmark runs show %s`", args[0], args[0])
			case err != nil:
				return unknownRun(args[0], err)
			case c.format == "json":
				return c.json(run)
			}
			c.printf("run %s is %s\n", run.ID, cancelled(run.State))
			return nil
		},
	}
}

// cancelled says how far a cancellation is.
func cancelled(s ledger.RunState) string {
	if s == ledger.Cancelling {
		return "being cancelled; the process that works on it cleans up first"
	}
	return "cancelled"
}

func (c *cli) runsRetry() *cobra.Command {
	var follow, noPromote bool
	cmd := &cobra.Command{
		Use:   "retry RUN",
		Short: "Start a new run for the same commit",
		Long: `Retry starts a new run of the same kind for the same branch and commit. The commit must still be on the branch. A
commit that is older than what its channel holds is run with --no-promote only.`,
		Example: `  hallmark runs retry 20261123-0300-nightly-ab12cd --follow
  hallmark runs retry 20261120-0300-nightly-12ab34 --no-promote`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, l, err := c.book(cmd)
			if err != nil {
				return err
			}
			old, err := l.Run(cmd.Context(), args[0])
			_ = l.Close()
			if err != nil {
				return unknownRun(args[0], err)
			}
			options := old.Options
			options.RetryOf = old.ID
			options.NoPromote = options.NoPromote || noPromote
			return c.startRun(cmd, pipeline.Request{
				Kind: old.Kind, Branch: old.Branch, Commit: old.Commit, Trigger: "hand", Actor: actor(), Options: options,
			}, follow, false)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "show the live tree of stages")
	cmd.Flags().BoolVar(&noPromote, "no-promote", false, "judge, but leave the channel alone")
	return cmd
}
