package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var limits = Limits{Memory: 256 << 20, Processes: 64, Files: 64 << 20, OpenFiles: 64, CPU: time.Minute, Output: 1 << 20}

// inside runs a script with bash in a sandbox, and gives what it printed.
func inside(t *testing.T, script string, change ...func(*Command)) (ended Ended, said string, err error) {
	t.Helper()
	var out bytes.Buffer
	c := Command{Args: []string{"bash", "-c", script}, Source: t.TempDir(), Out: &out, Limits: limits}
	for _, f := range change {
		f(&c)
	}
	ended, err = Run(t.Context(), c)
	return ended, out.String(), err
}

// refused wants a script, of which every line is an attempt, to say "refused" of each.
func refused(t *testing.T, attempts ...string) {
	t.Helper()
	var script strings.Builder
	for _, attempt := range attempts {
		fmt.Fprintf(&script, "if ( %s ) >/dev/null 2>&1; then echo 'DONE: %s'; else echo refused; fi\n", attempt, strings.ReplaceAll(attempt, "'", `"`))
	}
	_, said, err := inside(t, script.String())
	if want := strings.Repeat("refused\n", len(attempts)); err != nil || said != want {
		t.Errorf("%v\n%s", err, said)
	}
}

// asNobody runs a test of this file once more, as an ordinary user of this machine.
func asNobody(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		return // it was one already
	}
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "sandbox-") // t.TempDir's parent may be closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(dir, "test")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(program, binary, 0o755), os.Mkdir(filepath.Join(dir, "tmp"), 0o755), os.Chown(filepath.Join(dir, "tmp"), 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + filepath.Join(dir, "tmp")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name()+" ")) {
		t.Errorf("as an ordinary user: %v\n%s", err, out)
	}
}

// The command starts in a copy that it may change, with a home, a folder for temporary files, and no variable but
// those that are named. What it does to the copy stays there.
func TestCommandWorksOnACopy(t *testing.T) {
	defer asNobody(t)
	t.Setenv("HALLMARK_TOKEN", "s3cret")
	source := t.TempDir()
	for name, text := range map[string]string{"a": "one", "sub/run": "#!/bin/sh\necho ran\n", ".git/config": "x"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(source, name)), 0o755), os.WriteFile(filepath.Join(source, name), []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("/etc/shadow", filepath.Join(source, "link")), syscall.Mkfifo(filepath.Join(source, "pipe"), 0o644)); err != nil {
		t.Fatal(err)
	}
	ended, said, err := inside(t, `set -e; pwd; cat a; echo two >a; sub/run; readlink link; ls -A; echo x >$HOME/x; mktemp | sed 's/tmp\..*//'; touch /tmp/y; ls /dev/fd/ | wc -l; echo $MINE; id -un; rm -r sub; env | cut -d= -f1 | sort | xargs; exit 7`,
		func(c *Command) { c.Source, c.Env = source, []string{"MINE=a=b"} })
	want := "/work/product\noneran\n/etc/shadow\na\nlink\nsub\n/work/tmp/\n4\na=b\ncheck\nHOME LANG MINE OLDPWD PATH PWD SHLVL TMPDIR _\n"
	want = strings.Replace(want, "OLDPWD ", "", 1)
	if err != nil || ended != (Ended{Exit: 7}) || said != want {
		t.Errorf("%+v %v\n%s\nwant\n%s", ended, err, said, want)
	}
	if text, err := os.ReadFile(filepath.Join(source, "a")); err != nil || string(text) != "one" {
		t.Errorf("the source holds %q, %v", text, err)
	}
}

