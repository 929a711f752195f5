package ec2_test

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2"
)

// imageStates are those of all images of the account in a region, by id.
func (b *bench) imageStates(where string) map[string]types.ImageState {
	b.Helper()
	out, err := b.api.DescribeImages(b.Context(), &sdk.DescribeImagesInput{Owners: []string{"self"}, IncludeDisabled: yes}, in(where))
	must(b, err)
	states := map[string]types.ImageState{}
	for _, i := range out.Images {
		states[*i.ImageId] = i.State
	}
	return states
}

// readers are who may make volumes of the snapshots of an image, beside its owner.
func (b *bench) readers(where, ami string) (all []string) {
	b.Helper()
	out, err := b.api.DescribeImages(b.Context(), &sdk.DescribeImagesInput{ImageIds: []string{ami}, IncludeDisabled: yes}, in(where))
	must(b, err)
	for _, m := range out.Images[0].BlockDeviceMappings {
		who, err := b.api.DescribeSnapshotAttribute(b.Context(), &sdk.DescribeSnapshotAttributeInput{
			SnapshotId: m.Ebs.SnapshotId, Attribute: types.SnapshotAttributeNameCreateVolumePermission,
		}, in(where))
		must(b, err)
		for _, p := range who.CreateVolumePermissions {
			all = append(all, aws.ToString(p.UserId))
		}
	}
	return all
}

// launches says what EC2 answers to somebody of the account who launches an image.
func (b *bench) launches(ami string) error {
	out, err := b.api.RunInstances(b.Context(), launch(ami, "", func(in *sdk.RunInstancesInput) { in.SubnetId = &b.cfg.Subnets[0] }))
	if err == nil {
		rest()
		_, err = b.api.TerminateInstances(b.Context(), &sdk.TerminateInstancesInput{InstanceIds: []string{*out.Instances[0].InstanceId}})
		rest()
	}
	return err
}

// A revoked image and its copy are launched by nobody, their own account included, and shared with nobody, snapshots
// included; both are still there to be removed.
func TestRevokedImageIsDisabled(t *testing.T) {
	inBubble(t, shop, func(b *bench) {
		ctx := b.Context()
		server := b.stopped()
		image, err := b.p.Capture(ctx, server, imageSpec)
		must(b, err)
		b.publish(b.p, image.ID, []string{"production"})
		must(b, b.p.Point(ctx, "production", "web", image.ID))
		copied := *b.copies()[0].ImageId
		if got := append(b.readers(region, string(image.ID)), b.readers(elsewhere, copied)...); !slices.Equal(got, []string{friend, friend}) {
			b.Fatalf("snapshots are read by %v: nothing is proved", got)
		}
		must(b, b.launches(string(image.ID)))
		err = b.p.Revoke(ctx, image.ID)
		code(b, err, cloud.CodeConflict)
		if err == nil || !strings.Contains(err.Error(), "/hallmark/production/web") {
			b.Errorf("the parameter is not named: %v", err)
		}
		if got := b.wire.count("ec2:DisableImage"); got != 0 {
			b.Errorf("%d images were disabled that a channel names", got)
		}

		must(b, b.p.Point(ctx, "production", "web", ""))
		for range 2 {
			must(b, b.p.Revoke(ctx, image.ID))
		}
		if got := b.wire.count("ec2:DisableImage"); got != 2 {
			b.Errorf("disabled %d times", got)
		}
		for where, ami := range map[string]string{region: string(image.ID), elsewhere: copied} {
			if got := b.imageStates(where)[ami]; got != types.ImageStateDisabled {
				b.Errorf("in %s the image is %s", where, got)
			}
			b.launchable(where, ami)
			if got := b.readers(where, ami); len(got) > 0 {
				b.Errorf("in %s the snapshots are read by %v", where, got)
			}
		}
		if refused(b.launches(string(image.ID)), "InvalidAMIID.Unavailable") != nil {
			b.Error("its own account launches it")
		}
		list, err := b.p.Images(ctx, cloud.Filter{Owner: "test"})
		if err != nil || len(list) > 0 {
			b.Errorf("listed: %v, %v", list, err)
		}

		// It is no other image's, nor are its snapshots nobody's.
		owned, err := b.p.Owned(ctx, "test")
		must(b, err)
		for _, r := range owned {
			if r.Kind == cloud.KindSnapshot {
				b.Errorf("snapshot %s counts as left over", r.ID)
			}
		}
		_, err = b.p.Capture(ctx, server, imageSpec)
		code(b, err, cloud.CodeRefused)
		b.offered(b.p, map[cloud.ImageID][]string{image.ID: nil})
		must(b, b.p.Publish(ctx, image.ID, nil))
		if len(b.imageStates(elsewhere)) > 0 {
			b.Error("the copy is still there")
		}
		b.offered(b.p, nil)
		must(b, b.p.DeleteImage(ctx, image.ID))
	})
}

