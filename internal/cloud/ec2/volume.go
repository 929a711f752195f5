package ec2

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// CreateVolume makes an encrypted volume at once, although no server is there yet that it could be
// near: its path comes from its id, and servers are told of it at their launch. Its zone is that of the
// interface whose server's name the volume's begins with ("db-1" for "db-1-data"); a volume that is
// nobody's begins where the network does.
func (p *Provider) CreateVolume(ctx context.Context, spec cloud.VolumeSpec) (cloud.Volume, error) {
	call := "create volume " + spec.Name
	if !name.MatchString(spec.Name) {
		return cloud.Volume{}, refuse(call, "the name must match %s", name)
	}
	if spec.SizeMiB <= 0 {
		return cloud.Volume{}, refuse(call, "a volume needs a size")
	}
	all := label(spec.Tags, tags{tagNetwork: string(spec.Network), tagVolume: spec.Name, tagName: spec.Name})
	if err := all.check(call); err != nil {
		return cloud.Volume{}, err
	}
	found, err := p.listVolumes(ctx, where(tagNetwork, string(spec.Network), tagVolume, spec.Name))
	if err != nil {
		return cloud.Volume{}, fail(call, err)
	}
	if len(found) > 0 {
		return volume(&found[0]), ours(call, read(found[0].Tags), spec.Tags.Owner)
	}
	nics, err := p.nics(ctx, where(tagNetwork, string(spec.Network)))
	if err != nil {
		return cloud.Volume{}, fail(call, err)
	}
	if len(nics) == 0 {
		return cloud.Volume{}, lost(call, "there is no network %s with servers", spec.Network)
	}
	id, err := p.oneVolume(ctx, spec, all, nics)
	if err != nil {
		return cloud.Volume{}, fail(call, err)
	}
	made := cloud.Volume{ID: cloud.VolumeID(id), Name: spec.Name, Path: devicePath(id), Tags: all.cloud()}
	return made, fail(call, p.free(ctx, made.ID))
}

// oneVolume makes a volume once, also if it is asked again because the answer was lost. A token whose
// volume was deleted since gives no other: then another generation of it is used.
func (p *Provider) oneVolume(ctx context.Context, spec cloud.VolumeSpec, all tags, nics map[string]*nic) (string, error) {
	for generation := range generations {
		in := &ec2.CreateVolumeInput{
			AvailabilityZone: aws.String(p.zoneFor(spec, nics)), Size: aws.Int32(gibibytes(spec.SizeMiB)), VolumeType: types.VolumeTypeGp3,
			Encrypted: aws.Bool(true), TagSpecifications: all.of(types.ResourceTypeVolume),
			ClientToken: aws.String(token("volume", string(spec.Network), spec.Name, anyGroup(nics), strings.Repeat("+", generation))),
		}
		if p.cfg.KMSKey != "" {
			in.KmsKeyId = &p.cfg.KMSKey
		}
		out, err := p.api.CreateVolume(ctx, in)
		switch {
		case err == nil && out.State != types.VolumeStateDeleting && out.State != types.VolumeStateDeleted:
			return *out.VolumeId, nil
		case err != nil && !is(err, "InvalidVolume.NotFound"):
			return "", err
		}
	}
	return "", conflict("create volume "+spec.Name, "%d volumes of that name were deleted, and EC2 remembers them all", generations)
}

// zoneFor is the zone of the server whose volume this will be: the longest name that fits.
func (p *Provider) zoneFor(spec cloud.VolumeSpec, nics map[string]*nic) string {
	var owner *nic
	for _, n := range nics {
		if strings.HasPrefix(spec.Name, n.server+"-") && (owner == nil || len(n.server) > len(owner.server)) {
			owner = n
		}
	}
	if owner == nil {
		return p.zones[start(string(spec.Network), len(p.zones))].name
	}
	return owner.zone
}

// anyGroup tells two networks apart that had the same name one after the other.
func anyGroup(nics map[string]*nic) string {
	var all []string
	for _, n := range nics {
		all = append(all, n.groups...)
	}
	return slices.Min(all)
}

// gibibytes is how EC2 counts.
func gibibytes(mib int64) int32 { return int32((mib + 1023) / 1024) }

// devicePath is where udev shows a volume on Nitro types: by its id, without the hyphen.
func devicePath(id string) string {
	return "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_" + strings.ReplaceAll(id, "-", "")
}

func volume(in *types.Volume) cloud.Volume {
	t := read(in.Tags)
	return cloud.Volume{
		ID: cloud.VolumeID(*in.VolumeId), Name: t[tagVolume], Path: devicePath(*in.VolumeId), Attached: attachedTo(in), Tags: t.cloud(),
	}
}

// attachedTo is the instance that has a volume or is getting it; "" if none.
func attachedTo(in *types.Volume) cloud.ServerID {
	for _, a := range in.Attachments {
		if a.State != types.VolumeAttachmentStateDetached && a.State != types.VolumeAttachmentStateDetaching {
			return cloud.ServerID(aws.ToString(a.InstanceId))
		}
	}
	return ""
}

func (p *Provider) listVolumes(ctx context.Context, filters []types.Filter) ([]types.Volume, error) {
	pages := ec2.NewDescribeVolumesPaginator(p.api, &ec2.DescribeVolumesInput{Filters: filters})
	var list []types.Volume
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, slices.DeleteFunc(out.Volumes, func(v types.Volume) bool { return v.State == types.VolumeStateDeleting })...)
	}
	return list, nil
}

// findVolume gives a volume of ours.
func (p *Provider) findVolume(ctx context.Context, id cloud.VolumeID) (*types.Volume, error) {
	call := "find volume " + string(id)
	list, err := p.listVolumes(ctx, []types.Filter{has("volume-id", string(id))})
	if err != nil {
		return nil, fail(call, err)
	}
	if len(list) == 0 {
		return nil, lost(call, "there is no such volume")
	}
	return &list[0], ours(call, read(list[0].Tags), "")
}

// free waits until a volume is attached to nothing.
func (p *Provider) free(ctx context.Context, id cloud.VolumeID) error {
	return p.until(ctx, string(id)+" is available", stateIn, func(ctx context.Context) (bool, error) {
		list, err := p.listVolumes(ctx, []types.Filter{has("volume-id", string(id))})
		if err != nil || len(list) == 0 { // none: not visible yet
			return false, err
		}
		if list[0].State == types.VolumeStateError {
			return false, refuse("wait for "+string(id), "EC2 could not make it: its key may be disabled or not allowed to these credentials")
		}
		return list[0].State == types.VolumeStateAvailable, nil
	})
}

// DeleteVolume refuses (CodeConflict) while a server has the volume; one that is just ending is waited for.
func (p *Provider) DeleteVolume(ctx context.Context, id cloud.VolumeID) error {
	call := "delete volume " + string(id)
	v, err := p.findVolume(ctx, id)
	if err != nil {
		return skipAbsent(fail(call, err))
	}
	if by := attachedTo(v); by != "" {
		ends, err := p.ending(ctx, string(by), false)
		if err != nil {
			return fail(call, err)
		}
		if !ends {
			return conflict(call, "%s has it", by)
		}
	}
	_, err = p.api.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: v.VolumeId})
	return fail(call, gone(ctx, err, func(ctx context.Context) ([]types.Volume, error) {
		return p.listVolumes(ctx, []types.Filter{has("volume-id", string(id))})
	}))
}
