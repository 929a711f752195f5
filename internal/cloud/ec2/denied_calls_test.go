package ec2_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	scaling "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elasticloadbalancing "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

var (
	yes     = aws.Bool(true)
	anybody = []types.IpPermission{{
		IpProtocol: aws.String("tcp"), FromPort: aws.Int32(443), ToPort: aws.Int32(443), IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}},
	}}
	offered = []types.Tag{{Key: aws.String("hallmark:channels"), Value: aws.String("production")}}
	given   = []types.Tag{{Key: aws.String("hallmark:owner"), Value: aws.String("other")}}
	stolen  = []types.Tag{{Key: aws.String("hallmark:owner"), Value: aws.String("test")}}
)

// changesOf are calls on somebody else's things, in an order in which root can make them all.
func changesOf(theirs, ours belongings) []attempt {
	in := []string{theirs.instance}
	list := []attempt{
		ask("read the console", (*sdk.Client).GetConsoleOutput, &sdk.GetConsoleOutputInput{InstanceId: &theirs.instance}),
		ask("see the screen", (*sdk.Client).GetConsoleScreenshot, &sdk.GetConsoleScreenshotInput{InstanceId: &theirs.instance}),
		ask("see who may launch an image", (*sdk.Client).DescribeImageAttribute, &sdk.DescribeImageAttributeInput{ImageId: &theirs.image, Attribute: "launchPermission"}),
		ask("see who may read a snapshot", (*sdk.Client).DescribeSnapshotAttribute, &sdk.DescribeSnapshotAttributeInput{SnapshotId: &theirs.snapshot, Attribute: "createVolumePermission"}),

		ask("launch their image", (*sdk.Client).RunInstances, launch(theirs.image, "test", on(ours.free), dry)),
		ask("launch our image on their interface", (*sdk.Client).RunInstances, launch(ours.image, "test", on(theirs.free), dry)),
		ask("capture", (*sdk.Client).CreateImage, &sdk.CreateImageInput{
			InstanceId: &theirs.instance, Name: aws.String("stolen"), DryRun: yes, TagSpecifications: tagging("test", types.ResourceTypeImage, types.ResourceTypeSnapshot),
		}),
		ask("make a volume of a snapshot", (*sdk.Client).CreateVolume, &sdk.CreateVolumeInput{
			AvailabilityZone: aws.String(region + "a"), SnapshotId: &theirs.snapshot, DryRun: yes, TagSpecifications: tagging("test", types.ResourceTypeVolume),
		}),
		ask("join their group", (*sdk.Client).CreateNetworkInterface, &sdk.CreateNetworkInterfaceInput{
			SubnetId: &ours.subnet, Groups: []string{theirs.group}, DryRun: yes, TagSpecifications: tagging("test", types.ResourceTypeNetworkInterface),
		}),

		ask("put a server into a pool", (*elasticloadbalancing.Client).RegisterTargets, &elasticloadbalancing.RegisterTargetsInput{TargetGroupArn: &theirs.pool, Targets: targets(theirs.instance)}),
		ask("put our server into their pool", (*elasticloadbalancing.Client).RegisterTargets, &elasticloadbalancing.RegisterTargetsInput{TargetGroupArn: &theirs.pool, Targets: targets(ours.instance)}),
		ask("take a server out of a pool", (*elasticloadbalancing.Client).DeregisterTargets, &elasticloadbalancing.DeregisterTargetsInput{TargetGroupArn: &theirs.pool, Targets: targets(theirs.instance)}),
		ask("tag a pool as ours", (*elasticloadbalancing.Client).AddTags, &elasticloadbalancing.AddTagsInput{ResourceArns: []string{theirs.pool}, Tags: []elb.Tag{{Key: stolen[0].Key, Value: stolen[0].Value}}}),

		ask("make a version of a template", (*sdk.Client).CreateLaunchTemplateVersion, &sdk.CreateLaunchTemplateVersionInput{
			LaunchTemplateId: &theirs.template, SourceVersion: aws.String("1"), LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: &ours.image},
		}),
		ask("launch by their template", (*sdk.Client).RunInstances, by(theirs.template, ours.subnet)),
		ask("launch by our template in their group", (*sdk.Client).RunInstances, by(ours.template, ours.subnet, func(in *sdk.RunInstancesInput) { in.SecurityGroupIds = []string{theirs.group} })),
		ask("launch their image by our template", (*sdk.Client).RunInstances, by(ours.template, ours.subnet, func(in *sdk.RunInstancesInput) { in.ImageId = &theirs.image })),
		ask("refresh a group", (*autoscaling.Client).StartInstanceRefresh, &autoscaling.StartInstanceRefreshInput{AutoScalingGroupName: &theirs.scaling}),
		ask("roll a group", (*autoscaling.Client).StartInstanceRefresh, roll(theirs)),
		{"roll a group back", func(c caller) error {
			if _, err := c.caller("AKIDLAB").groups.StartInstanceRefresh(c.Context(), roll(theirs)); err != nil {
				return err
			}
			_, err := c.groups.RollbackInstanceRefresh(c.Context(), &autoscaling.RollbackInstanceRefreshInput{AutoScalingGroupName: &theirs.scaling})
			return err
		}},

		ask("reboot", (*sdk.Client).RebootInstances, &sdk.RebootInstancesInput{InstanceIds: in}),
		ask("reboot ours and theirs", (*sdk.Client).RebootInstances, &sdk.RebootInstancesInput{InstanceIds: []string{ours.instance, theirs.instance}}),
		ask("attach our volume to their instance", (*sdk.Client).AttachVolume, &sdk.AttachVolumeInput{InstanceId: &theirs.instance, VolumeId: &ours.volume, Device: aws.String("/dev/sdg")}),
		ask("attach their volume to our instance", (*sdk.Client).AttachVolume, &sdk.AttachVolumeInput{InstanceId: &ours.instance, VolumeId: &theirs.volume, Device: aws.String("/dev/sdg")}),
		ask("detach a volume from our instance", (*sdk.Client).DetachVolume, &sdk.DetachVolumeInput{VolumeId: &theirs.volume}),
		ask("detach a volume", (*sdk.Client).DetachVolume, &sdk.DetachVolumeInput{VolumeId: &theirs.attached}),
		ask("delete a volume", (*sdk.Client).DeleteVolume, &sdk.DeleteVolumeInput{VolumeId: &theirs.volume}),
		ask("stop", (*sdk.Client).StopInstances, &sdk.StopInstancesInput{InstanceIds: in}),
		ask("start", (*sdk.Client).StartInstances, &sdk.StartInstancesInput{InstanceIds: in}),
		ask("terminate", (*sdk.Client).TerminateInstances, &sdk.TerminateInstancesInput{InstanceIds: in}),

		ask("share an image", (*sdk.Client).ModifyImageAttribute, &sdk.ModifyImageAttributeInput{ImageId: &theirs.image, LaunchPermission: &types.LaunchPermissionModifications{Add: []types.LaunchPermission{{UserId: aws.String(friend)}}}}),
		ask("describe an image anew", (*sdk.Client).ModifyImageAttribute, &sdk.ModifyImageAttributeInput{ImageId: &theirs.image, Description: &types.AttributeValue{Value: aws.String("ours")}}),
		ask("deprecate an image", (*sdk.Client).EnableImageDeprecation, &sdk.EnableImageDeprecationInput{ImageId: &theirs.image, DeprecateAt: aws.Time(time.Now().AddDate(1, 0, 0))}),
		ask("offer it again", (*sdk.Client).DisableImageDeprecation, &sdk.DisableImageDeprecationInput{ImageId: &theirs.image}),
		ask("disable an image", (*sdk.Client).DisableImage, &sdk.DisableImageInput{ImageId: &theirs.image}),
		ask("enable it again", (*sdk.Client).EnableImage, &sdk.EnableImageInput{ImageId: &theirs.image}),
		ask("protect an image", (*sdk.Client).EnableImageDeregistrationProtection, &sdk.EnableImageDeregistrationProtectionInput{ImageId: &theirs.image}),
		ask("take that back", (*sdk.Client).DisableImageDeregistrationProtection, &sdk.DisableImageDeregistrationProtectionInput{ImageId: &theirs.image}),
		ask("mark an image as published", (*sdk.Client).CreateTags, &sdk.CreateTagsInput{Resources: []string{theirs.image}, Tags: offered}),
		ask("remove an image", (*sdk.Client).DeregisterImage, &sdk.DeregisterImageInput{ImageId: &theirs.image, DeleteAssociatedSnapshots: yes}),
		ask("share a snapshot", (*sdk.Client).ModifySnapshotAttribute, &sdk.ModifySnapshotAttributeInput{SnapshotId: &theirs.snapshot, Attribute: "createVolumePermission", OperationType: "add", UserIds: []string{friend}}),
		ask("delete a snapshot", (*sdk.Client).DeleteSnapshot, &sdk.DeleteSnapshotInput{SnapshotId: &theirs.snapshot}),

		ask("let in", (*sdk.Client).AuthorizeSecurityGroupIngress, &sdk.AuthorizeSecurityGroupIngressInput{GroupId: &theirs.group, IpPermissions: anybody}),
		ask("let out", (*sdk.Client).AuthorizeSecurityGroupEgress, &sdk.AuthorizeSecurityGroupEgressInput{GroupId: &theirs.group, IpPermissions: anybody}),
		ask("keep out", (*sdk.Client).RevokeSecurityGroupIngress, &sdk.RevokeSecurityGroupIngressInput{GroupId: &theirs.group, IpPermissions: anybody}),
		ask("keep in", (*sdk.Client).RevokeSecurityGroupEgress, &sdk.RevokeSecurityGroupEgressInput{GroupId: &theirs.group, IpPermissions: anybody}),
		ask("put their interface into our group", (*sdk.Client).ModifyNetworkInterfaceAttribute, &sdk.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: &theirs.free, Groups: []string{ours.group}}),
		ask("put our interface into their group", (*sdk.Client).ModifyNetworkInterfaceAttribute, &sdk.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: &ours.free, Groups: []string{theirs.group}}),
		ask("delete an interface", (*sdk.Client).DeleteNetworkInterface, &sdk.DeleteNetworkInterfaceInput{NetworkInterfaceId: &theirs.free}),
		ask("delete a group", (*sdk.Client).DeleteSecurityGroup, &sdk.DeleteSecurityGroupInput{GroupId: &theirs.group, DryRun: yes}),
	}
	for _, id := range []string{theirs.attached, theirs.group, theirs.nic, theirs.instance, theirs.image, theirs.snapshot, theirs.template} {
		list = append([]attempt{
			ask("tag "+id+" as ours", (*sdk.Client).CreateTags, &sdk.CreateTagsInput{Resources: []string{id}, Tags: stolen, DryRun: yes}),
			ask("untag "+id, (*sdk.Client).DeleteTags, &sdk.DeleteTagsInput{Resources: []string{id}, DryRun: yes}),
		}, list...)
	}
	return list
}

