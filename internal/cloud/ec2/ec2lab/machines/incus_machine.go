package machines

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

// mostProcesses is what one machine may run: far more than its tests do, and no fork bomb.
const mostProcesses = 4000

// Launch implements Host. The machine is dressed as one of EC2's before its first start. Once begun
// this is not broken off, so that whoever destroys the machine finds it.
func (h *Incus) Launch(ctx context.Context, spec Spec) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Minute)
	defer cancel()
	c := h.connect(h.project)
	devices := incusd.Devices{
		"root": {"type": "disk", "path": "/", "pool": h.cfg.Pool},
		"eth0": {
			"type": "nic", "name": "eth0", "network": h.bridge, "ipv4.address": spec.Address.String(),
			"hwaddr": hardwareAddress(spec.Address), "security.port_isolation": "true",
		},
	}
	for volume, path := range spec.Volumes {
		devices[volume] = h.disk(volume, path)
	}
	machine := incusd.NewInstance{Name: spec.ID, Image: spec.Image, Devices: devices}
	machine.Wall(incusd.Bounds{CPUs: spec.VCPUs, CPUShare: 100, MemoryMiB: spec.MemoryMiB, DiskMiB: spec.RootGiB << 10, Processes: mostProcesses})
	if err := c.CreateInstance(ctx, machine); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	if err := dress(ctx, c, spec.ID); err != nil {
		return fmt.Errorf("dress: %w", err)
	}
	return h.turn(ctx, spec.ID, "start", false, 0)
}

// hardwareAddress is made from the address: see ec2lab.
func hardwareAddress(a interface{ As4() [4]byte }) string {
	b := a.As4()
	return fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
}

//go:embed guest/ec2lab.cfg
var cloudConfig string

//go:embed guest/sitecustomize.py
var firmware string

//go:embed guest/drop-in.conf
var dropIn string

// clothes make cloud-init see EC2. All of it is written anew for each machine, so it does no harm
// that images keep it.
var clothes = []struct{ path, text string }{
	{"/etc/cloud/cloud.cfg.d/99_ec2lab.cfg", cloudConfig},
	{"/var/lib/ec2lab/sitecustomize.py", firmware},
	{"/etc/systemd/system/cloud-init-local.service.d/ec2lab.conf", dropIn},
	{"/etc/systemd/system/cloud-init.service.d/ec2lab.conf", dropIn},
}

func dress(ctx context.Context, c *incusd.Client, machine string) error {
	for _, item := range clothes {
		for _, dir := range []string{filepath.Dir(filepath.Dir(item.path)), filepath.Dir(item.path)} {
			err := c.MakeFolder(ctx, machine, dir, 0o755)
			if err != nil && !strings.Contains(err.Error(), "exist") {
				return fmt.Errorf("make %s: %w", dir, err)
			}
		}
		err := c.WriteFile(ctx, machine, item.path, 0o644, strings.NewReader(item.text))
		if err != nil {
			return fmt.Errorf("write %s: %w", item.path, err)
		}
	}
	return nil
}

// turn changes the state of a machine. A timeout of 0 waits for as long as it takes.
func (h *Incus) turn(ctx context.Context, id, how string, force bool, timeout time.Duration) error {
	return h.patiently(ctx, id, func(c *incusd.Client) error {
		if how == "stop" && !force {
			defer incusd.Remind(ctx, c, id)()
		}
		err := c.ChangeState(ctx, id, incusd.StateChange{Action: how, Force: force, Timeout: timeout})
		if err != nil && (strings.Contains(err.Error(), "already stopped") || strings.Contains(err.Error(), "already running")) {
			return nil
		}
		return err
	})
}

// Start implements Host.
func (h *Incus) Start(ctx context.Context, id string) error {
	return h.turn(ctx, id, "start", false, 0)
}

// Stop implements Host: cleanly, and by force if that takes longer than the configured grace.
func (h *Incus) Stop(ctx context.Context, id string, force bool) error {
	if !force {
		if err := h.turn(ctx, id, "stop", false, h.cfg.Grace); err == nil || ctx.Err() != nil || incusd.Absent(err) {
			return err
		}
	}
	return h.turn(ctx, id, "stop", true, 0)
}

// Reboot implements Host: down, by force if need be, and up again.
func (h *Incus) Reboot(ctx context.Context, id string) error {
	if err := h.Stop(ctx, id, false); err != nil {
		return err
	}
	return h.Start(ctx, id)
}

// Destroy implements Host. Devices go with the machine, volumes do not.
func (h *Incus) Destroy(ctx context.Context, id string) error {
	if err := h.turn(ctx, id, "stop", true, 0); err != nil && !incusd.Absent(err) {
		return err
	}
	err := h.patiently(ctx, id, func(c *incusd.Client) error { return c.DeleteInstance(ctx, id) })
	if err != nil && !incusd.Absent(err) {
		return err
	}
	return incusd.RemoveInstanceLogs(h.cfg.LogDir, h.project, id)
}

// Running implements Host.
func (h *Incus) Running(ctx context.Context) (map[string]bool, error) {
	if err := h.quotas.Hold(ctx); err != nil && ctx.Err() == nil {
		h.cfg.Log.Warn("machines may fill the storage pool", "err", err)
	}
	all, err := h.connect(h.project).Instances(ctx)
	if err != nil {
		return nil, err
	}
	running := map[string]bool{}
	for _, in := range all {
		running[in.Name] = in.StatusCode != incusd.Stopped
	}
	return running, nil
}

// Console implements Host. It reads Incus' log on this host: the API gives the unread part of a ring
// buffer, and takes away what it gives.
func (h *Incus) Console(_ context.Context, id string) ([]byte, error) {
	file, err := os.Open(filepath.Join(incusd.InstanceLogs(h.cfg.LogDir, h.project, id), "console.log"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // not started yet
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, 4<<20))
}