// What a launch template launches is revoked all the same, and people are told; a copy in the making is removed; what
// a person enables again is disabled again.
func TestRevokeWhateverIsInTheWay(t *testing.T) {
	inBubble(t, shop, func(b *bench) {
		ctx := b.Context()
		var said bytes.Buffer
		p := b.renewed(func(c *ec2.Config) { c.Log = slog.New(slog.NewTextHandler(&said, nil)) })
		image := b.captured()
		b.publish(p, image.ID, []string{"development"})
		_, err := b.api.CreateLaunchTemplate(ctx, &sdk.CreateLaunchTemplateInput{
			LaunchTemplateName: aws.String("fleet-web"), LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String(string(image.ID))},
			TagSpecifications: tagging("test", types.ResourceTypeLaunchTemplate),
		})
		must(b, err)
		_, err = b.api.CopyImage(ctx, &sdk.CopyImageInput{
			Name: aws.String(imageSpec.Name), SourceImageId: aws.String(string(image.ID)), SourceRegion: aws.String(region),
			CopyImageTags: yes, Encrypted: yes, ClientToken: aws.String("copy"),
		}, in(elsewhere))
		must(b, err)
		must(b, p.Revoke(ctx, image.ID))
		if got := b.imageStates(region)[string(image.ID)]; got != types.ImageStateDisabled {
			b.Errorf("the image is %s", got)
		}
		if left := b.imageStates(elsewhere); len(left) > 0 {
			b.Errorf("the copy in the making is left: %v", left)
		}
		if !strings.Contains(said.String(), "template=fleet-web") {
			b.Errorf("nobody is told of the template: %s", said.String())
		}
		code(b, p.Publish(ctx, image.ID, nil), cloud.CodeConflict) // it stays until the template is free

		_, err = b.api.EnableImage(ctx, &sdk.EnableImageInput{ImageId: aws.String(string(image.ID))})
		must(b, err)
		must(b, b.launches(string(image.ID)))
		must(b, p.Revoke(ctx, image.ID))
		if b.launches(string(image.ID)) == nil {
			b.Error("it is launched again")
		}
		_, err = b.api.DeleteLaunchTemplate(ctx, &sdk.DeleteLaunchTemplateInput{LaunchTemplateName: aws.String("fleet-web")})
		must(b, err)
		must(b, p.Publish(ctx, image.ID, nil))
		code(b, p.Revoke(ctx, b.base().ID), cloud.CodeConflict) // a vendor's
	})
}

// No channel comes to name an image that somebody disabled by hand, and what a channel holds is told of.
func TestDisabledByHand(t *testing.T) {
	inBubble(t, shop, func(b *bench) {
		ctx := b.Context()
		image := b.captured()
		b.publish(b.p, image.ID, []string{"production"})
		copied := *b.copies()[0].ImageId
		for where, ami := range map[string]string{elsewhere: copied, region: string(image.ID)} {
			_, err := b.api.DisableImage(ctx, &sdk.DisableImageInput{ImageId: &ami}, in(where))
			must(b, err)
			b.offered(b.p, map[cloud.ImageID][]string{image.ID: nil})
			for what, err := range map[string]error{
				"copy": b.p.Copy(ctx, image.ID, []string{"production"}), "publish": b.p.Publish(ctx, image.ID, []string{"production"}),
				"point": b.p.Point(ctx, "production", "web", image.ID),
			} {
				code(b, err, cloud.CodeRefused)
				if err == nil || !strings.Contains(err.Error(), ami+" ("+imageSpec.Name+") is disabled") {
					b.Errorf("%s, disabled in %s: %v", what, where, err)
				}
			}
			_, err = b.api.EnableImage(ctx, &sdk.EnableImageInput{ImageId: &ami}, in(where))
			must(b, err)
			b.publish(b.p, image.ID, []string{"production"})
			b.offered(b.p, map[cloud.ImageID][]string{image.ID: {"production"}})
		}
		must(b, b.p.Publish(ctx, image.ID, nil))
	})
}
