package ec2

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Copy copies an image to the regions that its channels want, all at once: EC2 takes minutes for each. A
// copy is adopted by its name, whatever its key.
func (p *Provider) Copy(ctx context.Context, id cloud.ImageID, channels []string) error {
	call := "copy " + string(id)
	source, err := p.publishable(ctx, call, id)
	if err != nil {
		return fail(call, err)
	}
	pub := p.cfg.publication(channels)
	ids := map[string]string{}
	for _, region := range pub.regions {
		if ids[region], err = p.copyTo(ctx, call, region, source, pub.keys[region]); err != nil {
			return fail(call+" to "+region, err)
		}
	}
	for _, region := range pub.regions {
		if _, err := p.complete(ctx, p.regions[region], call, ids[region]); err != nil {
			return fail(call+" to "+region, err)
		}
		err := p.until(ctx, ids[region]+" is found by its name", visibleIn, func(ctx context.Context) (bool, error) { // as Publish does
			found, err := p.copyOf(ctx, call, region, source)
			return found != nil && found.State == types.ImageStateAvailable, err
		})
		if err != nil {
			return fail(call+" to "+region, err)
		}
	}
	return nil
}

// publishable gives an image that is ours and can be launched.
func (p *Provider) publishable(ctx context.Context, call string, id cloud.ImageID) (*types.Image, error) {
	source, err := p.describeImage(ctx, p.api, string(id))
	if err != nil {
		return nil, err
	}
	if err := ours(call, read(source.Tags), ""); err != nil {
		return nil, err
	}
	if source.State == types.ImageStateDisabled {
		return nil, disabled(call, source)
	}
	return source, nil
}

// Publish lets others launch an image and its copies, and protects them from being removed. It sets all of
// this: whoever is not wanted any more may not launch it, and a copy where none is wanted is removed.
func (p *Provider) Publish(ctx context.Context, id cloud.ImageID, channels []string) error {
	if len(channels) == 0 {
		call := "withdraw " + string(id)
		return fail(call, p.withdraw(ctx, call, id))
	}
	call := "publish " + string(id)
	source, err := p.publishable(ctx, call, id)
	if err != nil {
		return fail(call, err)
	}
	channels = slices.Compact(slices.Sorted(slices.Values(channels)))
	pub := p.cfg.publication(channels)
	mark := pub.mark(channels)
	all := read(source.Tags)
	maps.Copy(all, mark)
	if err := all.check(call); err != nil {
		return err
	}
	return fail(call, p.publish(ctx, call, source, pub, mark))
}

func (p *Provider) publish(ctx context.Context, call string, source *types.Image, pub publication, mark tags) error {
	there := map[string]*types.Image{p.cfg.Region: source}
	for _, region := range pub.regions {
		found, err := p.copyOf(ctx, call, region, source)
		if err != nil {
			return fail(call+" in "+region, err)
		}
		if found != nil && found.State == types.ImageStateDisabled {
			return disabled(call+" in "+region, found)
		}
		if found == nil || found.State != types.ImageStateAvailable {
			return refuse(call, "its copy in %s is not made, or not complete", region)
		}
		there[region] = found
	}
	t := read(source.Tags)
	if !t.has(mark) {
		if err := p.mark(ctx, source, begun); err != nil {
			return err
		}
	}
	for _, region := range slices.Sorted(maps.Keys(p.regions)) {
		if err := p.publishIn(ctx, call+" in "+region, region, there[region], source, pub); err != nil {
			return fail(call+" in "+region, err)
		}
	}
	if t.has(mark) {
		return nil
	}
	if err := p.mark(ctx, source, mark); err != nil {
		return err
	}
	return p.until(ctx, *source.ImageId+" is marked", visibleIn, func(ctx context.Context) (bool, error) { // Point looks at it
		now, err := p.describeImage(ctx, p.api, *source.ImageId)
		return err == nil && read(now.Tags).has(mark), err
	})
}

// mark puts tags on an image of the home region.
func (p *Provider) mark(ctx context.Context, found *types.Image, mark tags) error {
	_, err := p.api.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{*found.ImageId}, Tags: mark.list()})
	return err
}

// publishIn offers an image, or its copy, in one region; nil: none is wanted there, and one that was offered
// goes. One that is not protected was not, or is still being made for a channel to come.
func (p *Provider) publishIn(ctx context.Context, call, region string, found, source *types.Image, pub publication) error {
	if found == nil {
		found, err := p.copyOf(ctx, call, region, source)
		if err != nil || found == nil || !protected(found) {
			return err
		}
		// Who resolves the parameter must not find an image that is gone: it goes first.
		if err := p.unname(ctx, region, *found.ImageId); err != nil {
			return err
		}
		return p.retract(ctx, call, region, found)
	}
	if err := p.harden(ctx, p.regions[region], found); err != nil { // one that was made before Hallmark did that
		return err
	}
	if err := p.protect(ctx, p.regions[region], found); err != nil {
		return err
	}
	return p.offer(ctx, p.regions[region], found, pub, image(source).Created)
}

// copyOf finds the copy of an image in another region; nil if there is none.
func (p *Provider) copyOf(ctx context.Context, call, region string, source *types.Image) (*types.Image, error) {
	like := image(source)
	return p.named(ctx, p.regions[region], call, cloud.ImageSpec{Name: like.Name, Kind: like.Kind, Tags: like.Tags})
}

