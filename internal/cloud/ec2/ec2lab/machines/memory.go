package machines

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"golang.org/x/crypto/ssh"
)

// Memory is a Host that runs nothing. A test may look at what it was told, and make a machine power
// itself off. It is safe for concurrent use.
type Memory struct {
	mu       sync.Mutex
	machines map[string]*remembered
	images   map[string]bool
	volumes  map[string]string // machine by volume; "": detached
	ends     []End
	captured int
	pulled   int
}

type remembered struct {
	spec    Spec
	running bool
	boots   int
}

// NewMemory makes a host that has the given images.
func NewMemory(images ...string) *Memory {
	m := &Memory{machines: map[string]*remembered{}, images: map[string]bool{}, volumes: map[string]string{}}
	for _, image := range images {
		m.images[image] = true
	}
	return m
}

var _ Host = (*Memory)(nil)

// PowerOff is what happens when somebody on the machine shuts it down.
func (m *Memory) PowerOff(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.machines[id]; r != nil {
		r.running = false
	}
}

// Ends are the rules that hold.
func (m *Memory) Ends() []End {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ends
}

// Left says what there is, for the test that nothing is.
func (m *Memory) Left() (machines, volumes, images int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.machines), len(m.volumes), len(m.images)
}

// Pulled is how many machines were destroyed while they ran.
func (m *Memory) Pulled() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pulled
}

// with runs do on a machine.
func (m *Memory) with(id string, do func(*remembered) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.machines[id]
	if r == nil {
		return fmt.Errorf("no machine %s", id)
	}
	return do(r)
}

// Launch implements Host.
func (m *Memory) Launch(_ context.Context, spec Spec) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.images[spec.Image] {
		return fmt.Errorf("no image %s", spec.Image)
	}
	for _, r := range m.machines {
		if r.spec.Address == spec.Address {
			return fmt.Errorf("%s has the address %s", r.spec.ID, spec.Address)
		}
	}
	for volume := range spec.Volumes {
		m.volumes[volume] = spec.ID
	}
	m.machines[spec.ID] = &remembered{spec: spec, running: true, boots: 1}
	return nil
}

// Start implements Host.
func (m *Memory) Start(_ context.Context, id string) error {
	return m.with(id, func(r *remembered) error {
		r.running = true
		r.boots++
		return nil
	})
}

// Stop implements Host.
func (m *Memory) Stop(_ context.Context, id string, _ bool) error {
	return m.with(id, func(r *remembered) error {
		r.running = false
		return nil
	})
}

// Reboot implements Host.
func (m *Memory) Reboot(_ context.Context, id string) error {
	return m.with(id, func(r *remembered) error {
		r.boots++
		return nil
	})
}

// Destroy implements Host.
func (m *Memory) Destroy(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.machines[id]; r != nil && r.running {
		m.pulled++
	}
	delete(m.machines, id)
	for volume, machine := range m.volumes {
		if machine == id {
			m.volumes[volume] = ""
		}
	}
	return nil
}

// Running implements Host.
func (m *Memory) Running(context.Context) (map[string]bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	running := map[string]bool{}
	for id, r := range m.machines {
		running[id] = r.running
	}
	return running, nil
}

// Console implements Host: it tells how often the machine was booted, and a host key as cloud-init does.
func (m *Memory) Console(_ context.Context, id string) (text []byte, err error) {
	seed := sha256.Sum256([]byte(id))
	key, err := ssh.NewPublicKey(ed25519.NewKeyFromSeed(seed[:]).Public())
	if err != nil {
		return nil, err
	}
	err = m.with(id, func(r *remembered) error {
		text = fmt.Appendf(nil, "boot %d of %s, which is only remembered\n", r.boots, id)
		text = fmt.Appendf(text, "-----BEGIN SSH HOST KEY KEYS-----\n%s-----END SSH HOST KEY KEYS-----\n", ssh.MarshalAuthorizedKey(key))
		return nil
	})
	return text, err
}

// Capture implements Host.
func (m *Memory) Capture(_ context.Context, id, _ string) (image string, err error) {
	err = m.with(id, func(*remembered) error {
		m.captured++
		image = fmt.Sprintf("captured-%d", m.captured)
		m.images[image] = true
		return nil
	})
	return image, err
}

// HasImage implements Host.
func (m *Memory) HasImage(_ context.Context, image string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.images[image] {
		return fmt.Errorf("no image %s", image)
	}
	return nil
}

// DeleteImage implements Host.
func (m *Memory) DeleteImage(_ context.Context, image string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.images, image)
	return nil
}

// CreateVolume implements Host.
func (m *Memory) CreateVolume(_ context.Context, id, from string, _ int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, there := m.volumes[from]; from != "" && !there {
		return fmt.Errorf("no volume %s", from)
	}
	m.volumes[id] = ""
	return nil
}

// AttachVolume implements Host.
func (m *Memory) AttachVolume(_ context.Context, id, machine, _ string) error {
	return m.with(machine, func(*remembered) error {
		if has, there := m.volumes[id]; !there || has != "" {
			return errors.New("the volume is not free")
		}
		m.volumes[id] = machine
		return nil
	})
}

// DetachVolume implements Host.
func (m *Memory) DetachVolume(_ context.Context, id, _ string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, there := m.volumes[id]; there {
		m.volumes[id] = ""
	}
	return nil
}

// DeleteVolume implements Host.
func (m *Memory) DeleteVolume(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.volumes, id)
	return nil
}

// Wall implements Host.
func (m *Memory) Wall(_ context.Context, ends []End) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ends = ends
	return nil
}

// Serve implements Host: nobody asks.
func (m *Memory) Serve(context.Context, http.Handler) error { return nil }

// Close implements Host.
func (m *Memory) Close(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.machines, m.volumes = map[string]*remembered{}, map[string]string{}
	return nil
}
