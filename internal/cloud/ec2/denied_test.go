package ec2_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	scaling "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elasticloadbalancing "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// caller is somebody with credentials.
type caller struct {
	*bench
	ec2 *sdk.Client
	elb *elasticloadbalancing.Client
	ssm *ssm.Client
	sts *sts.Client
	key string

	groups *autoscaling.Client
}

func (b *bench) caller(key string) caller {
	c := aws.Config{
		Region: region, BaseEndpoint: aws.String("http://lab.invalid"), HTTPClient: &http.Client{Transport: b.wire}, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(key, "secret", ""),
	}
	return caller{b, sdk.NewFromConfig(c), elasticloadbalancing.NewFromConfig(c), ssm.NewFromConfig(c), sts.NewFromConfig(c), key, autoscaling.NewFromConfig(c)}
}

// hallmark is who has the role with the policy.
func (b *bench) hallmark() caller {
	b.Helper()
	out, err := b.caller("AKIDLAB").sts.AssumeRole(b.Context(), &sts.AssumeRoleInput{RoleArn: &b.cfg.Role, RoleSessionName: aws.String("hallmark")})
	must(b, err)
	return b.caller(*out.Credentials.AccessKeyId)
}

// tagging gives an owner to what is created; "" gives none.
func tagging(owner string, kinds ...types.ResourceType) []types.TagSpecification {
	var list []types.TagSpecification
	for _, kind := range kinds {
		if owner != "" {
			list = append(list, types.TagSpecification{ResourceType: kind, Tags: []types.Tag{{Key: aws.String("hallmark:owner"), Value: &owner}}})
		}
	}
	return list
}

// belongings are what an owner has: an instance on an interface of its own with a volume attached, and
// something free of each kind.
type belongings struct {
	instance, nic, attached       string // that belong together
	group, volume, free, snapshot string
	image, subnet, pool           string
	template, scaling             string // a scaling group's, which has no servers
}

// belongings are made by root.
func (b *bench) belongings(owner string) (m belongings) {
	b.Helper()
	ctx := b.Context()
	m.subnet, m.pool = b.cfg.Subnets[0], b.pool("pool"+owner, owner, elb.TargetTypeEnumInstance)
	group, err := b.api.CreateSecurityGroup(ctx, &sdk.CreateSecurityGroupInput{
		GroupName: aws.String("group-of-" + owner), Description: aws.String("theirs"), TagSpecifications: tagging(owner, types.ResourceTypeSecurityGroup),
	})
	must(b, err)
	m.group = *group.GroupId
	for _, id := range []*string{&m.nic, &m.free} {
		nic, err := b.api.CreateNetworkInterface(ctx, &sdk.CreateNetworkInterfaceInput{
			SubnetId: &m.subnet, Groups: []string{m.group}, TagSpecifications: tagging(owner, types.ResourceTypeNetworkInterface),
		})
		must(b, err)
		*id = *nic.NetworkInterface.NetworkInterfaceId
	}
	for _, id := range []*string{&m.volume, &m.attached} {
		volume, err := b.api.CreateVolume(ctx, &sdk.CreateVolumeInput{
			AvailabilityZone: aws.String(region + "a"), Size: aws.Int32(1), TagSpecifications: tagging(owner, types.ResourceTypeVolume),
		})
		must(b, err)
		*id = *volume.VolumeId
	}
	made, err := b.api.RunInstances(ctx, launch(string(b.base().ID), owner, on(m.nic)))
	must(b, err)
	m.instance = *made.Instances[0].InstanceId
	rest()
	_, err = b.api.AttachVolume(ctx, &sdk.AttachVolumeInput{InstanceId: &m.instance, VolumeId: &m.attached, Device: aws.String("/dev/sdf")})
	must(b, err)
	rest()
	image, err := b.api.CreateImage(ctx, &sdk.CreateImageInput{
		InstanceId: &m.instance, Name: aws.String("image of " + owner), TagSpecifications: tagging(owner, types.ResourceTypeImage, types.ResourceTypeSnapshot),
	})
	must(b, err)
	m.image = *image.ImageId
	snapshot, err := b.api.CreateSnapshot(ctx, &sdk.CreateSnapshotInput{VolumeId: &m.volume, TagSpecifications: tagging(owner, types.ResourceTypeSnapshot)})
	must(b, err)
	m.snapshot = *snapshot.SnapshotId
	rest()
	template, err := b.api.CreateLaunchTemplate(ctx, &sdk.CreateLaunchTemplateInput{
		LaunchTemplateName: aws.String("template-of-" + owner), TagSpecifications: tagging(owner, types.ResourceTypeLaunchTemplate),
		LaunchTemplateData: &types.RequestLaunchTemplateData{
			ImageId: &m.image, InstanceType: types.InstanceTypeT3Small, SecurityGroupIds: []string{m.group}, TagSpecifications: templateTagging(owner),
		},
	})
	must(b, err)
	m.template, m.scaling = *template.LaunchTemplate.LaunchTemplateId, "group-of-"+owner
	in := &autoscaling.CreateAutoScalingGroupInput{
		AutoScalingGroupName: &m.scaling, MinSize: aws.Int32(0), MaxSize: aws.Int32(1), VPCZoneIdentifier: &m.subnet, LaunchTemplate: firstOf(m.template),
	}
	if owner != "" {
		in.Tags = []scaling.Tag{{Key: aws.String("hallmark:owner"), Value: &owner}}
	}
	_, err = b.caller("AKIDLAB").groups.CreateAutoScalingGroup(ctx, in)
	must(b, err)
	return m
}

