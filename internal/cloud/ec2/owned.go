package ec2

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Owned lists in all regions, for a region may have been the home before: instances and spot requests
// without one, volumes, networks (while any group or interface of theirs is there), images (in any state),
// snapshots whose image is gone or was never completed, and key pairs, which this package makes none of.
// Root volumes belong to their instances, unless one was left behind; what a scaling group launched is the
// group's, which would launch another one. Identifiers of other regions than
// Config.Region carry the region ("us-east-1/i-…").
func (p *Provider) Owned(ctx context.Context, owner string) ([]cloud.Resource, error) {
	const call = "list what is owned"
	if owner == "" {
		return nil, refuse(call, "no owner given")
	}
	var owned []cloud.Resource
	for _, region := range slices.Sorted(maps.Keys(p.regions)) {
		there := p.at(region)
		for _, list := range []func(context.Context, string) ([]cloud.Resource, error){
			there.ownedServers, there.ownedVolumes, there.ownedNetworks, there.ownedImages, there.ownedKeys,
		} {
			some, err := list(ctx, owner)
			if err != nil {
				return nil, fail(call+" in "+region, err)
			}
			for _, r := range some {
				if region != p.cfg.Region {
					r.ID = region + "/" + r.ID
				}
				owned = append(owned, r)
			}
		}
	}
	return owned, nil
}

// at is this provider in one of its regions, to list and to remove what is there.
func (p *Provider) at(region string) *Provider {
	if region == p.cfg.Region {
		return p
	}
	there := &Provider{cfg: p.cfg, api: p.regions[region], regions: p.regions, params: p.params, scaling: p.scaling, account: p.account}
	there.cfg.Region = region
	there.holding.ask = there.attached
	return there
}

func resource(kind cloud.ResourceKind, id, name string, t tags) cloud.Resource {
	return cloud.Resource{Kind: kind, ID: id, Name: name, Tags: t.cloud()}
}

// ownedServers lists instances, and the spot requests that have none of ours.
func (p *Provider) ownedServers(ctx context.Context, owner string) ([]cloud.Resource, error) {
	requests, err := p.spotRequests(ctx, where(tagOwner, owner)) // first: what is launched meanwhile is seen
	if err != nil {
		return nil, err
	}
	list, err := p.instances(ctx, append(where(tagOwner, owner), living))
	if err != nil {
		return nil, err
	}
	var owned []cloud.Resource
	for _, in := range list {
		t := read(in.Tags)
		if t[tagServer] == "" || t[tagGroupName] != "" {
			continue
		}
		owned = append(owned, resource(cloud.KindServer, *in.InstanceId, t[tagServer], t))
	}
	requests, err = p.without(ctx, requests, list)
	for _, q := range requests {
		t := read(q.Tags)
		owned = append(owned, resource(cloud.KindServer, *q.SpotInstanceRequestId, t[tagServer], t))
	}
	return owned, err
}

func (p *Provider) ownedVolumes(ctx context.Context, owner string) ([]cloud.Resource, error) {
	list, err := p.listVolumes(ctx, where(tagOwner, owner))
	var owned []cloud.Resource
	for _, v := range list {
		t := read(v.Tags)
		name := t[tagVolume]
		if name == "" && t[tagServer] == "" {
			continue
		}
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

// ownedImages lists images, and the snapshots that belong to none. An image in the making does not tell
// its snapshots yet: they are its own by the name on them.
func (p *Provider) ownedImages(ctx context.Context, owner string) ([]cloud.Resource, error) {
	// Snapshots first: an image that is begun meanwhile is seen, one that goes takes its snapshots along.
	snapshots, err := p.listSnapshots(ctx, p.api, where(tagOwner, owner))
	if err != nil {
		return nil, err
	}
	images, err := p.listImages(ctx, p.api, []string{"self"}, where(tagOwner, owner))
	if err != nil {
		return nil, err
	}
	var owned []cloud.Resource
	pending, used := map[string]bool{}, map[string]bool{}
	for _, i := range images {
		if read(i.Tags)[tagKind] == "" {
			continue
		}
		owned = append(owned, resource(cloud.KindImage, *i.ImageId, aws.ToString(i.Name), read(i.Tags)))
		if i.State != types.ImageStateAvailable {
			pending[aws.ToString(i.Name)] = true
		}
		for _, m := range i.BlockDeviceMappings {
			if m.Ebs != nil {
				used[aws.ToString(m.Ebs.SnapshotId)] = true
			}
		}
	}
	for _, s := range snapshots {
		if t := read(s.Tags); t[tagImage] != "" && !used[*s.SnapshotId] && !pending[t[tagImage]] {
			owned = append(owned, resource(cloud.KindSnapshot, *s.SnapshotId, t[tagImage], t))
		}
	}
	return owned, nil
}

func (p *Provider) ownedKeys(ctx context.Context, owner string) ([]cloud.Resource, error) {
	out, err := p.api.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{Filters: where(tagOwner, owner)})
	if err != nil {
		return nil, err
	}
	var owned []cloud.Resource
	for _, k := range out.KeyPairs {
		if read(k.Tags)[tagEnvironment] == "" {
			continue
		}
		owned = append(owned, resource(cloud.KindKey, *k.KeyPairId, aws.ToString(k.KeyName), read(k.Tags)))
	}
	return owned, nil
}

// Delete removes a resource by its kind, in its region.
func (p *Provider) Delete(ctx context.Context, r cloud.Resource) error {
	call := fmt.Sprintf("delete %s %s", r.Kind, r.ID)
	if region, id, elsewhere := strings.Cut(r.ID, "/"); elsewhere {
		if p.regions[region] == nil {
			return refuse(call, "%s is not among the configured regions", region)
		}
		r.ID = id
		return p.at(region).Delete(ctx, r)
	}
	switch r.Kind {
	case cloud.KindServer:
		return p.Destroy(ctx, cloud.ServerID(r.ID))
	case cloud.KindVolume:
		return p.DeleteVolume(ctx, cloud.VolumeID(r.ID))
	case cloud.KindNetwork:
		return p.DeleteNetwork(ctx, cloud.NetworkID(r.ID))
	case cloud.KindImage:
		return p.DeleteImage(ctx, cloud.ImageID(r.ID))
	case cloud.KindSnapshot:
		return fail(call, p.deleteSnapshot(ctx, p.api, call, r.ID))
	case cloud.KindKey:
		return fail(call, p.deleteKey(ctx, call, r.ID))
	}
	return refuse(call, "unknown kind")
}

func (p *Provider) deleteKey(ctx context.Context, call, id string) error {
	out, err := p.api.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{Filters: []types.Filter{has("key-pair-id", id)}})
	if err != nil || len(out.KeyPairs) == 0 {
		return err
	}
	if err := ours(call, read(out.KeyPairs[0].Tags), ""); err != nil {
		return err
	}
	_, err = p.api.DeleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyPairId: &id})
	return skipAbsent(err)
}
