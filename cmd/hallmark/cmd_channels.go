package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/product"
)

func (c *cli) channels() *cobra.Command {
	var moves string
	cmd := &cobra.Command{
		Use:     "channels",
		Short:   "What each channel points to, and how it got there",
		Example: "  hallmark channels\n  hallmark channels --moves production\n  hallmark channels show production",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, l, err := c.book(cmd)
			if err != nil {
				return err
			}
			defer l.Close()
			if moves != "" {
				return c.showMoves(cmd.Context(), l, moves)
			}
			channels, err := l.Channels(cmd.Context())
			if err != nil {
				return err
			}
			view, moved := map[string]*ledger.Channel{}, map[string]ledger.Channel{}
			for _, name := range cfg.Channels() {
				view[name] = nil
			}
			for _, ch := range channels {
				moved[ch.Name], view[ch.Name] = ch, nil
				if ch.Set != "" {
					view[ch.Name] = &ch
				}
			}
			var rows [][]string
			for _, name := range slices.Sorted(maps.Keys(view)) {
				ch := moved[name]
				rows = append(rows, []string{name, dash(ch.Set), fmt.Sprint(ch.Version), when(ch.Moved)})
			}
			return c.show(view, []string{"channel", "image set", "version", "moved"}, rows)
		},
	}
	cmd.Flags().StringVar(&moves, "moves", "", "show every move of this channel")
	cmd.AddCommand(c.channelsShow())
	return cmd
}

// channelsThere are those of the configuration and those that ever moved.
func channelsThere(ctx context.Context, cfg config.Config, l *ledger.Ledger) ([]string, error) {
	names := cfg.Channels()
	channels, err := l.Channels(ctx)
	for _, ch := range channels {
		names = append(names, ch.Name)
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// knownChannel refuses a misspelt channel, which would come into being and change nothing for those
// who launch from the one that was meant. A release branch's own channel is known by its set.
func knownChannel(ctx context.Context, cfg config.Config, l *ledger.Ledger, name, setID string) error {
	known, err := channelsThere(ctx, cfg, l)
	if err != nil {
		return err
	}
	set, err := l.Set(ctx, setID)
	if err != nil {
		return immovable(setID, err)
	}
	for _, p := range cfg.Policy {
		if channel := p.ChannelFor(set.Branch); channel != "" {
			known = append(known, channel)
		}
	}
	slices.Sort(known)
	if known = slices.Compact(known); !slices.Contains(known, name) {
		return usage("no channel %q: %s", name, config.Hint(name, known))
	}
	return nil
}

func (c *cli) showMoves(ctx context.Context, l *ledger.Ledger, channel string) error {
	moves, err := l.Moves(ctx, channel, 0)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, m := range moves {
		rows = append(rows, []string{when(m.At), m.Kind, dash(m.From), dash(m.To), m.Actor, m.Reason})
	}
	return c.show(nonNil(moves), []string{"at", "kind", "from", "to", "actor", "reason"}, rows)
}

func (c *cli) promote() *cobra.Command {
	m := ledger.Move{Kind: ledger.Promote}
	cmd := &cobra.Command{
		Use:   "promote SET CHANNEL",
		Short: "Point a channel to an image set that has its evidence",
		Long: `Promote moves a channel to an image set: all roles at once, or nothing. The set of a run has the run's id.

The set must have evidence from a run that passed its gate, and its commit must still be on its branch. It goes to
the channel that its run would have moved, or to production. Production moves only to a set whose upgrade from the
set that production holds at this moment was tested: a release run tests it. Else the message names the run to do.

A channel does not go back to an older commit. If it has to, roll it back, or promote with --force and a reason,
which is recorded with the move.`,
		Example: `  hallmark promote 20261123-0300-release-ab12cd production --reason 'release 1.0.3'
  hallmark promote 20261120-0300-nightly-12ab34 development --force --reason 'the new schema loses orders'`,
		Args: takes(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if m.Forced && strings.TrimSpace(m.Reason) == "" {
				return usage("--force moves a channel to an older commit, and those who come after want to know why: add --reason")
			}
			m.To, m.Channel = args[0], args[1]
			return c.move(cmd, m)
		},
	}
	cmd.Flags().StringVar(&m.Reason, "reason", "", "why, for those who come after")
	cmd.Flags().BoolVar(&m.Forced, "force", false, "also to an older commit; needs --reason")
	return cmd
}

func (c *cli) rollback() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     "rollback CHANNEL",
		Short:   "Point a channel back to the image set before",
		Example: "  hallmark rollback production --reason 'slow since this morning'",
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.move(cmd, ledger.Move{Channel: args[0], Kind: ledger.Rollback, Reason: reason})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who come after")
	return cmd
}

// move is one compare-and-swap: what is seen is what is changed. A rollback goes to the set before.
func (c *cli) move(cmd *cobra.Command, m ledger.Move) error {
	ctx := cmd.Context()
	parts, err := c.mover(cmd)
	if err != nil {
		return err
	}
	l := parts.Ledger
	defer l.Close()
	before, err := l.Channel(ctx, m.Channel)
	if err != nil {
		return err
	}
	if m.Kind == ledger.Rollback {
		previous, err := l.PreviousSet(ctx, m.Channel)
		if errors.Is(err, ledger.ErrNotFound) {
			return usage("channel %s has no earlier image set to go back to; `hallmark channels --moves %s` shows what it held", m.Channel, m.Channel)
		}
		if err != nil {
			return err
		}
		m.To = previous.ID
	} else if err := knownChannel(ctx, parts.Config, l, m.Channel, m.To); err != nil {
		return err
	} else if parts.Product, err = product.Open(ctx, parts.Config.Product, parts.Config.MirrorDir()); err != nil {
		return usageError{err}
	}
	m.Actor = actor()
	after, err := pipeline.Move(ctx, parts, m, before.Version)
	switch {
	case errors.Is(err, ledger.ErrMoved):
		return fmt.Errorf("%w: somebody moved %s at this moment; look again with `hallmark channels`", err, m.Channel)
	case err != nil:
		return immovable(m.To, err)
	}
	if c.format == "json" {
		err = c.json(after)
	}
	c.say("%s: %s → %s (version %d)\n", after.Name, dash(before.Set), after.Set, after.Version)
	return errors.Join(err, align(ctx, parts))
}

// align has the provider tell what channels hold after they were moved.
func align(ctx context.Context, parts pipeline.Parts) error {
	return untold(pipeline.Align(ctx, parts))
}

func untold(err error) error {
	if err != nil {
		return fmt.Errorf("this is recorded, but the provider does not tell it yet: %w; the daemon tries again every minute, `hallmark gc` at once", err)
	}
	return nil
}

// immovable says what to do about a set that a channel may not point to.
func immovable(set string, err error) error {
	if refusal, ok := errors.AsType[*pipeline.Refusal](err); ok {
		return usageError{refusal}
	}
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return usage("no image set %q: a set has the id of the run that built it, see `hallmark runs list`", set)
	case errors.Is(err, ledger.ErrUnproven):
		return usage("%w: only a run that passed its gate proves a set; `hallmark runs show %s` says what is missing", err, set)
	case errors.Is(err, ledger.ErrRevoked):
		return usage("%w; promote another", err)
	case errors.Is(err, ledger.ErrRetired):
		return usage("%w: newer sets superseded it; build its commit again with `hallmark run --commit`", err)
	}
	return err
}

