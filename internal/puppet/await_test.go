package puppet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// awaiting runs the script's wait for secrets in a folder that stands for /etc/hallmark, with so many seconds, while
// something is done beside it.
func awaiting(t *testing.T, told, dir string, seconds int, meanwhile string) string {
	t.Helper()
	functions := part(t, script, "# await_secrets", "provision() {")
	cmd := exec.Command("bash", "-uo", "pipefail", "-c", fmt.Sprintf(`say() { echo "$*"; }
finish() { say "finished: $*"; exit 1; }
%s
etc=%s timeout=%d deadline=$((SECONDS + %[3]d)) HALLMARK_SECRETS=%s
( %s ) &
await_secrets
say "goes on with $(cat $etc/secrets.yaml 2>/dev/null)"`, functions, dir, seconds, told, meanwhile))
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out)
}

// A server waits for secrets that are brought, and for nothing else, and not longer than it has time.
func TestServerAwaitsItsSecrets(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		told, there string
		seconds     int
		meanwhile   string
		want, not   string
	}{
		"by the provider":      {"''", "", 600, ":", "goes on with \n", "waiting"},
		"brought before":       {"awaited", "a: b", 600, ":", "goes on with a: b\n", "waiting"},
		"brought in time":      {"awaited", "", 600, `sleep 1; echo "c: d" >$etc/new; mv $etc/new $etc/secrets.yaml`, "goes on with c: d\n", "finished"},
		"begun, and not ended": {"awaited", "", 2, `: >$etc/secrets.yaml`, "finished: failed 1 unexplained", "goes on"},
		"never brought":        {"awaited", "", 1, ":", "finished: failed 1 unexplained Hallmark did not bring ", "goes on"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if c.there != "" {
				if err := os.WriteFile(filepath.Join(dir, "secrets.yaml"), []byte(c.there), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if said := awaiting(t, c.told, dir, c.seconds, c.meanwhile); !strings.Contains(said, c.want) || strings.Contains(said, c.not) {
				t.Errorf("said %q", said)
			}
		})
	}
}
