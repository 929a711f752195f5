package remote

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/hallmark-ci/hallmark/internal/host"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// guard runs on the server around every command, so that the command ends with its channel. It is the
// first that goes to a command's standard input.
//
//go:embed guard.sh
var guard string

const (
	// guardMark begins the first line that guard.sh says; the process group follows in the second.
	guardMark = "hallmark: guard runs"
	// maxLine is what fits into one argument on Linux (128 KiB), quoting and guard allowed for.
	maxLine = 96 << 10
	// defaultBound is kept of each stream if a command names no bound.
	defaultBound = 1 << 20
	// killPatience is how long a command may take to be killed: guard.sh gives it 2 s to end by
	// itself and 2 s to die.
	killPatience = 8 * time.Second
)

// errTimeout is the cause of a context that ended by Command.Timeout.
var errTimeout = errors.New("time-out of the command")

// shell is a Session over a connection: its own, or the one that a Path shares.
type shell struct {
	server  string
	connect func(context.Context) (*link, error)
	end     func() error
	closed  atomic.Bool
}

// Close implements Session.
func (s *shell) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	return s.end()
}

// Run implements Session. A command that was killed by signal N has exit code 128+N, as in a shell.
// After a time-out (cause TestTimeout, if the server still answers) or a cancellation (Cancelled) the
// command's whole process group is gone, and Result holds what it said until then.
//
// A command is over when its first process is: what that left running in the background goes on, and
// a Read of its Stdin that still blocks is not waited for.
func (s *shell) Run(ctx context.Context, cmd Command) (Result, error) {
	if s.closed.Load() {
		return Result{}, verdict.Errorf(verdict.Transport, s.server, "the session is closed: %w", net.ErrClosed)
	}
	if strings.ContainsRune(cmd.Line, 0) || len(cmd.Line) > maxLine {
		return Result{}, verdict.Errorf(verdict.Unexplained, s.server,
			"a command of %d bytes, or with a NUL in it, can't be run: put it into a file first", len(cmd.Line))
	}
	l, err := s.connect(ctx)
	if err != nil {
		return Result{}, err
	}
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return Result{}, &verdict.Error{
			Cause: ended(ctx, verdict.Unexplained), Server: s.server, Err: ctx.Err(),
			Detail: brief(cmd.Line) + " never had its turn: too many commands run over this connection",
		}
	}
	if cmd.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = host.WithTimeout(ctx, cmd.Timeout, errTimeout)
		defer cancel()
	}
	return s.run(ctx, l, cmd)
}

func (s *shell) run(ctx context.Context, l *link, cmd Command) (Result, error) {
	if cmd.Bound <= 0 {
		cmd.Bound = defaultBound
	}
	out := newOutput(cmd.Output, cmd.Bound)
	started := time.Now()
	result := func(exit int) Result {
		r := out.result()
		r.Exit, r.Duration = exit, time.Since(started)
		return r
	}
	p, err := startProcess(ctx, l, remoteLine(cmd), out, func() { <-l.slots })
	if err != nil {
		if ctx.Err() != nil {
			return result(-1), s.interrupted(ctx, cmd, "was not started", l.alive() && l.answers(killPatience))
		}
		return result(-1), s.startError(err)
	}
	defer p.close()

	badInput := make(chan error, 1)
	go func() { // ends with the command, or with the channel
		if err := p.feed(cmd.Stdin); err != nil {
			badInput <- err
		}
	}()
	select {
	case <-p.exited:
	case err := <-badInput:
		s.kill(ctx, l, p, cmd)
		return result(-1), verdict.Errorf(verdict.Unexplained, s.server, "read the input of %s: %w", brief(cmd.Line), err)
	case <-ctx.Done():
		what, healthy := "was ended", true
		if !s.kill(ctx, l, p, cmd) {
			what, healthy = "may still be running", l.alive() && l.answers(killPatience)
		}
		p.close()
		return result(-1), s.interrupted(ctx, cmd, what, healthy)
	}
	p.drain()
	switch {
	case !p.known:
		return result(-1), verdict.Errorf(verdict.Transport, s.server, "the connection broke during %s: %w", brief(cmd.Line), io.ErrUnexpectedEOF)
	case !out.started():
		return result(p.exit), s.refused(cmd, p.exit, out.result())
	}
	return result(p.exit), nil
}

