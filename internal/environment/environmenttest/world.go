// Package environmenttest plays the inside of servers for tests of everything above package
// environment: over any cloud.Provider, usually sim, a World gives servers that provision
// themselves, hold files, change their boot IDs, let in whom they must and nobody else, and fail as
// scripted. It knows what hallmark-provision and package environment say to a shell, and nothing of
// SSH. A World outlives the process that a test pretends to kill.
package environmenttest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// World is all servers of one provider, seen from inside.
type World struct {
	// Shell answers commands that the World does not know: health checks, tests. Not answering is
	// exit 0 without output. It may be nil.
	Shell func(server Server, cmd remote.Command) (result remote.Result, answered bool)

	provider cloud.Provider
	clock    environment.Clock
	takes    time.Duration

	mu        sync.Mutex
	hosts     map[cloud.ServerID]*host
	admitted  map[cloud.NetworkID][]netip.Addr
	trouble   map[string]Trouble
	handOvers map[string]HandOver
	faults    []string       // of hand-overs
	dials     map[string]int // of the bootstrap user, by server name
	closed    bool           // package sources
	boots     int
}

// Server is a server as Shell sees it.
type Server struct {
	ID     cloud.ServerID
	Name   string
	Role   string
	Commit string
	Boot   string
	Files  map[string]string // what was put there, by path; a copy
}

// Trouble is what goes wrong on a server.
type Trouble struct {
	Puppet      *puppet.Resource // this resource fails
	Cause       string           // with Puppet: the cause in the report; "" is puppet.failed
	Endless     bool             // the unit never ends
	Dies        bool             // the unit ends without a report
	Closed      verdict.Leg      // the product closes this leg of the admin's way, once it has converged
	Silent      bool             // with Closed: packets are dropped, where else the server's kernel refuses
	Lost        bool             // the network carries nothing to it, though it runs
	Stuck       bool             // a reboot leaves it on its boot
	NoBoot      bool             // nothing listens on tcp/22
	KeepsAccess bool             // the bootstrap user is not removed
	LetsIn      remote.Code      // with such a code the bastion lets an admin in, too; after ForeignCode with any
}

// New makes a World over a provider. Provisioning takes that long by the clock.
func New(p cloud.Provider, clock environment.Clock, takes time.Duration) *World {
	return &World{
		provider: p, clock: clock, takes: takes, hosts: map[cloud.ServerID]*host{},
		admitted: map[cloud.NetworkID][]netip.Addr{}, trouble: map[string]Trouble{}, handOvers: map[string]HandOver{}, dials: map[string]int{},
	}
}

// Trouble makes servers of that name fail from now on; a zero Trouble ends it.
func (w *World) Trouble(server string, t Trouble) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trouble[server] = t
}

// CloseSources makes the package sources unreachable from inside.
func (w *World) CloseSources(closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = closed
}

// Provisioned counts how often servers of that name began to provision themselves.
func (w *World) Provisioned(server string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, h := range w.hosts {
		if h.name == server {
			n += h.runs
		}
	}
	return n
}

// Reported tells when the server of that name reported; zero if it has not.
func (w *World) Reported(server string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.hosts {
		if h.name != server {
			continue
		}
		if w.settle(h); h.status != nil {
			return h.status.Finished
		}
	}
	return time.Time{}
}

// Secrets gives every secret that a server was told, to search for it where it must not be.
func (w *World) Secrets() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, h := range w.hosts {
		all = append(all, h.secrets()...)
	}
	return all
}

// secrets gives those that a server was told, sorted.
func (h *host) secrets() []string {
	var secrets map[string]string
	if yaml.Unmarshal([]byte(h.files[puppet.SecretsPath]), &secrets) != nil {
		return nil
	}
	return slices.Sorted(maps.Values(secrets))
}

// host is one server in one life.
type host struct {
	id        cloud.ServerID
	network   cloud.NetworkID
	name      string
	address   netip.Addr
	boot      string
	booted    time.Time // end of its last boot but the first
	files     map[string]string
	bootstrap string // authorized_keys line of the bootstrap user, "" once it is gone
	began     time.Time
	runs      int
	status    *puppet.Status
	admin     bool                  // the admin's account was made
	announced bool                  // it hands over
	closed    bool                  // the bootstrap user is let in no more
	inside    map[*session]struct{} // the bootstrap user's
	lastLeft  time.Time             // when one of them ended
	snapshots map[string]*host
}

// told is what the server's files say it shall be.
type told struct {
	commit, role string
	stage        puppet.Stage
	admin        puppet.Admin
	bastion      bool
	awaits       bool // secrets are brought
}

