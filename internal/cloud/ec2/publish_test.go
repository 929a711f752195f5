package ec2_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2"
)

const (
	friend       = "210987654321"
	other        = "333333333333"
	organisation = "arn:aws:organizations::123456789012:organization/o-abcdefghij"
)

// shop is a configuration with two channels that want different things.
func shop(c *ec2.Config) {
	c.KMSKey = "alias/images"
	c.Publish = []ec2.Offer{
		{
			Channels: []string{"production"}, Regions: []string{elsewhere}, Accounts: []string{friend}, Organisations: []string{organisation},
			Keys: map[string]string{elsewhere: "alias/images"}, DeprecateAfter: 90 * 24 * time.Hour,
		},
		{Channels: []string{"release-*"}, Accounts: []string{other}, DeprecateAfter: 30 * 24 * time.Hour},
		{Channels: []string{"release-1.*"}, DeprecateAfter: 60 * 24 * time.Hour},
	}
}

// renewed is a new process with another configuration.
func (b *bench) renewed(change func(*ec2.Config)) *ec2.Provider {
	b.Helper()
	cfg := b.cfg
	change(&cfg)
	p, err := ec2.New(b.Context(), cfg)
	must(b, err)
	return p
}

// publish copies an image first.
func (b *bench) publish(p *ec2.Provider, id cloud.ImageID, channels []string) {
	b.Helper()
	must(b, p.Copy(b.Context(), id, channels))
	must(b, p.Publish(b.Context(), id, channels))
}

// copies are the images of our account in the other region.
func (b *bench) copies() []types.Image {
	b.Helper()
	out, err := b.api.DescribeImages(b.Context(), &sdk.DescribeImagesInput{Owners: []string{"self"}}, in(elsewhere))
	must(b, err)
	return out.Images
}

// offered checks what the provider says is published.
func (b *bench) offered(p *ec2.Provider, want map[cloud.ImageID][]string) {
	b.Helper()
	got, err := p.Published(b.Context(), "test")
	must(b, err)
	if !maps.EqualFunc(got, want, slices.Equal) {
		b.Errorf("published: %v, want %v", got, want)
	}
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
	slices.Sort(got)
	if !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		b.Errorf("in %s it may be launched by %v, want %v", where, got, want)
	}
}

// deprecated checks when an image is deprecated, counted from its creation.
func (b *bench) deprecated(found types.Image, made time.Time, after time.Duration) {
	b.Helper()
	at, err := time.Parse(time.RFC3339, aws.ToString(found.DeprecationTime))
	if after == 0 {
		if found.DeprecationTime != nil {
			b.Errorf("%s is deprecated at %s", *found.ImageId, *found.DeprecationTime)
		}
		return
	}
	must(b, err)
	if got := at.Sub(made); got > after || got < after-time.Minute {
		b.Errorf("%s is deprecated after %s, want %s", *found.ImageId, got, after)
	}
}

// What two channels want of an image counts together; what none of them wants any more is taken back.
func TestPublish(t *testing.T) {
	inBubble(t, shop, func(b *bench) {
		ctx := b.Context()
		image := b.captured()
		const day = 24 * time.Hour
		for _, step := range []struct {
			channels  []string
			copies    int
			launchers []string
			after     time.Duration
		}{
			{[]string{"development"}, 0, nil, 0},
			{[]string{"release-2.0"}, 0, []string{other}, 30 * day},
			{[]string{"release-1.0"}, 0, []string{other}, 60 * day},
			{[]string{"production", "release-1.0"}, 1, []string{other, friend, organisation}, 90 * day},
			{[]string{"development", "production"}, 1, []string{friend, organisation}, 0},
			{[]string{"production"}, 1, []string{friend, organisation}, 90 * day},
			{[]string{"development"}, 0, nil, 0},
		} {
			for range 2 {
				b.publish(b.p, image.ID, step.channels)
			}
			b.offered(b.p, map[cloud.ImageID][]string{image.ID: step.channels})
			copies := b.copies()
			if len(copies) != step.copies {
				b.Fatalf("%v: %d copies, want %d", step.channels, len(copies), step.copies)
			}
			for _, found := range append(copies, b.described(region, string(image.ID))) {
				where := region
				if *found.ImageId != string(image.ID) {
					where = elsewhere
				}
				if aws.ToString(found.DeregistrationProtection) != "enabled-without-cooldown" || *found.Name != imageSpec.Name {
					b.Errorf("%v in %s: %+v", step.channels, where, found)
				}
				b.launchable(where, *found.ImageId, step.launchers...)
				b.deprecated(found, image.Created, step.after)
				id := cloud.ImageID(*found.ImageId)
				if where != region {
					id = cloud.ImageID(where + "/" + *found.ImageId)
				}
				code(b, b.p.DeleteImage(ctx, id), cloud.CodeRefused) // protected
			}
		}
		if got := b.wire.count("ec2:CopyImage"); got != 1 {
			b.Errorf("asked for %d copies", got)
		}

		b.publish(b.p, image.ID, []string{"production"})
		must(b, b.p.Publish(ctx, image.ID, nil))
		must(b, b.p.Publish(ctx, image.ID, nil))
		b.offered(b.p, nil)
		b.launchable(region, string(image.ID))
		b.deprecated(b.described(region, string(image.ID)), image.Created, 0)
		if len(b.copies()) != 0 {
			b.Error("the copy is still there")
		}
		must(b, b.p.DeleteImage(ctx, image.ID))
	})
}

