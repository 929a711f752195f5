package ec2_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
)

var imageSpec = cloud.ImageSpec{
	Name: "test-web-1", Kind: cloud.Prebuilt, Tags: start, Properties: map[string]string{"role": "web", "commit": strings.Repeat("c", 40)},
}

// stopped is a server that can be captured.
func (b *bench) stopped() cloud.ServerID {
	b.Helper()
	s, err := b.p.Launch(b.Context(), b.spec(b.network("bench"), "bench"))
	must(b, err)
	b.await(s.ID, cloud.Running)
	must(b, b.p.Stop(b.Context(), s.ID, false))
	b.await(s.ID, cloud.Stopped)
	return s.ID
}

func (b *bench) captured() cloud.Image {
	b.Helper()
	image, err := b.p.Capture(b.Context(), b.stopped(), imageSpec)
	must(b, err)
	return image
}

// described is an image as somebody else sees it.
func (b *bench) described(region, ami string) types.Image {
	b.Helper()
	out, err := b.api.DescribeImages(b.Context(), &sdk.DescribeImagesInput{ImageIds: []string{ami}}, in(region))
	must(b, err)
	return out.Images[0]
}

func in(region string) func(*sdk.Options) { return func(o *sdk.Options) { o.Region = region } }

func TestAnImageThatFails(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		id := b.stopped()
		for _, fault := range []struct {
			code string
			want cloud.Code
		}{{"Server.InternalError", cloud.CodeDown}, {"Client.InternalError", cloud.CodeRefused}} {
			b.script(ec2lab.Fault{Kind: ec2lab.ImageFails, Code: fault.code, Message: fault.code + ": The key is disabled"})
			_, err := b.p.Capture(b.Context(), id, imageSpec)
			code(b, err, fault.want)
			if err == nil || !strings.Contains(err.Error(), "The key is disabled") {
				b.Errorf("EC2's reason is lost: %v", err)
			}
		}
		_, err := b.p.Capture(b.Context(), id, imageSpec) // the name is free again
		must(b, err)
	})
}

func TestACaptureIsAdopted(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		id := b.stopped()
		b.script(ec2lab.Fault{Kind: ec2lab.ImageSlow, For: 30 * time.Minute})
		ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
		defer cancel()
		_, err := b.p.Capture(ctx, id, imageSpec)
		code(b, err, cloud.CodeDown)
		if list, err := b.p.Images(b.Context(), cloud.Filter{Owner: "test"}); err != nil || len(list) != 0 {
			b.Errorf("an image that is pending is offered: %v, %v", list, err)
		}
		owned, err := b.p.Owned(b.Context(), "test")
		must(b, err)
		images := 0
		for _, r := range owned {
			if r.Kind == cloud.KindImage {
				images++
			}
		}
		if images != 1 {
			b.Errorf("%d images are owned, want the one that is pending", images)
		}
		if _, err = b.p.Capture(b.Context(), id, imageSpec); err != nil {
			b.Fatal(err)
		}
		if got := b.wire.count("ec2:CreateImage"); got != 1 {
			b.Errorf("asked for %d images", got)
		}
	})
}

func TestANameThatIsTaken(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		id := b.stopped()
		_, err := b.api.CreateImage(b.Context(), &sdk.CreateImageInput{InstanceId: aws.String(string(id)), Name: aws.String(imageSpec.Name)})
		must(b, err)
		_, err = b.p.Capture(b.Context(), id, imageSpec)
		code(b, err, cloud.CodeConflict)
		time.Sleep(time.Hour) // the bubble's
		list, err := b.api.DescribeImages(b.Context(), &sdk.DescribeImagesInput{Owners: []string{"self"}})
		must(b, err)
		_, err = b.api.DeregisterImage(b.Context(), &sdk.DeregisterImageInput{ImageId: list.Images[0].ImageId, DeleteAssociatedSnapshots: aws.Bool(true)})
		must(b, err)
	})
}

func TestASnapshotWithoutItsImage(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		image := b.captured()
		_, err := b.api.DeregisterImage(b.Context(), &sdk.DeregisterImageInput{ImageId: aws.String(string(image.ID))})
		must(b, err)
		owned, err := b.p.Owned(b.Context(), "test")
		must(b, err)
		found := false
		for _, r := range owned {
			found = found || strings.HasPrefix(r.ID, "snap-") && r.Name == imageSpec.Name
		}
		if !found {
			b.Errorf("the snapshot is not listed: %v", owned)
		}
	}) // clear removes it
}

func TestBases(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		ctx := b.Context()
		base := b.base()
		image := b.captured()
		for name, want := range map[string]cloud.Code{
			string(base.ID): "", baseName: "", seedOwner + "/debian-12-amd64-1": "",
			"ssm:" + baseParameter: "", "ssm:/aws/service/no/such": cloud.CodeNotFound, "ssm:/elsewhere": cloud.CodeRefused, // what the policy does not let it read
			"ami-0123456789abcdef0": cloud.CodeNotFound, string(image.ID): cloud.CodeNotFound,
			"self/test-*": cloud.CodeNotFound, "test-web-1": cloud.CodeNotFound, "debian-12-*": cloud.CodeNotFound, "all/debian-*": cloud.CodeRefused,
		} {
			got, err := b.p.ResolveBase(ctx, cloud.BaseSpec{Name: name})
			if cloud.CodeOf(err) != want || err == nil && (got.ID != base.ID || got.Properties[cloud.PropertyRecipe] != string(base.ID)) {
				b.Errorf("%s: %+v, %v", name, got, err)
			}
		}
	})
}
