// Package incus is the cloud.Provider of one Incus host (or cluster): system containers with a real
// init, in a project and on a bridge per environment. It owns the mapping from cloud's nouns to
// Incus' and keeps no state of its own: everything is read back from Incus, by name or by tag, so a
// restarted process finds all that an earlier one made.
//
//	cloud.Network   a project (servers and volumes live in it), a bridge and a network ACL, both in
//	                the default project and both named after a hash of the network's name
//	cloud.Server    a container in that project
//	cloud.Volume    a custom file system volume in that project
//	cloud.Image     an image in the default project, found by its alias
//
// It expects a storage pool that somebody else made (`make host`), and touches nothing that does not
// carry Hallmark's tags.
package incus

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

var (
	_ cloud.Provider     = (*Provider)(nil)
	_ cloud.Snapshotter  = (*Provider)(nil)
	_ cloud.BaseImporter = (*Provider)(nil)
	_ cloud.DiskReader   = (*Provider)(nil)
)

// Config says which Incus and how environments are laid out on it. The zero value of every field
// has a meaning.
type Config struct {
	Socket       string           // "": where Incus puts it
	LogDir       string           // where Incus keeps its instances' logs; "": /var/log/incus
	DataDir      string           // where Incus keeps its storage pools; "": /var/lib/incus
	Pool         string           // storage pool; "": hallmark
	Range        netip.Prefix     // environments get a free /24 of it; zero: 10.91.0.0/16
	CacheAddress netip.Addr       // the package cache as servers reach it; zero: none
	CachePort    uint16           // TCP; 0: 3142
	Usual        incusd.Bounds    // of a server that asks for nothing else; zero fields: those of usual
	Grace        time.Duration    // given to a clean shutdown before the plug is pulled; 0: 60 s
	Log          *slog.Logger     // nil: nothing is logged
	Now          func() time.Time // dates images and judges their age; nil: time.Now
}

// usual bounds a server that asks for nothing: one of several on a host of a few GiB.
var usual = incusd.Bounds{CPUShare: 100, MemoryMiB: 2048, DiskMiB: 8192, Processes: 2000}

// Provider is an Incus host. It is safe for concurrent use and needs no closing: every call has its
// own connection.
type Provider struct {
	cfg       Config
	quotas    incusd.Quotas
	addresses chan struct{} // held while a free /24 is picked: one at a time
}

// New checks that Incus answers and has the storage pool. Errors are *cloud.Error: CodeDown without
// Incus, CodeNotFound without the pool, CodeRefused without the rights to set up packet filters.
func New(ctx context.Context, cfg Config) (*Provider, error) {
	if cfg.Pool == "" {
		cfg.Pool = "hallmark"
	}
	if cfg.LogDir == "" {
		cfg.LogDir = incusd.LogDir
	}
	if cfg.DataDir == "" {
		cfg.DataDir = "/var/lib/incus"
	}
	if !cfg.Range.IsValid() {
		cfg.Range = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 91}), 16)
	}
	if cfg.CachePort == 0 {
		cfg.CachePort = 3142
	}
	if cfg.Grace == 0 {
		cfg.Grace = time.Minute
	}
	u := &cfg.Usual
	u.CPUShare, u.MemoryMiB = cmp.Or(u.CPUShare, usual.CPUShare), cmp.Or(u.MemoryMiB, usual.MemoryMiB)
	u.DiskMiB, u.Processes = cmp.Or(u.DiskMiB, usual.DiskMiB), cmp.Or(u.Processes, usual.Processes)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if !cfg.Range.Addr().Is4() || cfg.Range.Bits() > 24 {
		return nil, refuse("connect", "the range %s has no IPv4 /24", cfg.Range)
	}
	p := &Provider{cfg: cfg, addresses: make(chan struct{}, 1)}
	pool, err := p.connect("").Pool(ctx, cfg.Pool)
	if err != nil {
		return nil, fail("find storage pool "+cfg.Pool, err)
	}
	if p.quotas, err = incusd.QuotasOf(ctx, pool); err != nil {
		return nil, fail("find the quotas of storage pool "+cfg.Pool+", which takes root", err)
	}
	return p, p.guard(ctx)
}

// connect gives a client for one project ("": default). Every call has its own.
func (p *Provider) connect(project string) *incusd.Client {
	return incusd.Connect(p.cfg.Socket, "hallmark", project)
}
