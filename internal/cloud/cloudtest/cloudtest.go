// Package cloudtest holds the contract of cloud.Provider: one suite that every provider passes, the
// simulated and the real ones. It owns what the words of package cloud mean in practice, so callers
// may rely on them without knowing the provider. It launches two servers one after the other, two
// networks and one volume, so that running it against a real cloud stays cheap.
package cloudtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Fixture is a provider to be tested and what the suite must know of it.
type Fixture struct {
	Provider cloud.Provider
	Owner    string // of everything that the suite makes; nothing else may use it meanwhile

	Base     cloud.Image    // a reference base to launch from; it may belong to Owner, and is left alone
	BaseSpec cloud.BaseSpec // resolves to Base, by name and digest, without an age

	// Patience bounds one wait for a state: real time, or the time that Pause let pass.
	Patience time.Duration
	// Pause lets d pass before the suite looks again. Nil sleeps; a fake advances its clock.
	Pause func(d time.Duration)

	// Boots says that servers are real: cloud-init runs their user-data, and volumes hold data.
	Boots bool
	// Booted is what a console says once a server is up. Empty: any output will do.
	Booted string
	// Dial connects from Hallmark's host to a server. Nil: whether AllowAdmin opens the way is not tested.
	Dial func(ctx context.Context, address netip.AddrPort) error
	// Rootfs is a small root file system for cloud.BaseImporter; it is never launched. Empty: not tested.
	Rootfs string
	// Kept lists where this host keeps a text, as Search does: the provider's own records, logs and files, but not the
	// disks of its servers. Nil: what a Confidant keeps is not tested.
	Kept func(text string) ([]string, error)
	// Cannot names chapters that this place cannot tell, each with the reason. They are reported as skipped.
	Cannot map[string]string
	// Family spells "any base whose name begins with this" as BaseSpec.Name. Nil: prefix + "*".
	Family func(prefix string) string
}

// Run tests the provider that fixture gives against the contract. The subtests are the chapters of
// one story and share their resources: where one cannot go on, those after it are skipped. Whatever is
// left over at the end, also after a failure, is removed.
func Run(t *testing.T, fixture func(t *testing.T) Fixture) {
	f := fixture(t)
	if f.Pause == nil {
		f.Pause = time.Sleep
	}
	if f.Family == nil {
		f.Family = func(prefix string) string { return prefix + "*" }
	}
	s := &story{Fixture: f, deadline: time.Now().Add(2 * time.Hour).UTC().Truncate(time.Second), private: rand.Text(), public: rand.Text()}
	t.Cleanup(func() { s.clear(t) })

	chapters := []chapter{
		{"resolve base", s.resolveBase},
		{"import base", s.importBase},
		{"network", s.networks},
		{"volume", s.volumes},
		{"launch", s.launch},
		{"private files", s.privateFiles},
		{"console", s.console},
		{"screen", s.screen},
		{"admin way", s.adminWay},
		{"refusals while it runs", s.refusals},
		{"reboot", s.reboot},
		{"stop and start", s.stopAndStart},
		{"disk", s.disk},
		{"capture", s.capture},
		{"destroy", s.destroy},
		{"launch from captured", s.relaunch},
		{"publish", s.publish},
		{"attach and detach", s.attach},
		{"snapshot", s.snapshots},
		{"cancelled context", s.cancelled},
		{"revoke", s.revoke},
		{"owned", s.owned},
		{"removal", s.removal},
		{"nothing private is kept", s.privateIsGone},
	}
	if err := leavesOut(chapters, f.Cannot); err != nil {
		t.Error(err)
	}
	for _, c := range chapters {
		ok := t.Run(c.name, func(t *testing.T) {
			if s.lost {
				t.Skip("an earlier chapter failed")
			}
			if why := f.Cannot[c.name]; why != "" {
				t.Skip("it cannot: " + why)
			}
			c.tell(t)
		})
		s.lost = s.lost || !ok
	}
}

// chapter is a part of the contract.
type chapter struct {
	name string
	tell func(*testing.T)
}

