package puppet

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// of is what a server is told of deadlines at its launch: files by path, and commands.
func of(t *testing.T, l Launch) (files map[string]string, commands [][]string) {
	t.Helper()
	text, err := l.UserData()
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Commands [][]string `yaml:"runcmd"`
	}
	if err := yaml.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	_, files = parse(t, l)
	return files, config.Commands
}

// A deadline adds a timer with its service, and the command that enables it; without one, as a fleet is
// launched, a server has nothing that could power it off.
func TestNoDeadlineNoTimer(t *testing.T) {
	for name, onBase := range map[string]bool{"from a base": true, "from a prebuilt image": false} {
		t.Run(name, func(t *testing.T) {
			l := launch()
			if l.OnBase = onBase; onBase {
				l.Bootstrap = &Bootstrap{User: "hallmark-bootstrap", PublicKey: key}
			}
			without, commands := of(t, l)
			if len(commands) > 0 {
				t.Errorf("without a deadline: %v", commands)
			}
			for path, text := range without {
				if path == ScriptPath {
					continue // its own time limit for Puppet is called so
				}
				if strings.Contains(path+text, "deadline") || strings.Contains(text, "poweroff") {
					t.Errorf("without a deadline: %s", path)
				}
			}
			l.Deadline = time.Now()
			with, commands := of(t, l)
			if len(commands) != 1 || !slices.Contains(commands[0], DeadlineTimer) {
				t.Errorf("with a deadline: %v", commands)
			}
			for path := range without {
				if with[path] != without[path] {
					t.Errorf("a deadline changes %s", path)
				}
				delete(with, path)
			}
			if len(with) != 2 {
				t.Errorf("a deadline adds %v", with)
			}
		})
	}
}

// part is the piece of a script from a line to the next that begins with end.
func part(t *testing.T, script, begin, end string) string {
	t.Helper()
	_, rest, found := strings.Cut(script, "\n"+begin)
	piece, _, ended := strings.Cut(rest, "\n"+end)
	if !found || !ended {
		t.Fatalf("the script has no part %q … %q", begin, end)
	}
	return begin + piece + "\n"
}

// Whatever a deadline brings to a server, sealing takes away, and the check finds if it did not: an image
// that carried the timer would power off every server of a fleet that is launched from it.
func TestSealingTakesTheDeadlineAway(t *testing.T) {
	l := launch()
	without, _ := of(t, l)
	l.Deadline = time.Now()
	brought, _ := of(t, l)
	root := t.TempDir()
	put := func(path string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var paths []string
	for path, text := range brought {
		if without[path] != "" {
			continue
		}
		paths = append(paths, path)
		if target, wanted := strings.CutPrefix(text[strings.LastIndex(text, "\n[")+1:], "[Install]\nWantedBy="); wanted {
			paths = append(paths, "/etc/systemd/system/"+strings.TrimSpace(target)+".wants/"+filepath.Base(path)) // as systemctl enable does
		}
	}
	if len(paths) != 3 {
		t.Fatalf("a deadline brings %v", paths)
	}
	// Both scripts work on a whole server; here they work on a folder, the part of each that is about this.
	units := "/etc/systemd/system/"
	run := func(script string) string {
		t.Helper()
		script = "set -u\nleft() { echo \"left: $*\"; }\nsystemctl() { echo \"systemctl $*\"; }\n" + strings.ReplaceAll(script, units, root+units)
		out, err := exec.CommandContext(t.Context(), "bash", "-c", script).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	check := part(t, SealCheck(), "for f in ", "done") + "done\n"
	removal := part(t, SealScript(), "# The deadline of the environment", "\n")
	for _, path := range paths {
		put(path)
	}
	said := run(check)
	for _, path := range paths {
		if !strings.Contains(said, "left: "+root+path+"\n") {
			t.Errorf("the check does not find %s", path)
		}
	}
	if said := run(removal); !strings.Contains(said, "systemctl disable --quiet --now "+DeadlineTimer) {
		t.Errorf("the timer goes on running until the server is stopped: %s", said)
	}
	if said := run(check); strings.Contains(said, root) {
		t.Errorf("after sealing: %s", said)
	}
	for _, path := range paths {
		if _, err := os.Stat(filepath.Join(root, path)); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
}
