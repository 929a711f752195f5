package ec2

import (
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Publication says who may launch an image, and where.
type Publication struct {
	Image         cloud.ImageID     // in Config.Region
	Regions       []string          // of Config.Regions, beside Config.Region
	Accounts      []string          // that may launch it, and copy its snapshots
	Organisations []string          // ARNs of organisations and organisational units that may launch it
	Keys          map[string]string // KMS key by region that encrypts the copy there; none: the account's default key
	Deprecate     time.Time         // from when on others are not offered it any more; zero: never
}

func (p Publication) shared() bool { return len(p.Accounts)+len(p.Organisations) > 0 }

// Publish copies an image to regions, lets others launch it, and protects it from being removed. It sets
// all of this: whoever is not listed may not launch it any more. A copy is adopted by its name. It gives
// the image of each region; ids of other regions than Config.Region carry the region ("us-east-1/ami-…").
func (p *Provider) Publish(ctx context.Context, pub Publication) (map[string]cloud.ImageID, error) {
	call := "publish " + string(pub.Image)
	source, err := p.publishable(ctx, call, pub)
	if err != nil {
		return nil, fail(call, err)
	}
	ids := map[string]string{p.cfg.Region: *source.ImageId}
	for _, region := range pub.Regions { // all at once: EC2 takes minutes for each
		if ids[region], err = p.copyTo(ctx, call, region, source, pub.Keys[region]); err != nil {
			return nil, fail(call, err)
		}
	}
	published := map[string]cloud.ImageID{}
	for region, ami := range ids {
		api := p.regions[region]
		if _, err := p.complete(ctx, api, call+" in "+region, ami); err != nil {
			return nil, fail(call, err)
		}
		if err := p.offer(ctx, api, ami, pub); err != nil {
			return nil, fail(call+" in "+region, err)
		}
		published[region] = p.qualified(region, ami)
	}
	return published, nil
}

// qualified is the identifier of an image in any region.
func (p *Provider) qualified(region, ami string) cloud.ImageID {
	if region == p.cfg.Region {
		return cloud.ImageID(ami)
	}
	return cloud.ImageID(region + "/" + ami)
}

// publishable checks what EC2 would only find out after the copies were made.
func (p *Provider) publishable(ctx context.Context, call string, pub Publication) (*types.Image, error) {
	for _, region := range pub.Regions {
		switch {
		case p.regions[region] == nil || region == p.cfg.Region:
			return nil, refuse(call, "%s is not among the configured regions to publish to", region)
		case pub.shared() && pub.Keys[region] == "":
			return nil, refuse(call, "what the account's default key encrypts cannot be shared: give a KMS key for %s", region)
		}
	}
	switch {
	case pub.shared() && p.cfg.KMSKey == "":
		return nil, refuse(call, "what the account's default key encrypts cannot be shared: configure a KMS key")
	case !pub.Deprecate.IsZero() && !pub.Deprecate.After(p.cfg.Clock.Now()):
		return nil, refuse(call, "its deprecation date is past")
	}
	source, err := p.describeImage(ctx, p.api, string(pub.Image))
	if err != nil {
		return nil, err
	}
	return source, ours(call, read(source.Tags), "")
}

// copyTo begins a copy with the tags of its source, or gives the one that is there. Within a region EC2
// lets an account use a name once, so that two processes do not make two.
func (p *Provider) copyTo(ctx context.Context, call, region string, source *types.Image, key string) (string, error) {
	api, like := p.regions[region], image(source)
	spec := cloud.ImageSpec{Name: like.Name, Kind: like.Kind, Tags: like.Tags}
	found, err := p.named(ctx, api, call, spec)
	if err != nil {
		return "", err
	}
	if found != nil {
		return *found.ImageId, nil
	}
	all := tags{}
	for k, v := range read(source.Tags) {
		if strings.HasPrefix(k, tagPrefix) || k == tagName {
			all[k] = v
		}
	}
	in := &ec2.CopyImageInput{
		Name: source.Name, SourceImageId: source.ImageId, SourceRegion: &p.cfg.Region, Description: source.Description,
		Encrypted: aws.Bool(true), TagSpecifications: all.of(types.ResourceTypeImage, types.ResourceTypeSnapshot),
	}
	if key != "" {
		in.KmsKeyId = &key
	}
	out, err := api.CopyImage(ctx, in)
	if err != nil {
		return "", err
	}
	return *out.ImageId, nil
}

// offer shares, deprecates and protects an image that is complete.
func (p *Provider) offer(ctx context.Context, api *ec2.Client, ami string, pub Publication) error {
	found, err := p.describeImage(ctx, api, ami)
	if err != nil {
		return err
	}
	if err := p.share(ctx, api, found, pub); err != nil {
		return err
	}
	switch {
	case !pub.Deprecate.IsZero():
		_, err = api.EnableImageDeprecation(ctx, &ec2.EnableImageDeprecationInput{ImageId: &ami, DeprecateAt: aws.Time(pub.Deprecate.UTC())})
	case aws.ToString(found.DeprecationTime) != "":
		_, err = api.DisableImageDeprecation(ctx, &ec2.DisableImageDeprecationInput{ImageId: &ami})
	}
	if err == nil && !protected(found) {
		_, err = api.EnableImageDeregistrationProtection(ctx, &ec2.EnableImageDeregistrationProtectionInput{ImageId: &ami})
	}
	return err
}

// Unpublish takes back what Publish did: nobody else may launch the image, its copies in other regions
// are removed, and it may be removed itself. What a launch template of ours launches is refused, before
// anything is changed in that region.
func (p *Provider) Unpublish(ctx context.Context, id cloud.ImageID) error {
	call := "unpublish " + string(id)
	source, err := p.describeImage(ctx, p.api, string(id))
	if err != nil {
		return skipAbsent(fail(call, err))
	}
	if err := ours(call, read(source.Tags), ""); err != nil {
		return err
	}
	like := image(source)
	for region, api := range p.regions {
		found := source
		if region != p.cfg.Region {
			found, err = p.named(ctx, api, call, cloud.ImageSpec{Name: like.Name, Kind: like.Kind, Tags: like.Tags})
			if err != nil {
				return fail(call, err)
			}
		}
		if found == nil {
			continue
		}
		if err := p.withdraw(ctx, api, call+" in "+region, found); err != nil {
			return fail(call, err)
		}
		if region != p.cfg.Region {
			if err := p.DeleteImage(ctx, p.qualified(region, *found.ImageId)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Provider) withdraw(ctx context.Context, api *ec2.Client, call string, found *types.Image) error {
	used, err := p.launchedBy(ctx, api, *found.ImageId)
	if err != nil {
		return err
	}
	if used != "" {
		return refuse(call, "the launch template %s launches it", used)
	}
	if err := p.share(ctx, api, found, Publication{}); err != nil {
		return err
	}
	if protected(found) {
		_, err = api.DisableImageDeregistrationProtection(ctx, &ec2.DisableImageDeregistrationProtectionInput{ImageId: found.ImageId})
	}
	return err
}