// leavesOut checks what a place says that it cannot: a chapter that is not there, or no reason, would
// leave out more than anybody knows.
func leavesOut(chapters []chapter, cannot map[string]string) error {
	for name, why := range cannot {
		if !slices.ContainsFunc(chapters, func(c chapter) bool { return c.name == name }) {
			return fmt.Errorf("the contract has no chapter %q to leave out", name)
		}
		if why == "" {
			return fmt.Errorf("the chapter %q is left out, and nobody says why", name)
		}
	}
	return nil
}

// story is what the chapters hand on to each other.
type story struct {
	Fixture
	deadline time.Time
	lost     bool // a chapter failed: those after it have nothing to stand on

	network  cloud.Network
	volume   cloud.Volume
	server   cloud.Server // the one that is up now
	gone     cloud.ServerID
	captured cloud.Image

	private string // random: what a private file holds
	public  string // random: what user-data holds, which a provider may keep
}

// tags are those of everything that the suite makes, with one more for the role.
func (s *story) tags(role string) cloud.Tags {
	return cloud.Tags{
		Owner: s.Owner, Run: "contract-run", Environment: "contract-env", Deadline: s.deadline,
		Extra: map[string]string{"role": role},
	}
}

// others are servers that never come, or are refused; their addresses are reserved all the same.
const (
	other = "web-2"
	never = "web-9"
)

// serverSpec describes the one server of the story, which is launched twice.
func (s *story) serverSpec(token string, image cloud.ImageID) cloud.ServerSpec {
	spec := cloud.ServerSpec{
		Name: "web-1", Network: s.network.ID, Image: image, Address: s.network.Addresses["web-1"], Token: token,
		Tags: s.tags("web"), Volumes: []cloud.VolumeID{s.volume.ID},
	}
	if s.confidant() {
		spec.Private = s.privateFile()
	}
	if s.Boots {
		spec.UserData = "#cloud-config\n# " + s.public + "\nruncmd:\n- [sh, -c, '" + s.tellsPrivate(spec.Private) +
			`echo "contract: volume holds ($(cat ` + s.volume.Path + `/mark 2>/dev/null))" >/dev/console; ` +
			`echo kept >` + s.volume.Path + "/mark; sync']\n"
	}
	return spec
}

func (s *story) volumeSpec() cloud.VolumeSpec {
	return cloud.VolumeSpec{Name: "web-1-data", Network: s.network.ID, SizeMiB: 64, Tags: s.tags("web")}
}

// await looks at the server until ok, or until patience ends.
func (s *story) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	const step = 200 * time.Millisecond
	began, paused := time.Now(), time.Duration(0)
	for !ok() {
		if time.Since(began) > s.Patience || paused > s.Patience {
			t.Fatalf("waited %v for %s", s.Patience, what)
		}
		s.Pause(step)
		paused += step
	}
}

// awaitState waits for the server's state; every state on the way must be one of via.
func (s *story) awaitState(t *testing.T, want cloud.State, via ...cloud.State) {
	t.Helper()
	s.await(t, "server "+string(want), func() bool {
		now, found := s.look(t, s.server.ID)
		if !found {
			t.Fatalf("server %s is not listed", s.server.ID)
		}
		if now.State == want {
			return true
		}
		for _, v := range via {
			if now.State == v {
				return false
			}
		}
		t.Fatalf("state %s on the way to %s", now.State, want)
		return false
	})
}

// look finds a server in the list of its environment.
func (s *story) look(t *testing.T, id cloud.ServerID) (cloud.Server, bool) {
	t.Helper()
	list, err := s.Provider.Servers(t.Context(), cloud.Filter{Owner: s.Owner, Environment: "contract-env"})
	must(t, err, "list servers")
	for _, server := range list {
		if server.ID == id {
			return server, true
		}
	}
	return cloud.Server{}, false
}

// clear removes what is left, in the order in which it can be removed.
func (s *story) clear(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer cancel()
	left, err := s.Provider.Owned(ctx, s.Owner)
	if err != nil {
		t.Errorf("list what is left: %v", err)
		return
	}
	for _, kind := range cloud.Kinds() {
		for _, r := range left {
			if r.Kind != kind || s.isBase(r) {
				continue
			}
			if err := s.Provider.Delete(ctx, r); err != nil {
				t.Errorf("remove %s %s: %v", r.Kind, r.Name, err)
			}
		}
	}
}

func (s *story) isBase(r cloud.Resource) bool {
	return r.Kind == cloud.KindImage && r.ID == string(s.Base.ID)
}
