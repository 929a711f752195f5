package puppet

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// What it does is tried on real servers (internal/environment, imager); here, that a shell takes it.
func TestShellSyntax(t *testing.T) {
	for name, text := range map[string]string{
		"hallmark-provision": script,
		"seal":               SealScript(),
		"check":              SealCheck(),
		"deliver":            DeliverScript("0123abcd", "/var/tmp/code.tar"),
		"unpack":             UnpackScript("0123abcd", "/var/tmp/code.tar"),
		"start":              StartScript("0123abcd"),
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("bash", "-n")
			cmd.Stdin = strings.NewReader(text)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// The constants and the script's own words are one contract.
func TestScriptKeepsToTheContract(t *testing.T) {
	for _, want := range []string{
		`say "report `, "hallmark-provision: $*", SettingsPath[len("/etc/hallmark/"):], "/var/log/hallmark", "last_run_report.yaml",
		"again_run_report.yaml", "packages.unreachable", "puppet.failed", "puppet.timeout", "HALLMARK_BOOTSTRAP_USER", "HALLMARK_SECRETS",
		"handover=" + HandOverPath, `say "hand-over: `, fmt.Sprintf("patience=%.0f ", HandOverPatience.Seconds()),
	} {
		if !strings.Contains(script, want) {
			t.Errorf("the script does not know %q", want)
		}
	}
	if got := "hallmark-provision: report "; got != ConsolePrefix {
		t.Errorf("console prefix %q", ConsolePrefix)
	}
}