// kill ends a command and reports whether it is known to be gone. The guard does it, unless it is
// held up itself by a command that does not read its input: then a second command does.
func (s *shell) kill(ctx context.Context, l *link, p *process, cmd Command) bool {
	if p.kill(killPatience) {
		return true
	}
	group, started := p.output.group()
	if !started || !l.alive() {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killPatience)
	defer cancel()
	line := sudoOrNot(cmd.Sudo) + "bash -c " + Quote(fmt.Sprintf("kill -KILL -- -%d", group))
	killer, err := startProcess(ctx, l, line, newOutput(nil, defaultBound), func() {})
	if err != nil {
		return false
	}
	defer killer.close()
	return p.kill(killPatience)
}

// interrupted names the reason why a command did not come to its end. It is the command's own fault
// only if the server is healthy.
func (s *shell) interrupted(ctx context.Context, cmd Command, what string, healthy bool) error {
	after := "its context ended"
	if errors.Is(context.Cause(ctx), errTimeout) {
		after = fmt.Sprintf("its time of %v was over", cmd.Timeout)
	}
	cause := verdict.TestTimeout
	if !healthy {
		cause, after = verdict.Transport, after+" and the server does not answer"
	}
	why := ctx.Err()
	if host.TimedOut(ctx) {
		why = context.DeadlineExceeded
	}
	return &verdict.Error{
		Cause: ended(ctx, cause), Server: s.server, Err: why,
		Detail: fmt.Sprintf("%s %s: %s", brief(cmd.Line), what, after),
	}
}

// ended is Cancelled for a context that was cancelled, else the cause given.
func ended(ctx context.Context, otherwise verdict.Cause) verdict.Cause {
	if errors.Is(ctx.Err(), context.Canceled) && !host.TimedOut(ctx) {
		return verdict.Cancelled
	}
	return otherwise
}

func (s *shell) startError(err error) error {
	var refused *refusedError
	var noSession *ssh.OpenChannelError
	switch {
	case errors.As(err, &refused):
		return closed(verdict.LegShell, verdict.Errorf(verdict.ServerLogin, s.server, "no command can be run: %w", err))
	case errors.As(err, &noSession): // none at all, or more at a time than sshd allows: the next try tells
		return closed(verdict.LegShell, verdict.Errorf(verdict.Transport, s.server, "start a command: %w", err))
	}
	return verdict.Errorf(verdict.Transport, s.server, "start a command: %w", err)
}

// refused explains a command whose guard never ran: sudo, or the login shell, said no.
func (s *shell) refused(cmd Command, exit int, r Result) error {
	said := strings.TrimSpace(string(r.Stderr))
	if said == "" {
		said = strings.TrimSpace(string(r.Stdout))
	}
	cause, leg, who := verdict.ServerLogin, verdict.LegShell, "the login shell"
	if cmd.Sudo && !noShell.MatchString(said) {
		cause, leg, who = verdict.ServerSudo, verdict.LegSudo, "sudo"
	}
	return closed(leg, verdict.Errorf(cause, s.server, "%s does not run commands (exit code %d): %s", who, exit, abbreviate(said, 300)))
}

// noShell is what nologin(8) says. A shell that says nothing, such as /bin/false, is found out by a
// command without sudo.
var noShell = regexp.MustCompile(`(?i)^This account is currently not available`)

// closed adds the leg to an error.
func closed(leg verdict.Leg, err *verdict.Error) error {
	err.Leg = leg
	return err
}

// remoteLine is what sshd hands to the admin's login shell. sudo writes the part behind it to the
// server's log, where an admin reads it: so it holds the command and not the guard.
func remoteLine(cmd Command) string { return sudoOrNot(cmd.Sudo) + "bash -s -- " + Quote(cmd.Line) }

func sudoOrNot(sudo bool) string {
	if sudo {
		return "exec sudo -n -- "
	}
	return "exec "
}

// Quote makes one word for a POSIX shell of any text without NUL.
func Quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// brief is a command's line as an error quotes it.
func brief(line string) string { return fmt.Sprintf("%q", abbreviate(line, 80)) }

func abbreviate(text string, n int) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + "…"
}