// firstOf is the first version of a launch template.
func firstOf(template string) *scaling.LaunchTemplateSpecification {
	return &scaling.LaunchTemplateSpecification{LaunchTemplateId: &template, Version: aws.String("1")}
}

// templateTagging gives an owner to what a template launches.
func templateTagging(owner string) []types.LaunchTemplateTagSpecificationRequest {
	var list []types.LaunchTemplateTagSpecificationRequest
	for _, s := range tagging(owner, types.ResourceTypeInstance, types.ResourceTypeVolume) {
		list = append(list, types.LaunchTemplateTagSpecificationRequest{ResourceType: s.ResourceType, Tags: s.Tags})
	}
	return list
}

// by launches what a template says in a subnet, as a dry run.
func by(template, subnet string, change ...func(*sdk.RunInstancesInput)) *sdk.RunInstancesInput {
	in := &sdk.RunInstancesInput{
		LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateId: &template, Version: aws.String("1")},
		MinCount:       aws.Int32(1), MaxCount: aws.Int32(1), SubnetId: &subnet, DryRun: aws.Bool(true),
	}
	for _, c := range change {
		c(in)
	}
	return in
}

// rest is until everything has happened, in the bubble's time.
func rest() { time.Sleep(10 * time.Minute) }

func launch(image, owner string, change ...func(*sdk.RunInstancesInput)) *sdk.RunInstancesInput {
	in := &sdk.RunInstancesInput{
		ImageId: &image, MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: types.InstanceTypeT3Small,
		TagSpecifications: tagging(owner, types.ResourceTypeInstance, types.ResourceTypeVolume),
	}
	for _, c := range change {
		c(in)
	}
	return in
}

func on(nic string) func(*sdk.RunInstancesInput) {
	return func(in *sdk.RunInstancesInput) {
		in.NetworkInterfaces = []types.InstanceNetworkInterfaceSpecification{{NetworkInterfaceId: &nic, DeviceIndex: aws.Int32(0)}}
	}
}

// dry is for what would leave something behind.
func dry(in *sdk.RunInstancesInput) { in.DryRun = aws.Bool(true) }

func within(subnet, group string) func(*sdk.RunInstancesInput) {
	return func(in *sdk.RunInstancesInput) {
		in.SubnetId, in.SecurityGroupIds = &subnet, []string{group}
		in.TagSpecifications = append(in.TagSpecifications, tagging("test", types.ResourceTypeNetworkInterface)...)
	}
}

// unauthorized is what EC2, SSM and the others say.
func unauthorized(err error) bool {
	var said smithy.APIError
	if !errors.As(err, &said) {
		return false
	}
	switch said.ErrorCode() {
	case "UnauthorizedOperation", "AccessDenied", "AccessDeniedException":
		return true
	}
	return false
}

// attempt is a call that the policy must deny.
type attempt struct {
	what string
	call func(caller) error
}

// ask makes an attempt of a method of a service's client and its parameters.
func ask[Client, Options, In, Out any](what string, method func(*Client, context.Context, *In, ...func(*Options)) (*Out, error), in *In) attempt {
	return attempt{what, func(c caller) error {
		for _, one := range []any{c.ec2, c.elb, c.groups, c.ssm, c.sts} {
			if client, ok := one.(*Client); ok {
				_, err := method(client, c.Context(), in)
				return err
			}
		}
		return fmt.Errorf("there is no %T", *new(Client))
	}}
}

