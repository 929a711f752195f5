package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/hallmark-ci/hallmark/internal/base"
	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
	"github.com/hallmark-ci/hallmark/internal/cloud/sim"
	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/puppet"
)

// simulated is the list of providers in scripts: a cloud that commands and daemons of one script share
// by a file, its servers played by the process that works on them, and Incus as it is.
var simulated = map[string]provider{"sim": {open: onSim, publishes: true}, "incus": {open: onIncus}}

// simFile is the cloud of a script, in its directory.
const simFile = "cloud.json"

// trouble is what a script's file trouble.yaml says is wrong in this world.
type trouble struct {
	Base  string // the base cannot be fetched, and this is why
	Free  *int64 // bytes that its disk has left; nil: it has no end
	Tests []struct {
		Server, Check, Message string // a check of a goss file: "service:ssh:running"
	}
	Servers []struct {
		Server   string
		Endless  bool   // its provisioning never ends
		Dies     bool   // its provisioning ends without a report
		Resource string // this resource fails, with Message
		Message  string
	}
}

func readTrouble(file string) (t trouble, err error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err == nil {
		err = yaml.Unmarshal(text, &t)
	}
	return t, err
}

func onSim(_ context.Context, cfg config.Config, _ *slog.Logger) (place, error) {
	dir := os.Getenv("WORK")
	t, err := readTrouble(filepath.Join(dir, "trouble.yaml"))
	if err != nil {
		return place{}, err
	}
	servers, err := sim.Open(filepath.Join(dir, simFile), sim.Options{})
	if err != nil {
		return place{}, err
	}
	answers := &environmenttest.Answers{}
	for _, f := range t.Tests {
		answers.Fail(f.Server, f.Check, f.Message)
	}
	world := environmenttest.New(servers, clock.Machine{}, 0)
	world.Shell = answers.Shell
	for _, s := range t.Servers {
		wrong := environmenttest.Trouble{Endless: s.Endless, Dies: s.Dies}
		if s.Resource != "" {
			wrong.Puppet = &puppet.Resource{Title: s.Resource, File: "puppet/manifests/site.pp", Line: 7, Message: s.Message}
		}
		world.Trouble(s.Server, wrong)
	}
	withFaults, err := faults(cfg, world.Provider())
	return place{
		cloud: withFaults, dialer: world.Dialer(), host: world.Host(), outside: cfg.Provider.Incus.Cache.Addr(),
		base: func(ctx context.Context, p cloud.Provider, fresh bool, out io.Writer) (cloud.Image, error) {
			if t.Base != "" {
				return cloud.Image{}, fmt.Errorf("build the reference base: %s", t.Base)
			}
			return simBase(ctx, p, cfg, fresh, out)
		},
		room: roomOf(t),
	}, err
}

func roomOf(t trouble) func(context.Context) (room, error) {
	if t.Free == nil {
		return nil
	}
	return func(context.Context) (room, error) {
		return room{where: "the simulated disk", free: *t.Free, more: "simulate a bigger one"}, nil
	}
}

// simBase imports a base that nobody built, unless there is one.
func simBase(ctx context.Context, p cloud.Provider, cfg config.Config, fresh bool, out io.Writer) (cloud.Image, error) {
	recipe := "sha256:" + strings.Repeat("5", 64)
	if !fresh {
		image, err := p.ResolveBase(ctx, cloud.BaseSpec{Name: base.Family + "*", Digest: recipe, MaxAge: cfg.Base.MaxAge})
		if cloud.CodeOf(err) != cloud.CodeNotFound {
			return image, err
		}
	}
	importer := cloud.CapabilitiesOf(p).BaseImporter
	if importer == nil {
		return cloud.Image{}, errors.New("the simulated cloud takes no base")
	}
	disk := filepath.Join(cfg.StateDir, "base.tar")
	if err := os.WriteFile(disk, []byte(time.Now().String()), 0o600); err != nil {
		return cloud.Image{}, err
	}
	fmt.Fprintln(out, "build reference base debian-12")
	return base.Import(ctx, importer, base.Built{
		Path: disk, Recipe: recipe, Date: time.Now().UTC(), Packages: map[string]string{"bash": "5.2.15-2", "openssh-server": "1:9.2p1-2"},
	}, cloud.Tags{Owner: cfg.Owner})
}
