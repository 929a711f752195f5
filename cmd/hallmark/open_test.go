package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/config"
)

func settingsIn(dir string) config.Config {
	var cfg config.Config
	cfg.Default()
	cfg.StateDir = dir
	return cfg
}

// An installation takes its name once, however many commands begin at once, and keeps it when the
// configured name changes.
func TestOwnerIsTakenOnce(t *testing.T) {
	cfg := settingsIn(t.TempDir())
	names := make([]string, 8)
	var all sync.WaitGroup
	for i := range names {
		all.Go(func() {
			var err error
			if names[i], err = owner(cfg); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	cfg.Owner = "another"
	again, err := owner(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if name != again || !strings.HasPrefix(name, "hallmark-") {
			t.Errorf("one command's name is %q, the next one's %q", name, again)
		}
	}
}

// What a full disk or a crash left in the file is no name: an installation without one would take no server
// for its own, and one with a new name would forget those it has.
func TestDamagedOwnerIsRefused(t *testing.T) {
	for _, content := range []string{"", "\n", "hallmark-12ab\n", "hallmark-12ab3", "hallmark-12ab34\nhall", "\x00\x00\x00\x00"} {
		cfg := settingsIn(t.TempDir())
		file := filepath.Join(cfg.StateDir, "owner")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		name, err := owner(cfg)
		var wrong usageError
		if !errors.As(err, &wrong) || name != "" || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "restore it from a backup") {
			t.Errorf("%q: the name is %q, the error %v", content, name, err)
		}
		if kept, err := os.ReadFile(file); err != nil || string(kept) != content {
			t.Errorf("%q became %q, %v", content, kept, err)
		}
	}
}