// tried makes every attempt with the role, which must be denied, and then as root, who must succeed: what
// nobody can do would prove nothing. What would leave something behind is a dry run.
func (b *bench) tried(attempts []attempt) {
	b.Helper()
	hallmark, root := b.hallmark(), b.caller("AKIDLAB")
	for _, a := range attempts {
		if err := a.call(hallmark); !unauthorized(err) {
			b.Errorf("%s: not denied: %v", a.what, err)
		}
	}
	for _, a := range attempts {
		if err := a.call(root); err != nil && !rehearsed(err) {
			b.Errorf("%s: as root: %v", a.what, err)
		}
		rest()
	}
}

// rehearsed is what a dry run says that may be made.
func rehearsed(err error) bool {
	var said smithy.APIError
	return errors.As(err, &said) && said.ErrorCode() == "DryRunOperation"
}

func TestTheThingsOfOthersAreDenied(t *testing.T) {
	for what, owner := range map[string]string{"of another owner": "other", "of nobody": ""} {
		t.Run(what, func(t *testing.T) {
			inBubble(t, nil, func(b *bench) {
				theirs, ours := b.belongings(owner), b.belongings("test")
				b.tried(changesOf(theirs, ours))
				b.dispose(theirs, ours)
			})
		})
	}
}

func TestWhatTheRoleDoesNotNeedIsDenied(t *testing.T) {
	for what, owner := range map[string]string{"for another owner": "other", "for nobody": ""} {
		t.Run(what, func(t *testing.T) {
			inBubble(t, nil, func(b *bench) {
				ours := b.belongings("test")
				b.tried(append(b.creationsFor(owner, ours), b.unneeded(ours)...))
				b.allowed(ours)
				b.dispose(ours)
			})
		})
	}
}

// allowed makes sure that it is not something else that keeps the role from what the tables above try.
func (b *bench) allowed(ours belongings) {
	b.Helper()
	c := b.hallmark()
	for what, in := range map[string]*sdk.RunInstancesInput{
		"a vendor's image": launch(string(b.base().ID), "test", on(ours.free), dry),
		"our own image":    launch(ours.image, "test", on(ours.free), dry),
		"by our template":  by(ours.template, ours.subnet),
	} {
		if _, err := c.ec2.RunInstances(b.Context(), in); !rehearsed(err) {
			b.Errorf("launch %s: %v", what, err)
		}
	}
}

// dispose removes what is left of it.
func (b *bench) dispose(all ...belongings) {
	b.Helper()
	ctx := b.Context()
	for _, m := range all {
		_, _ = b.api.TerminateInstances(ctx, &sdk.TerminateInstancesInput{InstanceIds: []string{m.instance}})
	}
	rest()
	for _, m := range all {
		for _, v := range []string{m.volume, m.attached} {
			_, _ = b.api.DeleteVolume(ctx, &sdk.DeleteVolumeInput{VolumeId: &v})
		}
		_, _ = b.api.DeregisterImage(ctx, &sdk.DeregisterImageInput{ImageId: &m.image, DeleteAssociatedSnapshots: aws.Bool(true)})
		_, _ = b.caller("AKIDLAB").groups.DeleteAutoScalingGroup(ctx, &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: &m.scaling, ForceDelete: aws.Bool(true)})
		_, _ = b.api.DeleteLaunchTemplate(ctx, &sdk.DeleteLaunchTemplateInput{LaunchTemplateId: &m.template})
		_, _ = b.balancing().DeleteTargetGroup(ctx, &elasticloadbalancing.DeleteTargetGroupInput{TargetGroupArn: &m.pool})
		_, _ = b.api.DeleteSnapshot(ctx, &sdk.DeleteSnapshotInput{SnapshotId: &m.snapshot})
		for _, n := range []string{m.nic, m.free} {
			_, _ = b.api.DeleteNetworkInterface(ctx, &sdk.DeleteNetworkInterfaceInput{NetworkInterfaceId: &n})
		}
		_, _ = b.api.DeleteSecurityGroup(ctx, &sdk.DeleteSecurityGroupInput{GroupId: &m.group})
	}
	rest()
}
