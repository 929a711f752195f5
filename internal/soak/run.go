package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// installation is Hallmark as one product's administrators have it: a configuration, a state directory.
type installation struct {
	work
	owner, dir, bin string
}

// install makes a lane's installation of a product, or finds it, and the repository of this run.
func (o options) install(ctx context.Context, lane int, w work) (*installation, error) {
	in := o.installation(lane, w)
	if err := os.MkdirAll(in.dir, 0o755); err != nil {
		return nil, err
	}
	source, err := exec.CommandContext(ctx, "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return nil, fmt.Errorf("the source tree of Hallmark: %w", err)
	}
	if err := makeRepository(ctx, w, strings.TrimSpace(string(source)), in.file("product")); err != nil {
		return nil, err
	}
	return in, nil
}

func (o options) installation(lane int, w work) *installation {
	name := fmt.Sprintf("%s-%d", w.Product, lane)
	return &installation{work: w, owner: "soak-" + name, dir: filepath.Join(o.State, name), bin: o.Bin}
}

func (in *installation) file(name string) string { return filepath.Join(in.dir, name) }

// ledger opens the installation's ledger beside any process that works on it.
func (in *installation) ledger(ctx context.Context) (*ledger.Ledger, error) {
	return ledger.Open(ctx, in.file("state/ledger.db"))
}

// configure writes what the daemon needs to know. The cache's address is another one at every run.
func (in *installation) configure(cache *slowCache) error {
	upgrade := ""
	if in.Product == small {
		upgrade = "upgrade: none-yet\n"
	}
	return os.WriteFile(in.file("hallmark.yaml"), fmt.Appendf(nil, `state-dir: %s
owner: %s
product:
  repository: %s
provider:
  incus:
    cache: %s
keep:
  candidates: 0
%s`, in.file("state"), in.owner, in.file("product"), cache.address(), upgrade), 0o600)
}

// run does one nightly run and reads from the ledger what it came to.
func (in *installation) run(ctx context.Context, cache *slowCache) (line, error) {
	l := line{Started: time.Now()}
	if err := in.configure(cache); err != nil {
		return l, err
	}
	if err := in.clear(ctx); err != nil {
		return l, err
	}
	log, err := os.OpenFile(in.file("log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return l, err
	}
	defer log.Close()
	fmt.Fprintf(log, "== %s %s\n", l.Started.Format(time.RFC3339), in.work)
	ended := in.hallmark(ctx, log, "run", "--kind", "nightly", "--no-promote", "--follow", "-v")
	l.Took = time.Since(l.Started)
	if ctx.Err() != nil {
		return l, ctx.Err()
	}
	if err := in.read(ctx, &l); err != nil {
		return l, fmt.Errorf("hallmark said nothing that is recorded (%w; %w); its words are in %s", ended, err, log.Name())
	}
	return l, nil
}

// hallmark calls the binary. An interrupt lets it cancel its run and clean up.
func (in *installation) hallmark(ctx context.Context, out *os.File, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(in.bin, "hallmark"), append([]string{"--config", in.file("hallmark.yaml")}, args...)...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's interrupt comes through us, once
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Minute
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return fmt.Errorf("exit code %d", exit.ExitCode())
	}
	return err
}

// clear removes what an interrupted soak left, so that this run finds nothing of it.
func (in *installation) clear(ctx context.Context) error {
	if _, err := os.Stat(in.file("state/ledger.db")); os.IsNotExist(err) {
		return nil
	}
	l, err := in.ledger(ctx)
	if err != nil {
		return err
	}
	runs, err := l.Runs(ctx, ledger.RunFilter{})
	interrupted := false
	for _, r := range runs {
		_, again := l.UpdateRun(ctx, r.ID, func(r *ledger.Run) { r.State = ledger.Cancelled }, ledger.Queued, ledger.Working, ledger.Cancelling)
		if again == nil {
			interrupted = true
		} else if !errors.Is(again, ledger.ErrMoved) {
			err = errors.Join(err, again)
		}
	}
	if err = errors.Join(err, l.Close()); err != nil || !interrupted {
		return err
	}
	log, err := os.OpenFile(in.file("log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	return in.hallmark(ctx, log, "gc")
}

// read finds the run that has just ended in the ledger.
func (in *installation) read(ctx context.Context, into *line) error {
	l, err := in.ledger(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	runs, err := l.Runs(ctx, ledger.RunFilter{})
	if err != nil {
		return err
	}
	newest := slices.MaxFunc(append(runs, ledger.Run{}), func(a, b ledger.Run) int { return a.Created.Compare(b.Created) })
	if newest.Created.Before(into.Started.Truncate(time.Second)) {
		return errors.New("no run was recorded")
	}
	results, err := l.Results(ctx, newest.ID)
	if err != nil {
		return err
	}
	into.Run, into.Verdict, into.Reason = newest.ID, newest.Verdict.String(), newest.Reason
	p, found := planted(in.Plant), false
	for _, r := range results {
		if r.Outcome == ledger.Passed {
			into.Passed++
			continue
		}
		found = found || p != nil && r.Outcome == ledger.Failed && p.shows(r)
		into.Troubled = append(into.Troubled, fmt.Sprintf("%s %s %s %s/%s on %s, attempt %d: %s [%s] %s",
			r.Scenario, r.Origin, r.Phase, r.Suite, r.Test, r.Server, r.Attempt, r.Outcome, r.Cause, r.Message))
	}
	into.Good = into.Verdict == "passed"
	if p != nil {
		into.Good = into.Verdict == "failed" && found
		into.Verdict += map[bool]string{true: ", found", false: ", not found"}[found]
	}
	return nil
}
