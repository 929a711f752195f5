package incus_test

import (
	"testing"
	"time"
)

// TestSlowShutdown: a system that takes its time to go down is waited for, and started again only when
// Incus has taken all of it down; one that is just booting is asked again until it listens.
func TestSlowShutdown(t *testing.T) {
	t.Parallel()
	p := provider(t)
	n, server, volume := database(t, p)
	up := func() bool { return inside(t, n, "db-1", "systemctl is-active multi-user.target") }
	until(t, "db-1 is up", up)
	for _, shutdown := range []string{"0.8", "1", "1.2", "5.2"} { // about as long as it takes until the next reminder
		unit := `printf '[Service]\nExecStart=/bin/sleep infinity\nExecStop=/bin/sleep ` + shutdown + `\n' >/run/systemd/system/slow.service`
		if !inside(t, n, "db-1", unit+" && systemctl daemon-reload && systemctl start slow") {
			t.Fatal("db-1 takes no unit")
		}
		must(t, p.Reboot(t.Context(), server.ID))
		until(t, "db-1 is up again", up)
		if !inside(t, n, "db-1", "mountpoint "+volume.Path) {
			t.Errorf("%s s: the volume is not there", shutdown)
		}
	}
	began := time.Now()
	must(t, p.Reboot(t.Context(), server.ID))
	must(t, p.Reboot(t.Context(), server.ID)) // of a system that is just booting
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("two reboots took %s: the request was lost, and the plug pulled", took)
	}
	until(t, "db-1 is up at last", up)
}
