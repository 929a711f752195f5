package machines

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

func (h *Incus) disk(volume, path string) map[string]string {
	return map[string]string{"type": "disk", "pool": h.cfg.Pool, "source": volume, "path": path}
}

// Capture implements Host. It publishes a snapshot, which can be taken of a machine that runs, and
// uncompressed: nobody keeps these images.
func (h *Incus) Capture(ctx context.Context, id, name string) (string, error) {
	const snapshot = "capture"
	err := h.patiently(ctx, id, func(c *incusd.Client) error { return c.CreateInstanceSnapshot(ctx, id, snapshot) })
	if err != nil {
		return "", fmt.Errorf("snapshot: %w", err)
	}
	fingerprint, err := h.connect(h.project).Publish(ctx, incusd.Publication{
		Snapshot: id + "/" + snapshot, Properties: map[string]string{tagLab: h.cfg.Name, "description": name},
	})
	gone := h.patiently(ctx, id, func(c *incusd.Client) error { return c.DeleteInstanceSnapshot(ctx, id, snapshot) })
	if err := errors.Join(err, gone); err != nil {
		return "", fmt.Errorf("publish: %w", err)
	}
	return fingerprint, nil
}

// HasImage implements Host.
func (h *Incus) HasImage(ctx context.Context, image string) error {
	_, err := h.connect("").Image(ctx, image)
	return err
}

// DeleteImage implements Host.
func (h *Incus) DeleteImage(ctx context.Context, image string) error {
	err := h.connect("").DeleteImage(ctx, image)
	if incusd.Absent(err) {
		return nil
	}
	return err
}

// CreateVolume implements Host.
func (h *Incus) CreateVolume(ctx context.Context, id, from string, sizeGiB int) error {
	c := h.connect(h.project)
	if from == "" {
		return c.CreateVolume(ctx, h.cfg.Pool, id, map[string]string{"size": strconv.Itoa(sizeGiB) + "GiB"})
	}
	source, err := c.Volume(ctx, h.cfg.Pool, from)
	if err != nil {
		return err
	}
	return c.CopyVolume(ctx, h.cfg.Pool, id, source)
}

// AttachVolume implements Host.
func (h *Incus) AttachVolume(ctx context.Context, id, machine, path string) error {
	return h.devices(ctx, machine, func(devices incusd.Devices) { devices[id] = h.disk(id, path) })
}

// DetachVolume implements Host.
func (h *Incus) DetachVolume(ctx context.Context, id, machine string) error {
	err := h.devices(ctx, machine, func(devices incusd.Devices) { delete(devices, id) })
	if incusd.Absent(err) {
		return nil
	}
	return err
}

func (h *Incus) devices(ctx context.Context, machine string, change func(incusd.Devices)) error {
	return h.patiently(ctx, machine, func(c *incusd.Client) error { return c.ChangeDevices(ctx, machine, change) })
}

// DeleteVolume implements Host.
func (h *Incus) DeleteVolume(ctx context.Context, id string) error {
	if err := h.connect(h.project).DeleteVolume(ctx, h.cfg.Pool, id); !incusd.Absent(err) {
		return err
	}
	return nil
}
