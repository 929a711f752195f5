package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/procfs"
)

// level says how hard a machine is loaded. Every phase of a load has so many of each, at random.
type level struct {
	PerCore [2]int        // processes that want each core, those of the runs among them
	Least   int           // the same of the whole machine, whatever its cores
	Writers [2]int        // processes that write and sync
	Delay   time.Duration // the most that a question to the package cache waits
	Lasts   [2]time.Duration
	WarmUp  time.Duration // before the first run, until the load average of a minute tells of the load
}

var (
	heavy = level{PerCore: [2]int{5, 8}, Least: 10, Writers: [2]int{0, 2}, Delay: 2 * time.Second, Lasts: [2]time.Duration{20 * time.Second, 90 * time.Second}, WarmUp: time.Minute}
	light = level{PerCore: [2]int{1, 2}, Writers: [2]int{0, 1}, Delay: 200 * time.Millisecond, Lasts: [2]time.Duration{10 * time.Second, 20 * time.Second}}
)

// phase is a load that stays for a while. Busy processes fill up what the runs leave of it.
type phase struct {
	Wanted, Writers int // processes
	Delay           time.Duration
	Lasts           time.Duration
}

// phases gives a load, without end: the same for the same seed and machine.
func (l level) phases(seed uint64) func() phase {
	r := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // it is to be the same again
	between := func(from, to int) int { return from + r.IntN(to-from+1) }
	return func() phase {
		cores := runtime.NumCPU()
		return phase{
			Wanted:  between(max(l.Least, l.PerCore[0]*cores), max(l.Least, l.PerCore[1]*cores)),
			Writers: between(l.Writers[0], l.Writers[1]),
			Delay:   time.Duration(r.Int64N(int64(l.Delay) + 1)),
			Lasts:   l.Lasts[0] + time.Duration(r.Int64N(int64(l.Lasts[1]-l.Lasts[0])+1)),
		}
	}
}

// load is a machine under load. It owns its processes and its cache.
type load struct {
	cache  *slowCache
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// begin loads the machine until end. Writers write below dir.
func (l level) begin(seed uint64, dir string) (*load, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return nil, err
	}
	cache, err := newSlowCache()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	on := &load{cache: cache, cancel: cancel}
	next := l.phases(seed)
	on.done.Go(func() {
		var busy, writers []*burner
		defer func() { resize(&busy, 0); resize(&writers, 0) }()
		for ctx.Err() == nil {
			p := next()
			cache.delay.Store(int64(p.Delay))
			resize(&writers, p.Writers, "disk", dir)
			fill(ctx, fs, &busy, p)
		}
	})
	return on, nil
}

// fill keeps as many processes at work as a phase wants: busy ones do what the runs leave of it.
func fill(ctx context.Context, fs procfs.FS, busy *[]*burner, p phase) {
	phase, cancel := context.WithTimeout(ctx, p.Lasts)
	defer cancel()
	seen := float64(p.Wanted)
	for ; phase.Err() == nil; wait(phase, 500*time.Millisecond) {
		stat, err := fs.Stat()
		if err != nil {
			fmt.Fprintln(os.Stderr, "soak: the load cannot be kept up:", err)
			return
		}
		seen += (float64(stat.ProcessesRunning) - seen) / 4 // one look tells little
		resize(busy, min(p.Wanted, max(0, len(*busy)+int(math.Round((float64(p.Wanted)-seen)/2)))), "cpu")
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// end takes the load from the machine.
func (l *load) end() {
	l.cancel()
	l.done.Wait()
	l.cache.close()
}

// measured are the machine's load averages over a minute while something was done.
type measured struct {
	Least float64 `json:"least"`
	Mean  float64 `json:"mean"`
	Most  float64 `json:"most"`
}

// during measures while something is done.
func during(do func()) (seen measured) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		fs, err := procfs.NewDefaultFS()
		if err != nil {
			return // the figures stay nought, which is no load
		}
		sum, n := 0.0, 0
		for ; ctx.Err() == nil; wait(ctx, 5*time.Second) {
			avg, err := fs.LoadAvg()
			if err != nil {
				return
			}
			sum, n = sum+avg.Load1, n+1
			if n == 1 || avg.Load1 < seen.Least {
				seen.Least = avg.Load1
			}
			seen.Most = max(seen.Most, avg.Load1)
			seen.Mean = sum / float64(n)
		}
	})
	do()
	cancel()
	done.Wait()
	return seen
}

// burner is a child process that does nothing but work.
type burner struct {
	cmd   *exec.Cmd
	alive io.Closer // it ends when this does, also if we are killed
}

// resize starts or ends burners until there are n.
func resize(all *[]*burner, n int, args ...string) {
	for len(*all) > n {
		last := (*all)[len(*all)-1]
		*all = (*all)[:len(*all)-1]
		_ = last.alive.Close()
		_ = last.cmd.Process.Kill()
		_ = last.cmd.Wait()
	}
	for len(*all) < n {
		cmd := exec.Command("/proc/self/exe", append([]string{burnVerb}, args...)...)
		cmd.Env = append(os.Environ(), "GOMAXPROCS=1", burnVariable+"=1")
		alive, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "soak: a busy process:", err)
			return
		}
		*all = append(*all, &burner{cmd, alive})
	}
}

// burnVerb makes this program a burner; in a test, whose arguments are the test's, burnVariable does.
const (
	burnVerb     = "burn"
	burnVariable = "SOAK_BURN"
)

// burn works until nobody holds the other end of its standard input.
func burn(args []string) {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if len(args) == 2 && args[0] == "disk" {
		writeForEver(args[1])
		return
	}
	for x := uint64(1); ; x = x*6364136223846793005 + 1442695040888963407 {
		if x == 0 { // keeps the work from being optimised away
			fmt.Fprint(io.Discard, x)
		}
	}
}

// writeForEver fills a file of 64 MiB again and again, and waits for the disk every 8 MiB.
func writeForEver(dir string) {
	f, err := os.CreateTemp(dir, "soak-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak: a writing process:", err)
		return
	}
	_ = os.Remove(f.Name()) // the file is gone with the process
	block := make([]byte, 8<<20)
	for i := range block {
		block[i] = byte(rand.Uint32()) //nolint:gosec // no secret
	}
	for {
		for offset := int64(0); offset < 64<<20; offset += int64(len(block)) {
			if _, err := f.WriteAt(block, offset); err != nil {
				fmt.Fprintln(os.Stderr, "soak: write below", filepath.Clean(dir)+":", err)
				return
			}
			if err := f.Sync(); err != nil {
				return
			}
		}
	}
}
