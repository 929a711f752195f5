package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The places inside. All of them lie in memory, in one file system of bounded size.
const (
	Dir  = "/work/product" // the copy, and where the command starts
	Home = "/work/home"
	Temp = "/work/tmp" // also /tmp
)

// own is where a program lies inside that this machine has elsewhere than in the folders of path.
const own = "/own"

// path is where programs are looked for inside: folders of this machine that it shows to the command.
const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/puppetlabs/bin"

// user is who the command is where Hallmark is root: a user and a group that this machine knows nothing of, in
// the range that neither Debian nor systemd gives to anybody. A user namespace that root made would be root to
// the host's files.
const user = 61099

// Limits bound a command and all that it starts. Each has to be given.
type Limits struct {
	Memory    int64         // bytes: of all its processes and files where Hallmark is root and has control groups, else of each process
	Processes int           // also threads
	Files     int64         // bytes that it can keep, the copy included
	OpenFiles int           // of each process
	CPU       time.Duration // of each process
	Output    int64         // bytes that it may print
}

// Command is what is run.
type Command struct {
	Args   []string  // a program, which is looked for in PATH and in the usual folders, and its arguments
	Source string    // the folder that is copied, without its .git; links in it stay links
	Env    []string  // beside HOME, TMPDIR, PATH and LANG
	Out    io.Writer // gets what it prints, as it comes, up to Limits.Output
	Limits Limits
}

// Ended says how a command ended.
type Ended struct {
	Exit int    // 128 and the number of a signal that ended it
	Over string // which limit ended it, as "used more than 2048 MiB of memory"; "" : none
}

// ErrEnded says that something outside the sandbox ended the command, so that nothing was learnt of it.
var ErrEnded = errors.New("was ended by another process")

// Run runs a command and waits for its end. An error means that the command was not run, or not to its end:
// a program that is missing (exec.ErrNotFound), a machine that allows no sandbox, ErrEnded, or ctx's own error.
func Run(ctx context.Context, c Command) (Ended, error) {
	program, err := find(c.Args[0])
	if err != nil {
		return Ended{}, err
	}
	if _, err := exec.LookPath("bwrap"); err != nil {
		return Ended{}, fmt.Errorf("bwrap is not installed on this machine, and product code is never run without it: install the package bubblewrap, or run `make host`: %w", exec.ErrNotFound)
	}
	group, err := newGroup(c.Limits)
	if err != nil {
		return Ended{}, fmt.Errorf("bound what %s may use: %w", c.Args[0], err)
	}
	ended, err := c.run(ctx, program, group)
	return ended, errors.Join(err, group.close())
}

// find looks for a program as a shell of this machine does, and then in the usual folders. It gives the file of one
// that the sandbox does not show: that one file is put into it, and nothing that lies beside the file.
func find(program string) (file string, err error) {
	file, err = exec.LookPath(program)
	if err == nil {
		file, err = filepath.EvalSymlinks(file)
	}
	if err == nil && !shown(file) {
		return file, nil
	}
	for dir := range strings.SplitSeq(path, ":") {
		if info, err := os.Stat(filepath.Join(dir, program)); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return "", nil
		}
	}
	return "", fmt.Errorf("%s is not installed on this machine (looked in PATH and in %s): %w", program, path, exec.ErrNotFound)
}

// shown reports whether the sandbox shows a file of this machine.
func shown(file string) bool {
	return slices.ContainsFunc([]string{"/usr/", "/bin/", "/sbin/", "/opt/puppetlabs/"}, func(dir string) bool { return strings.HasPrefix(file, dir) })
}

