// Package host is what the machine that Hallmark runs on has left for the work on it: processors, memory,
// swap. It owns the sampling, how much time work was really given of the time that passed, and time-outs
// that count only what was given. Whether trouble is the host's or the product's is judged elsewhere, by
// what is told here. See docs/decisions/0010.
package host

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"
)

// Bound is the most by which a host can stretch a time-out: a daemon that hangs is found, however busy the
// host is.
const Bound = 8

// Every is how often a Gauge looks.
const Every = time.Second

// keeps is how far back a Gauge remembers.
const keeps = 6 * time.Hour

// Sample is what a host says of itself at one moment. Totals count from its boot; a part that it does not
// say is zero.
type Sample struct {
	At       time.Time
	Cores    int
	Runnable int           // processes that run or could
	Load     float64       // average over a minute
	Pressure bool          // the three below are known: the kernel has PSI
	CPU      time.Duration // some process waited for a processor
	IO       time.Duration // all that was not idle waited for a disk
	Memory   time.Duration // all that was not idle waited for memory
	Stolen   time.Duration // the hypervisor gave the processors to others, over all of them
	SwappedB uint64        // bytes that came back from swap
	Killed   uint64        // processes that the kernel killed for want of memory
}

// Gauge watches a host. Its zero value has seen nothing: then work was given all of the time.
type Gauge struct {
	mu      sync.Mutex
	last    Sample
	waiting float64 // runnable processes, smoothed
	spans   []span
}

// span is the time between two samples.
type span struct {
	from, until time.Time
	stretch     float64 // how much longer work takes than on an idle host, from 1 to Bound
	runnable    float64
	cores       int
	memory      time.Duration // work stood still for want of memory
	swapped     uint64
	killed      uint64
}

// Watch looks at the host every Every until ctx ends. It goes on when a look fails, and says so once.
func (g *Gauge) Watch(ctx context.Context, read func() (Sample, error), log *slog.Logger) {
	tick := time.NewTicker(Every)
	defer tick.Stop()
	said := false
	for {
		s, err := read()
		switch {
		case err == nil:
			g.Add(s)
			said = false
		case !said:
			log.Warn("the host's pressure is not known: time-outs count all time", "err", err)
			said = true
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Add takes a sample in. One that is not later than the last is left out, as after a clock that stepped.
func (g *Gauge) Add(s Sample) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := g.last
	first := before.At.IsZero()
	if !first && !s.At.After(before.At) {
		g.last = s
		return
	}
	// The number of runnable processes jumps from moment to moment.
	if first {
		g.waiting = float64(s.Runnable)
	} else {
		weight := 1 - math.Exp(-s.At.Sub(before.At).Seconds()/5)
		g.waiting += weight * (float64(s.Runnable) - g.waiting)
	}
	g.last = s
	if first {
		return
	}
	g.spans = append(g.spans, g.between(before, s))
	for len(g.spans) > 0 && s.At.Sub(g.spans[0].until) > keeps {
		g.spans = g.spans[1:]
	}
}

// busyEnough is the share of time in which something waited for a processor, from which on a host is busy.
const busyEnough = 0.1

// between works out how much longer work took between two samples. Processes share the processors
// equally; while all of them wait for a disk or for memory nothing is done at all.
func (g *Gauge) between(a, b Sample) span {
	passed := b.At.Sub(a.At)
	share := func(from, to time.Duration) float64 {
		return min(max(float64(to-from)/float64(passed), 0), 1)
	}
	cores := max(1, b.Cores)
	s := span{from: a.At, until: b.At, cores: cores, runnable: g.waiting, swapped: b.SwappedB - min(a.SwappedB, b.SwappedB), killed: b.Killed - min(a.Killed, b.Killed)}
	stretch := 1.0
	switch {
	case !b.Pressure:
		s.runnable = b.Load
		stretch = max(1, b.Load/float64(cores))
	case share(a.CPU, b.CPU) > busyEnough:
		stretch = max(1, g.waiting/float64(cores))
	}
	if b.Pressure {
		s.memory = min(max(b.Memory-a.Memory, 0), passed)
		stretch /= max(1-share(a.IO, b.IO), 1.0/Bound)
		stretch /= max(1-share(a.Memory, b.Memory), 1.0/Bound)
	}
	stretch /= max(1-share(a.Stolen, b.Stolen)/float64(cores), 1.0/Bound)
	s.stretch = min(max(stretch, 1), Bound)
	return s
}

// Given tells how much of the time between two moments work on the host was given, as if it were idle
// otherwise: never less than a Bound-th of it. What was not seen counts in full.
func (g *Gauge) Given(since, until time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	given := until.Sub(since)
	for i := len(g.spans) - 1; i >= 0 && g.spans[i].until.After(since); i-- {
		s := g.spans[i]
		overlap := earlier(s.until, until).Sub(later(s.from, since))
		if overlap > 0 {
			given -= overlap - time.Duration(float64(overlap)/s.stretch)
		}
	}
	return given
}

// Stretch is how much longer work takes now than on an idle host, from 1 to Bound.
func (g *Gauge) Stretch() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.spans) == 0 {
		return 1
	}
	return g.spans[len(g.spans)-1].stretch
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Strain is what a host was short of over a while.
type Strain struct {
	Findings []string // for people; none: nothing that time-outs do not make up for
}

// beyondShare is the share of time at Bound from which on time-outs do not make up for a busy host, and
// stillShare that of time in which all work stood still for want of memory; with killedShare of it, the
// kernel kills for want of the host's memory.
const (
	beyondShare = 0.3
	stillShare  = 0.05
	killedShare = 0.005
)

// Since tells what the host was short of, more than stretched time-outs make up for: processors beyond
// Bound, memory.
func (g *Gauge) Since(t time.Time) Strain {
	g.mu.Lock()
	defer g.mu.Unlock()
	var passed, beyond, still time.Duration
	var swapped, killed uint64
	runnable, cores := 0.0, 1
	for i := len(g.spans) - 1; i >= 0 && g.spans[i].until.After(t); i-- {
		s := g.spans[i]
		d := s.until.Sub(s.from)
		passed += d
		still += s.memory
		swapped, killed = swapped+s.swapped, killed+s.killed
		cores = s.cores
		runnable += s.runnable * d.Seconds()
		if s.stretch >= Bound {
			beyond += d
		}
	}
	var strain Strain
	if passed == 0 {
		return strain
	}
	note := func(format string, args ...any) {
		strain.Findings = append(strain.Findings, fmt.Sprintf(format, args...))
	}
	if share := beyond.Seconds() / passed.Seconds(); share >= beyondShare {
		note("the host was starved: %.1f processes wanted its %d cores, and for %.0f%% of the last %s work took %d times as long or more: run less beside Hallmark",
			runnable/passed.Seconds(), cores, 100*share, passed.Round(time.Second), Bound)
	}
	if share := still.Seconds() / passed.Seconds(); share >= stillShare {
		note("the host was short of memory: work stood still for %.0f%% of the last %s, %d MiB came back from swap: give it more memory, or lower limits.servers",
			100*share, passed.Round(time.Second), swapped>>20)
	}
	if killed > 0 && still.Seconds()/passed.Seconds() >= killedShare { // else they met their own limits
		note("the host was out of memory: the kernel killed %d processes in the last %s: give it more memory, or lower limits.servers", killed, passed.Round(time.Second))
	}
	return strain
}
