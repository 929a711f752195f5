package ec2

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	scaling "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// tagGroupName is what Auto Scaling itself tags its instances with.
const tagGroupName = "aws:autoscaling:groupName"

// deadlineUnit begins the names of the units with which a server of an environment ends itself.
const deadlineUnit = "hallmark-deadline"

// rolling is a roll as EC2 knows it. Nothing in Auto Scaling can be named or tagged by us but the version
// of the launch template, so that is what a roll is found by, and its refreshes by the version they lead to.
type rolling struct {
	group    *scaling.AutoScalingGroup
	template string
	made     string // the version with the new image; "": none yet
	from     string // the one before
	image    string // that the made one launches
	before   string // that the one before launches

	there *scaling.InstanceRefresh // the refresh to made; nil: none
	back  *scaling.InstanceRefresh // the last one from there back to from; nil: none
}

// version is the one that the group launches.
func (r *rolling) version() string { return aws.ToString(r.group.LaunchTemplate.Version) }

// described is how Roll describes a version, and what is read of that again.
var described = regexp.MustCompile(`, from version ([0-9]+) \((hallmark-[0-9a-f]+)\)$`)

func description(roll cloud.Roll, from string) string {
	return fmt.Sprintf("roll to %s, from version %s (%s)", roll.Image, from, rollToken(roll))
}

func rollToken(roll cloud.Roll) string { return token("roll", roll.Group, roll.Token) }

// rolling finds the group of a roll, and how far it has come.
func (p *Provider) rolling(ctx context.Context, call string, roll cloud.Roll) (*rolling, error) {
	if roll.Token == "" || roll.Owner == "" {
		return nil, refuse(call, "no token or no owner")
	}
	g, err := p.scalingGroup(ctx, call, roll)
	if err != nil {
		return nil, err
	}
	r := &rolling{group: g, template: aws.ToString(g.LaunchTemplate.LaunchTemplateId)}
	versions, err := p.versions(ctx, r.template)
	if err != nil {
		return nil, err
	}
	for _, v := range versions {
		match := described.FindStringSubmatch(aws.ToString(v.VersionDescription))
		if match == nil || match[2] != rollToken(roll) || v.LaunchTemplateData == nil {
			continue
		}
		r.made, r.from, r.image = strconv.FormatInt(aws.ToInt64(v.VersionNumber), 10), match[1], aws.ToString(v.LaunchTemplateData.ImageId)
	}
	if r.made == "" {
		return r, nil
	}
	for _, v := range versions {
		if strconv.FormatInt(aws.ToInt64(v.VersionNumber), 10) == r.from && v.LaunchTemplateData != nil {
			r.before = aws.ToString(v.LaunchTemplateData.ImageId)
		}
	}
	if r.image != string(roll.Image) {
		return nil, conflict(call, "its token rolled the group to %s", r.image)
	}
	return r, p.findRefreshes(ctx, r)
}

// findRefreshes finds the first refresh to the version that was made, and the last one back after it.
func (p *Provider) findRefreshes(ctx context.Context, r *rolling) error {
	pages := autoscaling.NewDescribeInstanceRefreshesPaginator(p.scaling[p.cfg.Region], &autoscaling.DescribeInstanceRefreshesInput{
		AutoScalingGroupName: r.group.AutoScalingGroupName,
	})
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, f := range out.InstanceRefreshes { // the newest first
			switch r.leads(&f) {
			case r.made:
				r.there = &f
			case r.from:
				if r.there == nil && r.back == nil {
					r.back = &f
				}
			}
		}
	}
	if r.there == nil || r.back != nil && aws.ToTime(r.back.StartTime).Before(aws.ToTime(r.there.StartTime)) {
		r.back = nil
	}
	return nil
}

// leads is the version that a refresh leads to; "" for one of another kind.
func (r *rolling) leads(f *scaling.InstanceRefresh) string {
	d := f.DesiredConfiguration
	if d == nil || d.LaunchTemplate == nil || aws.ToString(d.LaunchTemplate.LaunchTemplateId) != r.template {
		return ""
	}
	return aws.ToString(d.LaunchTemplate.Version)
}

// scalingGroup finds the group of a roll, which is ours and launches by a template.
func (p *Provider) scalingGroup(ctx context.Context, call string, roll cloud.Roll) (*scaling.AutoScalingGroup, error) {
	out, err := p.scaling[p.cfg.Region].DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{roll.Group}})
	if err != nil {
		return nil, err
	}
	if len(out.AutoScalingGroups) == 0 {
		return nil, lost(call, "there is no Auto Scaling group %s", roll.Group)
	}
	g := &out.AutoScalingGroups[0]
	if err := ours(call, groupTags(g), roll.Owner); err != nil {
		return nil, err
	}
	if g.LaunchTemplate == nil {
		return nil, refuse(call, "the group launches by a launch configuration or a mixed instances policy: a group that is rolled has a launch template")
	}
	return g, nil
}

