// Package notify tells people what happened, by a command of theirs: it owns the event's form and how the
// command is run, once. When something is an event, and how often it is tried, is the pipeline's to say.
// docs/notify.md is for those who write the command.
package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/hallmark-ci/hallmark/internal/printable"
)

// Names of events.
const (
	Red          = "red"          // a branch was green or new, and a run failed
	Green        = "green"        // a branch that was red is green again
	Missed       = "missed"       // a schedule's tick passed without a run
	Stale        = "stale"        // what a channel holds is older than its objective
	Inconclusive = "inconclusive" // twice in a row a branch's runs taught nothing
	Test         = "test"         // somebody tries the command
)

// Names lists the events that a configuration can choose from.
func Names() []string { return []string{Red, Green, Missed, Stale, Inconclusive} }

// Event is what the command gets on its standard input, as one JSON object. What does not belong to an event
// is left out.
type Event struct {
	Version int       `json:"version"` // of this form: 1
	ID      string    `json:"id"`      // the same event has the same id
	Event   string    `json:"event"`
	At      time.Time `json:"at"`
	Owner   string    `json:"owner"`          // this installation
	Summary string    `json:"summary"`        // one sentence for people
	Text    string    `json:"text,omitempty"` // more of it, bounded

	Branch string `json:"branch,omitempty"`
	Kind   string `json:"kind,omitempty"` // of run: nightly, release
	Run    *Run   `json:"run,omitempty"`
	Before *Run   `json:"before,omitempty"` // the run before, where two are compared

	Schedule string     `json:"schedule,omitempty"`
	Tick     *time.Time `json:"tick,omitempty"`  // that passed
	Ticks    int        `json:"ticks,omitempty"` // how many did

	Channel   string     `json:"channel,omitempty"`
	Set       string     `json:"set,omitempty"`       // that it holds
	Built     *time.Time `json:"built,omitempty"`     // when that set was
	Objective string     `json:"objective,omitempty"` // how old it may be
}

// Run is a run as an event tells of it.
type Run struct {
	ID      string    `json:"id"`
	Commit  string    `json:"commit"`
	Verdict string    `json:"verdict"`
	Reason  string    `json:"reason"` // bounded
	Ended   time.Time `json:"ended"`
}

// Encode gives the event as the command gets it. People will read it elsewhere, so nothing in its texts steers a
// terminal or hides.
func (e Event) Encode() (json.RawMessage, error) { return json.Marshal(printable.Of(e)) }

// saidBytes bounds what is kept of the command's output.
const saidBytes = 1000

// Send runs the command once with the event on its standard input, for at most as long as given. What it
// wrote is in the error if its exit code is not 0. It takes no shell: the list is the program and its
// arguments. Children of the command end with it.
func Send(ctx context.Context, command []string, event json.RawMessage, within time.Duration) error {
	if len(command) == 0 {
		return errors.New("notify.command is empty")
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	said := &tail{most: saidBytes}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin = bytes.NewReader(append(bytes.TrimSpace(event), '\n'))
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay): // it left a child that still has its output: told it has
		return nil
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		err = fmt.Errorf("it took longer than %s (notify.timeout)", within)
	case errors.Is(err, syscall.EPIPE):
		err = fmt.Errorf("it did not read the event from its standard input: %w", err)
	}
	if text := strings.TrimSpace(said.String()); text != "" {
		return fmt.Errorf("%s: %w: %s", command[0], err, text)
	}
	return fmt.Errorf("%s: %w", command[0], err)
}

// tail keeps the end of what is written.
type tail struct {
	most int
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if over := len(t.text) - t.most; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return printable.Text(string(t.text)) }
