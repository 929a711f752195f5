package ec2

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// imageName is EC2's rule, without the space.
var imageName = regexp.MustCompile(`^[a-zA-Z0-9()\[\]./\-'@_]{3,128}$`)

// Capture makes an AMI of a stopped server's root volume; data volumes stay out of it. EC2 knows no
// token for this: an image that is there already is adopted by its name, one that failed is removed
// and made again. Boot mode, ENA and architecture EC2 takes from the instance.
func (p *Provider) Capture(ctx context.Context, id cloud.ServerID, spec cloud.ImageSpec) (cloud.Image, error) {
	call := "capture " + spec.Name
	all, err := imageTags(call, spec)
	if err != nil {
		return cloud.Image{}, err
	}
	found, err := p.named(ctx, p.api, call, spec)
	if err != nil {
		return cloud.Image{}, fail(call, err)
	}
	if found == nil {
		in, err := p.find(ctx, id)
		if err != nil {
			return cloud.Image{}, fail(call, err)
		}
		if in.State.Name != types.InstanceStateNameStopped {
			return cloud.Image{}, refuse(call, "%s is %s: stop it first", id, in.State.Name)
		}
		if found, err = p.create(ctx, call, in, spec, all); err != nil {
			return cloud.Image{}, fail(call, err)
		}
	}
	image, err := p.complete(ctx, p.api, call, *found.ImageId)
	return image, fail(call, err)
}

// create begins an image, or gives the one of that name if another process was faster.
func (p *Provider) create(ctx context.Context, call string, in *types.Instance, spec cloud.ImageSpec, all tags) (*types.Image, error) {
	request := &ec2.CreateImageInput{
		InstanceId: in.InstanceId, Name: &spec.Name, Description: aws.String("Hallmark " + string(spec.Kind) + " image"),
		TagSpecifications: all.of(types.ResourceTypeImage, types.ResourceTypeSnapshot),
	}
	for _, m := range in.BlockDeviceMappings {
		if aws.ToString(m.DeviceName) != aws.ToString(in.RootDeviceName) {
			request.BlockDeviceMappings = append(request.BlockDeviceMappings, types.BlockDeviceMapping{DeviceName: m.DeviceName, NoDevice: aws.String("")})
		}
	}
	var out *ec2.CreateImageOutput
	err := p.until(ctx, aws.ToString(in.InstanceId)+" can be captured", visibleIn, func(ctx context.Context) (_ bool, err error) {
		out, err = p.api.CreateImage(ctx, request)
		if is(err, "IncorrectState", "IncorrectInstanceState") { // it was stopped just now, and not everybody knows
			return false, nil
		}
		return err == nil, err
	})
	if is(err, "InvalidAMIName.Duplicate") {
		found, again := p.named(ctx, p.api, call, spec)
		if again == nil && found == nil {
			again = err
		}
		return found, again
	}
	if err != nil {
		return nil, err
	}
	return &types.Image{ImageId: out.ImageId}, nil
}

func imageTags(call string, spec cloud.ImageSpec) (tags, error) {
	if !imageName.MatchString(spec.Name) {
		return nil, refuse(call, "an image's name must match %s", imageName)
	}
	if spec.Kind != cloud.Base && spec.Kind != cloud.Prebuilt {
		return nil, refuse(call, "unknown kind %q", spec.Kind)
	}
	all := label(spec.Tags, tags{tagImage: spec.Name, tagKind: string(spec.Kind), tagName: spec.Name})
	for k, v := range spec.Properties {
		all[tagProperty+k] = v
	}
	return all, all.check(call)
}

// named finds our image of a name, in any state; nil if there is none. One that failed is removed: it
// would hold the name for ever.
func (p *Provider) named(ctx context.Context, api *ec2.Client, call string, spec cloud.ImageSpec) (*types.Image, error) {
	list, err := p.listImages(ctx, api, []string{"self"}, []types.Filter{has("name", literal(spec.Name))})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	found := &list[0]
	t := read(found.Tags)
	if err := ours(call, t, spec.Tags.Owner); err != nil {
		return nil, err
	}
	if kind := cloud.Kind(t[tagKind]); kind != spec.Kind {
		return nil, conflict(call, "there is a %q image of that name", kind)
	}
	if s := found.State; s == types.ImageStateFailed || s == types.ImageStateError || s == types.ImageStateInvalid {
		p.cfg.Log.Warn("an image that failed is made again", "image", *found.ImageId, "err", reason(found))
		return nil, p.deregister(ctx, api, *found.ImageId)
	}
	return found, nil
}

func reason(in *types.Image) string {
	if in.StateReason == nil {
		return because(nil, nil)
	}
	return because(in.StateReason.Code, in.StateReason.Message)
}

