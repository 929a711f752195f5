package ec2

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// imageType makes SSM check that a parameter's value is an AMI that can be launched.
const imageType = "aws:ec2:image"

// Point makes a channel's parameter for a role name an image, in the home region and wherever the
// channel's images are published, its copy there; elsewhere, and for no image everywhere, there is no
// parameter. Launch templates and people launch "resolve:ssm:/hallmark/production/web".
func (p *Provider) Point(ctx context.Context, channel, role string, id cloud.ImageID) error {
	name := path.Join(p.cfg.Parameters, channel, role)
	call := "point " + name + " to " + string(id)
	amis, owner := map[string]string{}, ""
	if id != "" {
		var err error
		if amis, owner, err = p.places(ctx, call, channel, id); err != nil {
			return fail(call, err)
		}
	}
	for _, region := range slices.Sorted(maps.Keys(p.params)) {
		is, err := p.valueOf(ctx, p.params[region], name)
		if err == nil && is != amis[region] {
			err = p.name(ctx, call, region, name, is, amis[region], owner)
		}
		if err != nil {
			return fail(call+" in "+region, err)
		}
	}
	return nil
}

// places gives an image's AMI in each region where a channel has to name it.
func (p *Provider) places(ctx context.Context, call, channel string, id cloud.ImageID) (amis map[string]string, owner string, err error) {
	found, err := p.describeImage(ctx, p.api, string(id))
	if err != nil {
		return nil, "", err
	}
	t := read(found.Tags)
	if err := ours(call, t, ""); err != nil {
		return nil, "", err
	}
	if found.State == ec2types.ImageStateDisabled {
		return nil, "", disabled(call, found)
	}
	channels := t.channels()
	if !slices.Contains(channels, channel) || !t.has(p.cfg.publication(channels).mark(channels)) {
		return nil, "", refuse(call, "it is not published for the channel")
	}
	amis = map[string]string{p.cfg.Region: *found.ImageId}
	for _, region := range p.cfg.publication([]string{channel}).regions {
		copied, err := p.copyOf(ctx, call, region, found)
		if err != nil {
			return nil, "", err
		}
		if copied == nil {
			return nil, "", refuse(call, "its copy in %s is gone: publish it again", region)
		}
		if copied.State == ec2types.ImageStateDisabled {
			return nil, "", disabled(call+" in "+region, copied)
		}
		amis[region] = *copied.ImageId
	}
	return amis, t[tagOwner], nil
}

// name sets or deletes a parameter and reads it back: SSM takes a value first and checks it afterwards.
func (p *Provider) name(ctx context.Context, call, region, name, is, ami, owner string) error {
	params := p.params[region]
	if ami == "" {
		return p.deleteParameter(ctx, params, name)
	}
	in := &ssm.PutParameterInput{
		Name: &name, Value: &ami, Type: types.ParameterTypeString, DataType: aws.String(imageType), Overwrite: aws.Bool(is != ""),
		Description: aws.String("Hallmark's image of " + path.Base(name) + " in " + path.Base(path.Dir(name))),
	}
	if is == "" { // SSM takes tags with the first value only
		in.Tags = []types.Tag{{Key: aws.String(tagOwner), Value: &owner}}
	}
	if _, err := params.PutParameter(ctx, in); err != nil {
		return err
	}
	err := p.until(ctx, name+" names "+ami, validateIn, func(ctx context.Context) (bool, error) {
		is, err := p.valueOf(ctx, params, name)
		return is == ami, err
	})
	if errors.Is(err, errLate) {
		return refuse(call, "SSM took the value and did not keep it: it found no such image that can be launched in %s (%w)", region, err)
	}
	return err
}

// valueOf reads a parameter; "" if there is none.
func (p *Provider) valueOf(ctx context.Context, params *ssm.Client, name string) (string, error) {
	out, err := params.GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
	if err != nil {
		return "", skipAbsent(fail("read parameter "+name, err))
	}
	return aws.ToString(out.Parameter.Value), nil
}

func (p *Provider) deleteParameter(ctx context.Context, params *ssm.Client, name string) error {
	_, err := params.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: &name})
	return gone(ctx, err, func(ctx context.Context) ([]string, error) {
		is, err := p.valueOf(ctx, params, name)
		return slices.DeleteFunc([]string{is}, func(v string) bool { return v == "" }), err
	})
}

// unname deletes a region's parameters that name an image.
func (p *Provider) unname(ctx context.Context, region, ami string) error {
	names, err := p.parameters(ctx, region, "")
	if err != nil {
		return err
	}
	for name, value := range names {
		if value != ami {
			continue
		}
		if err := p.deleteParameter(ctx, p.params[region], name); err != nil {
			return err
		}
	}
	return nil
}

// parameters gives a region's parameters of a channel with their values, of all channels for "".
func (p *Provider) parameters(ctx context.Context, region, channel string) (map[string]string, error) {
	below := path.Join(p.cfg.Parameters, channel)
	pages := ssm.NewGetParametersByPathPaginator(p.params[region], &ssm.GetParametersByPathInput{Path: &below, Recursive: aws.Bool(channel == "")})
	names := map[string]string{}
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fail("read the parameters below "+below+" in "+region, err)
		}
		for _, one := range out.Parameters {
			if aws.ToString(one.DataType) != imageType { // somebody's notes beside
				continue
			}
			names[aws.ToString(one.Name)] = aws.ToString(one.Value)
		}
	}
	return names, nil
}

// Pointed gives the image of the home region that a channel's parameters name in all regions in which
// they have to. Where they do not agree, it gives the region that is at odds, and what is named there.
func (p *Provider) Pointed(ctx context.Context, channel string) (map[string]cloud.ImageID, error) {
	call := "look at channel " + channel
	home, err := p.pointedIn(ctx, p.cfg.Region, channel)
	if err != nil {
		return nil, fail(call, err)
	}
	pointed := map[string]cloud.ImageID{}
	for role, is := range home {
		pointed[role] = cloud.ImageID(is.ami)
	}
	wanted := p.cfg.publication([]string{channel}).regions
	for _, region := range slices.Sorted(maps.Keys(p.params)) {
		if region == p.cfg.Region {
			continue
		}
		there, err := p.pointedIn(ctx, region, channel)
		if err != nil {
			return nil, fail(call, err)
		}
		for role, is := range there {
			if !slices.Contains(wanted, region) || is.image != home[role].image || is.image == "" {
				pointed[role] = cloud.ImageID(region + "/" + is.ami)
			}
		}
		for role := range home {
			if there[role].ami == "" && slices.Contains(wanted, region) {
				pointed[role] = cloud.ImageID(region + "/nothing")
			}
		}
	}
	return pointed, nil
}

// target is what a parameter names: an AMI, and the name of the image, which its copies have too.
type target struct{ ami, image string }

func (p *Provider) pointedIn(ctx context.Context, region, channel string) (map[string]target, error) {
	values, err := p.parameters(ctx, region, channel)
	if err != nil || len(values) == 0 {
		return nil, err
	}
	filter := has("image-id", slices.Compact(slices.Sorted(maps.Values(values)))...)
	list, err := p.listImages(ctx, p.regions[region], []string{"self"}, append(where(tagOwner, ""), filter))
	if err != nil {
		return nil, err
	}
	images := map[string]string{}
	for _, i := range list {
		images[*i.ImageId] = aws.ToString(i.Name)
	}
	roles := map[string]target{}
	for name, ami := range values {
		roles[path.Base(name)] = target{ami, images[ami]}
	}
	return roles, nil
}
