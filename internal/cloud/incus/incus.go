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
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	client "github.com/lxc/incus/v6/client"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

var (
	_ cloud.Provider     = (*Provider)(nil)
	_ cloud.Snapshotter  = (*Provider)(nil)
	_ cloud.BaseImporter = (*Provider)(nil)
)

// Config says which Incus and how environments are laid out on it. The zero value of every field
// has a meaning.
type Config struct {
	Socket       string           // "": where Incus puts it
	LogDir       string           // where Incus keeps its instances' logs; "": /var/log/incus
	Pool         string           // storage pool; "": hallmark
	Range        netip.Prefix     // environments get a free /24 of it; zero: 10.91.0.0/16
	CacheAddress netip.Addr       // the package cache as servers reach it; zero: none
	CachePort    uint16           // TCP; 0: 3142
	Grace        time.Duration    // given to a clean shutdown before the plug is pulled; 0: 60 s
	Log          *slog.Logger     // nil: nothing is logged
	Now          func() time.Time // dates images and judges their age; nil: time.Now
}

// Provider is an Incus host. It is safe for concurrent use and needs no closing: every call has its
// own connection.
type Provider struct {
	cfg       Config
	addresses chan struct{} // held while a free /24 is picked: one at a time
}

// New checks that Incus answers and has the storage pool. Errors are *cloud.Error: CodeDown without
// Incus, CodeNotFound without the pool, CodeRefused without the rights to set up packet filters.
func New(ctx context.Context, cfg Config) (*Provider, error) {
	if cfg.Pool == "" {
		cfg.Pool = "hallmark"
	}
	if cfg.LogDir == "" {
		cfg.LogDir = "/var/log/incus"
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
	c, err := p.connect(ctx, "")
	if err != nil {
		return nil, fail("connect", err)
	}
	if _, _, err := c.GetStoragePool(cfg.Pool); err != nil {
		return nil, fail("find storage pool "+cfg.Pool, err)
	}
	return p, p.guard(ctx)
}

// connect gives a client for one project ("": default) whose calls all end with ctx. It talks to
// nobody yet. The client library binds some requests to the connection's context and others to none,
// so each call of ours has its own connection and a transport that binds every request.
func (p *Provider) connect(ctx context.Context, project string) (client.InstanceServer, error) {
	hc := &http.Client{}
	c, err := client.ConnectIncusUnixWithContext(ctx, p.cfg.Socket, &client.ConnectionArgs{
		HTTPClient: hc, SkipGetServer: true, SkipGetEvents: true, UserAgent: "hallmark",
	})
	if err != nil {
		return nil, err
	}
	t, ok := hc.Transport.(*http.Transport)
	if !ok {
		return nil, fmt.Errorf("the Incus client's transport is a %T", hc.Transport)
	}
	hc.Transport = bound{ctx: ctx, transport: t}
	if project != "" {
		c = c.UseProject(project)
	}
	return c, nil
}

// bound ends every request with the context of the call it belongs to.
type bound struct {
	ctx       context.Context //nolint:containedctx // one connection lives for one call
	transport *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (b bound) RoundTrip(r *http.Request) (*http.Response, error) {
	return b.transport.RoundTrip(r.WithContext(b.ctx))
}

// Transport implements the client library's HTTPTransporter, which looks for the transport itself.
func (b bound) Transport() *http.Transport { return b.transport }

// finish waits for an operation that a call has just started: pass it both results of that call.
// Incus goes on with the operation when the waiting ends early.
func finish(c client.InstanceServer, op client.Operation, err error) (map[string]any, error) {
	if err != nil {
		return nil, err
	}
	done, _, err := c.GetOperationWait(op.Get().ID, -1)
	if err != nil {
		return nil, err
	}
	if done.Err != "" {
		return nil, errors.New(done.Err)
	}
	return done.Metadata, nil
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