func (c Command) run(ctx context.Context, program string, group *group) (Ended, error) {
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	begun, told, err := os.Pipe()
	if err != nil {
		return Ended{}, err
	}
	defer begun.Close()
	defer told.Close()
	data, err := accounts()
	defer func() {
		for _, f := range data {
			_ = f.Close()
		}
	}()
	if err != nil {
		return Ended{}, err
	}
	if program != "" {
		f, err := os.Open(program)
		if err != nil {
			return Ended{}, err
		}
		data = append(data, f)
	}
	cmd := exec.CommandContext(limited, "bash", append([]string{"-c", outer, "sandbox"}, c.arguments(program, group)...)...)
	cmd.Dir, cmd.Env = "/", []string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}
	cmd.ExtraFiles = append([]*os.File{told}, data...)
	out := &bounded{out: c.Out, left: c.Limits.Output, over: func() { cancel(errTooMuch) }}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = 10 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a signal to Hallmark's terminal is not the command's
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return Ended{}, err
	}
	if err := cmd.Start(); err != nil {
		return Ended{}, fmt.Errorf("start a sandbox: %w", err)
	}
	_ = told.Close() // the command's end is open there only, until it begins
	copied := make(chan error, 1)
	go func() {
		err := copyTree(c.Source, stdin)
		if err != nil && !errors.Is(err, syscall.EPIPE) {
			cancel(err) // before the end of what it reads: half a copy must not be taken for all of it
		}
		copied <- errors.Join(err, stdin.Close())
	}()
	started := make(chan bool, 1)
	go func() {
		word, err := io.ReadAll(io.LimitReader(begun, 16))
		started <- err == nil && string(bytes.TrimSpace(word)) == ready
	}()
	err = cmd.Wait()
	copyErr := <-copied
	switch {
	case ctx.Err() != nil:
		return Ended{}, ctx.Err()
	case errors.Is(context.Cause(limited), errTooMuch):
		return Ended{Exit: 128 + int(syscall.SIGKILL), Over: fmt.Sprintf("printed more than %d MiB", c.Limits.Output>>20)}, nil
	case !<-started:
		return Ended{}, c.notStarted(copyErr, out, err)
	case group.exhausted():
		return Ended{Exit: 128 + int(syscall.SIGKILL), Over: fmt.Sprintf("used more than %d MiB of memory", c.Limits.Memory>>20)}, nil
	case err == nil:
		return Ended{}, nil
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return Ended{Exit: exit.ExitCode()}, nil
	}
	return Ended{}, fmt.Errorf("%s %w: %w", c.Args[0], ErrEnded, err)
}

// notStarted explains why a sandbox was not there.
func (c Command) notStarted(copied error, out *bounded, err error) error {
	said := strings.TrimSpace(string(out.head))
	switch {
	case copied != nil && !errors.Is(copied, syscall.EPIPE) && !errors.Is(copied, os.ErrClosed):
		return fmt.Errorf("copy %s: %w", c.Source, copied)
	case strings.Contains(said, "No space left on device"), strings.Contains(said, "Wrote only"):
		return fmt.Errorf("copy %s: it is larger than the %d MiB that a check may use: keep large files elsewhere", c.Source, c.Limits.Files>>20)
	}
	return fmt.Errorf("this machine gives no sandbox, and product code is never run without one: %s (%w); allow unprivileged user namespaces (sysctl user.max_user_namespaces; on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0 or an AppArmor profile of bwrap)", said, err)
}

var errTooMuch = errors.New("it printed too much")

// ready is what the inner script says once the copy is there.
const ready = "ready"

// outer runs as Hallmark: it closes the files that Hallmark itself was started with, enters the control groups,
// is the first one that the kernel ends for want of memory, and becomes the sandbox.
const outer = `
for fd in /proc/self/fd/*; do
	fd=${fd##*/}
	if [ "$fd" -gt "$1" ]; then exec {fd}>&-; fi
done
shift
while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit 125; shift; done
shift
echo 1000 >/proc/self/oom_score_adj
exec "$@"`

// inner runs inside. A limit that cannot be set is lower already. That of a file's size is for files without a
// place, such as those of memfd_create: others meet the end of /work first.
const inner = `
ulimit -c 0
ulimit -u "$1" 2>/dev/null
ulimit -n "$2" 2>/dev/null
ulimit -f "$3" 2>/dev/null
ulimit -d "$4" 2>/dev/null
ulimit -t "$5" 2>/dev/null
shift 5
tar -x --warning=no-timestamp -f - || exit 125
echo ` + ready + ` >&3
exec 3>&- </dev/null
exec "$@"`

