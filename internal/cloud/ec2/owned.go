package ec2

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Owned lists instances, volumes, networks (while any group or interface of theirs is there), and in all
// regions images (in any state) and snapshots whose image is gone. Root volumes belong to their
// instances, unless one was left behind.
func (p *Provider) Owned(ctx context.Context, owner string) ([]cloud.Resource, error) {
	const call = "list what is owned"
	if owner == "" {
		return nil, refuse(call, "no owner given")
	}
	var owned []cloud.Resource
	for _, list := range []func(context.Context, string) ([]cloud.Resource, error){p.ownedServers, p.ownedVolumes, p.ownedNetworks, p.ownedImages} {
		some, err := list(ctx, owner)
		if err != nil {
			return nil, fail(call, err)
		}
		owned = append(owned, some...)
	}
	return owned, nil
}

func resource(kind cloud.ResourceKind, id, name string, t tags) cloud.Resource {
	return cloud.Resource{Kind: kind, ID: id, Name: name, Tags: t.cloud()}
}

func (p *Provider) ownedServers(ctx context.Context, owner string) ([]cloud.Resource, error) {
	list, err := p.instances(ctx, append(where(tagOwner, owner), living))
	var owned []cloud.Resource
	for _, in := range list {
		t := read(in.Tags)
		owned = append(owned, resource(cloud.KindServer, *in.InstanceId, t[tagServer], t))
	}
	return owned, err
}

func (p *Provider) ownedVolumes(ctx context.Context, owner string) ([]cloud.Resource, error) {
	list, err := p.listVolumes(ctx, where(tagOwner, owner))
	var owned []cloud.Resource
	for _, v := range list {
		t := read(v.Tags)
		name := t[tagVolume]
		if name == "" { // a root volume
			if v.State == types.VolumeStateInUse || v.State == types.VolumeStateCreating {
				continue
			}
			name = t[tagServer]
		}
		owned = append(owned, resource(cloud.KindVolume, *v.VolumeId, name, t))
	}
	return owned, err
}

func (p *Provider) ownedNetworks(ctx context.Context, owner string) ([]cloud.Resource, error) {
	groups, err := p.listGroups(ctx, where(tagOwner, owner))
	if err != nil {
		return nil, err
	}
	nics, err := p.listNICs(ctx, where(tagOwner, owner))
	if err != nil {
		return nil, err
	}
	all := map[string]tags{}
	for _, n := range nics {
		all[n.tags[tagNetwork]] = n.tags
	}
	for _, g := range groups {
		all[g.tags[tagNetwork]] = g.tags
	}
	var owned []cloud.Resource
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name != "" {
			owned = append(owned, resource(cloud.KindNetwork, name, name, all[name]))
		}
	}
	return owned, nil
}

func (p *Provider) ownedImages(ctx context.Context, owner string) ([]cloud.Resource, error) {
	var owned []cloud.Resource
	for _, region := range slices.Sorted(maps.Keys(p.regions)) {
		some, err := p.ownedIn(ctx, p.regions[region], owner)
		if err != nil {
			return nil, err
		}
		for _, r := range some {
			if region != p.cfg.Region {
				r.ID = region + "/" + r.ID
			}
			owned = append(owned, r)
		}
	}
	return owned, nil
}

// ownedIn lists the images of one region, and the snapshots of images that are gone. A snapshot is its
// image's by the name on it: while an image is being made it does not tell its snapshots yet.
func (p *Provider) ownedIn(ctx context.Context, api *ec2.Client, owner string) ([]cloud.Resource, error) {
	// Snapshots first: an image that is begun meanwhile is seen, one that goes takes its snapshots along.
	snapshots, err := p.listSnapshots(ctx, api, where(tagOwner, owner))
	if err != nil {
		return nil, err
	}
	images, err := p.listImages(ctx, api, []string{"self"}, where(tagOwner, owner))
	if err != nil {
		return nil, err
	}
	var owned []cloud.Resource
	named := map[string]bool{}
	for _, i := range images {
		named[aws.ToString(i.Name)] = true
		owned = append(owned, resource(cloud.KindImage, *i.ImageId, aws.ToString(i.Name), read(i.Tags)))
	}
	for _, s := range snapshots {
		if t := read(s.Tags); !named[t[tagImage]] {
			owned = append(owned, resource(cloud.KindImage, *s.SnapshotId, t[tagImage], t))
		}
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
