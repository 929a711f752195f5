package incus

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

// locate splits the identifier of a volume, "project/name".
func locate(id cloud.VolumeID) (project, name string, ok bool) {
	project, name, ok = strings.Cut(string(id), "/")
	return project, name, ok && project != "" && name != "" && !strings.Contains(name, "/")
}

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
	c := p.connect(string(spec.Network))
	// Without its project Incus would put the volume nowhere, with a less helpful error.
	if _, err := c.Project(ctx, string(spec.Network)); err != nil {
		return cloud.Volume{}, fail(call, err)
	}
	id := cloud.VolumeID(string(spec.Network) + "/" + spec.Name)
	v, err := p.volume(ctx, c, id)
	if !absent(err) {
		return v, fail(call, err)
	}
	config := label(map[string]string{}, spec.Tags)
	config["size"] = strconv.FormatInt(spec.SizeMiB, 10) + "MiB"
	err = c.CreateVolume(ctx, p.cfg.Pool, spec.Name, config)
	if err != nil && classify(err) != cloud.CodeConflict { // another process was faster
		return cloud.Volume{}, fail(call, err)
	}
	v, err = p.volume(ctx, c, id)
	return v, fail(call, err)
}

// volume reads one volume through a client of its project.
func (p *Provider) volume(ctx context.Context, c *incusd.Client, id cloud.VolumeID) (cloud.Volume, error) {
	_, name, ok := locate(id)
	if !ok {
		return cloud.Volume{}, &cloud.Error{
			Call: "find volume", Code: cloud.CodeNotFound, Err: fmt.Errorf("no volume has the identifier %q", id),
		}
	}
	found, err := c.Volume(ctx, p.cfg.Pool, name)
	if err != nil {
		return cloud.Volume{}, err
	}
	v := cloud.Volume{
		ID: id, Name: name, Path: mountRoot + name, Tags: tagsOf(found.Config),
	}
	if user := user(found); user != "" {
		in, err := c.Instance(ctx, user)
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
func user(v incusd.Volume) string {
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
	v, err := p.volume(ctx, c, id)
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
	return fail(call, changeDevices(ctx, c, in.Name, func(devices incusd.Devices) {
		devices[deviceName(v.Name)] = p.volumeDevice(v.Name)
	}))
}

// DetachVolume takes a volume from the server that has it, if one.
func (p *Provider) DetachVolume(ctx context.Context, id cloud.VolumeID) error {
	call := "detach volume " + string(id)
	project, _, _ := locate(id)
	c := p.connect(project)
	v, err := p.volume(ctx, c, id)
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
	err = changeDevices(ctx, c, in.Name, func(devices incusd.Devices) { delete(devices, deviceName(v.Name)) })
	return skipAbsent(fail(call, err))
}

// changeDevices reads, changes and writes the devices of an instance until nobody interferes.
func changeDevices(ctx context.Context, c *incusd.Client, instance string, change func(incusd.Devices)) error {
	for {
		err := incusd.Patiently(ctx, c, instance, func() error {
			return c.ChangeDevices(ctx, instance, change)
		})
		if !incusd.Stale(err) {
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
	c := p.connect(project)
	v, err := p.volume(ctx, c, id)
	if err != nil {
		return skipAbsent(fail(call, err))
	}
	if v.Attached != "" {
		return refuse(call, "%s has it", v.Attached)
	}
	return skipAbsent(fail(call, c.DeleteVolume(ctx, p.cfg.Pool, name)))
}
