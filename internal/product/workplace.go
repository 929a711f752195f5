package product

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/hallmark-ci/hallmark/internal/host"
)

// workplace is where the product's own code runs during a check: a copy of the product that is thrown away,
// with a home and a folder for temporary files of its own. What the code leaves there is neither what is
// tested on servers nor what the next check finds. It is no wall: the code still runs as Hallmark's user.
type workplace struct {
	root   string // all of it
	dir    string // the copy
	commit string
	out    io.Writer
	memory func() memory
}

func (c *checker) workplace() (*workplace, error) {
	root, err := os.MkdirTemp("", "hallmark-check-")
	if err != nil {
		return nil, err
	}
	w := &workplace{root: root, dir: filepath.Join(root, "product"), commit: c.product.Commit, out: c.out, memory: c.memory}
	if w.memory == nil {
		w.memory = readMemory
	}
	err = os.Mkdir(w.home(), 0o700)
	if err == nil {
		err = os.Mkdir(w.temporary(), 0o700)
	}
	if err == nil {
		err = copyTree(c.product.Dir, w.dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("copy the product: %w", err), w.close())
	}
	return w, nil
}

func (w *workplace) home() string      { return filepath.Join(w.root, "home") }
func (w *workplace) temporary() string { return filepath.Join(w.root, "tmp") }

// close removes the workplace, also folders that its user may not write to.
func (w *workplace) close() error {
	if err := os.RemoveAll(w.root); err == nil {
		return nil
	}
	_ = filepath.WalkDir(w.root, func(name string, e fs.DirEntry, _ error) error {
		if e != nil && e.IsDir() {
			_ = os.Chmod(name, 0o700) // what stays closed is told by the removal
		}
		return nil
	})
	return os.RemoveAll(w.root)
}

// run runs a command in the copy. It says how the command failed, "" if it did not; an error means that
// nothing was learnt about the product.
func (w *workplace) run(ctx context.Context, timeout time.Duration, name string, args ...string) (said *excerpt, failed string, err error) {
	said = &excerpt{}
	cmd := command{
		dir: w.dir, timeout: timeout, out: io.MultiWriter(said, w.out), memory: w.memory,
		env: []string{"HOME=" + w.home(), "TMPDIR=" + w.temporary(), "HALLMARK_COMMIT=" + w.commit},
	}
	failed, err = cmd.run(ctx, name, args...)
	return said, failed, err
}

// command is a command of the check stage, with a clean environment: it gets neither our secrets nor our git.
type command struct {
	dir     string
	env     []string // beside LANG and PATH
	timeout time.Duration
	out     io.Writer
	memory  func() memory
}

// run says how the command failed, "" if it did not; an error means that it could not be run, or that
// something else than itself ended it. Its whole process group ends with it, and when its time is over, of
// which a busy host's counts only what work was given.
func (c command) run(ctx context.Context, name string, args ...string) (failed string, err error) {
	limited, cancel := host.WithTimeout(ctx, c.timeout, nil)
	defer cancel()
	cmd := exec.CommandContext(limited, name, args...)
	cmd.Dir = c.dir
	cmd.Env = append([]string{"LANG=C.UTF-8", "PATH=" + os.Getenv("PATH")}, c.env...)
	cmd.Stdout, cmd.Stderr = c.out, c.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	before, begin := c.memory(), time.Now()
	if err := cmd.Start(); errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("%s is not installed on this machine: %w", name, err)
	} else if err != nil {
		return "", err
	}
	err = cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it left in the background; most leave nothing
	switch {
	case err == nil:
		return "", nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case limited.Err() != nil:
		return fmt.Sprintf("did not end within %s", c.timeout), nil
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		return "ended and left a process in the background that kept its output open", nil
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return "", err
	}
	status, _ := exit.Sys().(syscall.WaitStatus)
	killed := status.Signaled() && status.Signal() == syscall.SIGKILL || status.Exited() && status.ExitStatus() == 128+int(syscall.SIGKILL)
	if short := shortage(before, c.memory(), time.Since(begin), killed); short != "" {
		return "", fmt.Errorf("%s failed (%w), but %s: nothing is said about the product; give this host more memory, or fewer lanes at once", name, err, short)
	}
	if status.Signaled() && slices.Contains(fromOutside, status.Signal()) {
		return "", fmt.Errorf("%s was ended by another process: %w", name, err)
	}
	return fmt.Sprintf("failed with %v", err), nil
}

// fromOutside are the signals by which people and init systems end programs. Others come from a program's own
// faults, or, as SIGKILL, from a shortage of memory, which the kernel tells.
var fromOutside = []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT}

// copyTree copies files, folders and links, but for git's own. What is neither (sockets, pipes) is no part of
// a product.
func copyTree(from, to string) error {
	source, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer source.Close()
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	return fs.WalkDir(source.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		switch {
		case name == ".":
			return nil
		case name == ".git" && e.IsDir():
			return fs.SkipDir
		case name == ".git":
			return nil
		case e.IsDir():
			return os.Mkdir(target, 0o755)
		case e.Type() == fs.ModeSymlink:
			link, err := source.Readlink(name)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case e.Type().IsRegular():
			return copyFile(source, name, target)
		}
		return nil
	})
}

func copyFile(source *os.Root, name, target string) (err error) {
	in, err := source.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm()|0o200)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