// roll leads a scaling group to the version that it has.
func roll(whose belongings) *autoscaling.StartInstanceRefreshInput {
	return &autoscaling.StartInstanceRefreshInput{
		AutoScalingGroupName: &whose.scaling, DesiredConfiguration: &scaling.DesiredConfiguration{LaunchTemplate: firstOf(whose.template)},
	}
}

func targets(instance string) []elb.TargetDescription {
	return []elb.TargetDescription{{Id: &instance}}
}

// creationsFor make something that would belong to somebody else, or to nobody.
func (b *bench) creationsFor(owner string, ours belongings) []attempt {
	base, zone := string(b.base().ID), region+"a"
	_, err := b.api.ImportKeyPair(b.Context(), &sdk.ImportKeyPairInput{KeyName: aws.String("key"), PublicKeyMaterial: []byte(publicKey), TagSpecifications: tagging(owner, types.ResourceTypeKeyPair)})
	must(b, err)
	onlyInstance := launch(base, owner, on(ours.free), dry)
	onlyInstance.TagSpecifications = tagging("test", types.ResourceTypeInstance)
	onlyInstance.TagSpecifications = append(onlyInstance.TagSpecifications, tagging(owner, types.ResourceTypeVolume)...)
	return []attempt{
		ask("delete a key", (*sdk.Client).DeleteKeyPair, &sdk.DeleteKeyPairInput{KeyName: aws.String("key")}),
		ask("create a group", (*sdk.Client).CreateSecurityGroup, &sdk.CreateSecurityGroupInput{
			GroupName: aws.String("g"), Description: aws.String("g"), DryRun: yes, TagSpecifications: tagging(owner, types.ResourceTypeSecurityGroup),
		}),
		ask("create an interface", (*sdk.Client).CreateNetworkInterface, &sdk.CreateNetworkInterfaceInput{
			SubnetId: &ours.subnet, Groups: []string{ours.group}, DryRun: yes, TagSpecifications: tagging(owner, types.ResourceTypeNetworkInterface),
		}),
		ask("create a volume", (*sdk.Client).CreateVolume, &sdk.CreateVolumeInput{
			AvailabilityZone: &zone, Size: aws.Int32(1), DryRun: yes, TagSpecifications: tagging(owner, types.ResourceTypeVolume),
		}),
		ask("launch", (*sdk.Client).RunInstances, launch(base, owner, on(ours.free), dry)),
		ask("launch by our template", (*sdk.Client).RunInstances, by(ours.template, ours.subnet, func(in *sdk.RunInstancesInput) {
			in.TagSpecifications = append(tagging(owner, types.ResourceTypeInstance), tagging("test", types.ResourceTypeNetworkInterface)...)
		})),
		ask("launch with a volume", (*sdk.Client).RunInstances, onlyInstance),
		ask("capture", (*sdk.Client).CreateImage, &sdk.CreateImageInput{
			InstanceId: &ours.instance, Name: aws.String("n"), DryRun: yes, TagSpecifications: tagging(owner, types.ResourceTypeImage, types.ResourceTypeSnapshot),
		}),
		ask("capture with snapshots", (*sdk.Client).CreateImage, &sdk.CreateImageInput{
			InstanceId: &ours.instance, Name: aws.String("n"), DryRun: yes,
			TagSpecifications: append(tagging("test", types.ResourceTypeImage), tagging(owner, types.ResourceTypeSnapshot)...),
		}),
		ask("copy an image", (*sdk.Client).CopyImage, &sdk.CopyImageInput{
			SourceImageId: &ours.image, SourceRegion: aws.String(region), Name: aws.String("n"), DryRun: yes,
			TagSpecifications: tagging(owner, types.ResourceTypeImage, types.ResourceTypeSnapshot),
		}),
	}
}