// Nothing of this machine is to be had but its tools, and they cannot be changed.
func TestNothingOfTheHost(t *testing.T) {
	defer asNobody(t)
	mine := t.TempDir()
	secret := filepath.Join(mine, "ledger.db")
	if err := os.WriteFile(secret, []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	abstract, err := net.Listen("unix", "@hallmark-sandbox-test-"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer abstract.Close()
	refused(t,
		"test -r /etc/shadow", "cat /etc/shadow", "test -e /var/lib/incus", "test -e /run/dbus", "test -e /var/lib/hallmark", "test -e "+secret,
		"test -e /home", "test -e /root", "test -e /sys/fs/cgroup", "test -e /dev/vda", "test -e /dev/sda", "test -e /dev/fuse", "test -e /dev/kmsg",
		"test $(id -u) = 0", "touch /usr/x", "touch /etc/x", "touch /x", "touch /dev/x", "touch /dev/shm/x", "touch /proc/sys/kernel/hostname",
		"echo 1 >/proc/sys/vm/drop_caches",
		"echo >/dev/tcp/127.0.0.1/"+port, "echo >/dev/tcp/192.0.2.1/80", "test $(ls /sys/class/net | wc -l) -gt 0", "test $(grep -c : /proc/net/dev) -gt 1",
		"ruby -rsocket -e 'UNIXSocket.new(%q(\\0hallmark-sandbox-test-"+port+"))'",
		"test -d /proc/"+strconv.Itoa(os.Getpid()), "kill -9 1; sleep 0.1; kill -0 $$ && test $(ls -d /proc/[0-9]* | wc -l) -gt 12",
		"unshare -U true", "unshare -Ur mount -t tmpfs x /work/home", "mount -t tmpfs x /work/home", "umount /usr", "mount -o remount,rw /usr", "mknod /work/home/d b 254 0",
		"chroot / true", "su -c true", "sudo -n true", "test -u /usr/bin/su -a $(su -c 'id -u' </dev/null) = 0", "cat /proc/1/environ | grep -qa HALLMARK",
		"ls /proc/1/root/home", "nsenter -t 1 -m true", "hostname other",
	)
}

// A process that the command leaves behind ends with it, also one that left its session and its output.
func TestNothingIsLeftBehind(t *testing.T) {
	defer asNobody(t)
	mark := strconv.Itoa(7000000 + os.Getpid())
	begin := time.Now()
	_, said, err := inside(t, `(setsid sleep `+mark+` >/dev/null 2>&1 &); (trap "" TERM HUP; setsid sleep `+mark+` &); sleep 0.2; echo done`)
	if err != nil || said != "done\n" {
		t.Error(said, err)
	}
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("it took %v", took)
	}
	gone(t, mark)
	ctx, cancel := context.WithCancel(t.Context())
	out := watch{word: "begun", seen: cancel}
	_, err = Run(ctx, Command{Args: []string{"bash", "-c", `(setsid sleep ` + mark + ` >/dev/null 2>&1 &); echo begun; sleep ` + mark}, Source: t.TempDir(), Out: &out, Limits: limits})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	gone(t, mark)
}

// A control group ends what is in it when it is closed, and is gone.
func TestGroupEndsAll(t *testing.T) {
	g, err := newGroup(limits)
	if err != nil {
		t.Fatal(err)
	}
	if len(g.dirs()) == 0 {
		t.Skip("this machine gives no control groups")
	}
	sleep := exec.CommandContext(t.Context(), "sleep", "1000")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range g.dirs() {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(sleep.Process.Pid)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- sleep.Wait() }()
	if err := g.close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil || err.Error() != "signal: killed" {
		t.Error(err)
	}
	for _, dir := range g.dirs() {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// watch calls seen once a word was written.
type watch struct {
	word string
	seen func()
}

func (w *watch) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(w.word)) {
		w.seen()
	}
	return len(p), nil
}

// gone wants no process of this machine to have a word among its arguments, once those that were killed are away.
func gone(t *testing.T, word string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		all, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			t.Fatal(err)
		}
		found := ""
		for _, file := range all {
			if text, err := os.ReadFile(file); err == nil && bytes.HasPrefix(text, []byte("sleep\x00"+word)) {
				found = file
			}
		}
		if found == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s still runs", found)
		}
	}
}

// A command that takes all it can get is ended, with the reason, or gets no more; the next one has all of it again.
func TestLimits(t *testing.T) {
	defer asNobody(t)
	root := os.Geteuid() == 0
	for _, c := range []struct {
		name, script string
		exit         int // -1: whatever
		over, said   string
	}{
		{"a fork bomb", `f() { f & f & wait; }; for i in {1..100}; do sleep 5 & done 2>&1 | grep -q fork && echo no more; exit 3`, 3, "", "no more\n"},
		{"prints without end", `yes`, -1, "printed more than 1 MiB", ""},
		{"prints one line without end", `tr '\0' x </dev/zero`, -1, "printed more than 1 MiB", ""},
		{"prints NUL bytes", `cat /dev/zero`, -1, "printed more than 1 MiB", ""},
		{"fills the disk", `head -c 100M /dev/zero >x 2>/dev/null || head -c 100M /dev/zero >$TMPDIR/y 2>/dev/null || echo full`, 0, "", "full\n"},
		{"fills it with small files", `for i in {1..20}; do head -c 8M /dev/zero >$i 2>/dev/null || { echo full; break; }; done`, 0, "", "full\n"},
		{"one process takes memory", `ruby -e 'x = []; 400.times { x << "a" * (1 << 20) }' 2>/dev/null || echo no more`, -1, "", ""},
		{"opens files", `ruby -e 'x = []; 100.times { x << File.open("/dev/null") }' 2>&1 | grep -o "Too many open files" | head -1`, 0, "", "Too many open files\n"},
		{"works on", `true`, 0, "", ""},
	} {
		ended, said, err := inside(t, c.script)
		if c.name == "one process takes memory" {
			if err != nil || ended.Over == "" && said != "no more\n" {
				t.Errorf("%s: %+v %q %v", c.name, ended, said, err)
			}
			continue
		}
		if err != nil || c.exit >= 0 && ended.Exit != c.exit || ended.Over != c.over || c.over == "" && said != c.said || len(said) > 1<<20 {
			t.Errorf("%s: %+v %.100q %v", c.name, ended, said, err)
		}
	}
	if !root {
		return
	}
	ended, said, err := inside(t, `for i in {1..10}; do ruby -e 'x = "a" * (100 << 20); sleep 1000' & done; wait -n; true`)
	if err != nil || ended.Over != "used more than 256 MiB of memory" {
		t.Errorf("many processes take memory: %+v %v\n%s", ended, err, said)
	}
	ended, said, err = inside(t, `ulimit -t 1; while :; do :; done`)
	if err != nil || ended.Exit != 128+int(syscall.SIGKILL) && ended.Exit != 128+int(syscall.SIGXCPU) {
		t.Errorf("works for ever: %+v %q %v", ended, said, err)
	}
}

