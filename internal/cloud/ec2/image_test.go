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
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2"
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

const (
	friend       = "210987654321"
	organisation = "arn:aws:organizations::123456789012:organization/o-abcdefghij"
)

func TestPublish(t *testing.T) {
	inBubble(t, func(c *ec2.Config) { c.KMSKey = "alias/images" }, func(b *bench) {
		ctx := b.Context()
		image := b.captured()
		pub := ec2.Publication{
			Image: image.ID, Regions: []string{elsewhere}, Accounts: []string{friend}, Organisations: []string{organisation},
			Keys: map[string]string{elsewhere: "alias/images"}, Deprecate: time.Now().Add(90 * 24 * time.Hour),
		}
		published, err := b.p.Publish(ctx, pub)
		must(b, err)
		again, err := b.p.Publish(ctx, pub)
		must(b, err)
		if published[region] != image.ID || published[elsewhere] != again[elsewhere] || !strings.HasPrefix(string(published[elsewhere]), elsewhere+"/ami-") {
			b.Errorf("published %v, again %v", published, again)
		}
		if got := b.wire.count("ec2:CopyImage"); got != 1 {
			b.Errorf("asked for %d copies", got)
		}
		if got := b.wire.count("ec2:ModifyImageAttribute"); got != 2 {
			b.Errorf("permissions were changed %d times, want once in each region", got)
		}
		for where, id := range published {
			ami := strings.TrimPrefix(string(id), where+"/")
			found := b.described(where, ami)
			if found.DeprecationTime == nil || aws.ToString(found.DeregistrationProtection) != "enabled-without-cooldown" || *found.Name != imageSpec.Name {
				b.Errorf("in %s: %+v", where, found)
			}
			b.launchable(where, ami, friend, organisation)
			code(b, b.p.DeleteImage(ctx, id), cloud.CodeRefused) // protected
		}
		pub.Accounts = nil // it is the whole list
		_, err = b.p.Publish(ctx, pub)
		must(b, err)
		b.launchable(region, string(image.ID), organisation)

		owned, err := b.p.Owned(ctx, "test")
		must(b, err)
		copies := 0
		for _, r := range owned {
			if r.ID == string(published[elsewhere]) && r.Tags.Run == start.Run {
				copies++
			}
		}
		if copies != 1 {
			b.Errorf("the copy is not listed: %v", owned)
		}
		must(b, b.p.Unpublish(ctx, image.ID))
		must(b, b.p.Unpublish(ctx, image.ID))
		b.launchable(region, string(image.ID))
		if list, err := b.api.DescribeImages(ctx, &sdk.DescribeImagesInput{Owners: []string{"self"}}, in(elsewhere)); err != nil || len(list.Images) != 0 {
			b.Errorf("the copy is still there: %v, %v", list, err)
		}
		must(b, b.p.DeleteImage(ctx, image.ID))
	})
}

// launchable checks who may launch an image, beside its owner.
func (b *bench) launchable(where, ami string, want ...string) {
	b.Helper()
	out, err := b.api.DescribeImageAttribute(b.Context(), &sdk.DescribeImageAttributeInput{
		ImageId: &ami, Attribute: types.ImageAttributeNameLaunchPermission,
	}, in(where))
	must(b, err)
	var got []string
	for _, p := range out.LaunchPermissions {
		got = append(got, aws.ToString(p.UserId)+aws.ToString(p.OrganizationArn))
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		b.Errorf("in %s it may be launched by %v, want %v", where, got, want)
	}
}

func TestPublishRefuses(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		image := b.captured()
		for what, pub := range map[string]ec2.Publication{
			"a region that is not configured":     {Image: image.ID, Regions: []string{"eu-lab-9"}},
			"sharing what a default key encrypts": {Image: image.ID, Accounts: []string{friend}},
			"a deprecation that is past":          {Image: image.ID, Deprecate: time.Now().Add(-time.Hour)},
		} {
			if _, err := b.p.Publish(b.Context(), pub); cloud.CodeOf(err) != cloud.CodeRefused {
				b.Errorf("%s: %v", what, err)
			}
		}
		_, err := b.p.Publish(b.Context(), ec2.Publication{Image: b.base().ID})
		code(b, err, cloud.CodeConflict)
		if got := b.wire.count("ec2:CopyImage"); got != 0 {
			b.Errorf("%d copies were asked for", got)
		}
	})
}

func TestPoint(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		ctx := b.Context()
		first := b.captured()
		must(b, b.p.Point(ctx, "production", "web", first.ID))
		must(b, b.p.Point(ctx, "production", "web", first.ID))
		if got := b.wire.count("ssm:PutParameter"); got != 1 {
			b.Errorf("written %d times", got)
		}
		_, err := b.p.ResolveBase(ctx, cloud.BaseSpec{Name: "ssm:/hallmark/production/web"})
		code(b, err, cloud.CodeNotFound) // it names a prebuilt image
		second := imageSpec
		second.Name = "test-web-2"
		owned, err := b.p.Servers(ctx, cloud.Filter{Owner: "test"})
		must(b, err)
		next, err := b.p.Capture(ctx, owned[0].ID, second)
		must(b, err)
		must(b, b.p.Point(ctx, "production", "web", next.ID))
		must(b, b.p.Point(ctx, "production", "web", first.ID)) // and back
		code(b, b.p.Point(ctx, "production", "web", "ami-0123456789abcdef0"), cloud.CodeNotFound)
		code(b, b.p.Point(ctx, "production", "web", b.base().ID), cloud.CodeConflict)
	})
}

func TestALaunchTemplateKeepsItsImage(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		ctx := b.Context()
		image := b.captured()
		_, err := b.api.CreateLaunchTemplate(ctx, &sdk.CreateLaunchTemplateInput{
			LaunchTemplateName: aws.String("fleet-web"), LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String(string(image.ID))},
			TagSpecifications: []types.TagSpecification{{
				ResourceType: types.ResourceTypeLaunchTemplate, Tags: []types.Tag{{Key: aws.String("hallmark:owner"), Value: aws.String("test")}},
			}},
		})
		must(b, err)
		err = b.p.DeleteImage(ctx, image.ID)
		code(b, err, cloud.CodeRefused)
		if err == nil || !strings.Contains(err.Error(), "fleet-web") {
			b.Errorf("the template is not named: %v", err)
		}
		code(b, b.p.Unpublish(ctx, image.ID), cloud.CodeRefused)
		_, err = b.api.DeleteLaunchTemplate(ctx, &sdk.DeleteLaunchTemplateInput{LaunchTemplateName: aws.String("fleet-web")})
		must(b, err)
	})
}

func TestBases(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		ctx := b.Context()
		base := b.base()
		image := b.captured()
		for name, want := range map[string]cloud.Code{
			string(base.ID): "", baseName: "", seedOwner + "/debian-12-amd64-1": "",
			"ssm:/no/such": cloud.CodeNotFound, "ami-0123456789abcdef0": cloud.CodeNotFound, string(image.ID): cloud.CodeNotFound,
			"self/test-*": cloud.CodeNotFound, "test-web-1": cloud.CodeNotFound, "debian-12-*": cloud.CodeNotFound, "all/debian-*": cloud.CodeRefused,
		} {
			got, err := b.p.ResolveBase(ctx, cloud.BaseSpec{Name: name})
			if cloud.CodeOf(err) != want || err == nil && (got.ID != base.ID || got.Properties[cloud.PropertyRecipe] != string(base.ID)) {
				b.Errorf("%s: %+v, %v", name, got, err)
			}
		}
	})
}