// usedVersions are the versions of launch templates that a region's scaling groups of ours launch, or that
// their instances were launched from, by template.
func (p *Provider) usedVersions(ctx context.Context, region string) (map[string][]string, error) {
	pages := autoscaling.NewDescribeAutoScalingGroupsPaginator(p.scaling[region], &autoscaling.DescribeAutoScalingGroupsInput{
		Filters: []scaling.Filter{{Name: aws.String("tag-key"), Values: []string{tagOwner}}},
	})
	used := map[string][]string{}
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, g := range out.AutoScalingGroups {
			specs := []*scaling.LaunchTemplateSpecification{g.LaunchTemplate}
			for _, i := range g.Instances {
				specs = append(specs, i.LaunchTemplate)
			}
			for _, s := range specs {
				if s == nil || slices.Contains(used[aws.ToString(s.LaunchTemplateId)], aws.ToString(s.Version)) {
					continue
				}
				used[aws.ToString(s.LaunchTemplateId)] = append(used[aws.ToString(s.LaunchTemplateId)], aws.ToString(s.Version))
			}
		}
	}
	return used, nil
}

func groupTags(g *scaling.AutoScalingGroup) tags {
	t := tags{}
	for _, one := range g.Tags {
		t[aws.ToString(one.Key)] = aws.ToString(one.Value)
	}
	return t
}

// versions are all of a launch template's.
func (p *Provider) versions(ctx context.Context, template string, numbers ...string) ([]types.LaunchTemplateVersion, error) {
	pages := ec2.NewDescribeLaunchTemplateVersionsPaginator(p.api, &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: &template, Versions: numbers})
	var list []types.LaunchTemplateVersion
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, out.LaunchTemplateVersions...)
	}
	return list, nil
}

// rollable says why a group must not be rolled: what could not be taken back, would not be watched, or
// would end its new servers.
func (p *Provider) rollable(ctx context.Context, call string, r *rolling, roll cloud.Roll) error {
	g := r.group
	if _, err := strconv.Atoi(r.version()); err != nil {
		return refuse(call, "the group launches version %s of its template, and so what is made next: give it the number of a version", r.version())
	}
	if (len(g.TargetGroupARNs) > 0 || len(g.TrafficSources) > 0) && !strings.Contains(aws.ToString(g.HealthCheckType), "ELB") {
		return refuse(call, "the group does not look at what its load balancer says of its servers: give it the health check type ELB")
	}
	if groupTags(g)[tagDeadline] != "" {
		return refuse(call, "the group gives its servers a deadline")
	}
	templates, err := p.api.DescribeLaunchTemplates(ctx, &ec2.DescribeLaunchTemplatesInput{LaunchTemplateIds: []string{r.template}})
	if err != nil {
		return err
	}
	if len(templates.LaunchTemplates) == 0 {
		return lost(call, "there is no launch template %s", r.template)
	}
	if err := ours("look at launch template "+r.template, read(templates.LaunchTemplates[0].Tags), roll.Owner); err != nil {
		return err
	}
	source, err := p.versions(ctx, r.template, r.version())
	if err != nil {
		return err
	}
	if len(source) == 0 || source[0].LaunchTemplateData == nil {
		return lost(call, "there is no version %s of launch template %s", r.version(), r.template)
	}
	if err := undying(call, source[0].LaunchTemplateData); err != nil {
		return err
	}
	image, err := p.describeImage(ctx, p.api, string(roll.Image))
	if err != nil {
		return err
	}
	if err := ours("look at image "+string(roll.Image), read(image.Tags), roll.Owner); err != nil {
		return err
	}
	if image.State != types.ImageStateAvailable {
		return refuse(call, "the image is %s", image.State)
	}
	return nil
}

// undying refuses what a version hands on to the one that is made of it.
func undying(call string, data *types.ResponseLaunchTemplateData) error {
	if image := aws.ToString(data.ImageId); strings.HasPrefix(image, "resolve:") {
		return refuse(call, "the group launches what the parameter %s names: Auto Scaling can't take such a group back. Name the image itself", strings.TrimPrefix(image, "resolve:"))
	}
	for _, s := range data.TagSpecifications {
		if read(s.Tags)[tagDeadline] != "" {
			return refuse(call, "the launch template gives its servers a deadline")
		}
	}
	text, err := unpacked(aws.ToString(data.UserData))
	if err != nil {
		return refuse(call, "read the launch template's user-data: %w", err)
	}
	if bytes.Contains(text, []byte(deadlineUnit)) {
		return refuse(call, "the launch template's user-data hold the unit %s: its servers would end themselves", deadlineUnit)
	}
	return nil
}

// mostUnpacked is far above what 16 KiB of user-data hold.
const mostUnpacked = 8 << 20

// unpacked reads what packed made.
func unpacked(userData string) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(userData)
	if err != nil || !bytes.HasPrefix(raw, []byte{0x1f, 0x8b}) {
		return raw, err
	}
	r, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, mostUnpacked))
}
