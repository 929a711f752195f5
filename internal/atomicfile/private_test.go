package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestPrivate(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	make := func(path string, mode os.FileMode, owner int) func(string) error {
		return func(dir string) error {
			path := filepath.Join(dir, path)
			err := os.MkdirAll(filepath.Dir(path), 0o755)
			if strings.HasSuffix(path, ".db") {
				err = errors.Join(err, os.WriteFile(path, nil, mode))
			} else {
				err = errors.Join(err, os.MkdirAll(path, mode))
			}
			return errors.Join(err, os.Chmod(path, mode), os.Lchown(path, owner, -1))
		}
	}
	us := os.Geteuid()
	for name, c := range map[string]struct {
		before []func(string) error
		want   string // in the error
	}{
		"nothing there":            {nil, ""},
		"made by a package":        {[]func(string) error{make("a/state", 0o755, us), make("a/state/ledger.db", 0o644, us), make("a/state/products", 0o755, us)}, ""},
		"others can write":         {[]func(string) error{make("a/state", 0o777, us)}, "a/state can be written by other users; look whether"},
		"a group can write":        {[]func(string) error{make("a/state", 0o770, us)}, "a/state can be written by other users"},
		"others could write to it": {[]func(string) error{make("a/state/ledger.db", 0o666, us)}, "a/state/ledger.db can be written by other users"},
		"a folder of others in it": {[]func(string) error{make("a/state/products", 0o755, 65534)}, "a/state/products belongs to nobody; run as nobody"},
		"another's":                {[]func(string) error{make("a/state", 0o700, 65534)}, "a/state belongs to nobody"},
		"in another's":             {[]func(string) error{make("a", 0o755, 65534)}, ""},
		"in everybody's":           {[]func(string) error{make("a", 0o777, us)}, "a can be written by every user"},
		"in a sticky one":          {[]func(string) error{make("a", 0o777|os.ModeSticky, us)}, ""},
		"a link":                   {[]func(string) error{make("a/real", 0o755, us), func(dir string) error { return os.Symlink("real", filepath.Join(dir, "a/state")) }}, ""},
		"a link to everybody's":    {[]func(string) error{make("a/real", 0o777, us), func(dir string) error { return os.Symlink("real", filepath.Join(dir, "a/state")) }}, "a/real can be written"},
	} {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, f := range c.before {
			if err := f(dir); err != nil {
				t.Fatalf("%s: %v (this test needs root)", name, err)
			}
		}
		state := filepath.Join(dir, "a/state")
		err := Private(state)
		if c.want != "" {
			if _, ok := errors.AsType[*Shared](err); !ok || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		entries, err := os.ReadDir(state)
		if err != nil {
			t.Error(err)
		}
		for _, path := range append([]string{"."}, names(entries)...) {
			if info, err := os.Stat(filepath.Join(state, path)); err != nil || info.Mode()&0o077 != 0 {
				t.Errorf("%s: %s is %v, %v", name, path, info.Mode(), err)
			}
		}
	}
}

func names(entries []os.DirEntry) (all []string) {
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}