// How a command ended is told; what was never run is an error, and says what to do.
func TestEnded(t *testing.T) {
	for script, want := range map[string]Ended{"true": {}, "exit 3": {Exit: 3}, "exit 125": {Exit: 125}, "kill -KILL $$": {Exit: 137}, "kill -SEGV $$": {Exit: 139}, "kill -TERM $$": {Exit: 143}} {
		if ended, _, err := inside(t, script); err != nil || ended != want {
			t.Errorf("%s: %+v %v", script, ended, err)
		}
	}
	_, _, err := inside(t, "", func(c *Command) { c.Args = []string{"no-such-program"} })
	if !errors.Is(err, exec.ErrNotFound) || !strings.HasPrefix(err.Error(), "no-such-program is not installed on this machine") {
		t.Error(err)
	}
	_, _, err = inside(t, "true", func(c *Command) { c.Source += "/none" })
	if !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	large := t.TempDir()
	if err := os.WriteFile(filepath.Join(large, "x"), make([]byte, 80<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err = inside(t, "true", func(c *Command) { c.Source = large }); err == nil || !strings.Contains(err.Error(), "larger than the 64 MiB") {
		t.Error(err)
	}
	dir := t.TempDir()
	if err := os.Symlink("/usr/bin/bash", filepath.Join(dir, "bash")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	if _, _, err = inside(t, "true"); !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "install the package bubblewrap, or run `make host`") {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bwrap"), []byte("#!/usr/bin/bash\necho bwrap: setting up uid map: Permission denied >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/usr/bin/setpriv", filepath.Join(dir, "setpriv")); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		open(t, dir)
	}
	if ended, _, err := inside(t, "true"); err == nil || !strings.Contains(err.Error(), "setting up uid map: Permission denied") || !strings.Contains(err.Error(), "allow unprivileged user namespaces") {
		t.Errorf("a machine without sandboxes: %+v %v", ended, err)
	}
}

// A program that PATH has elsewhere is run, and nothing that lies beside it is to be seen.
func TestProgramFromElsewhere(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"puppet": "#!/bin/sh\necho mine: $0; ls /own; test ! -e " + dir + " && echo alone\n", "beside": "secret"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	var out bytes.Buffer
	ended, err := Run(t.Context(), Command{Args: []string{"puppet"}, Source: t.TempDir(), Out: &out, Limits: limits})
	if err != nil || ended.Exit != 0 || out.String() != "mine: /own/puppet\npuppet\nalone\n" {
		t.Errorf("%+v, %v\n%s", ended, err, out.String())
	}
}

// open lets every user enter a folder of t.TempDir.
func open(t *testing.T, dir string) {
	t.Helper()
	for ; strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// A sandbox that something outside ends says nothing of the command.
func TestEndedFromOutside(t *testing.T) {
	mark := strconv.Itoa(8000000 + os.Getpid())
	out := watch{word: "begun", seen: func() {
		all, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			t.Error(err)
		}
		for _, file := range all {
			text, err := os.ReadFile(file)
			if err == nil && bytes.HasPrefix(text, []byte("bwrap\x00")) && bytes.Contains(text, []byte(mark)) {
				pid, _ := strconv.Atoi(strings.Split(file, "/")[2])
				if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
					t.Error(err)
				}
				return // the outer one: the other, which is its child, has a greater number
			}
		}
	}}
	_, err := Run(t.Context(), Command{Args: []string{"bash", "-c", "echo begun; sleep " + mark}, Source: t.TempDir(), Out: &out, Limits: limits})
	if !errors.Is(err, ErrEnded) {
		t.Error(err)
	}
	gone(t, mark)
}
