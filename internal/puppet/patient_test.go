package puppet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patiently runs a command as the script runs Puppet, with so many seconds, on a host whose proc is made up.
func patiently(t *testing.T, seconds int, stat, pressure, command string) (code int, took time.Duration) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(stat), 0o600); err != nil {
		t.Fatal(err)
	}
	if pressure != "" {
		if err := os.MkdirAll(filepath.Join(dir, "pressure"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "pressure", "cpu"), []byte(pressure), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	functions := part(t, script, "bound=", "# quoted makes")
	cmd := exec.Command("bash", "-uo", "pipefail", "-c", fmt.Sprintf("%s\nproc=%s timeout=%d given=0\npatient %s", functions, dir, seconds, command))
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if len(out) > 0 {
		t.Logf("said: %s", out)
	}
	return cmd.ProcessState.ExitCode(), time.Since(began)
}

// A command is ended when the host has given it its time: at once on an idle host, later on a busy one, and
// not at all if it ends before. Its own exit code is passed on.
func TestPuppetsTimeStretches(t *testing.T) {
	t.Parallel()
	stat := func(runnable int) string {
		return fmt.Sprintf("cpu 1 2 3\ncpu0 1 2 3\ncpu1 1 2 3\nintr 1 2 3\nprocs_running %d\nprocs_blocked 0\n", runnable+1)
	}
	const quiet = "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
	for name, c := range map[string]struct {
		seconds        int
		stat, pressure string
		command        string
		code           int
		least, most    time.Duration
	}{
		"ends by itself":           {60, stat(1), "", "bash -c 'exit 2'", 2, 0, time.Minute},
		"idle":                     {2, stat(1), "", "sleep 300", 124, time.Second, time.Minute},
		"six for two cores":        {2, stat(6), "", "sleep 300", 124, 5 * time.Second, time.Minute},
		"busy, and nothing waited": {2, stat(40), quiet, "sleep 300", 124, time.Second, time.Minute},
		"busy, but fast enough":    {2, stat(8), "", "bash -c 'sleep 4; exit 6'", 6, 4 * time.Second, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, took := patiently(t, c.seconds, c.stat, c.pressure, c.command)
			if code != c.code || took < c.least || took > c.most {
				t.Errorf("exit code %d after %s, want %d after %s to %s", code, took.Round(time.Millisecond), c.code, c.least, c.most)
			}
		})
	}
}

// What the command started goes with it.
func TestNothingOutlivesPuppetsTime(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "pid")
	code, _ := patiently(t, 1, "cpu0 1\nprocs_running 1\n", "", fmt.Sprintf("bash -c 'sleep 300 & echo $! >%s; wait'", mark))
	pid, err := os.ReadFile(mark)
	if err != nil || code != 124 {
		t.Fatalf("exit code %d, %v", code, err)
	}
	if state, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat"); err == nil && !strings.Contains(string(state), ") Z ") {
		t.Errorf("its child lives on: %s", state)
	}
}