// Copies are nobody's until they are published, and what has none is not published.
func TestCopyFirst(t *testing.T) {
	inBubble(t, shop, func(b *bench) {
		ctx := b.Context()
		image := b.captured()
		code(b, b.p.Publish(ctx, image.ID, []string{"production"}), cloud.CodeRefused)
		b.offered(b.p, nil)
		b.publish(b.p, image.ID, []string{"development"})
		for range 2 {
			must(b, b.p.Copy(ctx, image.ID, []string{"production"}))
		}
		if got := b.wire.count("ec2:CopyImage"); got != 1 {
			b.Errorf("asked for %d copies", got)
		}
		b.launchable(elsewhere, *b.copies()[0].ImageId)
		copied := cloud.ImageID(elsewhere + "/" + *b.copies()[0].ImageId)
		b.offered(b.p, map[cloud.ImageID][]string{image.ID: {"development"}, copied: nil})
		must(b, b.p.Publish(ctx, image.ID, []string{"development", "release-1.0"})) // it may be of use yet
		b.offered(b.p, map[cloud.ImageID][]string{image.ID: {"development", "release-1.0"}, copied: nil})
		must(b, b.p.Publish(ctx, copied, nil))
		if left := b.copies(); len(left) > 0 {
			b.Errorf("copies that nobody wants: %v", left)
		}
		must(b, b.p.Copy(ctx, image.ID, []string{"production"}))
		must(b, b.p.Publish(ctx, image.ID, nil))
		if left := b.copies(); len(left) > 0 {
			b.Errorf("copies that nobody wants: %v", left)
		}
	})
}

// With nothing to do there are two calls for images, and two for each region of a channel.
func TestNothingToPublish(t *testing.T) {
	inBubble(t, shop, func(b *bench) {
		ctx := b.Context()
		image := b.captured()
		b.publish(b.p, image.ID, []string{"production"})
		must(b, b.p.Point(ctx, "production", "web", image.ID))
		b.wire.forget()
		b.offered(b.p, map[cloud.ImageID][]string{image.ID: {"production"}})
		if n := b.wire.tally()["all"]; n != 2 {
			b.Errorf("%d calls, want one in each region", n)
		}
		b.wire.forget()
		got, err := b.p.Pointed(ctx, "production")
		if n := b.wire.tally()["all"]; err != nil || got["web"] != image.ID || n != 4 {
			b.Errorf("%v, %v, %d calls", got, err, n)
		}
		must(b, b.p.Point(ctx, "production", "web", ""))
		must(b, b.p.Publish(ctx, image.ID, nil))
	})
}

