package incus_test

import (
	"strings"
	"testing"
)

// TestSnapshotTakesVolumesBack: a snapshot is of the server's disk and its volumes; and the host keys
// can be learnt from the console still after a reboot and a restore.
func TestSnapshotTakesVolumesBack(t *testing.T) {
	t.Parallel()
	p := provider(t)
	n, server, volume := database(t, p)
	keys := func() bool {
		text, err := p.Console(t.Context(), server.ID)
		must(t, err)
		return strings.Contains(string(text), "-----END SSH HOST KEY KEYS-----")
	}
	until(t, "the host keys are on the console", keys)
	must(t, p.Reboot(t.Context(), server.ID))
	if !keys() {
		t.Error("after a reboot the console has lost the host keys")
	}

	write := func(what string) {
		if !inside(t, n, "db-1", "echo "+what+" | tee /root/mark >"+volume.Path+"/mark && sync") {
			t.Fatal("db-1 cannot write")
		}
	}
	has := func(what string) bool {
		return inside(t, n, "db-1", "grep -qx "+what+" /root/mark && grep -qx "+what+" "+volume.Path+"/mark")
	}
	write("before")
	must(t, p.Snapshot(t.Context(), server.ID, "clean"))
	for range 2 {
		write("after")
		if !has("after") {
			t.Fatal("db-1 does not read what it wrote")
		}
		must(t, p.Restore(t.Context(), server.ID, "clean"))
		until(t, "disk and volume are as before", func() bool { return has("before") })
	}

	must(t, p.Destroy(t.Context(), server.ID))
	must(t, p.DeleteVolume(t.Context(), volume.ID)) // its snapshots go with it
}
