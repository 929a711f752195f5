//go:build !race

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/probe"
)

// goss 0.4.9 reads the output of a command whose time is over while the command still writes it: a
// race of its own, so this test is not for the race detector. TestErrorOfACheck covers our part.
func TestCommandThatOutlivesItsTime(t *testing.T) {
	spec := filepath.Join(t.TempDir(), "spec.yaml")
	if err := os.WriteFile(spec, []byte("command:\n  slow: {exec: sleep 5, exit-status: 0, timeout: 50}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	checks, code := validate(spec, "", 1)
	if code != probe.ExitFailed || len(checks.Results) != 1 || checks.Results[0].Message != "Command execution timed out (50ms)" {
		t.Errorf("exit %d, %+v", code, checks)
	}
	checks, code = validate(spec, "", 4)
	if code != probe.ExitFailed || len(checks.Results) != 1 || checks.Results[0].Message != "Command execution timed out (200ms)" {
		t.Errorf("where all takes four times as long: exit %d, %+v", code, checks)
	}
	if err := os.WriteFile(spec, []byte("command:\n  slow: {exec: sleep 0.2, exit-status: 0, timeout: 150}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if checks, code = validate(spec, "", 100); code != probe.ExitOK {
		t.Errorf("a command that is slow as all the rest: exit %d, %+v", code, checks)
	}
}
