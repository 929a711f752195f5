package main_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	idleFor    = 10 * time.Second
	idleGoalMB = 80.0
)

// BenchmarkIdleDaemon is what `hallmark serve` keeps in memory when it has had nothing to do for
// idleFor: VmRSS, the program's own pages included. Its ratio is to the goal.
func BenchmarkIdleDaemon(b *testing.B) {
	dir := b.TempDir()
	binary, repository, settings := filepath.Join(dir, "hallmark"), filepath.Join(dir, "acme"), filepath.Join(dir, "hallmark.yaml")
	for _, command := range [][]string{
		{"go", "build", "-o", binary, "."}, // as `make build` does
		{"../../configs/acme/make-repository.sh", repository},
	} {
		if out, err := exec.CommandContext(b.Context(), command[0], command[1:]...).CombinedOutput(); err != nil {
			b.Fatalf("%v: %v\n%s", command, err, out)
		}
	}
	// A schedule that has its next tick far off, so that there is a clock to watch.
	text := fmt.Sprintf(`state-dir: %s
product:
  repository: %s
schedules:
  - name: nightly
    kind: nightly
    cron: 0 2 29 2 *
    timezone: UTC
`, filepath.Join(dir, "state"), repository)
	if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		kB := idle(b, exec.CommandContext(b.Context(), binary, "--config", settings, "serve"))
		mb := float64(kB["VmRSS"]) * 1024 / 1e6
		b.ReportMetric(mb, "MB")
		b.ReportMetric(mb/idleGoalMB, "ratio")
		fmt.Printf("\nidle daemon: %.1f MB resident after %s (%.1f of it its own, the rest pages of the program); ratio to the goal of %.0f MB: %.2f\n",
			mb, idleFor, float64(kB["RssAnon"])*1024/1e6, idleGoalMB, mb/idleGoalMB)
	}
}

// idle starts a daemon, waits until it has been ready for idleFor, and gives its memory in kB (of 1024
// bytes) by the names of proc(5). The daemon is stopped.
func idle(b *testing.B, daemon *exec.Cmd) map[string]int {
	b.Helper()
	var said bytes.Buffer
	daemon.Stderr = &said
	daemon.Cancel = func() error { return daemon.Process.Signal(syscall.SIGTERM) }
	out, err := daemon.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = daemon.Cancel() // it may have ended by itself
		if err := daemon.Wait(); err != nil {
			b.Errorf("hallmark serve: %v\n%s", err, &said)
		}
	}()
	lines := bufio.NewScanner(out) // it shows its schedules when it is ready
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "nightly") {
		continue
	}
	select {
	case <-time.After(idleFor):
	case <-b.Context().Done():
		b.Fatal(b.Context().Err())
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", daemon.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	kB := map[string]int{}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "kB" {
			if kB[strings.TrimSuffix(f[0], ":")], err = strconv.Atoi(f[1]); err != nil {
				b.Fatal(err)
			}
		}
	}
	if kB["VmRSS"] == 0 {
		b.Fatalf("the daemon has ended:\n%s", &said)
	}
	return kB
}
