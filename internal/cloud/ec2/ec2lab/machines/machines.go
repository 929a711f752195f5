// Package machines is what stands behind the lab's API: containers, images, volumes and a wall of
// packet filters, as a Host that knows nothing of EC2's words and states. There are two: Incus, which
// is real, and Memory, which remembers what it was told and runs nothing, for tests of the API alone.
package machines

import (
	"context"
	"net/http"
	"net/netip"
)

// Host runs machines. Its methods may be called at the same time for different machines; for one
// machine the lab calls them one after the other, but for Destroy. Removals are idempotent.
type Host interface {
	// Launch creates a machine and starts it. It returns when the machine has been started.
	Launch(ctx context.Context, spec Spec) error
	Start(ctx context.Context, id string) error
	// Stop shuts down cleanly; with force, or when that takes too long, it pulls the plug.
	Stop(ctx context.Context, id string, force bool) error
	Reboot(ctx context.Context, id string) error
	Destroy(ctx context.Context, id string) error
	// Running tells which machines run at the moment.
	Running(ctx context.Context) (map[string]bool, error)
	// Console is what a machine has said, as much of it as there is.
	Console(ctx context.Context, id string) ([]byte, error)

	// Capture makes an image of a machine's root and gives its identifier. Of a machine that runs it
	// takes what is on the disk at that moment.
	Capture(ctx context.Context, id, name string) (string, error)
	HasImage(ctx context.Context, image string) error
	DeleteImage(ctx context.Context, image string) error

	// CreateVolume makes a volume, a copy of another if from is not empty.
	CreateVolume(ctx context.Context, id, from string, sizeGiB int) error
	AttachVolume(ctx context.Context, id, machine, path string) error
	DetachVolume(ctx context.Context, id, machine string) error
	DeleteVolume(ctx context.Context, id string) error

	// Wall replaces all rules of who may reach whom. It returns when they hold.
	Wall(ctx context.Context, ends []End) error
	// Serve answers machines' requests to the metadata address until Close. Each request's answer can be bounded
	// by BoundHops.
	Serve(ctx context.Context, metadata http.Handler) error
	// Close removes all that the host made.
	Close(ctx context.Context) error
}

// Spec describes a machine.
type Spec struct {
	ID        string // unique, fit for a host name
	Image     string
	Address   netip.Addr
	VCPUs     int
	MemoryMiB int
	RootGiB   int64             // of the root file system
	Volumes   map[string]string // path by volume
}

// End is one address in the wall, and what passes to it and from it. What no rule names does not pass.
type End struct {
	Address netip.Addr
	Network netip.Prefix // ends of other networks are unreachable, whatever the rules say
	In, Out []Rule
}

// Rule lets traffic of one protocol pass, from (or to) some peers.
type Rule struct {
	Protocol string // tcp, udp, icmp, or "" for everything
	From, To int    // ports, of tcp and udp
	Peers    []netip.Prefix
}
