package ec2

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// withdraw takes back what Publish did: nobody else may launch the image, its copies in other regions
// are removed, and it may be removed itself. What a parameter names or a launch template of ours launches
// is refused in all regions before anything is changed. Of a copy it removes this one.
func (p *Provider) withdraw(ctx context.Context, call string, id cloud.ImageID) error {
	api, ami, err := p.in(call, id)
	if err != nil {
		return err
	}
	source, err := p.describeImage(ctx, api, ami)
	if err != nil {
		return skipAbsent(err)
	}
	if err := ours(call, read(source.Tags), ""); err != nil {
		return err
	}
	if region, _, elsewhere := strings.Cut(string(id), "/"); elsewhere {
		return p.retract(ctx, call, region, source)
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
	if len(all) == 0 && read(source.Tags)[tagOffer] == "" {
		return nil
	}
	all[p.cfg.Region] = source
	for _, region := range slices.Sorted(maps.Keys(all)) {
		if err := p.unused(ctx, call+" in "+region, region, *all[region].ImageId); err != nil {
			return err
		}
	}
	delete(all, p.cfg.Region)
	if err := p.mark(ctx, source, begun); err != nil {
		return err
	}
	for region, found := range all {
		if err := p.remove(ctx, p.regions[region], found); err != nil {
			return fail(call+" in "+region, err)
		}
	}
	if err := p.close(ctx, p.api, source); err != nil {
		return err
	}
	return p.mark(ctx, source, unmarked)
}

// retract removes one copy, unless it is used.
func (p *Provider) retract(ctx context.Context, call, region string, found *types.Image) error {
	if err := p.unused(ctx, call, region, *found.ImageId); err != nil {
		return err
	}
	return p.remove(ctx, p.regions[region], found)
}

func (p *Provider) remove(ctx context.Context, api *ec2.Client, found *types.Image) error {
	if found.State == types.ImageStateAvailable || found.State == types.ImageStateDisabled { // EC2 changes nothing of one in the making
		if err := p.close(ctx, api, found); err != nil {
			return err
		}
	}
	return p.deregister(ctx, api, *found.ImageId)
}

// close makes an image ours alone, and not protected. One that is disabled is ours alone already.
func (p *Provider) close(ctx context.Context, api *ec2.Client, found *types.Image) error {
	if found.State == types.ImageStateDisabled {
		return p.unprotect(ctx, api, found)
	}
	if err := p.offer(ctx, api, found, publication{}, image(found).Created); err != nil {
		return err
	}
	return p.unprotect(ctx, api, found)
}

func (p *Provider) unprotect(ctx context.Context, api *ec2.Client, found *types.Image) error {
	if !protected(found) {
		return nil
	}
	_, err := api.DisableImageDeregistrationProtection(ctx, &ec2.DisableImageDeregistrationProtectionInput{ImageId: found.ImageId})
	return err
}

// unused refuses (CodeConflict) an image that a parameter names or a launch template of ours launches.
func (p *Provider) unused(ctx context.Context, call, region, ami string) error {
	names, err := p.parameters(ctx, region, "")
	if err != nil {
		return err
	}
	if err := unnamed(call, names, ami); err != nil {
		return err
	}
	used, err := p.launchedBy(ctx, p.regions[region], ami)
	if err != nil {
		return err
	}
	if used != "" {
		return conflict(call, "the launch template %s launches it", used)
	}
	return nil
}

// unnamed refuses (CodeConflict) an image that one of a region's parameters names.
func unnamed(call string, names map[string]string, ami string) error {
	for name, value := range names {
		if value == ami {
			return conflict(call, "the parameter %s names it", name)
		}
	}
	return nil
}
