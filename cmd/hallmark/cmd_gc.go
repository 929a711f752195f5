package main

import (
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/hallmark-ci/hallmark/internal/pipeline"
)

func (c *cli) gc() *cobra.Command {
	var dry, yes bool
	cmd := &cobra.Command{
		Use:   "gc [ID…]",
		Short: "Delete leftovers: expired environments, environments of finished runs, superseded images",
		Long: `Gc looks in all regions in use, and touches only what this installation made. It deletes the resources of
environments whose lease or deadline is over or whose run has ended, and, while no run is at work, images and
snapshots that a run did not record. And it has the provider tell others what channels hold, where it does that.
The daemon does all of it every minute.

What the ledger does not know is in quarantine: it is listed with the time at which it was first seen, and stays.
So does what is older than a loss or a restoration of the ledger, for the ledger may lack what happened to it since.
Check that it is not in use, then delete one resource by its ID, or all of them with --yes. The key keep.unknown of the
configuration sets a time after which the daemon deletes it; by default it never does. Servers power themselves off
at their environment's deadline in any case.`,
		Example: "  hallmark gc --dry-run            # what is left over, and what is in quarantine\n  hallmark gc                      # delete what is certain\n  hallmark gc 3f0c8e66a1d2         # delete this too, which is in quarantine\n  hallmark gc --yes                # delete all that is in quarantine",
		Args:    takes(0, 1000),
		RunE: func(cmd *cobra.Command, args []string) error {
			parts, err := c.open(cmd)
			if err != nil {
				return err
			}
			defer parts.Ledger.Close()
			sweep := pipeline.Sweep{Dry: dry, Unknown: yes && len(args) == 0, IDs: args}
			if len(args) > 0 {
				if err := c.suspects(cmd, parts, args); err != nil {
					return err
				}
			}
			var aligned error
			if err := pipeline.Recognise(cmd.Context(), parts); err != nil {
				return err
			}
			if !dry {
				aligned = pipeline.Align(cmd.Context(), parts)
			}
			found, err := sweep.Reap(cmd.Context(), parts)
			err = errors.Join(aligned, err)
			var rows [][]string
			stay := 0
			for _, l := range found {
				rows = append(rows, []string{string(l.Kind), dash(l.Name), l.ID, dash(l.Tags.Environment), dash(l.Tags.Run), when(l.Quarantined), l.Why})
				if !l.Quarantined.IsZero() && !sweep.Unknown && !slices.Contains(args, l.ID) {
					stay++
				}
			}
			err = errors.Join(err, c.show(nonNil(found), []string{"kind", "name", "id", "environment", "run", "quarantined", "why"}, rows))
			if stay > 0 {
				c.say("%d of these stay, in quarantine: check that they are not in use, then `hallmark gc ID` deletes one, `hallmark gc --yes` all\n", stay)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be deleted, delete nothing")
	cmd.Flags().BoolVar(&yes, "yes", false, "delete what is in quarantine, too")
	return cmd
}

// suspects refuses ids of what is not in quarantine: a wrong letter must not look like done.
func (c *cli) suspects(cmd *cobra.Command, parts pipeline.Parts, ids []string) error {
	found, err := pipeline.Sweep{Dry: true}.Reap(cmd.Context(), parts)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if !slices.ContainsFunc(found, func(l pipeline.Leftover) bool { return l.ID == id && !l.Quarantined.IsZero() }) {
			return usage("nothing in quarantine has the id %q: `hallmark gc --dry-run` lists them", id)
		}
	}
	return nil
}
