// Package sim is a cloud in memory: servers that are only a state machine over a clock. It owns what
// a provider would remember (networks, servers, volumes, images, snapshots) and how long things take,
// and nothing that happens on a server: there is no SSH and no file in it. It starts no goroutine, and
// with a Manual clock it is deterministic. Faults are not its business: package fault puts them around
// any provider, this one included. With Open its state lives in a file that several processes share.
package sim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
)

// Options of a simulated cloud. The zero value is a cloud in which everything happens at once.
type Options struct {
	Clock    clock.Clock   // nil: the machine's
	Boot     time.Duration // from Launch, Start or Reboot until a server runs
	Shutdown time.Duration // from Stop without force until it is stopped
	Capture  time.Duration // how long Capture takes
	Drain    time.Duration // from Leave until no request is under way on a server
	Check    time.Duration // from Join until the balancer has looked at it
	Replace  time.Duration // how long a group takes to be rolled, and back
	Capacity int           // servers at once; 0: no limit. The next gets CodeCapacity
	Cache    string        // Network.Cache
	Disk     fs.FS         // what is on the disk of every stopped server; nil: one file
}

// Record is one call that was made, for tests that ask what happened.
type Record struct {
	At   time.Time
	Call cloud.Call
	Code cloud.Code // "" when it succeeded, or failed with a context's error
	Err  string
}

// Cloud is the simulated provider. It is also a cloud.Snapshotter, a cloud.BaseImporter, a cloud.Publisher,
// a cloud.Screenshotter, a cloud.DiskReader and a cloud.Balancer. Its methods may be called at the same time.
type Cloud struct {
	opts Options
	disk *disk // nil: memory only

	mu      sync.Mutex
	world   *world
	records []Record
}

var (
	_ cloud.Provider      = (*Cloud)(nil)
	_ cloud.Snapshotter   = (*Cloud)(nil)
	_ cloud.BaseImporter  = (*Cloud)(nil)
	_ cloud.Publisher     = (*Cloud)(nil)
	_ cloud.Screenshotter = (*Cloud)(nil)
	_ cloud.DiskReader    = (*Cloud)(nil)
)

// New makes an empty cloud in memory.
func New(opts Options) *Cloud {
	if opts.Clock == nil {
		opts.Clock = clock.Machine{}
	}
	return &Cloud{opts: opts, world: newWorld()}
}

// Open makes a cloud whose state is kept in the file at path, which is made if it is not there. Every
// call reads and writes the file under a lock, so several processes may share it. Neither user-data nor private files are kept.
func Open(path string, opts Options) (*Cloud, error) {
	c := New(opts)
	c.disk = &disk{path: path}
	if err := c.disk.transact(func(*world) error { return nil }); err != nil {
		return nil, fmt.Errorf("open simulated cloud: %w", err)
	}
	return c, nil
}

// Records gives the calls made through this value so far, oldest first.
func (c *Cloud) Records() []Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Record(nil), c.records...)
}

// do runs one call on the state and records it. An error from change leaves the state as it was only
// if change made no change before: every method checks first and changes then.
func (c *Cloud) do(ctx context.Context, verb cloud.Verb, subject string, change func(w *world, now time.Time) error) error {
	call := cloud.Call{Verb: verb, Subject: subject}
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.transact(ctx, call, change)
	r := Record{At: c.opts.Clock.Now(), Call: call, Code: cloud.CodeOf(err)}
	if err != nil {
		r.Err = err.Error()
	}
	c.records = append(c.records, r)
	return err
}

func (c *Cloud) transact(ctx context.Context, call cloud.Call, change func(w *world, now time.Time) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", call, err)
	}
	do := func(w *world) error { return change(w, c.opts.Clock.Now()) }
	var err error
	if c.disk != nil {
		err = c.disk.transact(do)
	} else {
		err = do(c.world)
	}
	var r refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &r):
		return &cloud.Error{Call: call.String(), Code: r.code, Err: errors.New(r.why)}
	}
	return &cloud.Error{Call: call.String(), Code: cloud.CodeDown, Err: err}
}

// refusal is why a call cannot be done, before the call's name is added to it.
type refusal struct {
	code cloud.Code
	why  string
}

func (r refusal) Error() string { return r.why }

func refuse(code cloud.Code, format string, args ...any) error {
	return refusal{code, fmt.Sprintf(format, args...)}
}

func notFound(what string, id any) error { return refuse(cloud.CodeNotFound, "no %s %v", what, id) }
