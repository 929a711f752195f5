package ec2

import (
	"context"
	"errors"
	"path"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// imageType makes SSM check that a parameter's value is an AMI that can be launched.
const imageType = "aws:ec2:image"

// Point makes a channel's parameter for a role, in the image's region, name an image, and reads it back:
// SSM takes a value first and checks it afterwards. Launch templates and people launch
// "resolve:ssm:/hallmark/production/web".
func (p *Provider) Point(ctx context.Context, channel, role string, id cloud.ImageID) error {
	parameter := path.Join(p.cfg.Parameters, channel, role)
	call := "point " + parameter + " to " + string(id)
	region, ami, elsewhere := strings.Cut(string(id), "/")
	if !elsewhere {
		region, ami = p.cfg.Region, string(id)
	}
	params := p.params[region]
	if params == nil {
		return refuse(call, "%s is not among the configured regions", region)
	}
	found, err := p.describeImage(ctx, p.regions[region], ami)
	if err != nil {
		return fail(call, err)
	}
	t := read(found.Tags)
	if err := ours(call, t, ""); err != nil {
		return err
	}
	is, err := p.pointed(ctx, params, parameter)
	if err != nil && !absent(err) {
		return fail(call, err)
	}
	if is == ami {
		return nil
	}
	in := &ssm.PutParameterInput{
		Name: &parameter, Value: &ami, Type: types.ParameterTypeString, DataType: aws.String(imageType), Overwrite: aws.Bool(is != ""),
		Description: aws.String("Hallmark's image of " + role + " in " + channel),
	}
	if is == "" { // SSM takes tags with the first value only
		in.Tags = []types.Tag{{Key: aws.String(tagOwner), Value: aws.String(t[tagOwner])}}
	}
	if _, err := params.PutParameter(ctx, in); err != nil {
		return fail(call, err)
	}
	err = p.until(ctx, parameter+" names "+ami, validateIn, func(ctx context.Context) (bool, error) {
		is, err := p.pointed(ctx, params, parameter)
		if absent(err) {
			return false, nil
		}
		return is == ami, err
	})
	if errors.Is(err, errLate) {
		return refuse(call, "SSM took the value and did not keep it: it found no such image that can be launched in %s (%w)", region, err)
	}
	return fail(call, err)
}

// pointed reads a parameter; CodeNotFound if there is none.
func (p *Provider) pointed(ctx context.Context, params *ssm.Client, parameter string) (string, error) {
	out, err := params.GetParameter(ctx, &ssm.GetParameterInput{Name: &parameter})
	if err != nil {
		return "", fail("read parameter "+parameter, err)
	}
	return aws.ToString(out.Parameter.Value), nil
}
