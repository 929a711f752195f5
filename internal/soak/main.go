// Command soak runs Hallmark's own nightly runs again and again on real servers while this machine is
// loaded in changing ways: a healthy product must never fail because its host is slow, and a planted defect
// must still be found. `make soak` calls it. It owns the load, the small product, the planted defects and
// the tally of finished runs; what a run is, and what it came to, it leaves to bin/hallmark.
//
// A finished run is one line of JSON in the tally, with the commit. An interrupted soak goes on where it
// stood; runs of other code than the present one do not count.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// options are what a soak is to do.
type options struct {
	Seed        uint64
	Small, Acme int    // healthy runs of each product
	Plants      int    // runs of each planted defect
	Lockouts    string // a command that plants lock-outs, run once under the same load; "": none
	AtOnce      int    // runs at the same time
	State       string // where tally, logs and installations lie
	Bin         string // where hallmark and hallmark-probe are
	Level       level  // how hard the machine is loaded
	Out         io.Writer
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == burnVerb {
		burn(os.Args[2:])
		return
	}
	o := options{Out: os.Stdout, Level: heavy}
	flags := flag.NewFlagSet("soak", flag.ExitOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), `Runs products again and again on real servers while this machine is loaded in changing ways.
It needs root, Incus (make host) and bin/hallmark (make build).

  make soak                                             20 runs of the small product, 3 of acme, 5 of each planted defect
  make soak SOAK_SEED=2 SOAK_SMALL=6 SOAK_ACME=1        with other load, and fewer
  make soak SOAK_SMALL=1 SOAK_ACME=0 SOAK_PLANTS=0      one run

`)
		flags.PrintDefaults()
	}
	flags.Uint64Var(&o.Seed, "seed", 1, "what the load is made from")
	flags.IntVar(&o.Small, "small", 20, "healthy runs of the small product")
	flags.IntVar(&o.Acme, "acme", 3, "healthy runs of acme")
	flags.IntVar(&o.Plants, "plants", 5, "runs of each planted defect")
	flags.IntVar(&o.AtOnce, "at-once", 3, "runs at the same time, each of an installation of its own")
	flags.StringVar(&o.Lockouts, "lockouts", "", "command that plants lock-outs, to run once under load")
	flags.StringVar(&o.State, "state", ".state/soak", "where the tally, logs and installations lie")
	flags.StringVar(&o.Bin, "bin", "bin", "where hallmark and hallmark-probe are")
	_ = flags.Parse(os.Args[1:]) // it exits by itself
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	good, err := soak(ctx, o)
	stop()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(2)
	case !good:
		os.Exit(1)
	}
}

// soak does what is not done yet, and reports whether all of it, now and before, was as it should be.
func soak(ctx context.Context, o options) (bool, error) {
	for _, path := range []*string{&o.State, &o.Bin} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return false, err
		}
		*path = absolute
	}
	code, err := codeOf(ctx)
	if err != nil {
		return false, err
	}
	book, err := openTally(filepath.Join(o.State, "runs.jsonl"), code, o.Seed)
	if err != nil {
		return false, err
	}
	fmt.Fprintf(o.Out, "soak: seed %d, commit %.12s, code %.12s; %d runs of it are done (%s)\n", o.Seed, code.Commit, code.Digest, len(book.done), book.file)
	todo := slices.DeleteFunc(o.work(), book.has)
	if len(todo) > 0 {
		if err := o.all(ctx, todo, book); err != nil {
			return false, err
		}
	}
	return book.verdict(o.Out), nil
}

// all does runs under load, some at once. Each finished one is in the tally before the next begins.
func (o options) all(ctx context.Context, todo []work, book *tally) error {
	load, err := o.Level.begin(o.Seed, filepath.Join(o.State, "disk"))
	if err != nil {
		return err
	}
	defer load.end()
	wait(ctx, o.Level.WarmUp)
	queue := make(chan work, len(todo))
	for _, w := range todo {
		queue <- w
	}
	close(queue)
	var one sync.Mutex // at the tally
	lanes, ctx := errgroup.WithContext(ctx)
	for n := range o.AtOnce {
		lanes.Go(func() error {
			for w := range queue {
				line, err := o.one(ctx, n+1, w, load.cache)
				if ctx.Err() != nil {
					return errors.New("interrupted: the same command goes on here")
				}
				if err != nil {
					return fmt.Errorf("%s: %w", w, err)
				}
				one.Lock()
				err = book.add(line)
				fmt.Fprint(o.Out, line)
				one.Unlock()
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return lanes.Wait()
}

// work is one run that is to be done.
type work struct {
	Product string `json:"product"`
	Plant   string `json:"plant,omitempty"` // the defect that is planted; "": none, it is healthy
	Number  int    `json:"number"`
}

func (w work) String() string {
	if w.Plant == "" {
		return fmt.Sprintf("%s %d", w.Product, w.Number)
	}
	return fmt.Sprintf("%s with %q %d", w.Product, w.Plant, w.Number)
}

var lockouts = work{Product: small, Plant: "lock-outs", Number: 1}

// work lists all runs in their order: the products take turns, so that early figures tell of both.
func (o options) work() []work {
	var all []work
	perAcme := 1
	if o.Acme > 0 {
		perAcme = max(1, o.Small/o.Acme)
	}
	acmes := 0
	for i := range o.Small {
		all = append(all, work{small, "", i + 1})
		if (i+1)%perAcme == 0 && acmes < o.Acme {
			acmes++
			all = append(all, work{acme, "", acmes})
		}
	}
	for ; acmes < o.Acme; acmes++ {
		all = append(all, work{acme, "", acmes + 1})
	}
	for i := range o.Plants {
		for _, p := range plants {
			all = append(all, work{small, p.name, i + 1})
		}
	}
	if o.Lockouts != "" {
		all = append(all, lockouts)
	}
	return all
}

// one does a run, in the installation of that lane.
func (o options) one(ctx context.Context, lane int, w work, cache *slowCache) (line, error) {
	if w == lockouts {
		return o.command(ctx)
	}
	in, err := o.install(ctx, lane, w)
	if err != nil {
		return line{}, err
	}
	var l line
	seen := during(func() { l, err = in.run(ctx, cache) })
	l.work, l.Load = w, seen
	return l, err
}

// command runs the command that plants lock-outs.
func (o options) command(ctx context.Context) (line, error) {
	cmd := exec.CommandContext(ctx, "sh", "-c", o.Lockouts)
	cmd.Stdout, cmd.Stderr = o.Out, o.Out
	var err error
	l := line{work: lockouts, Started: time.Now(), Verdict: "found"}
	l.Load = during(func() { err = cmd.Run() })
	l.Took, l.Good = time.Since(l.Started), err == nil
	if err != nil {
		l.Verdict, l.Reason = "not found", err.Error()
	}
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		return l, err
	}
	return l, nil
}
