// Package cloud names what Hallmark needs of a place where servers run. It owns the nouns
// (Server, Network, Image, Volume), the Provider interface and its errors; the providers live in
// incus, ec2 and sim, and cloudtest holds the contract that all of them pass.
package cloud

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// Identifiers are given by a provider and opaque to everybody else.
type (
	// ServerID names a server, also when it is gone.
	ServerID string
	// NetworkID names a network.
	NetworkID string
	// VolumeID names a volume.
	VolumeID string
	// ImageID names an image; of a copy elsewhere it begins with the place ("us-east-1/ami-…").
	ImageID string
)

// Provider is a place where servers run: an Incus host or cluster, an EC2 region.
//
// Everything it creates carries its Tags from the moment of creation. Every creation is idempotent:
// by Token for servers, by name for the rest, and then gives what already exists. Every removal is
// idempotent: removing what is not there is no error. Errors are *Error.
type Provider interface {
	// ResolveBase finds the newest reference base that fits; CodeNotFound if there is none.
	ResolveBase(ctx context.Context, spec BaseSpec) (Image, error)

	// CreateNetwork makes an isolated network with a free range of addresses: nothing comes in,
	// nothing goes out but to the package cache and spec.Egress.
	CreateNetwork(ctx context.Context, spec NetworkSpec) (Network, error)
	// AllowAdmin sets the complete list of addresses that Hallmark's host may reach on tcp/22.
	AllowAdmin(ctx context.Context, id NetworkID, addresses []netip.Addr) error
	DeleteNetwork(ctx context.Context, id NetworkID) error

	// Launch returns once the server is accepted; wait with Servers. Where a place has no room for it at
	// its reserved address (a zone without capacity), the server may get another: look at its Address.
	Launch(ctx context.Context, spec ServerSpec) (Server, error)
	// Servers gives the state of many in one call; servers that are gone are missing from it.
	Servers(ctx context.Context, filter Filter) ([]Server, error)
	Reboot(ctx context.Context, id ServerID) error
	// Stop asks the system to shut down; with force it pulls the plug. Stop and Start reach a state:
	// being in it already is no error, and so it is with AttachVolume and DetachVolume.
	Stop(ctx context.Context, id ServerID, force bool) error
	Start(ctx context.Context, id ServerID) error
	// Destroy removes a server without a clean shutdown; its volumes stay.
	Destroy(ctx context.Context, id ServerID) error
	// Console is what the server said while booting; host keys are learnt here.
	Console(ctx context.Context, id ServerID) ([]byte, error)

	// Capture makes an image of a stopped server, or gives the one of that name.
	Capture(ctx context.Context, id ServerID, spec ImageSpec) (Image, error)
	Images(ctx context.Context, filter Filter) ([]Image, error)
	DeleteImage(ctx context.Context, id ImageID) error

	CreateVolume(ctx context.Context, spec VolumeSpec) (Volume, error)
	AttachVolume(ctx context.Context, id VolumeID, server ServerID) error
	DetachVolume(ctx context.Context, id VolumeID) error
	DeleteVolume(ctx context.Context, id VolumeID) error

	// Owned lists everything of this owner (Tags.Owner), also what a crashed process left behind.
	Owned(ctx context.Context, owner string) ([]Resource, error)
	// Delete removes a resource that Owned listed.
	Delete(ctx context.Context, r Resource) error
}

// Tags say whose a resource is. They are written as the resource is created.
type Tags struct {
	Owner       string            `json:"owner"`                 // the installation of Hallmark that made it
	Run         string            `json:"run,omitempty"`         // the run, if one
	Environment string            `json:"environment,omitempty"` // the environment or image build, if one
	Deadline    time.Time         `json:"deadline"`              // hard cap on its life; zero: none
	Extra       map[string]string `json:"extra,omitempty"`       // role, commit, … for people and adoption
}

// Filter selects by tag; empty fields select all.
type Filter struct {
	Owner       string
	Environment string
	Run         string
}

// BaseSpec names a reference base.
type BaseSpec struct {
	Name   string        // the provider's own way of naming: a name, a pattern, a parameter; an id, where Images lists no bases
	Digest string        // recipe digest it must carry as PropertyRecipe; empty: any
	MaxAge time.Duration // 0: any age
}

// Egress is one destination that servers may reach, beside the package cache.
type Egress struct {
	Prefix netip.Prefix
	Port   uint16 // TCP
}

// NetworkSpec describes a network. Name is deterministic, so a repeated call adopts.
type NetworkSpec struct {
	Name    string
	Tags    Tags
	Egress  []Egress
	Servers []string // names of the servers that will live in it: each gets an address
}

// Network is where the servers of one environment live, apart from all others.
type Network struct {
	ID   NetworkID `json:"id"`
	Name string    `json:"name"`
	// Addresses are reserved, by server name, before any server is launched: the servers of an
	// environment are told of each other at their launch. They outlive the servers.
	Addresses map[string]netip.Addr `json:"addresses"`
	Prefix    netip.Prefix          `json:"prefix"`  // the range that is this network's alone; zero: it shares one
	Gateway   netip.Addr            `json:"gateway"` // taken, of Prefix
	Cache     string                `json:"cache"`   // URL of the package cache as servers reach it, "" if none
	Tags      Tags                  `json:"tags"`
}