// complete waits until an image is available. One that fails is removed, and the reason given.
func (p *Provider) complete(ctx context.Context, api *ec2.Client, call, id string) (cloud.Image, error) {
	var done *types.Image
	began := p.cfg.Clock.Now()
	err := p.until(ctx, id+" is available", imageIn, func(ctx context.Context) (bool, error) {
		found, err := p.describeImage(ctx, api, id)
		if absent(err) && p.cfg.Clock.Now().Sub(began) < visibleIn {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		done = found
		return found.State != types.ImageStatePending && found.State != types.ImageStateTransient, nil
	})
	if err != nil {
		return cloud.Image{}, err
	}
	switch done.State {
	case types.ImageStateAvailable:
		return image(done), p.harden(ctx, api, done)
	case types.ImageStateDisabled: // it is not made anew under its name: whoever disabled it meant that
		return cloud.Image{}, disabled(call, done)
	}
	failed := fmt.Errorf("EC2 made the image %s, but it is %s: %s", id, done.State, reason(done))
	if err := p.deregister(ctx, api, id); err != nil {
		return cloud.Image{}, err
	}
	code := cloud.CodeRefused
	if done.StateReason == nil || strings.HasPrefix(aws.ToString(done.StateReason.Code), "Server.") {
		code = cloud.CodeDown // it may go better the next time
	}
	return cloud.Image{}, &cloud.Error{Call: call, Code: code, Err: failed}
}

// harden makes an image ask for tokens (IMDSv2): whoever launches it, by whatever template, gets a server whose
// metadata need one, unless they say otherwise. It is asked for of images and of copies, since EC2's reference does not
// say that either has it from what it is made of. It cannot be taken back.
func (p *Provider) harden(ctx context.Context, api *ec2.Client, found *types.Image) error {
	if found.ImdsSupport == types.ImdsSupportValuesV20 {
		return nil
	}
	_, err := api.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{
		ImageId: found.ImageId, ImdsSupport: &types.AttributeValue{Value: aws.String(string(types.ImdsSupportValuesV20))},
	})
	return err
}

// disabled refuses an image that nobody can launch.
func disabled(call string, found *types.Image) error {
	return refuse(call, "%s (%s) is disabled, because its set was revoked, or by hand: use another image", aws.ToString(found.ImageId), aws.ToString(found.Name))
}

// Images gives those of this region that are complete, and not disabled.
func (p *Provider) Images(ctx context.Context, filter cloud.Filter) ([]cloud.Image, error) {
	filters := append(selected(filter), has("tag-key", tagKind), has("state", string(types.ImageStateAvailable)))
	list, err := p.listImages(ctx, p.api, []string{"self"}, filters)
	if err != nil {
		return nil, fail("list images", err)
	}
	images := []cloud.Image{}
	for i := range list {
		images = append(images, image(&list[i]))
	}
	return images, nil
}

// listImages lists disabled ones, too: they are there, with their names and snapshots.
func (p *Provider) listImages(ctx context.Context, api *ec2.Client, owners []string, filters []types.Filter) ([]types.Image, error) {
	pages := ec2.NewDescribeImagesPaginator(api, &ec2.DescribeImagesInput{Owners: owners, Filters: filters, IncludeDisabled: aws.Bool(true)})
	var list []types.Image
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, out.Images...)
	}
	return list, nil
}

// describeImage gives one image, whoever's it is, and also if it is disabled.
func (p *Provider) describeImage(ctx context.Context, api *ec2.Client, id string) (*types.Image, error) {
	call := "look at image " + id
	out, err := api.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{id}, IncludeDisabled: aws.Bool(true)})
	if err != nil {
		return nil, fail(call, err)
	}
	if len(out.Images) == 0 {
		return nil, lost(call, "there is no such image")
	}
	return &out.Images[0], nil
}

// image reads what imageTags wrote; a vendor's image has no such tags and is a reference base.
func image(in *types.Image) cloud.Image {
	t := read(in.Tags)
	i := cloud.Image{
		ID: cloud.ImageID(*in.ImageId), Name: aws.ToString(in.Name), Kind: cloud.Kind(t[tagKind]), Digest: *in.ImageId,
		Properties: t.under(tagProperty), Tags: t.cloud(),
	}
	if i.Kind == "" {
		i.Kind = cloud.Base
	}
	if i.Kind == cloud.Base && i.Properties[cloud.PropertyRecipe] == "" {
		i.Properties = map[string]string{cloud.PropertyRecipe: *in.ImageId}
	}
	if at, err := time.Parse(time.RFC3339, aws.ToString(in.CreationDate)); err == nil {
		i.Created = at
	}
	for _, m := range in.BlockDeviceMappings {
		if m.Ebs != nil {
			i.SizeBytes += int64(aws.ToInt32(m.Ebs.VolumeSize)) << 30
		}
	}
	return i
}

