package incus

import (
	"context"
	"fmt"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

// Owned lists servers, volumes, networks and images, in the order in which they can be removed. A
// network is listed while any of its three parts is there.
func (p *Provider) Owned(ctx context.Context, owner string) ([]cloud.Resource, error) {
	const call = "list what is owned"
	if owner == "" {
		return nil, refuse(call, "no owner given")
	}
	c := p.connect("")
	owned := []cloud.Resource{}
	add := func(kind cloud.ResourceKind, id, name string, config map[string]string) {
		if config[tagOwner] == owner {
			owned = append(owned, cloud.Resource{Kind: kind, ID: id, Name: name, Tags: tagsOf(config)})
		}
	}

	instances, err := c.AllInstances(ctx)
	if err != nil {
		return nil, fail(call, err)
	}
	for _, in := range instances {
		add(cloud.KindServer, string(serverID(in)), in.Name, in.Config)
	}

	volumes, err := c.AllVolumes(ctx, p.cfg.Pool)
	if err != nil {
		return nil, fail(call, err)
	}
	for _, v := range volumes {
		add(cloud.KindVolume, v.Project+"/"+v.Name, v.Name, v.Config)
	}

	projects, err := incusd.List(ctx, c.Projects)
	if err != nil {
		return nil, fail(call, err)
	}
	bridges, err := incusd.List(ctx, c.Networks)
	if err != nil {
		return nil, fail(call, err)
	}
	acls, err := incusd.List(ctx, c.NetworkACLs)
	if err != nil {
		return nil, fail(call, err)
	}
	seen := map[string]bool{}
	network := func(config map[string]string) {
		if name := config[tagNetwork]; name != "" && !seen[name] {
			seen[name] = true
			add(cloud.KindNetwork, name, name, config)
		}
	}
	for _, project := range projects {
		network(project.Config)
	}
	for _, bridge := range bridges {
		network(bridge.Config)
	}
	for _, acl := range acls {
		network(acl.Config)
	}

	images, err := incusd.List(ctx, c.Images)
	if err != nil {
		return nil, fail(call, err)
	}
	for _, image := range images {
		add(cloud.KindImage, image.Fingerprint, image.Properties[tagName], image.Properties)
	}
	return owned, nil
}

// Delete removes a resource by its kind.
func (p *Provider) Delete(ctx context.Context, r cloud.Resource) error {
	switch r.Kind {
	case cloud.KindServer:
		return p.Destroy(ctx, cloud.ServerID(r.ID))
	case cloud.KindVolume:
		return p.DeleteVolume(ctx, cloud.VolumeID(r.ID))
	case cloud.KindNetwork:
		return p.DeleteNetwork(ctx, cloud.NetworkID(r.ID))
	case cloud.KindImage:
		return p.DeleteImage(ctx, cloud.ImageID(r.ID))
	}
	return refuse(fmt.Sprintf("delete %s %s", r.Kind, r.ID), "unknown kind")
}
