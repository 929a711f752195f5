package main

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
)

// cli is what all commands share: global flags and where to write.
type cli struct {
	out, errOut *screen
	providers   map[string]provider // what provider.kind may say
	probe       string              // hallmark-probe; "": beside this binary
	configFile  string
	format      string
	verbose     bool
	begun       bool // flags and arguments were understood
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "hallmark",
		Short: "Continuous imaging: build images with Puppet, prove them on real servers, then promote them",
		Long: `Hallmark builds machine images from a reference base with Puppet, proves them on real, running
servers, proves that servers in production can be upgraded to them, and only then promotes them.

Exit codes: 0 done or passed, 1 failed, 2 wrong use or configuration, 3 inconclusive.`,
		Example: `  hallmark run --kind nightly --follow     # one whole run, now
  hallmark runs list                       # is the branch green?
  hallmark promote RUN production          # a release manager's decision
  hallmark serve                           # the daemon: schedules and queued runs`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			c.begun = true
			return c.checkFormat(cmd)
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w; see `%s --help`", err, cmd.CommandPath())
	})
	root.SetOut(c.out)
	root.SetErr(c.errOut)
	flags := root.PersistentFlags()
	flags.StringVarP(&c.configFile, "config", "c", "", "configuration file (default $HALLMARK_CONFIG)")
	flags.StringVarP(&c.format, "output", "o", "table", "`format`: table or json, and html of runs report")
	flags.BoolVarP(&c.verbose, "verbose", "v", false, "log what is done")
	flags.String("state-dir", "", "where the state lives, instead of the file's state-dir")
	flags.String("product-repository", "", "the infrastructure repository, instead of the file's product.repository")
	root.AddCommand(
		c.serve(), c.run(), c.runs(), c.images(), c.channels(), c.promote(), c.rollback(), c.revoke(),
		c.env(), c.gc(), c.base(), c.check(), c.schedules(), c.notify(), c.lab(), c.version(),
	)
	return root
}

// pageOutput is the annotation of commands that can write a page.
const pageOutput = "page"

func (c *cli) checkFormat(cmd *cobra.Command) error {
	switch {
	case c.format == "table", c.format == "json":
		return nil
	case c.format != "html":
		return usage("unknown output %q: use -o table or -o json", c.format)
	case cmd.Annotations[pageOutput] == "":
		return usage("`%s` has no page to write: use -o table or -o json; `hallmark runs report RUN -o html` writes one", cmd.CommandPath())
	}
	return nil
}

// group is a command that has others under it and does nothing itself but help.
func group(use, short, example string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Example: example, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

// takes wants so many arguments, and says which.
func takes(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && len(args) <= most {
			return nil
		}
		said := "no argument"
		if len(args) > 0 {
			said = fmt.Sprintf("%q", args)
		}
		return usage("`%s` was given %s; see `%s --help`", strings.TrimSuffix(cmd.UseLine(), " [flags]"), said, cmd.CommandPath())
	}
}

// log goes to stderr: everything if verbose, else what somebody should look at.
func (c *cli) log() *slog.Logger {
	level := slog.LevelWarn
	if c.verbose {
		level = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(c.errOut, &slog.HandlerOptions{Level: level}))
}

// say tells people something that is no part of the JSON that programs get.
func (c *cli) say(format string, args ...any) {
	if c.format != "json" {
		c.printf(format, args...)
	}
}

// printf writes text for people.
func (c *cli) printf(format string, args ...any) { fmt.Fprintf(c.out, format, args...) }
