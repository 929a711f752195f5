package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hallmark-ci/hallmark/internal/notify"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

func (c *cli) notify() *cobra.Command {
	return group("notify", "Events that people are told of: try the command, list what was sent",
		"  hallmark notify test\n  hallmark notify list", c.notifyTest(), c.notifyList())
}

func (c *cli) notifyTest() *cobra.Command {
	return &cobra.Command{
		Use:   "test",
		Short: "Run the command of notify once, with a sample event",
		Long: `Test runs the program under notify.command of the configuration as the daemon would, with an event of the
name test on its standard input. It is done if the program ends with exit code 0. docs/notify.md describes events.`,
		Example: "  hallmark notify test\n  hallmark notify test -o json   # the event, too",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.settings(cmd)
			if err != nil {
				return err
			}
			if len(cfg.Notify.Command) == 0 {
				return usage("no command is configured: give one under notify.command in %s", dash(cfg.File))
			}
			now := time.Now().UTC().Truncate(time.Second)
			event := notify.Event{
				Version: 1, ID: "test/" + now.Format(time.RFC3339), Event: notify.Test, At: now, Owner: cfg.Owner,
				Summary: "this is a test of notify.command: nothing happened", Branch: cfg.Product.Development, Kind: "nightly",
				Run: &notify.Run{ID: "20260101-0200-nightly-abcdef", Commit: "0123456789abcdef0123456789abcdef01234567", Verdict: verdict.Failed.String(), Reason: "a sample", Ended: now},
			}
			body, err := event.Encode()
			if err != nil {
				return err
			}
			if err := notify.Send(cmd.Context(), cfg.Notify.Command, body, cfg.Notify.Timeout); err != nil {
				fmt.Fprintf(c.errOut, "hallmark: notify.command: %v\n", err)
				return verdictError{verdict.Failed}
			}
			if c.format == "json" {
				return c.json(event)
			}
			c.say("the command took the sample event\n")
			return nil
		},
	}
}

func (c *cli) notifyList() *cobra.Command {
	limit := 20
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "The newest events, and whether people were told of them",
		Example: "  hallmark notify list\n  hallmark notify list --limit 100 -o json",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, l, err := c.book(cmd)
			if err != nil {
				return err
			}
			defer l.Close()
			all, err := l.Notices(cmd.Context(), limit)
			if err != nil {
				return err
			}
			var rows [][]string
			for _, n := range all {
				rows = append(rows, []string{when(n.Created), n.Event, n.Subject, n.State, fmt.Sprint(n.Tries), dash(brief(n.Error))})
			}
			return c.show(nonNil(all), []string{"at", "event", "subject", "state", "tries", "error"}, rows)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", limit, "at most so many; 0: all")
	return cmd
}