// arguments are those of the outer script: the last file that is the sandbox's, control groups, --, and the command
// line of the sandbox.
func (c Command) arguments(program string, group *group) []string {
	last := "6" // of the files that the sandbox is given
	if program != "" {
		last = "7"
	}
	args := append([]string{last}, group.dirs()...)
	args = append(args, "--")
	if os.Geteuid() == 0 {
		id := fmt.Sprint(user)
		args = append(args, "setpriv", "--reuid", id, "--regid", id, "--clear-groups", "--inh-caps", "-all", "--no-new-privs")
	}
	args = append(args, "bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session",
		"--hostname", "sandbox", "--cap-drop", "ALL", "--clearenv")
	args = append(args, tools()...)
	if program != "" {
		args = append(args, "--perms", "0555", "--ro-bind-data", last, filepath.Join(own, c.Args[0]))
	}
	size := fmt.Sprint(c.Limits.Files)
	args = append(args,
		"--ro-bind-data", "4", "/etc/passwd", "--ro-bind-data", "5", "/etc/group", "--ro-bind-data", "6", "/etc/hosts",
		"--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev",
		"--size", size, "--tmpfs", "/work", "--dir", Dir, "--dir", Home, "--dir", Temp,
		"--symlink", "work/tmp", "/tmp", "--symlink", "../work/tmp", "/var/tmp",
		"--remount-ro", "/", "--chdir", Dir)
	for _, pair := range append([]string{"HOME=" + Home, "TMPDIR=" + Temp, "PATH=" + own + ":" + path, "LANG=C.UTF-8"}, c.Env...) {
		name, value, _ := strings.Cut(pair, "=")
		args = append(args, "--setenv", name, value)
	}
	l := c.Limits
	args = append(args, "--", "bash", "-c", inner, "sandbox", fmt.Sprint(l.Processes), fmt.Sprint(l.OpenFiles),
		fmt.Sprint(l.Files>>10+1<<10), fmt.Sprint(l.Memory>>10), fmt.Sprint(int(l.CPU.Seconds())+1))
	return append(args, c.Args...)
}

// tools are what the command sees of this machine, read-only: programs, libraries, and the settings without
// which they do not start. Nothing of it is private.
func tools() []string {
	args := []string{"--ro-bind", "/usr", "/usr"}
	for _, dir := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64"} {
		if target, err := os.Readlink(dir); err == nil {
			args = append(args, "--symlink", target, dir)
		} else {
			args = append(args, "--ro-bind-try", dir, dir)
		}
	}
	for _, name := range []string{
		"/opt/puppetlabs", "/var/lib/gems", // Puppet's own packages; Debian's place of Ruby's
		"/etc/alternatives", "/etc/ld.so.cache", "/etc/localtime", "/etc/ssl/openssl.cnf",
	} {
		args = append(args, "--ro-bind-try", name, name)
	}
	return args
}

// accounts are the files passwd, group and hosts of the sandbox, to be read as file 4, 5 and 6.
func accounts() (files []*os.File, err error) {
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 {
		uid, gid = user, user
	}
	for _, text := range []string{
		fmt.Sprintf("root:x:0:0:root:/root:/bin/bash\ncheck:x:%d:%d:check:%s:/bin/bash\n", uid, gid, Home), // Puppet asks for user 0
		fmt.Sprintf("root:x:0:\ncheck:x:%d:\n", gid),
		"127.0.0.1 localhost sandbox\n::1 localhost\n",
	} {
		read, write, err := os.Pipe()
		if err != nil {
			return files, err
		}
		files = append(files, read)
		_, err = write.WriteString(text) // it fits into the pipe
		if err = errors.Join(err, write.Close()); err != nil {
			return files, err
		}
	}
	return files, nil
}

// bounded passes on what is printed, up to a number of bytes; over is called when there is more.
type bounded struct {
	out  io.Writer
	left int64
	over func()
	head []byte // its beginning, to explain a sandbox that did not start
}

func (b *bounded) Write(p []byte) (int, error) {
	n := len(p)
	if int64(n) > b.left {
		p = p[:b.left]
		b.over()
	}
	b.left -= int64(len(p))
	const most = 2 << 10
	b.head = append(b.head, p[:min(len(p), most-len(b.head))]...)
	if len(p) > 0 && b.out != nil {
		if _, err := b.out.Write(p); err != nil {
			return 0, err
		}
	}
	return n, nil
}
