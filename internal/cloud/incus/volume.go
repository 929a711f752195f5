package incus

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"strconv"
	"strings"

	client "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

// locate splits the identifier of a volume, "project/name".
func locate(id cloud.VolumeID) (project, name string, ok bool) {
	project, name, ok = strings.Cut(string(id), "/")
	return project, name, ok && project != "" && name != "" && !strings.Contains(name, "/")
}

const custom = "custom" // Incus' type of volumes that belong to no instance

// mountRoot is where servers find their volumes, at a path that means nothing to any product.
const mountRoot = "/mnt/hallmark/"

// deviceName is the name of a volume's device on whatever server it is attached to.
func deviceName(volume string) string { return "volume-" + volume }

func (p *Provider) volumeDevice(volume string) map[string]string {
	return map[string]string{"type": "disk", "pool": p.cfg.Pool, "source": volume, "path": mountRoot + volume}
}

// CreateVolume makes a file system of its own on the pool, in the environment's project.
func (p *Provider) CreateVolume(ctx context.Context, spec cloud.VolumeSpec) (cloud.Volume, error) {
	call := "create volume " + spec.Name
	switch {
	case !name.MatchString(spec.Name) || len(deviceName(spec.Name)) > 63:
		return cloud.Volume{}, refuse(call, "the name must match %s and have no more than %d characters", name, 63-len(deviceName("")))
	case spec.Tags.Owner == "":
		return cloud.Volume{}, refuse(call, "no owner in its tags")
	case spec.SizeMiB <= 0:
		return cloud.Volume{}, refuse(call, "a volume needs a size")
	}
	c, err := p.connect(ctx, string(spec.Network))
	if err != nil {
		return cloud.Volume{}, fail(call, err)
	}
	// Without its project Incus would put the volume nowhere, with a less helpful error.
	if _, _, err := c.GetProject(string(spec.Network)); err != nil {
		return cloud.Volume{}, fail(call, err)
	}
	id := cloud.VolumeID(string(spec.Network) + "/" + spec.Name)
	v, err := p.volume(c, id)
	if !absent(err) {
		return v, fail(call, err)
	}
	config := api.ConfigMap(label(map[string]string{}, spec.Tags))
	config["size"] = strconv.FormatInt(spec.SizeMiB, 10) + "MiB"
	err = c.CreateStoragePoolVolume(p.cfg.Pool, api.StorageVolumesPost{
		Name: spec.Name, Type: custom, ContentType: "filesystem", StorageVolumePut: api.StorageVolumePut{Config: config},
	})
	if err != nil && classify(err) != cloud.CodeConflict { // another process was faster
		return cloud.Volume{}, fail(call, err)
	}
	v, err = p.volume(c, id)
	return v, fail(call, err)
}

// volume reads one volume through a client of its project.
func (p *Provider) volume(c client.InstanceServer, id cloud.VolumeID) (cloud.Volume, error) {
	_, name, ok := locate(id)
	if !ok {
		return cloud.Volume{}, &cloud.Error{
			Call: "find volume", Code: cloud.CodeNotFound, Err: fmt.Errorf("no volume has the identifier %q", id),
		}
	}
	found, _, err := c.GetStoragePoolVolume(p.cfg.Pool, custom, name)
	if err != nil {
		return cloud.Volume{}, err
	}
	v := cloud.Volume{
		ID: id, Name: name, Path: mountRoot + name, Tags: tagsOf(found.Config),
	}
	if user := user(found); user != "" {
		in, _, err := c.GetInstance(user)
		if err != nil && !absent(err) { // absent: destroyed just now
			return cloud.Volume{}, err
		}
		if err == nil {
			v.Attached = serverID(in)
		}
	}
	return v, nil
}

// user finds the instance that has a volume among its users ("/1.0/instances/web-1?project=…").
func user(v *api.StorageVolume) string {
	for _, user := range v.UsedBy {
		u, err := url.Parse(user)
		if err != nil {
			continue
		}
		if server, ok := strings.CutPrefix(u.Path, "/1.0/instances/"); ok && !strings.Contains(server, "/") {
			return server
		}
	}
	return ""
}

// AttachVolume gives a volume to a server, running or stopped, in the same environment. A volume
// that another server has is a CodeConflict.
func (p *Provider) AttachVolume(ctx context.Context, id cloud.VolumeID, server cloud.ServerID) error {
	call := "attach volume " + string(id)
	c, in, err := p.lookup(ctx, server)
	if err != nil {
		return fail(call, err)
	}
	if home, _, _ := locate(id); home != in.Project {
		return refuse(call, "it and %s are in different networks", server)
	}
	v, err := p.volume(c, id)
	if err != nil {
		return fail(call, err)
	}
	switch v.Attached {
	case server:
		return nil
	case "":
	default:
		return conflict(call, "%s has it", v.Attached)
	}
	return fail(call, changeDevices(ctx, c, in.Name, func(devices api.DevicesMap) {
		devices[deviceName(v.Name)] = p.volumeDevice(v.Name)
	}))
}

// DetachVolume takes a volume from the server that has it, if one.
func (p *Provider) DetachVolume(ctx context.Context, id cloud.VolumeID) error {
	call := "detach volume " + string(id)
	project, _, _ := locate(id)
	c, err := p.connect(ctx, project)
	if err != nil {
		return fail(call, err)
	}
	v, err := p.volume(c, id)
	if err != nil {
		return fail(call, err)
	}
	if v.Attached == "" {
		return nil
	}
	_, in, err := p.lookup(ctx, v.Attached)
	if err != nil {
		return skipAbsent(fail(call, err))
	}
	err = changeDevices(ctx, c, in.Name, func(devices api.DevicesMap) { delete(devices, deviceName(v.Name)) })
	return skipAbsent(fail(call, err))
}

// changeDevices reads, changes and writes the devices of an instance until nobody interferes.
func changeDevices(ctx context.Context, c client.InstanceServer, instance string, change func(api.DevicesMap)) error {
	for {
		err := incusd.Patiently(ctx, c, instance, func() error {
			found, etag, err := c.GetInstance(instance)
			if err != nil {
				return err
			}
			put := found.Writable()
			put.Devices = maps.Clone(put.Devices)
			change(put.Devices)
			op, err := c.UpdateInstance(instance, put, etag)
			_, err = incusd.Finish(c, op, err)
			return err
		})
		if !stale(err) {
			return err
		}
	}
}

// DeleteVolume refuses (CodeRefused) while a server has the volume.
func (p *Provider) DeleteVolume(ctx context.Context, id cloud.VolumeID) error {
	call := "delete volume " + string(id)
	project, name, ok := locate(id)
	if !ok {
		return nil
	}
	c, err := p.connect(ctx, project)
	if err != nil {
		return fail(call, err)
	}
	v, err := p.volume(c, id)
	if err != nil {
		return skipAbsent(fail(call, err))
	}
	if v.Attached != "" {
		return refuse(call, "%s has it", v.Attached)
	}
	return skipAbsent(fail(call, c.DeleteStoragePoolVolume(p.cfg.Pool, custom, name)))
}
