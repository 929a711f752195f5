package incus

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestBehind(t *testing.T) {
	const gib = 1 << 30
	for name, c := range map[string]struct{ used, allocated, disk, want int64 }{
		"the file has still to grow":       {used: 4 * gib, allocated: 4 * gib, disk: 10 * gib, want: 10 * gib},
		"the file has grown before":        {used: 4 * gib, allocated: 20 * gib, disk: gib, want: 17 * gib},
		"the file is smaller than its use": {used: 4 * gib, allocated: 3 * gib, disk: gib, want: gib},
	} {
		t.Run(name, func(t *testing.T) {
			if got := behind(c.used, c.allocated, c.disk); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}

func TestBacking(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pool.img")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 1<<30); err != nil { // sparse from here on
		t.Fatal(err)
	}
	allocated, free, err := backing(file)
	if err != nil || allocated >= 1<<30 || free <= 0 {
		t.Errorf("allocated %d, free %d, %v", allocated, free, err)
	}
	for _, elsewhere := range []string{"/dev/null", "tank/incus", filepath.Dir(file)} {
		if _, _, err := backing(elsewhere); !errors.Is(err, errNoFile) {
			t.Errorf("%s: %v", elsewhere, err)
		}
	}
	if _, _, err := backing(file + "2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
