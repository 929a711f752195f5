package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hallmark-ci/hallmark/imager"
	"github.com/hallmark-ci/hallmark/internal/atomicfile"
	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/limit"
	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/host"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/verifier"
)

// settings loads the configuration and makes this installation's name in tags its own, so that two
// installations on one host never take each other's servers for leftovers.
func (c *cli) settings(cmd *cobra.Command) (config.Config, error) {
	cfg, err := config.Load(c.configFile, cmd.Flags())
	if err != nil {
		return cfg, err
	}
	if err := atomicfile.Private(cfg.StateDir); err != nil {
		if _, shared := errors.AsType[*atomicfile.Shared](err); shared {
			return cfg, usage("state-dir: %w", err)
		}
		return cfg, usage("state-dir: %w; run hallmark as root, or give it a directory of your own by --state-dir", err)
	}
	cfg.Owner, err = owner(cfg)
	return cfg, whoseState(err)
}

// whoseState says what to do about a state directory that belongs to somebody else.
func whoseState(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return usage("state-dir: %w; run hallmark as its owner, or give it a directory of your own by --state-dir", err)
	}
	return err
}

// ownerName is a name of an installation as owner makes it.
var ownerName = regexp.MustCompile(`^[a-z][a-z0-9-]*-[0-9a-f]{6}\n$`)

// owner is the configured name with a few random letters that the state directory keeps. A damaged file is
// never replaced: under a new name this installation would not know its own servers and images.
func owner(cfg config.Config) (string, error) {
	file := filepath.Join(cfg.StateDir, "owner")
	text, err := os.ReadFile(file)
	switch {
	case err == nil && ownerName.Match(text):
		return strings.TrimSpace(string(text)), nil
	case err == nil:
		return "", usage("%s holds %q, and not the name under which this installation owns servers and images (%s- and six hexadecimal digits): restore it from a backup, or write there what the tag %q of its images and servers says; if it never made any, remove the file", file, text, cfg.Owner, "owner")
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("name of this installation: %w", err)
	}
	random := make([]byte, 3)
	if _, err := rand.Read(random); err != nil {
		return "", err
	}
	name := cfg.Owner + "-" + hex.EncodeToString(random)
	err = atomicfile.Create(file, []byte(name+"\n"), 0o600)
	if errors.Is(err, fs.ErrExist) { // another process was faster
		return owner(cfg)
	}
	if err != nil {
		return "", fmt.Errorf("name this installation: %w", err)
	}
	return name, nil
}

// book opens configuration and ledger: all that commands need which only look, or move channels.
func (c *cli) book(cmd *cobra.Command) (config.Config, *ledger.Ledger, error) {
	cfg, err := c.settings(cmd)
	if err != nil {
		return cfg, nil, err
	}
	l, err := ledger.Open(cmd.Context(), cfg.LedgerFile(), ledger.WithNotices(func(text string) { fmt.Fprintln(c.errOut, "hallmark: "+text) }))
	return cfg, l, whoseState(err)
}

// reader is what reports need: configuration, ledger, and the repository if it can be read.
func (c *cli) reader(cmd *cobra.Command) (pipeline.Parts, error) {
	cfg, l, err := c.book(cmd)
	if err != nil {
		return pipeline.Parts{}, err
	}
	parts := pipeline.Parts{Config: cfg, Ledger: l, Now: time.Now}
	if repository, err := product.Mirrored(cfg.Product, cfg.MirrorDir()); err == nil {
		parts.Product = repository
	}
	return parts, nil
}

// open wires everything that work on servers needs, if the place suits. Close the ledger when done.
func (c *cli) open(cmd *cobra.Command, suits ...func(context.Context, place) error) (pipeline.Parts, error) {
	ctx := cmd.Context()
	cfg, l, err := c.book(cmd)
	if err != nil {
		return pipeline.Parts{}, err
	}
	parts, err := c.wire(ctx, cfg, l, suits)
	if err != nil {
		return parts, errors.Join(err, l.Close())
	}
	return parts, nil
}

func (c *cli) wire(ctx context.Context, cfg config.Config, l *ledger.Ledger, suits []func(context.Context, place) error) (pipeline.Parts, error) {
	log := c.log()
	place, err := c.place(ctx, cfg)
	if err != nil {
		return pipeline.Parts{}, err
	}
	for _, suit := range suits {
		if err := suit(ctx, place); err != nil {
			return pipeline.Parts{}, err
		}
	}
	patient := limit.Breaker(limit.Retry(limit.Room(place.cloud, place.look("an image", imageNeeded)), limit.Patience{}, log), limit.Outage{}, log)
	slots, err := limit.NewSlots(ctx, patient, cfg.Owner, cfg.Limits.Servers)
	if err != nil {
		return pipeline.Parts{}, err
	}
	provider := slots.Provider()
	repository, err := product.Open(ctx, cfg.Product, cfg.MirrorDir())
	if err != nil {
		return pipeline.Parts{}, usageError{err}
	}
	journal, err := imager.NewFileJournal(filepath.Join(cfg.StateDir, "images"))
	if err != nil {
		return pipeline.Parts{}, err
	}
	probe, err := c.probeFile()
	if err != nil {
		return pipeline.Parts{}, err
	}
	parts := pipeline.Parts{
		Config: cfg, Ledger: l, Cloud: provider, Slots: slots, Product: repository, Journal: journal, Log: log, Now: time.Now,
		Site: &environment.Site{
			Provider: provider, Store: l, Dialer: place.dialer, Log: log,
			Timeouts: environment.Timeouts{Boot: cfg.Timeouts.Boot, Puppet: cfg.Timeouts.Provision}, Records: cfg.RecordsDir,
			Room: place.look("a server that works", leastNeeded), Egress: cfg.EgressPolicy(), Most: product.MostOf(cfg),
		},
		Verifier: verifier.Verifier{
			Outside: place.outside, Probe: probe, Timeout: cfg.Timeouts.Test, Now: time.Now, Host: place.host,
		},
		Room: place.look("a run", roomNeeded),
		EnsureBase: func(ctx context.Context, out io.Writer) (cloud.Image, error) {
			return place.base(ctx, provider, false, out)
		},
	}
	if machine, err := host.NewLinux("/proc"); err != nil {
		log.Warn("time-outs count all time that passes", "err", err)
	} else {
		parts.Host, parts.ReadHost = &host.Gauge{}, machine.Read
	}
	return parts, nil
}

// probeFile is where hallmark-probe is: beside this binary.
func (c *cli) probeFile() (string, error) {
	if c.probe != "" {
		return c.probe, nil
	}
	binary, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find hallmark-probe beside this binary: %w", err)
	}
	return filepath.Join(filepath.Dir(binary), "hallmark-probe"), nil
}

// probeThere refuses work that verifies servers without hallmark-probe: it would be missed only when
// images are built and servers are up, and then by every test.
func (c *cli) probeThere(context.Context, place) error {
	file, err := c.probeFile()
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", file)
	}
	if err != nil {
		return usage("hallmark-probe, which is put on servers to test them: %w; `make build` makes it: keep it beside the binary hallmark", err)
	}
	return nil
}

// actor is who asks, for the ledger.
func actor() string {
	for _, variable := range []string{"SUDO_USER", "USER", "LOGNAME"} {
		if name := os.Getenv(variable); name != "" {
			return name
		}
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}
