package puppet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// apt gives a package system of its own with one package source, a folder, and the environment that
// makes apt-get work on it. Its lists are up to date.
func apt(t *testing.T) (root string, env []string) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("no apt-get here")
	}
	root = t.TempDir()
	for _, dir := range []string{"source", "lists/partial", "cache/archives/partial", "etc/sources.list.d"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The source is not signed, and only who runs the test can read it.
	for name, text := range map[string]string{
		"source/Packages":  "",
		"etc/sources.list": fmt.Sprintf("deb [trusted=yes] file:%s/source ./\n", root),
		"apt.conf": fmt.Sprintf("Dir::Etc %[1]q;\nDir::State::Lists %[2]q;\nDir::Cache %[3]q;\nDir::State::Status \"/dev/null\";\nAPT::Sandbox::User \"root\";\n"+
			"#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n", root+"/etc", root+"/lists", root+"/cache"),
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	env = append(os.Environ(), "APT_CONFIG="+root+"/apt.conf", "TMPDIR="+t.TempDir())
	cmd := exec.Command("apt-get", "update", "-qq", "--error-on=any")
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("apt-get update: %v: %s", err, out)
	}
	return root, env
}

// askSources is SourcesCommand.
func askSources(env []string) (string, error) {
	cmd := exec.Command("bash", "-s", "sources")
	cmd.Stdin, cmd.Env = strings.NewReader(script), env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Two audits at a time, apt-daily or the product may hold the lock; it says nothing about the sources.
func TestSourcesAnswerWhileOthersHoldTheLists(t *testing.T) {
	root, env := apt(t)
	lock, err := os.OpenFile(root+"/lists/lock", os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.FcntlFlock(lock.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK}); err != nil {
		t.Fatal(err)
	}
	if out, err := askSources(env); err != nil {
		t.Errorf("sources: %v: %s", err, out)
	}
	if left, _ := filepath.Glob(tempOf(env) + "/*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func tempOf(env []string) string { return strings.TrimPrefix(env[len(env)-1], "TMPDIR=") }

func TestSourcesDoNotAnswer(t *testing.T) {
	root, env := apt(t)
	if err := os.RemoveAll(root + "/source"); err != nil {
		t.Fatal(err)
	}
	if out, err := askSources(env); err == nil {
		t.Errorf("a source that is gone answers: %s", out)
	}
	if lists, _ := filepath.Glob(root + "/lists/*Packages"); len(lists) != 1 {
		t.Errorf("the server's own lists are now %v", lists)
	}
}
