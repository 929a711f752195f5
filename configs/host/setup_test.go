// Package host_test tries what setup.sh sets up.
package host_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// functions are those of setup.sh, for bash -c.
func functions(t *testing.T) string {
	t.Helper()
	script, err := os.ReadFile("setup.sh")
	if err != nil {
		t.Fatal(err)
	}
	functions, _, ok := strings.Cut(string(script), "\nmain \"$@\"")
	if !ok {
		t.Fatal("setup.sh does not end with main")
	}
	return strings.Replace(functions, "BASH_SOURCE[0]", "PWD", 1) + "\n"
}

// Each server takes a range of user ids: the set-up refuses a host that has too few, and leaves other users' ranges as they are.
func TestGiveIDs(t *testing.T) {
	for name, c := range map[string]struct{ has, says, left string }{
		"none":        {"hal:100000:65536\n", "give root a range in", "hal:100000:65536\nroot:1000000:1000000000\n"},
		"enough":      {"root:1000000:1000000000\n", "", "root:1000000:1000000000\n"},
		"two ranges":  {"root:100000:65536\nroot:1000000:7000000\n", "", "root:100000:65536\nroot:1000000:7000000\n"},
		"for one":     {"root:100000:65536\n", "gives root 65536 ids; each server takes 65536", "root:100000:65536\n"},
		"of somebody": {"boot:100000:65536\nroot:200000:655360\n", "gives root 655360 ids", "boot:100000:65536\nroot:200000:655360\n"},
	} {
		t.Run(name, func(t *testing.T) {
			prefix := filepath.Join(t.TempDir(), "sub")
			for _, kind := range []string{"uid", "gid"} {
				if err := os.WriteFile(prefix+kind, []byte(c.has), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), "bash", "-c", functions(t)+"give_ids")
			cmd.Env = append(os.Environ(), "SUBIDS="+prefix)
			said, err := cmd.CombinedOutput()
			if failed, want := err != nil, strings.Contains(c.says, "gives"); failed != want || !strings.Contains(string(said), c.says) || c.says == "" && len(said) > 0 {
				t.Errorf("%v: %s", err, said)
			}
			left, err := os.ReadFile(prefix + "uid")
			if err != nil || string(left) != c.left {
				t.Errorf("%v: left is %q", err, left)
			}
		})
	}
}
