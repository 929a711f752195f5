package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
)

// What a process that has the lock does: a daemon takes every run, `hallmark run` one.
const (
	byDaemon = "serve"
	byHand   = "run"
)

// lock makes this process the one that works on runs, and notes how (byDaemon, byHand); it says false
// if another one does.
func lock(cfg config.Config, how string) (release func(), ok bool, err error) {
	f, err := os.OpenFile(cfg.LockFile(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, false, fmt.Errorf("lock: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, false, f.Close()
	}
	release = func() {
		_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) // closing would leave it to a child that is just being made
		_ = f.Close()
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = io.WriteString(f, how)
	}
	if err != nil {
		release()
		return nil, false, fmt.Errorf("lock %s: %w", cfg.LockFile(), err)
	}
	return release, true, nil
}

// worker returns how the process works that has the lock, or had it last: byDaemon or byHand.
func worker(cfg config.Config) string {
	said, err := os.ReadFile(cfg.LockFile())
	if err == nil && string(said) == byHand {
		return byHand
	}
	return byDaemon
}

// takeTurn waits while another `hallmark run` is at work, then works on this run here, unless a daemon was
// faster and took it.
func (c *cli) takeTurn(ctx context.Context, parts pipeline.Parts, id string, follow bool) error {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		run, err := parts.Ledger.Run(ctx, id)
		if err != nil {
			return err
		}
		if run.State != ledger.Queued || worker(parts.Config) != byHand {
			return c.await(ctx, parts, id, follow)
		}
		release, mine, err := lock(parts.Config, byHand)
		if err != nil {
			return err
		}
		if mine {
			defer release()
			if err := c.mayBegin(ctx, parts, id); err != nil {
				return err
			}
			return c.workHere(ctx, parts, id, follow)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("run %s stays queued: `hallmark run --resume %s`, `hallmark runs cancel %s`", id, id, id)
		case <-tick.C:
		}
	}
}

// resumeRun takes a run to its end in this process that is queued, or that a process left when it ended.
func (c *cli) resumeRun(cmd *cobra.Command, id string, follow bool) error {
	parts, err := c.open(cmd, enoughRoom, c.probeThere)
	if err != nil {
		return err
	}
	defer parts.Ledger.Close()
	release, mine, err := lock(parts.Config, byHand)
	if err != nil {
		return err
	}
	if !mine {
		return usage("--resume %s: a process works on %s and takes its runs in turn; see `hallmark runs show %s`", id, parts.Config.StateDir, id)
	}
	defer release()
	ctx := cmd.Context()
	run, err := parts.Ledger.Run(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return usage("--resume %s: there is no such run; see `hallmark runs list`", id)
	}
	if err != nil {
		return err
	}
	if run.State == ledger.Finished || run.State == ledger.Cancelled {
		return usage("--resume %s: it is over; see `hallmark runs show %s`", id, id)
	}
	if err := c.mayBegin(ctx, parts, id); err != nil {
		return err
	}
	c.say("run %s goes on: %s of %s at %s\n", run.ID, run.Kind, run.Branch, short(run.Commit))
	return c.workHere(ctx, parts, id, follow)
}

// mayBegin refuses work beside a run that another process left when it ended, and says which runs wait: this
// process works on one run only ("" : one that is not recorded yet).
func (c *cli) mayBegin(ctx context.Context, parts pipeline.Parts, id string) error {
	left, err := pipeline.Unfinished(ctx, parts.Ledger)
	if err != nil {
		return err
	}
	for _, r := range left {
		if r.ID != id {
			return usage("run %s (%s of %s) was left unfinished by a process that ended: go on with it by `hallmark run --resume %s`, or start `hallmark serve`, which resumes it; `hallmark runs cancel %s` before that lets it only clean up",
				r.ID, r.Kind, r.Branch, r.ID, r.ID)
		}
	}
	waiting, err := parts.Ledger.Runs(ctx, ledger.RunFilter{States: []ledger.RunState{ledger.Queued}})
	if err != nil {
		return err
	}
	for _, r := range waiting {
		if r.ID != id {
			fmt.Fprintf(c.errOut, "run %s (%s of %s) stays queued for a daemon: start one with `hallmark serve`, or take it here by `hallmark run --resume %s`\n", r.ID, r.Kind, r.Branch, r.ID)
		}
	}
	return nil
}