// What the configuration says now is what counts, not what it said when the image was published.
func TestConfigurationOfPublicationsChanges(t *testing.T) {
	inBubble(t, shop, func(b *bench) {
		ctx := b.Context()
		image := b.captured()
		b.publish(b.p, image.ID, []string{"production"})
		must(b, b.p.Point(ctx, "production", "web", image.ID))
		b.parameters("production", "web", string(image.ID), *b.copies()[0].ImageId)

		p := b.renewed(func(c *ec2.Config) { c.Publish = []ec2.Offer{{Channels: []string{"*"}, Accounts: []string{other}}} })
		b.offered(p, map[cloud.ImageID][]string{image.ID: nil})
		code(b, p.Point(ctx, "production", "web", image.ID), cloud.CodeRefused)
		b.publish(p, image.ID, []string{"production"})
		b.offered(p, map[cloud.ImageID][]string{image.ID: {"production"}})
		b.launchable(region, string(image.ID), other)
		b.parameters("production", "web", string(image.ID), "") // a parameter goes before what it names
		if len(b.copies()) != 0 {
			b.Error("the copy is still there")
		}
		must(b, p.Point(ctx, "production", "web", ""))
		must(b, p.Publish(ctx, image.ID, nil))

		cfg := b.cfg
		cfg.Publish = []ec2.Offer{{Channels: []string{"*"}, Regions: []string{"eu-lab-9"}}}
		_, err := ec2.New(ctx, cfg)
		code(b, err, cloud.CodeRefused)
		cfg.Publish = []ec2.Offer{{Channels: []string{"["}}}
		_, err = ec2.New(ctx, cfg)
		code(b, err, cloud.CodeRefused)
	})
}

// What AWS' own key encrypts is refused as EC2 refuses it, with the remedy, and the parameter does not move; also where the
// configuration does not show it, since the image is older.
func TestSharingUnderAKeyOfAWS(t *testing.T) {
	for where, change := range map[string]func(*ec2.Config){
		region: func(c *ec2.Config) {
			c.Publish = []ec2.Offer{{Channels: []string{"production"}, Accounts: []string{friend}}}
		},
		elsewhere: func(c *ec2.Config) {
			c.KMSKey = "alias/images"
			c.Publish = []ec2.Offer{{Channels: []string{"production"}, Regions: []string{elsewhere}, Accounts: []string{friend}, Keys: map[string]string{elsewhere: "alias/aws/ebs"}}}
		},
	} {
		t.Run(where, func(t *testing.T) {
			inBubble(t, change, func(b *bench) {
				ctx := b.Context()
				image := b.captured()
				must(b, b.p.Copy(ctx, image.ID, []string{"production"}))
				err := b.p.Publish(ctx, image.ID, []string{"production"})
				code(b, err, cloud.CodeRefused)
				if err == nil || !strings.Contains(err.Error(), "provider.ec2.kms-key") || !strings.Contains(err.Error(), "AWS Managed CMK can't be shared") {
					b.Errorf("without the remedy: %v", err)
				}
				code(b, b.p.Point(ctx, "production", "web", image.ID), cloud.CodeRefused)
				must(b, b.p.Publish(ctx, image.ID, nil))
			})
		})
	}
}

// An image that is older than its channel keeps images is deprecated as soon as EC2 takes it.
func TestPublishOfAnOldImage(t *testing.T) {
	inBubble(t, shop, func(b *bench) {
		ctx := b.Context()
		image := b.captured()
		time.Sleep(31 * 24 * time.Hour) // the bubble's
		b.publish(b.p, image.ID, []string{"release-2.0"})
		b.deprecated(b.described(region, string(image.ID)), time.Now(), 5*time.Minute)
		time.Sleep(time.Hour)
		b.publish(b.p, image.ID, []string{"release-2.0"})
		if got := b.wire.count("ec2:EnableImageDeprecation"); got != 1 {
			b.Errorf("deprecated %d times", got)
		}
		must(b, b.p.Publish(ctx, image.ID, nil))
	})
}

