package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hallmark-ci/hallmark/internal/base"
	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// sealOf tells in a word how an image's seal was proved; -o json has the paths that it keeps.
func sealOf(s *ledger.Seal) string {
	switch {
	case s == nil:
		return "not proved"
	case len(s.Kept) > 0:
		return fmt.Sprintf("proved, keeps %d", len(s.Kept))
	}
	return "proved"
}

func (c *cli) images() *cobra.Command {
	var filter ledger.ImageFilter
	cmd := &cobra.Command{
		Use:     "images",
		Short:   "Prebuilt images that are there",
		Example: "  hallmark images\n  hallmark images --role web -o json",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, l, err := c.book(cmd)
			if err != nil {
				return err
			}
			defer l.Close()
			images, err := l.Images(cmd.Context(), filter)
			if err != nil {
				return err
			}
			var rows [][]string
			for _, i := range images {
				rows = append(rows, []string{i.ID, i.Role, i.Branch, short(i.Commit), short(i.BaseDigest), fmt.Sprintf("%d MiB", i.SizeBytes>>20), sealOf(i.Seal), when(i.Created)})
			}
			suspects, err := l.Suspects(cmd.Context())
			if err != nil {
				return err
			}
			if err := c.show(nonNil(images), []string{"image", "role", "branch", "commit", "base", "size", "seal", "created"}, rows); err != nil {
				return err
			}
			if n := len(suspects); n > 0 {
				c.say("%d resources of this installation that the ledger does not know are in quarantine: see `hallmark gc --dry-run`\n", n)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&filter.Run, "run", "", "only those of this run")
	cmd.Flags().StringVar(&filter.Role, "role", "", "only those of this role")
	cmd.Flags().BoolVar(&filter.Deleted, "deleted", false, "also those that were removed")
	return cmd
}

func (c *cli) base() *cobra.Command {
	return group("base", "Reference bases: build, list", "  hallmark base list\n  hallmark base build", c.baseBuild(), c.baseList())
}

func (c *cli) baseBuild() *cobra.Command {
	var fresh bool
	cmd := &cobra.Command{
		Use:     "build",
		Short:   "Build the reference base from nothing, unless one is fresh enough",
		Example: "  hallmark base build\n  hallmark base build --fresh",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.settings(cmd)
			if err != nil {
				return err
			}
			place, err := c.place(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			image, err := place.base(cmd.Context(), place.cloud, fresh, c.errOut)
			if err != nil {
				return err
			}
			return c.show(image, []string{"base", "digest", "created"}, [][]string{{image.Name, short(image.Digest), when(image.Created)}})
		},
	}
	cmd.Flags().BoolVar(&fresh, "fresh", false, "build anew even if one is fresh enough")
	return cmd
}

func (c *cli) baseList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "The reference bases that are there",
		Example: "  hallmark base list",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.settings(cmd)
			if err != nil {
				return err
			}
			place, err := c.place(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			images, err := base.List(cmd.Context(), place.cloud, "")
			if err != nil {
				return err
			}
			var rows [][]string
			for _, i := range images {
				packages, err := base.Packages(i)
				if err != nil {
					return err
				}
				rows = append(rows, []string{i.Name, short(i.Digest), short(i.Properties[cloud.PropertyRecipe]), fmt.Sprint(len(packages)), fmt.Sprintf("%d MiB", i.SizeBytes>>20), when(i.Created)})
			}
			return c.show(nonNil(images), []string{"base", "digest", "recipe", "packages", "size", "created"}, rows)
		},
	}
}

// place opens the configured provider without anything above it.
func (c *cli) place(ctx context.Context, cfg config.Config) (place, error) {
	p, ok := c.providers[cfg.Provider.Kind]
	if !ok {
		names := slices.Sorted(maps.Keys(c.providers))
		return place{}, usage("provider.kind %q: use one of %s", cfg.Provider.Kind, strings.Join(names, ", "))
	}
	return p.open(ctx, cfg, c.log())
}

