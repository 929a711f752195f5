package product

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// gitEnvironment is all that git gets of the environment: no configuration of the machine or of a user, no
// prompt, no way to other protocols, and no objects that a repository puts in the place of others.
func gitEnvironment() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0", "GIT_NO_REPLACE_OBJECTS=1", "GIT_NO_LAZY_FETCH=1",
		"GIT_ALLOW_PROTOCOL=file:ssh:https",
	}
}

// gitSettings go before every command: whatever a repository's own configuration says, it runs nothing.
var gitSettings = []string{
	"-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.attributesFile=/dev/null", "-c", "core.quotePath=false",
	"-c", "core.alternateRefsCommand=false", "-c", "core.pager=cat", "-c", "credential.helper=", "-c", "submodule.recurse=false", "-c", "gc.autoDetach=false",
	"-c", "log.showSignature=false",
}

// gitCommand prepares git in a repository of our own, or, with the credential of its owner, in somebody's.
func gitCommand(ctx context.Context, where []string, as *syscall.Credential, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", append(append(append([]string{}, where...), gitSettings...), args...)...)
	cmd.Dir, cmd.Env = "/", gitEnvironment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: as}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // also what git started
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// gitError is a git command that said no.
type gitError struct {
	command string
	exit    int
	said    string
}

// missing is git's exit code for an object that --quiet only asked for; what is wrong with the
// repository itself has others.
const missing = 1

func (e *gitError) Error() string { return "git " + e.command + ": " + e.said }

// mostAnswer bounds what one git command may answer at once, in bytes: branches, a list of changes. Files come
// piece by piece.
const mostAnswer = 32 << 20

// gitOutput runs a command and gives what it printed.
func gitOutput(ctx context.Context, cmd *exec.Cmd, name string) (string, error) {
	out, said := capped{most: mostAnswer}, capped{most: mostMessage}
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", gitFailed(ctx, name, said.String(), err)
	}
	if out.cut {
		return "", fmt.Errorf("git %s answered with more than %d MiB", name, mostAnswer>>20)
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// capped keeps the first bytes that are written to it.
type capped struct {
	bytes.Buffer
	most int
	cut  bool
}

func (c *capped) Write(p []byte) (int, error) {
	if free := c.most - c.Len(); len(p) > free {
		c.cut = true
		c.Buffer.Write(p[:free])
	} else {
		c.Buffer.Write(p)
	}
	return len(p), nil
}

func gitFailed(ctx context.Context, command, said string, err error) error {
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("git %s: %w", command, ctx.Err())
	case errors.As(err, &exit) && exit.Exited():
		return &gitError{command: command, exit: exit.ExitCode(), said: plain(strings.TrimSpace(said))}
	case errors.As(err, &exit):
		return fmt.Errorf("git %s was ended by another: %w", command, err)
	}
	return fmt.Errorf("run git (is it installed?): %w", err)
}

// owner is who owns a folder. What git reads there can make it run programs, so it runs with the rights of the
// owner and no other.
type owner struct {
	uid, gid int
	name     string // "uid 1234" if nobody has the number
	known    bool   // it is an account of this machine
}

func ownerOf(dir string) (owner, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return owner{}, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return owner{}, fmt.Errorf("%s: this system does not say who owns it", dir)
	}
	o := owner{uid: int(stat.Uid), gid: int(stat.Gid), name: fmt.Sprintf("uid %d", stat.Uid)}
	if account, err := user.LookupId(strconv.Itoa(o.uid)); err == nil {
		o.name, o.known = account.Username, true
		if gid, err := strconv.Atoi(account.Gid); err == nil {
			o.gid = gid
		}
	}
	return o, nil
}

// us reports whether we are the owner.
func (o owner) us() bool { return o.uid == os.Geteuid() }

// credential lets a command of ours run as the owner; nil: as we are.
func (o owner) credential() *syscall.Credential {
	if o.us() {
		return nil
	}
	return &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)}
}
