package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// world is everything that the cloud remembers. Lists keep the order of creation.
type world struct {
	Sequence int        `json:"sequence"` // gives ids; never goes back
	Networks []*network `json:"networks"`
	Servers  []*server  `json:"servers"`
	Volumes  []*volume  `json:"volumes"`
	Images   []*image   `json:"images"`
	Pools    []*pool    `json:"pools,omitempty"`
	Groups   []*group   `json:"groups,omitempty"`
	Ailing   []string   `json:"ailing,omitempty"` // servers, and images of groups, that balancers call unhealthy

	Copied    map[cloud.ImageID][]string          `json:"copied,omitempty"`    // for which channels, sorted
	Published map[cloud.ImageID][]string          `json:"published,omitempty"` // for which channels, sorted
	Pointed   map[string]map[string]cloud.ImageID `json:"pointed,omitempty"`   // by channel and role
}

type network struct {
	cloud.Network
	Egress []cloud.Egress `json:"egress"`
	Admin  []netip.Addr   `json:"admin"`
}

type server struct {
	cloud.Server
	Network   cloud.NetworkID      `json:"network"`
	Token     string               `json:"token"`
	On        bool                 `json:"on"`
	Changes   time.Time            `json:"changes"` // when On takes effect: it runs, or is stopped, from then
	Boots     int                  `json:"boots"`
	Lost      bool                 `json:"lost"`
	Broken    bool                 `json:"broken"`
	Snapshots map[string]time.Time `json:"snapshots"`
}

type volume struct {
	cloud.Volume
	Network cloud.NetworkID `json:"network"`
}

type image struct {
	cloud.Image
	Revoked bool `json:"revoked,omitempty"`
}

func newWorld() *world { return &world{} }

// next gives a new id of a kind. Ids are never used twice.
func (w *world) next(kind string) string {
	w.Sequence++
	return fmt.Sprintf("%s-%04d", kind, w.Sequence)
}

func (w *world) network(id cloud.NetworkID) *network {
	return find(w.Networks, func(n *network) bool { return n.ID == id })
}

func (w *world) server(id cloud.ServerID) *server {
	return find(w.Servers, func(s *server) bool { return s.ID == id && !s.Lost })
}

func (w *world) volume(id cloud.VolumeID) *volume {
	return find(w.Volumes, func(v *volume) bool { return v.ID == id })
}

func (w *world) image(id cloud.ImageID) *image {
	return find(w.Images, func(i *image) bool { return i.ID == id })
}

// launchable gives an image that may be launched, or nil.
func (w *world) launchable(id cloud.ImageID) *image {
	return find(w.Images, func(i *image) bool { return i.ID == id && !i.Revoked })
}

// find gives the first that fits, or nil.
func find[T any](list []*T, fits func(*T) bool) *T {
	if i := slices.IndexFunc(list, fits); i >= 0 {
		return list[i]
	}
	return nil
}

// disk keeps a world in a file that several processes share.
type disk struct{ path string }

// transact reads the world, changes it and, if that went well, writes it back, all under a lock on a
// file beside it: the file itself is replaced, so a reader never finds half of it.
func (d *disk) transact(change func(*world) error) error {
	lock, err := os.OpenFile(d.path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() // gives the lock back
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	w := newWorld()
	before, err := os.ReadFile(d.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(before, w); err != nil {
			return fmt.Errorf("%s is not the state of a simulated cloud: %w", d.path, err)
		}
	}
	if err := change(w); err != nil {
		return err
	}
	after, err := json.MarshalIndent(w, "", "  ")
	if err != nil {
		return err
	}
	if slices.Equal(before, after) {
		return nil
	}
	return replace(d.path, after)
}

// replace writes a file by renaming a finished one into its place.
func replace(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
