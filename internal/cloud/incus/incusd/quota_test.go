package incusd

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Whatever state the kernel shows, quotas count from then on.
func TestHoldQuotas(t *testing.T) {
	for name, c := range map[string]struct {
		shows     map[string]string
		runs      []string
		threshold string
	}{
		"off":          {map[string]string{}, []string{"quota enable"}, ""},
		"stopped":      {map[string]string{"enabled": "1\n", "inconsistent": "1\n", "drop_subtree_threshold": "3\n"}, []string{"quota rescan"}, "8"},
		"will stop":    {map[string]string{"enabled": "1\n", "inconsistent": "0\n", "drop_subtree_threshold": "3\n"}, nil, "8"},
		"held":         {map[string]string{"enabled": "1\n", "inconsistent": "0\n", "drop_subtree_threshold": "8\n"}, nil, "8\n"},
		"older kernel": {map[string]string{"enabled": "1\n", "inconsistent": "0\n"}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range c.shows {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var ran []string
			err := holdQuotas(dir, func(args ...string) error {
				ran = append(ran, strings.Join(args, " "))
				if args[1] == "rescan" {
					return errors.New("exit status 1: ERROR: quota rescan failed: Operation now in progress")
				}
				return nil
			})
			threshold, _ := os.ReadFile(filepath.Join(dir, "drop_subtree_threshold"))
			if err != nil || !slices.Equal(ran, c.runs) || string(threshold) != c.threshold {
				t.Errorf("%v: ran %q, threshold %q", err, ran, threshold)
			}
		})
	}
	if q, err := QuotasOf(t.Context(), Pool{Name: "no such pool", Driver: "zfs"}); err != nil || q.Hold(t.Context()) != nil {
		t.Errorf("another driver: %v", err)
	}
}
