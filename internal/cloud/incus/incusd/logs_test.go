package incusd

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Only the folders of the instances that are meant go.
func TestRemoveLogs(t *testing.T) {
	logs := t.TempDir()
	for _, folder := range []string{"env-a_web-1", "env-a_db-1", "env-ab_web-1", "env-a_b_web-1", "web-1", "env-b_web-1"} {
		if err := os.Mkdir(filepath.Join(logs, folder), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(logs, folder, "console.log"), []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"env-a_file", "incusd.log", "dnsmasq.hm1.log", "dnsmasq.hm2.log"} {
		if err := os.WriteFile(filepath.Join(logs, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	left := func() (names []string) {
		entries, err := os.ReadDir(logs)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	for _, step := range []struct {
		do   func() error
		gone []string
	}{
		{func() error { return RemoveInstanceLogs(logs, "env-b", "web-1") }, []string{"env-b_web-1"}},
		{func() error { return RemoveInstanceLogs(logs, "env-b", "web-1") }, nil},
		{func() error { return RemoveInstanceLogs(logs, "", "web-1") }, nil},
		{func() error { return RemoveInstanceLogs(logs, "..", "/../x") }, nil},
		{func() error { return RemoveProjectLogs(logs, "env-a") }, []string{"env-a_db-1", "env-a_web-1"}},
		{func() error { return RemoveProjectLogs(logs, "") }, nil},
		{func() error { return RemoveProjectLogs(filepath.Join(logs, "elsewhere"), "env-a") }, nil},
		{func() error { return RemoveNetworkLogs(logs, "hm1") }, []string{"dnsmasq.hm1.log"}},
		{func() error { return RemoveNetworkLogs(logs, "hm1") }, nil},
	} {
		want := slices.DeleteFunc(left(), func(name string) bool { return slices.Contains(step.gone, name) })
		if err := step.do(); err != nil {
			t.Error(err)
		}
		if got := left(); !slices.Equal(got, want) {
			t.Errorf("left are %q, want %q", got, want)
		}
	}
}
