package ec2lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/machines"
)

// Lab is an account with its regions, and the host behind it. It is safe for concurrent use.
type Lab struct {
	cfg     Config
	host    machines.Host
	began   time.Time
	gateway netip.Addr
	name    net.Listener // listens to nobody: nobody else on this host can have its address; nil with Config.Host

	stop   context.CancelFunc // of everything that goes on in the background
	tasks  sync.WaitGroup
	ending sync.Mutex // guards closed, and that no task begins once it is set
	closed bool
	spawn  func(func(context.Context)) // starts a task that Close ends and waits for

	mu       sync.Mutex // guards all below, and everything reachable from regions
	serial   int
	regions  map[string]*region
	faults   []*Fault
	struck   map[FaultKind]int // how often
	images   map[string]int    // how many AMIs of ours stand on an image of the host
	sessions map[string]time.Time
	roles    map[string]*role     // by name
	assumed  map[string]principal // by access key
	uses     map[Use]bool         // of roles' policies

	walls   sync.Mutex // held while rules are computed and brought to the host: the last state wins
	mutated bool       // guarded by mu: the host's rules are older than the state
}

// New starts a lab. Everything it makes on the host carries its name: Close removes it, and if the
// process dies, the next lab of this name does. The context bounds the start only.
func New(ctx context.Context, cfg Config) (*Lab, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	l := &Lab{
		cfg: cfg, host: cfg.Host, began: cfg.Clock.Now(), gateway: cfg.CIDR.Addr().Next(),
		regions: map[string]*region{}, images: map[string]int{}, struck: map[FaultKind]int{}, sessions: map[string]time.Time{},
		roles: map[string]*role{}, assumed: map[string]principal{}, uses: map[Use]bool{},
	}
	if l.host == nil {
		if err := l.settleDown(ctx); err != nil {
			return nil, err
		}
	}
	for i, r := range cfg.Regions {
		l.regions[r.Name] = l.newRegion(i, r)
	}
	base, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	l.spawn = func(task func(context.Context)) {
		l.ending.Lock()
		defer l.ending.Unlock()
		if !l.closed {
			l.tasks.Go(func() { task(base) })
		}
	}
	for _, s := range cfg.Seeds {
		if err := l.host.HasImage(ctx, s.Fingerprint); err != nil {
			return nil, l.giveUp(ctx, fmt.Errorf("seed %s: %w", s.Name, err))
		}
	}
	if err := l.host.Wall(ctx, nil); err != nil {
		return nil, l.giveUp(ctx, err)
	}
	if err := l.host.Serve(ctx, l.Metadata()); err != nil {
		return nil, l.giveUp(ctx, err)
	}
	l.spawn(l.watch)
	return l, nil
}

func (l *Lab) giveUp(ctx context.Context, err error) error {
	if closing := l.Close(ctx); closing != nil {
		return fmt.Errorf("%w (and then: %w)", err, closing)
	}
	return err
}

// Close ends what goes on and removes everything from the host. Requests that come later are refused
// as if the API was down; closing again removes what could not be removed before.
func (l *Lab) Close(ctx context.Context) error {
	l.ending.Lock()
	l.closed = true
	l.ending.Unlock()
	l.stop()
	l.tasks.Wait()
	l.mu.Lock()
	captured := make([]string, 0, len(l.images))
	for image := range l.images {
		captured = append(captured, image)
	}
	l.mu.Unlock()
	for _, image := range captured {
		if err := l.host.DeleteImage(ctx, image); err != nil {
			l.cfg.Log.Warn("delete image", "image", image, "err", err)
		}
	}
	if err := l.host.Close(ctx); err != nil || l.name == nil {
		return err
	}
	if err := l.name.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// settleDown takes the lab's name on this host and makes a host of Incus under it, without what an
// earlier one that died has left there.
func (l *Lab) settleDown(ctx context.Context) (err error) {
	// A socket that has no file: the kernel lets go of the name whichever way the process ends.
	name, err := new(net.ListenConfig).Listen(ctx, "unix", "@ec2lab-"+l.cfg.Name)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("a lab named %q is at work on this host: another one needs another name, and another range", l.cfg.Name)
	}
	if err != nil {
		return fmt.Errorf("take the name %q: %w", l.cfg.Name, err)
	}
	host, err := machines.NewIncus(ctx, machines.IncusConfig{
		Name: l.cfg.Name, Socket: l.cfg.Socket, Pool: l.cfg.Pool, Range: l.cfg.CIDR, Log: l.cfg.Log,
	})
	if err != nil {
		return errors.Join(err, name.Close())
	}
	l.host, l.name = host, name
	return nil
}

// Gateway is the address as which the host itself counts in security groups.
func (l *Lab) Gateway() netip.Addr { return l.gateway }

// Subnet gives the id of a zone's subnet, such as for eu-lab-1a; "" if there is no such zone. It is
// the same whenever a lab of this name and region starts.
func (l *Lab) Subnet(zone string) string {
	for _, r := range l.regions {
		for _, s := range r.subnets {
			if s.zone == zone {
				return s.id
			}
		}
	}
	return ""
}

// newID makes an identifier that no other of this lab, or of one that ran before, has. Called with
// mu held.
func (l *Lab) newID(prefix string) string {
	l.serial++
	return l.fixedID(prefix, fmt.Sprint(l.began.UnixNano(), l.serial))
}

// fixedID makes an identifier that depends on the lab's name and the words given.
func (l *Lab) fixedID(prefix, words string) string {
	sum := sha256.Sum256([]byte(l.cfg.Name + "\x00" + words))
	return prefix + hex.EncodeToString(sum[:])[:17]
}

// now is in UTC and whole seconds, as the API gives times.
func (l *Lab) now() time.Time { return l.cfg.Clock.Now().UTC().Truncate(time.Second) }

// later does something to the state, in the background, after some time. The host's rules follow.
func (l *Lab) later(ctx context.Context, d time.Duration, change func()) {
	if l.cfg.Clock.Sleep(ctx, d) != nil {
		return
	}
	l.locked(change)
	l.settled(ctx)
}

// settled is settle in the background, where nobody waits for the answer.
func (l *Lab) settled(ctx context.Context) {
	if err := l.settle(ctx); err != nil && ctx.Err() == nil {
		l.cfg.Log.Error("bring the security groups to the host", "err", err)
	}
}

func (l *Lab) locked(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

// settle brings the rules to the host if the state has changed in a way that matters to them. If that
// fails, the next one tries again.
func (l *Lab) settle(ctx context.Context) error {
	l.walls.Lock()
	defer l.walls.Unlock()
	l.mu.Lock()
	dirty := l.mutated
	l.mutated = false
	var ends []machines.End
	if dirty {
		ends = l.ends()
	}
	l.mu.Unlock()
	if !dirty {
		return nil
	}
	err := l.host.Wall(ctx, ends)
	if err != nil {
		l.locked(func() { l.mutated = true })
	}
	return err
}
