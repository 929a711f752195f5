package ec2_test

import (
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	scaling "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// launches is a template that can launch, with two versions of the same image.
func (w *world) launches() (id string) {
	w.Helper()
	name := w.name()
	made, err := w.api.CreateLaunchTemplate(w.Context(), &sdk.CreateLaunchTemplateInput{
		LaunchTemplateName: &name,
		LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: w.base.ImageId, InstanceType: types.InstanceTypeT3Small, SecurityGroupIds: []string{w.group(name)}},
	})
	must(w, err)
	id = *made.LaunchTemplate.LaunchTemplateId
	_, err = w.nextVersion(id)
	must(w, err)
	return id
}

// nextVersion is the first one with an image, as the provider asks for it.
func (w *world) nextVersion(template string) (*sdk.CreateLaunchTemplateVersionOutput, error) {
	return w.api.CreateLaunchTemplateVersion(w.Context(), &sdk.CreateLaunchTemplateVersionInput{
		LaunchTemplateId: &template, SourceVersion: aws.String("1"), VersionDescription: aws.String("next"), ClientToken: aws.String("next-" + template),
		LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: w.base.ImageId},
	})
}

// scalingGroup is one of some servers by the first version of a template, with its name as a tag.
func (w *world) scalingGroup(servers int32) (name, template string) {
	w.Helper()
	name, template = w.name(), w.launches()
	_, err := w.scaling.CreateAutoScalingGroup(w.Context(), &autoscaling.CreateAutoScalingGroupInput{
		AutoScalingGroupName: &name, MinSize: &servers, MaxSize: aws.Int32(2), VPCZoneIdentifier: w.subnets[0].SubnetId, LaunchTemplate: firstOf(template),
		Tags: []scaling.Tag{{Key: aws.String("which"), Value: &name, ResourceId: &name, ResourceType: aws.String("auto-scaling-group"), PropagateAtLaunch: aws.Bool(true)}},
	})
	must(w, err)
	return name, template
}

func (w *world) listGroups(in *autoscaling.DescribeAutoScalingGroupsInput) ([]scaling.AutoScalingGroup, error) {
	out, err := w.scaling.DescribeAutoScalingGroups(w.Context(), in)
	if err != nil {
		return nil, err
	}
	return out.AutoScalingGroups, nil
}

// refresh begins to lead a group to the second version of its template.
func (w *world) refresh(name, template string) error {
	w.Helper()
	to := firstOf(template)
	to.Version = aws.String("2")
	_, err := w.scaling.StartInstanceRefresh(w.Context(), &autoscaling.StartInstanceRefreshInput{
		AutoScalingGroupName: &name, Strategy: scaling.RefreshStrategyRolling, DesiredConfiguration: &scaling.DesiredConfiguration{LaunchTemplate: to},
		Preferences: &scaling.RefreshPreferences{
			AutoRollback: aws.Bool(true), SkipMatching: aws.Bool(false), MinHealthyPercentage: aws.Int32(100), MaxHealthyPercentage: aws.Int32(110),
		},
	})
	return err
}

var rollOpinions = []opinion{
	{
		action: "ec2:CreateLaunchTemplateVersion", says: "takes from the source version what it is not given",
		moto: "takes nothing from it", shows: "without a type",
		try: func(w *world) error {
			out, err := w.api.DescribeLaunchTemplateVersions(w.Context(), &sdk.DescribeLaunchTemplateVersionsInput{
				LaunchTemplateId: aws.String(w.launches()), Versions: []string{"2"},
			})
			if err != nil {
				return err
			}
			v := out.LaunchTemplateVersions[0]
			return expect(v.LaunchTemplateData.InstanceType == types.InstanceTypeT3Small, "without a type: %+v", v.LaunchTemplateData)
		},
	},
	{
		action: "ec2:CreateLaunchTemplateVersion", says: "gives the same version for the same token",
		moto: "makes another one", shows: "version 3",
		try: func(w *world) error {
			out, err := w.nextVersion(w.launches())
			if err != nil {
				return err
			}
			return expect(*out.LaunchTemplateVersion.VersionNumber == 2, "version %d", *out.LaunchTemplateVersion.VersionNumber)
		},
	},
	{
		action: "autoscaling:DescribeAutoScalingGroups", says: "finds by name and by tag key, with the template's version",
		try: func(w *world) error {
			name, template := w.scalingGroup(0)
			for _, in := range []*autoscaling.DescribeAutoScalingGroupsInput{
				{AutoScalingGroupNames: []string{name}}, {Filters: []scaling.Filter{{Name: aws.String("tag-key"), Values: []string{"which"}}}},
			} {
				all, err := w.listGroups(in)
				if err != nil {
					return err
				}
				found := false
				for _, g := range all {
					found = found || *g.AutoScalingGroupName == name && *g.LaunchTemplate.LaunchTemplateId == template && *g.LaunchTemplate.Version == "1" && *g.Tags[0].Value == name
				}
				if !found {
					return expect(false, "%+v", all)
				}
			}
			return nil
		},
	},
	{
		action: "autoscaling:DescribeAutoScalingGroups", says: "leaves out a name that is not there",
		try: func(w *world) error {
			all, err := w.listGroups(&autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{w.name()}})
			if err != nil {
				return err
			}
			return expect(len(all) == 0, "%+v", all)
		},
	},
	{
		action: "autoscaling:DescribeScalingActivities", says: "tells of a launch, with the instance in its description",
		moto: "tells nothing", shows: "tells nothing",
		try: func(w *world) error {
			name, _ := w.scalingGroup(1)
			for began := time.Now(); time.Since(began) < most; time.Sleep(often) {
				out, err := w.scaling.DescribeScalingActivities(w.Context(), &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: &name})
				if err != nil {
					return err
				}
				if len(out.Activities) > 0 {
					return expect(strings.HasPrefix(*out.Activities[0].Description, "Launching a new EC2 instance: i-"), "%+v", out.Activities)
				}
			}
			return expect(false, "it tells nothing")
		},
	},
	{
		action: "autoscaling:StartInstanceRefresh", says: "refuses a second one while one goes on",
		moto: "does not have the action", shows: "StatusCode: 500",
		try: func(w *world) error {
			name, template := w.scalingGroup(1)
			if err := w.refresh(name, template); err != nil {
				return err
			}
			return refused(w.refresh(name, template), "InstanceRefreshInProgress")
		},
	},
	{
		action: "autoscaling:DescribeInstanceRefreshes", says: "tells the version that a refresh leads to",
		moto: "does not have the action", shows: "StatusCode: 500",
		try: func(w *world) error {
			name, template := w.scalingGroup(1)
			if err := w.refresh(name, template); err != nil {
				return err
			}
			out, err := w.scaling.DescribeInstanceRefreshes(w.Context(), &autoscaling.DescribeInstanceRefreshesInput{AutoScalingGroupName: &name})
			if err != nil {
				return err
			}
			all := out.InstanceRefreshes
			return expect(len(all) == 1 && *all[0].DesiredConfiguration.LaunchTemplate.Version == "2", "%+v", all)
		},
	},
	{
		action: "autoscaling:RollbackInstanceRefresh", says: "refuses when none goes on",
		moto: "does not have the action", shows: "StatusCode: 500",
		try: func(w *world) error {
			name, _ := w.scalingGroup(0)
			_, err := w.scaling.RollbackInstanceRefresh(w.Context(), &autoscaling.RollbackInstanceRefreshInput{AutoScalingGroupName: &name})
			return refused(err, "ActiveInstanceRefreshNotFound")
		},
	},
}
