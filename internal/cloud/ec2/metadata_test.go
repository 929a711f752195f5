package ec2_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/machines"
)

// instance is one as EC2 describes it.
func (b *bench) instance(id string) types.Instance {
	b.Helper()
	out, err := b.api.DescribeInstances(b.Context(), &sdk.DescribeInstancesInput{InstanceIds: []string{id}})
	must(b, err)
	return out.Reservations[0].Instances[0]
}

// metadata asks the metadata service of an instance, from so many hops away; 0: there was no answer.
func (b *bench) metadata(i types.Instance, away int, method, path, header, value string) (status int, text string) {
	b.Helper()
	req := httptest.NewRequestWithContext(machines.Away(b.Context(), away), method, path, http.NoBody)
	req.RemoteAddr = *i.PrivateIpAddress + ":40000"
	if header != "" {
		req.Header.Set(header, value)
	}
	defer func() {
		switch r := recover(); r {
		case nil:
		case http.ErrAbortHandler:
			status = 0
		default:
			panic(r)
		}
	}()
	w := httptest.NewRecorder()
	b.lab.Metadata().ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

// closed checks that metadata take a token; local that no token leaves the instance, as Hallmark launches; and that
// there are no credentials in them.
func (b *bench) closed(what string, i types.Instance, local bool) {
	b.Helper()
	const lasts, credentials = "X-aws-ec2-metadata-token-ttl-seconds", "/latest/meta-data/iam/security-credentials/"
	if o := i.MetadataOptions; o.HttpTokens != types.HttpTokensStateRequired || local && aws.ToInt32(o.HttpPutResponseHopLimit) != 1 {
		b.Errorf("%s: its metadata options are %s, %d hops", what, o.HttpTokens, aws.ToInt32(o.HttpPutResponseHopLimit))
	}
	if i.IamInstanceProfile != nil {
		b.Errorf("%s: it has the profile %s", what, aws.ToString(i.IamInstanceProfile.Arn))
	}
	if status, _ := b.metadata(i, 1, http.MethodGet, "/latest/user-data", "", ""); status != http.StatusUnauthorized {
		b.Errorf("%s: without a token: %d", what, status)
	}
	status, token := b.metadata(i, 1, http.MethodPut, "/latest/api/token", lasts, "60")
	if status != http.StatusOK {
		b.Errorf("%s: the server itself has no token: %d", what, status)
	}
	if status, _ := b.metadata(i, 2, http.MethodPut, "/latest/api/token", lasts, "60"); local && status != 0 {
		b.Errorf("%s: a container has an answer: %d", what, status)
	}
	if status, text := b.metadata(i, 1, http.MethodGet, credentials, "X-aws-ec2-metadata-token", token); status != http.StatusNotFound {
		b.Errorf("%s: credentials: %d %s", what, status, text)
	}
}

// Servers take a token, which does not leave them, and have no profile; and what others launch from an image of ours,
// or from a copy of it, with a request or by a launch template that says nothing of metadata, takes a token, too.
func TestMetadataTakeAToken(t *testing.T) {
	inBubble(t, shop, func(b *bench) {
		ctx := b.Context()
		image := b.captured()
		b.publish(b.p, image.ID, []string{"production"})
		for where, ami := range map[string]string{region: string(image.ID), elsewhere: *b.copies()[0].ImageId} {
			if got := b.described(where, ami).ImdsSupport; got != types.ImdsSupportValuesV20 {
				b.Errorf("the image in %s supports %q", where, got)
			}
		}
		list, err := b.api.DescribeInstances(ctx, &sdk.DescribeInstancesInput{})
		must(b, err)
		n := 0
		for _, r := range list.Reservations {
			for _, i := range r.Instances {
				n++
				if o := i.MetadataOptions; o.HttpTokens != types.HttpTokensStateRequired || aws.ToInt32(o.HttpPutResponseHopLimit) != 1 || i.IamInstanceProfile != nil {
					b.Errorf("the bench was launched with %+v", o)
				}
			}
		}
		if n == 0 {
			b.Error("no bench was seen")
		}
		for _, r := range b.wire.all("ec2:RunInstances") {
			for name := range r.form {
				if strings.HasPrefix(name, "IamInstanceProfile") {
					b.Errorf("a profile is asked for: %s", name)
				}
			}
		}

		net := b.network("web-1")
		for what, from := range map[string]cloud.ImageID{"a base": b.base().ID, "our image": image.ID} {
			spec := b.spec(net, "web-1")
			spec.Image, spec.Token = from, "token-"+what
			s, err := b.p.Launch(ctx, spec)
			must(b, err)
			b.await(s.ID, "running")
			b.closed("a server from "+what, b.instance(string(s.ID)), true)
			must(b, b.p.Destroy(ctx, s.ID))
		}

		_, err = b.api.CreateLaunchTemplate(ctx, &sdk.CreateLaunchTemplateInput{
			LaunchTemplateName: aws.String("plain"), LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String(string(image.ID)), InstanceType: types.InstanceTypeT3Small},
		})
		must(b, err)
		for what, in := range map[string]*sdk.RunInstancesInput{
			"a request":  {ImageId: aws.String(string(image.ID)), InstanceType: types.InstanceTypeT3Small},
			"a template": {LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateName: aws.String("plain")}},
		} {
			in.MinCount, in.MaxCount, in.SubnetId = aws.Int32(1), aws.Int32(1), &b.cfg.Subnets[0]
			out, err := b.api.RunInstances(ctx, in)
			must(b, err)
			rest()
			id := *out.Instances[0].InstanceId
			b.closed("launched by "+what+" that says nothing", b.instance(id), false)
			_, err = b.api.TerminateInstances(ctx, &sdk.TerminateInstancesInput{InstanceIds: []string{id}})
			must(b, err)
		}
		rest()
		must(b, b.p.Publish(ctx, image.ID, nil))
	})
}