// unneeded are calls that Hallmark never makes, some of them on what is its own.
func (b *bench) unneeded(ours belongings) []attempt {
	base, other := string(b.base().ID), b.lab.Subnet(region+"d")
	_, err := b.lab.Role("other", `{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}`)
	must(b, err)
	root := b.caller("AKIDLAB")
	_, err = root.ssm.PutParameter(b.Context(), &ssm.PutParameterInput{
		Name: aws.String("/hallmark/production/theirs"), Value: aws.String("v"), Type: ssmtypes.ParameterTypeString,
		Tags: []ssmtypes.Tag{{Key: aws.String("hallmark:owner"), Value: aws.String("other")}},
	})
	must(b, err)
	remove := func(name string) attempt {
		return attempt{"delete the parameter " + name, func(c caller) error {
			_, err := c.ssm.DeleteParameter(c.Context(), &ssm.DeleteParameterInput{Name: &name})
			return err
		}}
	}
	put := func(name string) attempt {
		return attempt{"write the parameter " + name, func(c caller) error {
			_, err := c.ssm.PutParameter(c.Context(), &ssm.PutParameterInput{Name: &name, Value: aws.String("v"), Type: ssmtypes.ParameterTypeString, Overwrite: yes})
			return err
		}}
	}
	return []attempt{
		ask("launch in another subnet", (*sdk.Client).RunInstances, launch(base, "test", within(other, ours.group), dry)),
		ask("make an interface in another subnet", (*sdk.Client).CreateNetworkInterface, &sdk.CreateNetworkInterfaceInput{
			SubnetId: &other, Groups: []string{ours.group}, DryRun: yes, TagSpecifications: tagging("test", types.ResourceTypeNetworkInterface),
		}),
		ask("copy a vendor's image", (*sdk.Client).CopyImage, &sdk.CopyImageInput{
			SourceImageId: &base, SourceRegion: aws.String(region), Name: aws.String("n"), DryRun: yes, TagSpecifications: tagging("test", types.ResourceTypeImage, types.ResourceTypeSnapshot),
		}),
		ask("tag what is ours", (*sdk.Client).CreateTags, &sdk.CreateTagsInput{Resources: []string{ours.instance}, Tags: stolen}),
		ask("mark an instance as published", (*sdk.Client).CreateTags, &sdk.CreateTagsInput{Resources: []string{ours.instance}, Tags: offered}),
		ask("give our image away", (*sdk.Client).CreateTags, &sdk.CreateTagsInput{Resources: []string{ours.image}, Tags: append(given, offered...), DryRun: yes}),
		ask("untag what is ours", (*sdk.Client).DeleteTags, &sdk.DeleteTagsInput{Resources: []string{ours.volume}, DryRun: yes}),
		ask("launch with an instance profile", (*sdk.Client).RunInstances, launch(base, "test", on(ours.free), dry, func(in *sdk.RunInstancesInput) {
			in.IamInstanceProfile = &types.IamInstanceProfileSpecification{Name: aws.String("other")}
		})),
		ask("enable our image again", (*sdk.Client).EnableImage, &sdk.EnableImageInput{ImageId: &ours.image}),
		ask("make a snapshot", (*sdk.Client).CreateSnapshot, &sdk.CreateSnapshotInput{VolumeId: &ours.volume, DryRun: yes, TagSpecifications: tagging("test", types.ResourceTypeSnapshot)}),
		ask("change an instance", (*sdk.Client).ModifyInstanceAttribute, &sdk.ModifyInstanceAttributeInput{InstanceId: &ours.instance, DryRun: yes, DisableApiTermination: &types.AttributeBooleanValue{Value: yes}}),
		ask("bring a key", (*sdk.Client).ImportKeyPair, &sdk.ImportKeyPairInput{KeyName: aws.String("k"), PublicKeyMaterial: []byte("k"), DryRun: yes, TagSpecifications: tagging("test", types.ResourceTypeKeyPair)}),
		ask("make a pool", (*elasticloadbalancing.Client).CreateTargetGroup, &elasticloadbalancing.CreateTargetGroupInput{
			Name: aws.String("more"), Protocol: elb.ProtocolEnumHttp, Port: aws.Int32(80), VpcId: b.vpc(), Tags: []elb.Tag{{Key: stolen[0].Key, Value: stolen[0].Value}},
		}),
		ask("change a pool", (*elasticloadbalancing.Client).ModifyTargetGroupAttributes, &elasticloadbalancing.ModifyTargetGroupAttributesInput{
			TargetGroupArn: &ours.pool, Attributes: []elb.TargetGroupAttribute{{Key: aws.String("deregistration_delay.timeout_seconds"), Value: aws.String("0")}},
		}),
		ask("delete a pool", (*elasticloadbalancing.Client).DeleteTargetGroup, &elasticloadbalancing.DeleteTargetGroupInput{TargetGroupArn: &ours.pool}),
		ask("make a template", (*sdk.Client).CreateLaunchTemplate, &sdk.CreateLaunchTemplateInput{
			LaunchTemplateName: aws.String("more"), DryRun: yes, LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: &ours.image},
			TagSpecifications: tagging("test", types.ResourceTypeLaunchTemplate),
		}),
		ask("launch another version by default", (*sdk.Client).ModifyLaunchTemplate, &sdk.ModifyLaunchTemplateInput{LaunchTemplateId: &ours.template, DefaultVersion: aws.String("1")}),
		ask("make a group", (*autoscaling.Client).CreateAutoScalingGroup, &autoscaling.CreateAutoScalingGroupInput{
			AutoScalingGroupName: aws.String("more"), MinSize: aws.Int32(0), MaxSize: aws.Int32(0), VPCZoneIdentifier: &ours.subnet, LaunchTemplate: firstOf(ours.template),
			Tags: []scaling.Tag{{Key: stolen[0].Key, Value: stolen[0].Value}},
		}),
		ask("make a group larger", (*autoscaling.Client).UpdateAutoScalingGroup, &autoscaling.UpdateAutoScalingGroupInput{AutoScalingGroupName: &ours.scaling, MaxSize: aws.Int32(2)}),
		ask("delete a group", (*autoscaling.Client).DeleteAutoScalingGroup, &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: &ours.scaling}),
		ask("delete the other group", (*autoscaling.Client).DeleteAutoScalingGroup, &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String("more")}),
		put("/other/production/web"), put("/hallmarks/web"), put("/aws/service/web"),
		{"read a parameter", func(c caller) error {
			_, err := c.ssm.GetParameter(c.Context(), &ssm.GetParameterInput{Name: aws.String("/other/production/web")})
			return err
		}},
		{"list parameters", func(c caller) error {
			_, err := c.ssm.GetParametersByPath(c.Context(), &ssm.GetParametersByPathInput{Path: aws.String("/other")})
			return err
		}},
		remove("/other/production/web"), remove("/hallmark/production/theirs"),
		{"assume another role", func(c caller) error {
			_, err := c.sts.AssumeRole(c.Context(), &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::123456789012:role/other"), RoleSessionName: aws.String("s")})
			return err
		}},
		{"make a role", func(c caller) error { return c.iam("CreateRole", "RoleName", "more", "AssumeRolePolicyDocument", "{}") }},
		{"have more rights", func(c caller) error {
			return c.iam("PutRolePolicy", "RoleName", "hallmark", "PolicyName", "more", "PolicyDocument", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`)
		}},
	}
}

// iam calls IAM, for which the project has no client.
func (c caller) iam(action string, parameters ...string) error {
	form := url.Values{"Action": {action}, "Version": {"2010-05-08"}}
	for n := 0; n < len(parameters); n += 2 {
		form.Set(parameters[n], parameters[n+1])
	}
	req := httptest.NewRequestWithContext(c.Context(), http.MethodPost, "/", strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Credential="+c.key+"/20260101/us-east-1/iam/aws4_request")
	w := httptest.NewRecorder()
	c.wire.handler.ServeHTTP(w, req)
	if w.Code == http.StatusOK {
		return nil
	}
	_, text, _ := strings.Cut(w.Body.String(), "<Code>")
	said, _, _ := strings.Cut(text, "</Code>")
	return &smithy.GenericAPIError{Code: said, Message: w.Body.String()}
}