// What somebody else changed, or a crash left, is found by looking.
func TestPublicationsAtOdds(t *testing.T) {
	inBubble(t, shop, func(b *bench) {
		ctx := b.Context()
		code(b, b.p.Publish(ctx, b.base().ID, []string{"production"}), cloud.CodeConflict)
		image := b.captured()
		b.publish(b.p, image.ID, []string{"production"})
		ami := b.copies()[0].ImageId
		unprotect := func(id *string, where string) {
			b.Helper()
			_, err := b.api.DisableImageDeregistrationProtection(ctx, &sdk.DisableImageDeregistrationProtectionInput{ImageId: id}, in(where))
			must(b, err)
		}
		for _, spoil := range []func(){
			func() { unprotect(ami, elsewhere) },
			func() { unprotect(aws.String(string(image.ID)), region) },
			func() {
				unprotect(ami, elsewhere)
				_, err := b.api.DeregisterImage(ctx, &sdk.DeregisterImageInput{ImageId: ami, DeleteAssociatedSnapshots: aws.Bool(true)}, in(elsewhere))
				must(b, err)
			},
		} {
			spoil()
			b.offered(b.p, map[cloud.ImageID][]string{image.ID: nil})
			b.publish(b.p, image.ID, []string{"production"})
			b.offered(b.p, map[cloud.ImageID][]string{image.ID: {"production"}})
		}

		must(b, b.p.Publish(ctx, image.ID, nil))
		_, err := b.api.EnableImageDeregistrationProtection(ctx, &sdk.EnableImageDeregistrationProtectionInput{ImageId: aws.String(string(image.ID))})
		must(b, err)
		b.offered(b.p, nil) // somebody wants to keep it
		must(b, b.p.Publish(ctx, image.ID, nil))
		code(b, b.p.DeleteImage(ctx, image.ID), cloud.CodeRefused)
		b.publish(b.p, image.ID, []string{"production"})

		unprotect(aws.String(string(image.ID)), region)
		_, err = b.api.DeregisterImage(ctx, &sdk.DeregisterImageInput{ImageId: aws.String(string(image.ID)), DeleteAssociatedSnapshots: aws.Bool(true)})
		must(b, err)
		left := cloud.ImageID(elsewhere + "/" + *b.copies()[0].ImageId)
		b.offered(b.p, map[cloud.ImageID][]string{left: nil})
		must(b, b.p.Publish(ctx, left, nil))
		must(b, b.p.Publish(ctx, left, nil))
		b.offered(b.p, nil)
	})
}

func TestALaunchTemplateKeepsItsImage(t *testing.T) {
	inBubble(t, shop, func(b *bench) {
		ctx := b.Context()
		image := b.captured()
		b.publish(b.p, image.ID, []string{"production"})
		there := *b.copies()[0].ImageId
		for where, ami := range map[string]string{region: string(image.ID), elsewhere: there} {
			_, err := b.api.CreateLaunchTemplate(ctx, &sdk.CreateLaunchTemplateInput{
				LaunchTemplateName: aws.String("fleet-web"), LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String(ami)},
				TagSpecifications: []types.TagSpecification{{
					ResourceType: types.ResourceTypeLaunchTemplate, Tags: []types.Tag{{Key: aws.String("hallmark:owner"), Value: aws.String("test")}},
				}},
			}, in(where))
			must(b, err)
			err = b.p.Publish(ctx, image.ID, nil)
			code(b, err, cloud.CodeConflict)
			if err == nil || !strings.Contains(err.Error(), "fleet-web") || !strings.Contains(err.Error(), where) {
				b.Errorf("the template is not named: %v", err)
			}
			b.offered(b.p, map[cloud.ImageID][]string{image.ID: {"production"}}) // nothing was changed
			_, err = b.api.DeleteLaunchTemplate(ctx, &sdk.DeleteLaunchTemplateInput{LaunchTemplateName: aws.String("fleet-web")}, in(where))
			must(b, err)
		}
		must(b, b.p.Publish(ctx, image.ID, nil))
		_, err := b.api.CreateLaunchTemplate(ctx, &sdk.CreateLaunchTemplateInput{
			LaunchTemplateName: aws.String("fleet-web"), LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String(string(image.ID))},
			TagSpecifications: []types.TagSpecification{{
				ResourceType: types.ResourceTypeLaunchTemplate, Tags: []types.Tag{{Key: aws.String("hallmark:owner"), Value: aws.String("test")}},
			}},
		})
		must(b, err)
		code(b, b.p.DeleteImage(ctx, image.ID), cloud.CodeConflict)
		_, err = b.api.DeleteLaunchTemplate(ctx, &sdk.DeleteLaunchTemplateInput{LaunchTemplateName: aws.String("fleet-web")})
		must(b, err)
	})
}