// copyTo begins a copy with the tags of its source, or gives the one that is there. Within a region EC2
// lets an account use a name once, so that two processes do not make two.
func (p *Provider) copyTo(ctx context.Context, call, region string, source *types.Image, key string) (string, error) {
	found, err := p.copyOf(ctx, call, region, source)
	if err != nil {
		return "", err
	}
	if found != nil {
		return *found.ImageId, nil
	}
	all := tags{}
	for k, v := range read(source.Tags) {
		if (strings.HasPrefix(k, tagPrefix) || k == tagName) && k != tagChannels && k != tagOffer {
			all[k] = v
		}
	}
	all[tagCopy] = p.cfg.Region + "/" + aws.ToString(source.ImageId)
	in := &ec2.CopyImageInput{
		Name: source.Name, SourceImageId: source.ImageId, SourceRegion: &p.cfg.Region, Description: source.Description,
		Encrypted: aws.Bool(true), TagSpecifications: all.of(types.ResourceTypeImage, types.ResourceTypeSnapshot),
	}
	if key != "" {
		in.KmsKeyId = &key
	}
	out, err := p.regions[region].CopyImage(ctx, in)
	if err != nil {
		return "", err
	}
	return *out.ImageId, nil
}

// Published looks at our images once in each region. A copy whose image is gone, or that no channel wants, is
// listed by its own id, with the region, to be withdrawn.
func (p *Provider) Published(ctx context.Context, owner string) (map[cloud.ImageID][]string, error) {
	const call = "list what is published"
	filters := where(tagOwner, owner, tagKind, string(cloud.Prebuilt))
	copies := map[string]map[string]*types.Image{} // by name, then region
	for region, api := range p.regions {
		if region == p.cfg.Region {
			continue
		}
		list, err := p.listImages(ctx, api, []string{"self"}, filters)
		if err != nil {
			return nil, fail(call+" in "+region, err)
		}
		for i := range list {
			name := aws.ToString(list[i].Name)
			if copies[name] == nil {
				copies[name] = map[string]*types.Image{}
			}
			copies[name][region] = &list[i]
		}
	}
	list, err := p.listImages(ctx, p.api, []string{"self"}, filters) // last: whoever has a copy is in it
	if err != nil {
		return nil, fail(call, err)
	}
	published := map[cloud.ImageID][]string{}
	for i := range list {
		found, t := &list[i], read(list[i].Tags)
		there := copies[*found.Name]
		delete(copies, *found.Name)
		switch {
		case p.cfg.offered(found, there):
			published[cloud.ImageID(*found.ImageId)] = t.channels()
			p.spare(found, there, published)
		case t[tagOffer] != "", len(there) > 0:
			published[cloud.ImageID(*found.ImageId)] = nil
		}
	}
	for _, left := range copies {
		for region, found := range left {
			if read(found.Tags)[tagCopy] == "" { // made there, when that was the home region
				continue
			}
			published[p.qualified(region, *found.ImageId)] = nil
		}
	}
	return published, nil
}

// spare adds the copies that no channel of an image that is offered wants.
func (p *Provider) spare(found *types.Image, copies map[string]*types.Image, published map[cloud.ImageID][]string) {
	wanted := p.cfg.publication(read(found.Tags).channels()).regions
	for region, one := range copies {
		if !slices.Contains(wanted, region) {
			published[p.qualified(region, *one.ImageId)] = nil
		}
	}
}

// qualified is the identifier of an image in any region.
func (p *Provider) qualified(region, ami string) cloud.ImageID {
	if region == p.cfg.Region {
		return cloud.ImageID(ami)
	}
	return cloud.ImageID(region + "/" + ami)
}

// soon is the earliest that EC2 is asked to deprecate an image: it takes no time that is past.
const soon = 5 * time.Minute

// offer shares an image that is complete, and says when it is deprecated.
func (p *Provider) offer(ctx context.Context, api *ec2.Client, found *types.Image, pub publication, made time.Time) error {
	if err := p.share(ctx, api, found, pub); err != nil {
		return err
	}
	var is time.Time
	if t, err := time.Parse(time.RFC3339, aws.ToString(found.DeprecationTime)); err == nil {
		is = t
	}
	want, earliest := pub.deprecated(made).UTC().Truncate(time.Minute), p.cfg.Clock.Now().Add(soon).UTC().Truncate(time.Minute)
	if !want.IsZero() && want.Before(earliest) {
		if !is.IsZero() && !is.After(earliest) {
			return nil
		}
		want = earliest
	}
	var err error
	switch {
	case is.Equal(want):
	case want.IsZero():
		_, err = api.DisableImageDeprecation(ctx, &ec2.DisableImageDeprecationInput{ImageId: found.ImageId})
	default:
		_, err = api.EnableImageDeprecation(ctx, &ec2.EnableImageDeprecationInput{ImageId: found.ImageId, DeprecateAt: &want})
	}
	return err
}

func (p *Provider) protect(ctx context.Context, api *ec2.Client, found *types.Image) error {
	if protected(found) {
		return nil
	}
	_, err := api.EnableImageDeregistrationProtection(ctx, &ec2.EnableImageDeregistrationProtectionInput{ImageId: found.ImageId})
	return err
}
