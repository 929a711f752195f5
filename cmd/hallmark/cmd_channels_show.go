package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/hallmark-ci/hallmark/internal/cloud/limit"
	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
)

func (c *cli) channelsShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show [CHANNEL]",
		Short: "The images that channels hold, by role, and what the provider tells others",
		Long: `Show lists the image of each role, by the provider's id. Where the provider names images for others (on
EC2 by SSM parameters), it says what is named, and whether that is what the channel holds. The daemon
sets right within a minute what differs, so does ` + "`hallmark gc`" + `.`,
		Example: "  hallmark channels show\n  hallmark channels show production -o json",
		Args:    takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			parts, err := c.mover(cmd)
			if err != nil {
				return err
			}
			defer parts.Ledger.Close()
			channel := ""
			if len(args) == 1 {
				channel = args[0]
				known, err := channelsThere(cmd.Context(), parts.Config, parts.Ledger)
				if err != nil {
					return err
				}
				if !slices.Contains(known, channel) {
					return usage("no channel %q: %s", channel, config.Hint(channel, known))
				}
			}
			held, err := pipeline.WhatIsHeld(cmd.Context(), parts, channel)
			if err != nil {
				return err
			}
			header, rows := []string{"channel", "role", "image", "image set"}, [][]string{}
			if parts.Cloud != nil {
				header = append(header, "provider names")
			}
			for _, h := range held {
				row := []string{h.Channel, h.Role, dash(string(h.Image)), dash(h.Set)}
				switch {
				case h.Named == nil:
				case !h.Differs:
					row = append(row, string(*h.Named))
				case *h.Named == "":
					row = append(row, "nothing yet")
				default:
					row = append(row, string(*h.Named)+", not what it holds")
				}
				rows = append(rows, row)
			}
			return c.show(nonNil(held), header, rows)
		},
	}
}

// mover opens what is needed to move channels: the ledger, and the provider if it tells others what
// channels hold. Close the ledger when done.
func (c *cli) mover(cmd *cobra.Command) (pipeline.Parts, error) {
	cfg, l, err := c.book(cmd)
	if err != nil {
		return pipeline.Parts{}, err
	}
	parts, err := c.publisher(cmd.Context(), cfg, l)
	if err != nil {
		return parts, errors.Join(err, l.Close())
	}
	return parts, nil
}

// publisher opens the provider too, if it tells others what channels hold.
func (c *cli) publisher(ctx context.Context, cfg config.Config, l *ledger.Ledger) (pipeline.Parts, error) {
	parts := pipeline.Parts{Config: cfg, Ledger: l, Log: c.log(), Now: time.Now}
	if !c.providers[cfg.Provider.Kind].publishes {
		return parts, nil
	}
	place, err := c.place(ctx, cfg)
	if err != nil {
		return parts, err
	}
	parts.Cloud = limit.Retry(place.cloud, limit.Patience{}, parts.Log)
	return parts, nil
}
