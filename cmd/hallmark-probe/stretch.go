package main

import (
	"cmp"
	"maps"
	"path/filepath"
	"slices"

	"github.com/goss-org/goss"
	"github.com/goss-org/goss/util"
)

// What goss 0.4.9 gives a resource that names no time of its own, in milliseconds.
const (
	addrTime    = 500
	commandTime = 10_000
	dnsTime     = 500
	httpTime    = 5_000
	mountTime   = 1_000
)

// runGoss runs the configuration's file. On a busy host every resource gets stretch times its time.
func runGoss(cfg *util.Config, stretch float64) error {
	if stretch <= 1 {
		_, err := goss.Validate(cfg) // 78 with an error for a file it can't run, else 0 or 1
		return err
	}
	if _, err := goss.RenderJSON(cfg); err != nil { // this takes the variables in, and finds loops
		return err
	}
	file, err := read(cfg.Spec)
	if err != nil {
		return err
	}
	longer := func(ms *int, otherwise int) { *ms = int(float64(cmp.Or(*ms, otherwise)) * stretch) }
	for _, r := range file.Addrs {
		longer(&r.Timeout, addrTime)
	}
	for _, r := range file.Commands {
		longer(&r.Timeout, commandTime)
	}
	for _, r := range file.DNS {
		longer(&r.Timeout, dnsTime)
	}
	for _, r := range file.HTTPs {
		longer(&r.Timeout, httpTime)
	}
	for _, r := range file.Mounts {
		longer(&r.Timeout, mountTime)
	}
	_, err = goss.ValidateConfig(cfg, file)
	return err
}

// read reads a goss file as goss does, with what it includes. It expects that goss has taken the
// variables in.
func read(name string) (*goss.GossConfig, error) {
	file, err := goss.ReadJSON(name)
	if err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(file.Gossfiles)) {
		included := file.Gossfiles[key]
		if included.GetSkip() {
			continue
		}
		pattern := included.GetGossfile()
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(filepath.Dir(name), pattern)
		}
		names, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			more, err := read(name)
			if err != nil {
				return nil, err
			}
			file.Merge(*more)
		}
	}
	return &file, nil
}