func (c *cli) check() *cobra.Command {
	var branch string
	cmd := &cobra.Command{
		Use:   "check [DIR]",
		Short: "Check the configuration and the product: files, Puppet syntax, suites, its own unit tests",
		Long: `Check launches nothing. With DIR it checks a working copy of the infrastructure repository (what git would
commit of it), else the head of a branch. What exists in the product and would silently not be used is an error,
with file and remedy: tests that no run runs, Puppet code and Hiera data that no server applies, files that
servers would not get as they are.`,
		Example: "  hallmark check\n  hallmark check ~/src/acme\n  hallmark check --branch release/1.0",
		Args:    takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			const workingCopy = "its working copy"
			dir, commit := "", workingCopy
			var where string
			var allows *config.Config // with DIR, no configuration is looked at
			if len(args) == 1 {
				dir = args[0]
				where = filepath.Clean(dir) + "/"
			} else {
				cfg, err := c.settings(cmd)
				if err != nil {
					return err
				}
				branch = cmp.Or(branch, cfg.Product.Development)
				where = branch + ":"
				allows = &cfg
				if dir, commit, err = pipeline.Checkout(cmd.Context(), cfg, branch); err != nil {
					return usageError{inProduct(where, err)}
				}
			}
			p, err := product.Load(dir, commit)
			if err != nil {
				return usageError{inProduct(where, err)}
			}
			if allows != nil {
				if err := p.Refused(allows.EgressPolicy(), product.MostOf(*allows)); err != nil {
					return usageError{inProduct(where, err)}
				}
			}
			problems, err := product.Check(cmd.Context(), p, c.errOut)
			if err != nil {
				return err
			}
			var rows [][]string
			for _, problem := range problems {
				rows = append(rows, []string{problem.String()})
			}
			if c.format == "json" || len(problems) > 0 {
				if err := c.show(nonNil(problems), []string{"problem"}, rows); err != nil {
					return err
				}
			}
			if len(problems) > 0 {
				return verdictError{verdict.Failed}
			}
			if commit != workingCopy {
				commit = short(commit)
			}
			c.say("%s at %s: %d roles, %d servers, no problem found\n", p.Name, commit, len(p.Roles), len(p.Servers()))
			return nil
		},
	}
	cmd.Flags().StringVar(&branch, "branch", "", "branch to check (default: the development branch)")
	return cmd
}

// inProduct says in which product a file is wrong, for the daemon's own file is called hallmark.yaml
// too: before is a directory, or a branch or commit as `git show main:FILE` has it.
func inProduct(before string, err error) error {
	list, ok := errors.AsType[config.Errors](err)
	if !ok {
		return err
	}
	told := make(config.Errors, len(list))
	for i, e := range list {
		one := *e
		if !filepath.IsAbs(one.File) {
			one.File = before + one.File
		}
		told[i] = &one
	}
	return told
}

func (c *cli) schedules() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "schedules",
		Short:   "Schedules, their last and next ticks",
		Example: "  hallmark schedules\n  hallmark schedules pause nightly",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, l, err := c.book(cmd)
			if err != nil {
				return err
			}
			defer l.Close()
			return c.showSchedules(cmd.Context(), cfg, l)
		},
	}
	for _, verb := range []struct {
		name, short string
		paused      bool
	}{{"pause", "Stop a schedule until it is resumed", true}, {"resume", "Let a paused schedule go on; it does not catch up", false}} {
		cmd.AddCommand(&cobra.Command{
			Use: verb.name + " SCHEDULE", Short: verb.short, Example: "  hallmark schedules " + verb.name + " nightly", Args: takes(1, 1),
			RunE: func(cmd *cobra.Command, args []string) error {
				cfg, l, err := c.book(cmd)
				if err != nil {
					return err
				}
				defer l.Close()
				if !slices.ContainsFunc(cfg.Schedules, func(s config.Schedule) bool { return s.Name == args[0] }) {
					return usage("no schedule %q in %s: `hallmark schedules` shows those there are", args[0], cfg.File)
				}
				if err := l.PauseSchedule(cmd.Context(), args[0], verb.paused); err != nil {
					return err
				}
				return c.showSchedules(cmd.Context(), cfg, l)
			},
		})
	}
	return cmd
}

func (c *cli) showSchedules(ctx context.Context, cfg config.Config, l *ledger.Ledger) error {
	type view struct {
		Name   string    `json:"name"`
		Kind   string    `json:"kind"`
		Cron   string    `json:"cron"`
		Zone   string    `json:"timezone"`
		Last   time.Time `json:"last"` // when it last started a run; zero: never
		Next   time.Time `json:"next"`
		Paused bool      `json:"paused"`
	}
	runs, err := l.Runs(ctx, ledger.RunFilter{})
	if err != nil {
		return err
	}
	last := map[string]time.Time{} // by schedule
	for _, r := range slices.Backward(runs) {
		last[r.Trigger] = r.Created
	}
	views, rows := []view{}, [][]string{}
	for _, s := range cfg.Schedules {
		memory, err := l.Tick(ctx, s.Name)
		if err != nil {
			return err
		}
		v := view{s.Name, s.Kind, s.Cron, s.Timezone, last[s.Name], s.Next(time.Now()), memory.Paused}
		next := when(v.Next)
		if v.Paused {
			next = "paused"
		}
		views = append(views, v)
		rows = append(rows, []string{v.Name, v.Kind, v.Cron, v.Zone, when(v.Last), next})
	}
	return c.show(views, []string{"schedule", "kind", "cron", "timezone", "last", "next"}, rows)
}

func (c *cli) version() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "What this binary was built from",
		Example: "  hallmark version",
		Args:    takes(0, 0),
		RunE: func(*cobra.Command, []string) error {
			view := map[string]string{"version": "(devel)", "go": "", "commit": ""}
			if info, ok := debug.ReadBuildInfo(); ok {
				view["version"], view["go"] = info.Main.Version, info.GoVersion
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						view["commit"] = s.Value
					}
				}
			}
			return c.show(view, []string{"version", "commit", "go"}, [][]string{{view["version"], short(view["commit"]), view["go"]}})
		},
	}
}