// DeleteImage removes an image with its snapshots. It refuses one that is protected (CodeRefused) or
// that a launch template of ours would launch (CodeConflict). An id with a region ("us-east-1/ami-…") is that of a
// published copy.
func (p *Provider) DeleteImage(ctx context.Context, id cloud.ImageID) error {
	call := "delete image " + string(id)
	api, ami, err := p.in(call, id)
	if err != nil || ami == "" {
		return err
	}
	found, err := p.describeImage(ctx, api, ami)
	if err != nil {
		return skipAbsent(fail(call, err))
	}
	if err := ours(call, read(found.Tags), ""); err != nil {
		return err
	}
	if protected(found) {
		return refuse(call, "it is protected, because it is published: withdraw it first")
	}
	used, err := p.launchedBy(ctx, api, ami)
	if err != nil {
		return fail(call, err)
	}
	if used != "" {
		return conflict(call, "the launch template %s launches it", used)
	}
	return fail(call, p.deregister(ctx, api, ami))
}

func protected(in *types.Image) bool {
	state := aws.ToString(in.DeregistrationProtection)
	return state != "" && state != "disabled"
}

// deregister removes an image and its snapshots. Snapshots that other images share stay.
func (p *Provider) deregister(ctx context.Context, api *ec2.Client, ami string) error {
	_, err := api.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: &ami, DeleteAssociatedSnapshots: aws.Bool(true)})
	return gone(ctx, err, func(ctx context.Context) ([]types.Image, error) {
		return p.listImages(ctx, api, []string{"self"}, []types.Filter{has("image-id", ami)})
	})
}

func (p *Provider) deleteSnapshot(ctx context.Context, api *ec2.Client, call, id string) error {
	list, err := p.listSnapshots(ctx, api, []types.Filter{has("snapshot-id", id)})
	if err != nil || len(list) == 0 {
		return err
	}
	if err := ours(call, read(list[0].Tags), ""); err != nil {
		return err
	}
	_, err = api.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: &id})
	return gone(ctx, err, func(ctx context.Context) ([]types.Snapshot, error) {
		return p.listSnapshots(ctx, api, []types.Filter{has("snapshot-id", id)})
	})
}

func (p *Provider) listSnapshots(ctx context.Context, api *ec2.Client, filters []types.Filter) ([]types.Snapshot, error) {
	pages := ec2.NewDescribeSnapshotsPaginator(api, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: filters})
	var list []types.Snapshot
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, out.Snapshots...)
	}
	return list, nil
}

// launchedBy gives the name of a launch template of ours that launches an image; "" if there is none. Of a
// template's versions those count that may be launched: the latest, the default, and what scaling groups use.
func (p *Provider) launchedBy(ctx context.Context, api *ec2.Client, ami string) (string, error) {
	used, err := p.usedVersions(ctx, api.Options().Region)
	if err != nil {
		return "", err
	}
	pages := ec2.NewDescribeLaunchTemplatesPaginator(api, &ec2.DescribeLaunchTemplatesInput{Filters: where(tagOwner, "")})
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return "", err
		}
		for _, t := range out.LaunchTemplates {
			launches, err := templateLaunches(ctx, api, t, used[aws.ToString(t.LaunchTemplateId)], ami)
			if err != nil {
				return "", err
			}
			if launches {
				return aws.ToString(t.LaunchTemplateName), nil
			}
		}
	}
	return "", nil
}

// templateLaunches looks through all versions of a template: to ask for one that somebody has deleted is an
// error, also of those that are there.
func templateLaunches(ctx context.Context, api *ec2.Client, t types.LaunchTemplate, used []string, ami string) (bool, error) {
	pages := ec2.NewDescribeLaunchTemplateVersionsPaginator(api, &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: t.LaunchTemplateId})
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return false, skipAbsent(err)
		}
		if slices.ContainsFunc(out.LaunchTemplateVersions, func(v types.LaunchTemplateVersion) bool {
			number := aws.ToInt64(v.VersionNumber)
			counts := number == aws.ToInt64(t.LatestVersionNumber) || number == aws.ToInt64(t.DefaultVersionNumber) ||
				slices.Contains(used, strconv.FormatInt(number, 10))
			return counts && v.LaunchTemplateData != nil && aws.ToString(v.LaunchTemplateData.ImageId) == ami
		}) {
			return true, nil
		}
	}
	return false, nil
}

// in splits the identifier of an image and gives a client for its region.
func (p *Provider) in(call string, id cloud.ImageID) (*ec2.Client, string, error) {
	region, ami, elsewhere := strings.Cut(string(id), "/")
	if !elsewhere {
		return p.api, string(id), nil
	}
	api := p.regions[region]
	if api == nil {
		return nil, "", refuse(call, "%s is not among the configured regions", region)
	}
	return api, ami, nil
}