// firstHost is where Reserve begins, counted from the start of a range: below it there is room for
// what a host takes for itself.
const firstHost = 10

// Reserve gives each server an address of a range that is one network's alone, the same for the same
// list; CodeCapacity if there is no room.
func Reserve(prefix netip.Prefix, servers []string) (map[string]netip.Addr, error) {
	a := prefix.Masked().Addr()
	for range firstHost {
		a = a.Next()
	}
	addresses := make(map[string]netip.Addr, len(servers))
	for _, name := range servers {
		if !prefix.Contains(a.Next()) { // the last one is the broadcast address
			return nil, &Error{Call: "reserve an address for " + name, Code: CodeCapacity, Err: fmt.Errorf("%s has no room for server %d", prefix, len(addresses)+1)}
		}
		addresses[name], a = a, a.Next()
	}
	return addresses, nil
}

// State of a server.
type State string

// The states that matter to Hallmark. A destroyed server is not listed at all.
const (
	Pending State = "pending"
	Running State = "running"
	Stopped State = "stopped"
	Broken  State = "broken" // the provider itself calls it unhealthy
)

// ServerSpec describes a server to launch.
type ServerSpec struct {
	Name      string // host name, unique in its network
	Network   NetworkID
	Image     ImageID
	Address   netip.Addr // the one that was reserved for Name
	UserData  string     // cloud-init; no secrets: providers keep it, and programs on the server may read it
	Token     string     // the same token gives the same server
	Tags      Tags
	CPUs      int   // 0: the provider's default
	MemoryMiB int   // 0: the provider's default
	DiskMiB   int64 // of the root file system; 0: the provider's default. Where a machine's disk is its image's, it is left alone
	Processes int   // and threads; 0: the provider's default. Where a server is a machine of its own, it is left alone
	Volumes   []VolumeID
	// Private are files that are on the server before its first boot, for root alone (0600), and stay as long as it
	// does, whoever starts it again. No other program on the server can have them from the provider, and nothing of
	// the provider keeps them after the server's end: no record, no log, no file of its host. Only a Confidant does that.
	Private []PrivateFile
}

// Server is a machine as its provider sees it.
type Server struct {
	ID      ServerID   `json:"id"`
	Name    string     `json:"name"`
	State   State      `json:"state"`
	Address netip.Addr `json:"address"`
	Image   ImageID    `json:"image"`
	Tags    Tags       `json:"tags"`

	Type     string    `json:"type,omitempty"`     // "" where the provider has no types
	RootMiB  int64     `json:"root_mib,omitempty"` // size of its root disk; 0: it has no bound, or Servers was asked
	Launched time.Time `json:"launched"`           // zero: the provider does not tell
}

// Kind of an image. The lineage law (only a reference base may be a parent) is held with it.
type Kind string

// The two kinds.
const (
	Base     Kind = "base"
	Prebuilt Kind = "prebuilt"
)

// PropertyRecipe is the image property that holds the recipe digest of a reference base:
// BaseSpec.Digest is compared with it.
const PropertyRecipe = "recipe"

// ImageSpec describes an image to make. Name is deterministic.
type ImageSpec struct {
	Name       string
	Kind       Kind
	Tags       Tags
	Properties map[string]string // recipe digest, parent, role, commit: kept with the image itself
}

// Image is an image as its provider holds it.
type Image struct {
	ID         ImageID           `json:"id"`
	Name       string            `json:"name"`
	Kind       Kind              `json:"kind"`
	Digest     string            `json:"digest"` // of its content, or the provider's immutable id
	Created    time.Time         `json:"created"`
	SizeBytes  int64             `json:"size_bytes"`
	Properties map[string]string `json:"properties,omitempty"`
	Tags       Tags              `json:"tags"`
}

// VolumeSpec describes a data volume. Name is deterministic and unique in its environment.
type VolumeSpec struct {
	Name    string
	Network NetworkID // the environment's network: the volume lives and is removed beside it
	SizeMiB int64
	Tags    Tags
}

// Volume outlives servers. A server finds it at Path (a neutral path or a device), never in place:
// the product's own mount unit brings it there.
type Volume struct {
	ID       VolumeID `json:"id"`
	Name     string   `json:"name"`
	Path     string   `json:"path"`
	Attached ServerID `json:"attached,omitempty"`
	Tags     Tags     `json:"tags"`
}

// ResourceKind says what a Resource is.
type ResourceKind string

// Kinds of resources.
const (
	KindServer   ResourceKind = "server"
	KindVolume   ResourceKind = "volume"
	KindNetwork  ResourceKind = "network"
	KindImage    ResourceKind = "image"
	KindSnapshot ResourceKind = "snapshot" // of an image that is gone, or was never completed
	KindKey      ResourceKind = "key"      // of a provider that keeps keys by name
)

// Kinds is the whole list, in the order in which they can be removed.
func Kinds() []ResourceKind {
	return []ResourceKind{KindServer, KindVolume, KindNetwork, KindImage, KindSnapshot, KindKey}
}

// Resource is anything of ours that costs something.
type Resource struct {
	Kind ResourceKind `json:"kind"`
	ID   string       `json:"id"`
	Name string       `json:"name"`
	Tags Tags         `json:"tags"`
}