func (h *host) told() told {
	var t told
	for line := range strings.Lines(h.files[puppet.SettingsPath]) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "HALLMARK_COMMIT":
			t.commit = value
		case "HALLMARK_STAGE":
			t.stage = puppet.Stage(value)
		case "HALLMARK_SECRETS":
			t.awaits = value == "awaited"
		}
	}
	var facts struct {
		Role     string `json:"hallmark_role"`
		Hallmark struct {
			Admin   puppet.Admin `json:"admin"`
			Bastion string       `json:"bastion"`
		} `json:"hallmark"`
	}
	if json.Unmarshal([]byte(h.files[puppet.FactsPath]), &facts) == nil {
		t.role, t.admin = facts.Role, facts.Hallmark.Admin
		t.bastion = facts.Hallmark.Bastion == h.address.String()
	}
	return t
}

// newHost reads user-data as cloud-init would.
func (w *World) newHost(s cloud.Server, spec cloud.ServerSpec) (*host, error) {
	var config struct {
		Users []struct {
			Keys []string `yaml:"ssh_authorized_keys"`
		} `yaml:"users"`
		Files []struct {
			Path    string `yaml:"path"`
			Content string `yaml:"content"`
		} `yaml:"write_files"`
	}
	if err := yaml.Unmarshal([]byte(spec.UserData), &config); err != nil {
		return nil, fmt.Errorf("user-data of %s: %w", s.Name, err)
	}
	h := &host{
		id: s.ID, network: spec.Network, name: s.Name, address: s.Address, boot: w.nextBoot(),
		files: map[string]string{}, snapshots: map[string]*host{}, inside: map[*session]struct{}{},
	}
	for _, f := range config.Files {
		h.files[f.Path] = f.Content
	}
	for _, f := range spec.Private {
		h.files[f.Path] = string(f.Content)
	}
	if len(config.Users) > 0 && len(config.Users[0].Keys) > 0 {
		h.bootstrap = config.Users[0].Keys[0]
	}
	if t := h.told(); t.commit != "" && h.files[puppet.UnitPath] == "" { // a prebuilt image: its unit starts at boot
		h.files[codePath(t.commit)] = "code"
		h.start(w.clock.Now())
	}
	return h, nil
}

func codePath(commit string) string { return puppet.ProductDir(commit) + "/" }

func (w *World) nextBoot() string {
	w.boots++
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", w.boots)
}

// start begins a run of the unit, if there is anything to do.
func (h *host) start(now time.Time) {
	t := h.told()
	if h.status != nil && h.status.Outcome == puppet.Converged && h.status.For(t.commit, t.stage) {
		return
	}
	h.status, h.began = nil, now
	h.runs++
}

// settle lets happen what has happened by now.
func (w *World) settle(h *host) {
	trouble, now := w.trouble[h.name], w.clock.Now()
	if h.status != nil || h.began.IsZero() || trouble.Endless || trouble.Dies || now.Before(h.began.Add(w.takes)) {
		return
	}
	t := h.told()
	if t.awaits && h.files[puppet.SecretsPath] == "" {
		return
	}
	s := &puppet.Status{
		Commit: t.commit, Stage: t.stage, Outcome: puppet.Converged, Exit: 2, Run: h.runs,
		Started: h.began, Finished: h.began.Add(w.takes),
	}
	switch {
	case h.files[codePath(t.commit)] == "":
		s.Outcome, s.Exit, s.Cause, s.Message = puppet.Failed, 1, "puppet.failed", "no code"
	case trouble.Puppet != nil:
		s.Outcome, s.Exit, s.Cause, s.Message = puppet.Failed, 4, "puppet.failed", trouble.Puppet.Message
		if trouble.Cause != "" {
			s.Cause = cause(trouble.Cause)
		}
	case t.stage == puppet.StageLaunch:
		if h.bootstrap != "" && !trouble.KeepsAccess && !w.handedOver(h, h.began.Add(w.takes)) {
			return
		}
		h.admin = true
		if h.announced {
			s.Finished = now
		}
	}
	h.status = s
}

// running gives the host at an address if the provider says that it runs.
func (w *World) running(ctx context.Context, address string) (*host, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	list, err := w.provider.Servers(ctx, cloud.Filter{})
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range list {
		if h := w.hosts[s.ID]; h != nil && s.State == cloud.Running && s.Address == at.Addr() && !w.trouble[h.name].NoBoot {
			w.settle(h)
			return h, nil
		}
	}
	return nil, fmt.Errorf("nothing answers at %s", address)
}

// admits reports whether the network lets Hallmark's host in to a host.
func (w *World) admits(h *host) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.admitted[h.network], h.address)
}
