package environment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cost"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/puppet"
)

// ErrDestroyed says that an environment of this id existed and is gone, or is about to be.
var ErrDestroyed = errors.New("environment was destroyed")

// record is all that must be known to go on after a crash, but secrets. It is stored as
// ledger.Environment.Body after every change.
type record struct {
	Spec     Spec          `json:"spec"` // Product, Commit and Archive move with Take
	Stage    puppet.Stage  `json:"stage"`
	Network  cloud.Network `json:"network"`
	Servers  []*machine    `json:"servers"`            // in provisioning order, the bastion first
	Claimed  int64         `json:"claimed"`            // newest TOTP step that was used
	Controls int           `json:"controls,omitempty"` // control servers launched so far
	Uses     []cost.Use    `json:"uses"`               // servers and volumes over their lives, also those that are gone
}

// machine is one server over its lives.
type machine struct {
	Name       string         `json:"name"`
	Role       string         `json:"role"`
	Bastion    bool           `json:"bastion,omitempty"`
	Level      int            `json:"level"` // servers of one level are provisioned at the same time
	Volumes    []volume       `json:"volumes,omitempty"`
	Address    netip.Addr     `json:"address"`
	Life       int            `json:"life"` // launches before this one: part of the launch token
	ID         cloud.ServerID `json:"id"`
	HostKeys   []string       `json:"host_keys,omitempty"`   // authorized_keys lines
	Commit     string         `json:"commit"`                // of the code it was last told to run
	Ready      bool           `json:"ready"`                 // converged in this life
	HandedOver bool           `json:"handed_over,omitempty"` // the bootstrap user of this life is on its way out, or gone
	Boot       string         `json:"boot"`                  // the boot that we expect; "": not known yet
	Left       string         `json:"left,omitempty"`        // the boot that a reboot must leave behind
	LeftAt     time.Time      `json:"left_at,omitzero"`      // when that reboot was asked for
	Down       bool           `json:"down,omitempty"`        // crashed on purpose
	Status     *puppet.Status `json:"status,omitempty"`      // of the newest provisioning
	Report     *puppet.Report `json:"report,omitempty"`      // of the newest provisioning that could be read
}

type volume struct {
	Name    string         `json:"name"` // as the product calls it
	SizeMiB int64          `json:"size_mib"`
	ID      cloud.VolumeID `json:"id"`
	Path    string         `json:"path"`
}

// began notes the start of a server's life, once however often it is told.
func (r *record) began(made cloud.Server, role product.Role, now time.Time) {
	for _, u := range r.Uses {
		if u.Kind == cost.Server && u.Name == made.Name && u.To.IsZero() {
			return
		}
	}
	use := cost.Use{
		Kind: cost.Server, Name: made.Name, Type: made.Type, CPUs: role.CPUs, MemoryMiB: role.MemoryMiB,
		GiB: gib(made.RootMiB), From: made.Launched,
	}
	if use.From.IsZero() {
		use.From = now
	}
	r.Uses = append(r.Uses, use)
}

// ended notes the end of a server's life.
func (r *record) ended(server string, at time.Time) {
	for i := range r.Uses {
		if u := &r.Uses[i]; u.Kind == cost.Server && u.Name == server && u.To.IsZero() {
			u.To = at
		}
	}
}

// Uses returns what the environment consumed, for cost reports. It comes from the record, so it does not matter
// which process launched or destroyed a server.
func Uses(e ledger.Environment) ([]cost.Use, error) {
	var r record
	if len(e.Body) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(e.Body, &r); err != nil {
		return nil, fmt.Errorf("environment %s: its record: %w", e.ID, err)
	}
	for i := range r.Uses {
		if u := &r.Uses[i]; u.To.IsZero() {
			u.To = e.Ended
		}
	}
	return r.Uses, nil
}

// forget drops what is only true of one life of the server.
func (m *machine) forget() {
	m.ID, m.HostKeys, m.Ready, m.HandedOver, m.Boot, m.Left, m.Down, m.Status = "", nil, false, false, "", "", false, nil
	m.LeftAt = time.Time{}
}

// plan adopts the environment of r.Spec.ID, or records r as a new one.
func (s *Site) plan(ctx context.Context, r record) (*Environment, error) {
	if err := r.Spec.check(); err != nil {
		return nil, err
	}
	if _, err := s.allowed(r.Spec.Product); err != nil {
		return nil, fmt.Errorf("environment %s: %w", r.Spec.ID, err)
	}
	for _, m := range r.Servers {
		if r.Spec.Images[m.Role] == "" {
			return nil, fmt.Errorf("environment %s: no image for role %q", r.Spec.ID, m.Role)
		}
	}
	return s.claim(r.Spec.ID, func() (*Environment, error) {
		e, err := s.load(ctx, r.Spec.ID)
		if err == nil || !errors.Is(err, ledger.ErrNotFound) {
			return e, err
		}
		keys, err := newKeyring(r.Spec.Product)
		if err != nil {
			return nil, fmt.Errorf("environment %s: %w", r.Spec.ID, err)
		}
		e = s.newEnvironment(r, keys, ledger.Creating)
		return e, e.create(ctx)
	})
}

// alter changes one server's part of the record.
func (e *Environment) alter(ctx context.Context, server string, change func(*machine)) error {
	return e.change(ctx, func(r *record) {
		if m := r.find(server); m != nil {
			change(m)
		}
	})
}

func (r *record) find(server string) *machine {
	for _, m := range r.Servers {
		if m.Name == server {
			return m
		}
	}
	return nil
}

// layout turns a topology into servers, the bastion first: it is the way to the others. It is no
// reason to wait, though: others of the first level after it are set to work beside it.
func layout(p *product.Product, commit string) []*machine {
	var bastions, others []*machine
	level := 0
	for _, servers := range p.Levels() {
		begun := false
		for _, s := range servers {
			m := &machine{Name: s.Name, Role: s.Role, Bastion: p.Roles[s.Role].Bastion, Commit: commit}
			for _, v := range s.Volumes {
				m.Volumes = append(m.Volumes, volume{Name: v.Name, SizeMiB: v.SizeMiB})
			}
			if m.Bastion {
				bastions = append(bastions, m)
				continue
			}
			if !begun {
				begun = true
				level++
			}
			m.Level = level
			others = append(others, m)
		}
	}
	return append(bastions, others...)
}
