package ec2

import (
	"context"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Revoke disables an image and its copies, so that not even their own account launches them: an account's setting
// for Allowed AMIs does not bound its own images. It is refused while a parameter names one of them, for what a
// channel names has to launch. A launch template that still does is named in the log, and launches nothing any more:
// that is what a revocation is for.
//
// The copies come first, so that an image that is disabled has none that is not. Servers that run are left alone.
func (p *Provider) Revoke(ctx context.Context, id cloud.ImageID) error {
	call := "revoke " + string(id)
	source, err := p.describeImage(ctx, p.api, string(id))
	if err != nil {
		return fail(call, skipAbsent(err))
	}
	if err := ours(call, read(source.Tags), ""); err != nil {
		return err
	}
	all := map[string]*types.Image{}
	for region := range p.regions {
		if region == p.cfg.Region {
			continue
		}
		found, err := p.copyOf(ctx, call, region, source)
		if err != nil {
			return fail(call+" in "+region, err)
		}
		if found != nil {
			all[region] = found
		}
	}
	there := append(slices.Sorted(maps.Keys(all)), p.cfg.Region)
	all[p.cfg.Region] = source
	for _, region := range there { // before anything is changed
		names, err := p.parameters(ctx, region, "")
		if err == nil {
			err = unnamed(call+" in "+region, names, *all[region].ImageId)
		}
		if err != nil {
			return fail(call, err)
		}
	}
	for _, region := range there {
		if err := p.disable(ctx, region, all[region]); err != nil {
			return fail(call+" in "+region, err)
		}
	}
	return nil
}

// disable takes one image back from everybody. EC2 takes launch permissions away with that; those of its snapshots,
// of which others could register it anew, it leaves, so they go first. A copy in the making can't be disabled, and
// is removed.
func (p *Provider) disable(ctx context.Context, region string, found *types.Image) error {
	api := p.regions[region]
	switch found.State {
	case types.ImageStateDisabled:
		return nil
	case types.ImageStateAvailable:
	default:
		return p.deregister(ctx, api, *found.ImageId)
	}
	if err := p.offer(ctx, api, found, publication{}, image(found).Created); err != nil {
		return err
	}
	if _, err := api.DisableImage(ctx, &ec2.DisableImageInput{ImageId: found.ImageId}); err != nil {
		return err
	}
	used, err := p.launchedBy(ctx, api, *found.ImageId)
	if used != "" {
		p.cfg.Log.Warn("a revoked image is disabled, and a launch template still names it: it launches nothing until its group is rolled to another image",
			"image", *found.ImageId, "region", region, "template", used)
	}
	return err
}
