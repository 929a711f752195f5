package machines

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	client "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"

	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

const custom = "custom" // Incus' type of volumes that belong to no instance

func (h *Incus) disk(volume, path string) map[string]string {
	return map[string]string{"type": "disk", "pool": h.cfg.Pool, "source": volume, "path": path}
}

// Capture implements Host. It publishes a snapshot, which can be taken of a machine that runs, and
// uncompressed: nobody keeps these images.
func (h *Incus) Capture(ctx context.Context, id, name string) (string, error) {
	const snapshot = "capture"
	c, err := h.connect(ctx, h.project)
	if err != nil {
		return "", err
	}
	err = h.patiently(ctx, id, func(c client.InstanceServer) error {
		op, err := c.CreateInstanceSnapshot(id, api.InstanceSnapshotsPost{Name: snapshot})
		_, err = incusd.Finish(c, op, err)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("snapshot: %w", err)
	}
	op, err := c.CreateImage(api.ImagesPost{
		ImagePut:             api.ImagePut{Properties: map[string]string{tagLab: h.cfg.Name, "description": name}},
		Source:               &api.ImagesPostSource{Type: "snapshot", Name: id + "/" + snapshot},
		CompressionAlgorithm: "none",
	}, nil)
	result, err := incusd.Finish(c, op, err)
	gone := h.patiently(ctx, id, func(c client.InstanceServer) error {
		op, err := c.DeleteInstanceSnapshot(id, snapshot)
		_, err = incusd.Finish(c, op, err)
		return err
	})
	if err := errors.Join(err, gone); err != nil {
		return "", fmt.Errorf("publish: %w", err)
	}
	fingerprint, ok := result["fingerprint"].(string)
	if !ok {
		return "", errors.New("publish: Incus does not say what it made")
	}
	return fingerprint, nil
}

// HasImage implements Host.
func (h *Incus) HasImage(ctx context.Context, image string) error {
	c, err := h.connect(ctx, "")
	if err != nil {
		return err
	}
	_, _, err = c.GetImage(image)
	return err
}

// DeleteImage implements Host.
func (h *Incus) DeleteImage(ctx context.Context, image string) error {
	c, err := h.connect(ctx, "")
	if err != nil {
		return err
	}
	op, err := c.DeleteImage(image)
	if _, err = incusd.Finish(c, op, err); incusd.Absent(err) {
		return nil
	}
	return err
}

// CreateVolume implements Host.
func (h *Incus) CreateVolume(ctx context.Context, id, from string, sizeGiB int) error {
	c, err := h.connect(ctx, h.project)
	if err != nil {
		return err
	}
	put := api.StorageVolumePut{Config: api.ConfigMap{"size": strconv.Itoa(sizeGiB) + "GiB"}}
	post := api.StorageVolumesPost{Name: id, Type: custom, ContentType: "filesystem", StorageVolumePut: put}
	if from == "" {
		return c.CreateStoragePoolVolume(h.cfg.Pool, post)
	}
	source, _, err := c.GetStoragePoolVolume(h.cfg.Pool, custom, from)
	if err != nil {
		return err
	}
	op, err := c.CopyStoragePoolVolume(h.cfg.Pool, c, h.cfg.Pool, *source, &client.StoragePoolVolumeCopyArgs{
		Name: id, VolumeOnly: true,
	})
	if err != nil {
		return err
	}
	return op.Wait()
}

// AttachVolume implements Host.
func (h *Incus) AttachVolume(ctx context.Context, id, machine, path string) error {
	return h.devices(ctx, machine, func(devices api.DevicesMap) { devices[id] = h.disk(id, path) })
}

// DetachVolume implements Host.
func (h *Incus) DetachVolume(ctx context.Context, id, machine string) error {
	err := h.devices(ctx, machine, func(devices api.DevicesMap) { delete(devices, id) })
	if incusd.Absent(err) {
		return nil
	}
	return err
}

func (h *Incus) devices(ctx context.Context, machine string, change func(api.DevicesMap)) error {
	return h.patiently(ctx, machine, func(c client.InstanceServer) error {
		in, etag, err := c.GetInstance(machine)
		if err != nil {
			return err
		}
		put := in.Writable()
		change(put.Devices)
		op, err := c.UpdateInstance(machine, put, etag)
		_, err = incusd.Finish(c, op, err)
		return err
	})
}

// DeleteVolume implements Host.
func (h *Incus) DeleteVolume(ctx context.Context, id string) error {
	c, err := h.connect(ctx, h.project)
	if err != nil {
		return err
	}
	if err := c.DeleteStoragePoolVolume(h.cfg.Pool, custom, id); !incusd.Absent(err) {
		return err
	}
	return nil
}
