package ec2

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// parameterPrefix begins the name of a base that an SSM parameter points to.
const parameterPrefix = "ssm:"

// ResolveBase takes the id of an AMI, "ssm:" and the name of a parameter that holds one, or an owner and
// a pattern of names ("136693071363/debian-12-amd64-*"), of which the newest is taken. Without an owner
// Config.BaseOwner is meant: nobody can slip in an image by giving it a name. An image that says of
// itself that it is prebuilt is none.
func (p *Provider) ResolveBase(ctx context.Context, spec cloud.BaseSpec) (cloud.Image, error) {
	call := "find reference base " + spec.Name
	list, err := p.candidates(ctx, call, spec.Name)
	if err != nil {
		return cloud.Image{}, fail(call, err)
	}
	var newest cloud.Image
	for n := range list {
		i := image(&list[n])
		switch {
		case i.Kind != cloud.Base,
			list[n].State != types.ImageStateAvailable,
			list[n].RootDeviceType != types.DeviceTypeEbs,
			spec.Digest != "" && i.Properties[cloud.PropertyRecipe] != spec.Digest,
			spec.MaxAge > 0 && p.cfg.Clock.Now().Sub(i.Created) > spec.MaxAge,
			!i.Created.After(newest.Created):
			continue
		}
		newest = i
	}
	if newest.ID == "" {
		return cloud.Image{}, lost(call, "none of %d images of that name is a reference base with recipe %q, not older than %s", len(list), spec.Digest, spec.MaxAge)
	}
	return newest, nil
}

// candidates are the images that a name may mean.
func (p *Provider) candidates(ctx context.Context, call, name string) ([]types.Image, error) {
	if parameter, ok := strings.CutPrefix(name, parameterPrefix); ok {
		out, err := p.params[p.cfg.Region].GetParameter(ctx, &ssm.GetParameterInput{Name: &parameter})
		if err != nil {
			return nil, err
		}
		name = aws.ToString(out.Parameter.Value)
	}
	if strings.HasPrefix(name, "ami-") {
		found, err := p.describeImage(ctx, p.api, name)
		if err != nil {
			return nil, err
		}
		return []types.Image{*found}, nil
	}
	owner, pattern, ok := strings.Cut(name, "/")
	if !ok {
		owner, pattern = p.cfg.BaseOwner, name
	}
	if pattern == "" {
		pattern = "*"
	}
	if owner == "" || owner == "all" {
		return nil, refuse(call, "whose image? Give an account or an alias such as amazon before the slash")
	}
	return p.listImages(ctx, p.api, []string{owner}, []types.Filter{has("name", pattern)})
}
