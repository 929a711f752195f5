package environment

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// BenchSpec describes a bench. Product, Commit and Archive are what is applied at stage bake.
type BenchSpec struct {
	ID       string // deterministic, at most 8 of [a-z0-9]; see ID
	Owner    string
	Run      string
	Name     string // for people: "build web"
	Role     string
	Product  *product.Product
	Commit   string
	Archive  string        // tarball of the product's code on this host
	Base     cloud.ImageID // the reference base
	Deadline time.Time     // hard cap on its life
	Lease    time.Time
}

// Bench is one server on a network of its own, on which an image is made. It is launched from a
// reference base and provisioned at stage bake; no admin account, bastion or secret is ever on it.
// It is reached directly, as the bootstrap user, by a temporary network rule.
type Bench struct{ env *Environment }

// BenchServer is the name of a bench's only server.
const BenchServer = "bench"

// Bench plans a bench, or adopts the one of that id. The cloud is not touched yet.
func (s *Site) Bench(ctx context.Context, spec BenchSpec) (*Bench, error) {
	role, ok := spec.Product.Roles[spec.Role]
	if !ok {
		return nil, fmt.Errorf("bench %s: the product has no role %q", spec.ID, spec.Role)
	}
	env, err := s.plan(ctx, record{
		Spec: Spec{
			ID: spec.ID, Owner: spec.Owner, Run: spec.Run, Name: spec.Name, Product: spec.Product,
			Commit: spec.Commit, Archive: spec.Archive, Origin: Base,
			Images:   map[string]cloud.ImageID{spec.Role: spec.Base},
			Deadline: spec.Deadline, Lease: spec.Lease,
		},
		Stage:   puppet.StageBake,
		Servers: []*machine{{Name: BenchServer, Role: role.Name, Commit: spec.Commit}},
	})
	if err != nil {
		return nil, err
	}
	return &Bench{env}, nil
}

// Up gives the steps from nothing to a server with the product's code on it, on which the unit was
// not started yet.
func (b *Bench) Up() []Step {
	e, m := b.env, b.env.machines()[0]
	return []Step{
		e.networkStep(),
		e.launchStep(m.Name),
		e.admitStep(m.Name),
		e.hostKeysStep(m.Name),
		e.unpackStep(m.Name),
	}
}

// Provision gives the steps from there to a converged server. A Puppet failure is a
// *verdict.Error with cause PuppetFailed or PuppetTimeout that names the resource.
func (b *Bench) Provision() []Step {
	m := b.env.machines()[0]
	return []Step{b.env.startUnitStep(m.Name), b.env.convergedStep(m.Name)}
}

// Session is the bootstrap user, who has sudo without a password. It is shared: closing it does nothing.
func (b *Bench) Session(ctx context.Context) (remote.Session, error) {
	return b.env.bootstrapSession(ctx, BenchServer)
}

// Server is the provider's id, "" before it was launched.
func (b *Bench) Server() cloud.ServerID { return b.env.machine(BenchServer).ID }

// Secrets are what Hallmark knows of the bench and must be in no image, for package mask and its like: the keys by which
// it is reached, public halves too, for those let in; and secrets that were made for it, which stage bake gives to no
// server. They are never logged.
func (b *Bench) Secrets() []string {
	e := b.env
	e.mu.Lock()
	defer e.mu.Unlock()
	all := []string{e.keys.seed}
	for _, s := range e.keys.secrets {
		all = append(all, s)
	}
	for _, key := range []ed25519.PrivateKey{e.keys.admin, e.keys.bootstrap} {
		if len(key) == 0 {
			continue
		}
		all = append(all, string(key.Seed()))
		if line, err := publicLine(key); err == nil {
			all = append(all, strings.TrimPrefix(line, "ssh-ed25519 "))
		}
	}
	return all
}

// Address is the server's address, invalid before the network was made.
func (b *Bench) Address() netip.Addr { return b.env.machine(BenchServer).Address }

// Report is Puppet's report of the bake; false before Provision ended.
func (b *Bench) Report() (puppet.Report, bool) { return b.env.Report(BenchServer) }

// Console is what the server said while booting.
func (b *Bench) Console(ctx context.Context) ([]byte, error) { return b.env.Console(ctx, BenchServer) }

// Audit is Environment.Audit for the one server.
func (b *Bench) Audit(ctx context.Context) verdict.Audit { return b.env.Audit(ctx) }

// Stop shuts the server down, by force if it does not do so in its time, and returns once it is
// stopped. Capture comes next.
func (b *Bench) Stop(ctx context.Context) error {
	b.env.closeSessions()
	return b.env.halt(ctx, BenchServer)
}

// Destroy removes everything of the bench but images. It is idempotent.
func (b *Bench) Destroy(ctx context.Context) error { return b.env.Destroy(ctx) }