func (c *cli) revoke() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "revoke SET",
		Short: "Forbid an image set for good; channels that hold it go back",
		Long: `Revoke forbids an image set: nothing is promoted or rolled back to it any more. Every channel that holds
it goes back to the set before, or is emptied if there is none. Where images are published (EC2), those of the set are
disabled then: EC2 refuses to launch them, also by a launch template. Servers that run stay.`,
		Example: "  hallmark revoke 20261123-0300-release-ab12cd --reason 'CVE-2026-1234 in openssl'",
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.TrimSpace(reason) == "" {
				return usage("a set is revoked for good, so those who come after want to know why: add --reason")
			}
			cfg, l, err := c.book(cmd) // a provider that does not answer must not keep it from being recorded
			if err != nil {
				return err
			}
			defer l.Close()
			moves, err := l.RevokeSet(cmd.Context(), args[0], actor(), reason)
			if err != nil {
				return immovable(args[0], err)
			}
			if c.format == "json" {
				err = c.json(nonNil(moves))
			}
			c.say("%s is revoked\n", args[0])
			for _, m := range moves {
				c.say("%s: %s → %s\n", m.Channel, m.From, dash(m.To))
			}
			parts, unopened := c.publisher(cmd.Context(), cfg, l)
			if unopened != nil {
				return errors.Join(err, untold(errors.New(unopened.Error()))) // not of wrong use: it is done
			}
			return errors.Join(err, align(cmd.Context(), parts))
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why (required)")
	return cmd
}
