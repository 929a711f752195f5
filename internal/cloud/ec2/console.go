package ec2

import (
	"context"
	"encoding/base64"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Console gives the last 64 KiB that the system has written to its console, as of now. Types that are
// not of the Nitro family give what EC2 wrote down some minutes ago.
func (p *Provider) Console(ctx context.Context, id cloud.ServerID) ([]byte, error) {
	call := "read console of " + string(id)
	if _, err := p.find(ctx, id); err != nil {
		return nil, fail(call, err)
	}
	out, err := p.api.GetConsoleOutput(ctx, &ec2.GetConsoleOutputInput{InstanceId: aws.String(string(id)), Latest: aws.Bool(true)})
	if is(err, "UnsupportedOperation", "InvalidParameterValue") {
		out, err = p.api.GetConsoleOutput(ctx, &ec2.GetConsoleOutputInput{InstanceId: aws.String(string(id))})
	}
	if err != nil {
		return nil, fail(call, err)
	}
	text, err := base64.StdEncoding.DecodeString(aws.ToString(out.Output))
	return text, fail(call, err)
}

// Screenshot gives a picture (JPEG) of what a running server's screen shows: where the console says
// nothing, the boot loader or the kernel may.
func (p *Provider) Screenshot(ctx context.Context, id cloud.ServerID) ([]byte, error) {
	call := "take a picture of " + string(id)
	if _, err := p.find(ctx, id); err != nil {
		return nil, fail(call, err)
	}
	out, err := p.api.GetConsoleScreenshot(ctx, &ec2.GetConsoleScreenshotInput{InstanceId: aws.String(string(id)), WakeUp: aws.Bool(true)})
	if err != nil {
		return nil, fail(call, err)
	}
	picture, err := base64.StdEncoding.DecodeString(aws.ToString(out.ImageData))
	return picture, fail(call, err)
}
