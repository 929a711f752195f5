package ec2_test

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	scaling "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// fleet is a scaling group of three servers behind a target group, and two images of ours.
type fleet struct {
	*bench
	groups   *autoscaling.Client
	pool     string
	template string
	doors    string // the security group of its servers, which is not Hallmark's
	from, to cloud.ImageID
	roll     cloud.Roll
}

const (
	size     = 3
	userData = "#cloud-config\nwrite_files: []\n"
)

// inFleet runs a test on a fleet, in a bubble.
func inFleet(t *testing.T, test func(f *fleet)) {
	t.Helper()
	inBubble(t, nil, func(b *bench) {
		f := b.fleet()
		test(f)
		f.end()
	})
}

func (b *bench) fleet() *fleet {
	f := &fleet{bench: b, groups: b.caller("AKIDLAB").groups, pool: b.pool("web", "test", elb.TargetTypeEnumInstance)}
	images := b.images("web-1.0", "web-1.1")
	f.from, f.to = images[0], images[1]
	f.roll = cloud.Roll{Token: "release-1.1", Owner: "test", Group: "web", Image: f.to}
	doors, err := f.api.CreateSecurityGroup(f.Context(), &sdk.CreateSecurityGroupInput{GroupName: aws.String("web"), Description: aws.String("the fleet's")})
	must(f, err)
	f.doors = *doors.GroupId
	f.template = f.launchTemplate("web", func(*sdk.CreateLaunchTemplateInput) {})
	f.group("web", func(*autoscaling.CreateAutoScalingGroupInput) {})
	f.until("the fleet is up", func() bool { return f.serving() == size })
	b.wire.forget()
	return f
}

// images are ours, captured from a server.
func (b *bench) images(names ...string) (ids []cloud.ImageID) {
	b.Helper()
	s := b.server("bench")
	must(b, b.p.Stop(b.Context(), s.ID, true))
	for _, name := range names {
		i, err := b.p.Capture(b.Context(), s.ID, cloud.ImageSpec{Name: name, Kind: cloud.Prebuilt, Tags: start})
		must(b, err)
		ids = append(ids, i.ID)
	}
	must(b, b.p.Destroy(b.Context(), s.ID))
	return ids
}

func ownedBy(owner string) []types.Tag {
	return []types.Tag{{Key: aws.String("hallmark:owner"), Value: aws.String(owner)}}
}

// launchTemplate makes a template of ours, unless change says otherwise.
func (f *fleet) launchTemplate(name string, change func(*sdk.CreateLaunchTemplateInput)) string {
	f.Helper()
	in := &sdk.CreateLaunchTemplateInput{
		LaunchTemplateName: &name,
		LaunchTemplateData: &types.RequestLaunchTemplateData{
			ImageId: aws.String(string(f.from)), InstanceType: types.InstanceTypeT3Small, UserData: aws.String(base64.StdEncoding.EncodeToString([]byte(userData))),
			SecurityGroupIds: []string{f.doors},
			TagSpecifications: []types.LaunchTemplateTagSpecificationRequest{
				{ResourceType: types.ResourceTypeInstance, Tags: ownedBy("test")}, {ResourceType: types.ResourceTypeVolume, Tags: ownedBy("test")},
			},
		},
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeLaunchTemplate, Tags: ownedBy("test")}},
	}
	change(in)
	out, err := f.api.CreateLaunchTemplate(f.Context(), in)
	must(f, err)
	return *out.LaunchTemplate.LaunchTemplateId
}

// group makes a scaling group of ours, unless change says otherwise.
func (f *fleet) group(name string, change func(*autoscaling.CreateAutoScalingGroupInput)) {
	f.Helper()
	in := &autoscaling.CreateAutoScalingGroupInput{
		AutoScalingGroupName: &name, MinSize: aws.Int32(0), MaxSize: aws.Int32(9), DesiredCapacity: aws.Int32(size),
		LaunchTemplate:    &scaling.LaunchTemplateSpecification{LaunchTemplateId: &f.template, Version: aws.String("1")},
		VPCZoneIdentifier: aws.String(strings.Join(f.cfg.Subnets, ",")), TargetGroupARNs: []string{f.pool},
		HealthCheckType: aws.String("ELB"), HealthCheckGracePeriod: aws.Int32(120),
		Tags: []scaling.Tag{{Key: aws.String("hallmark:owner"), Value: aws.String("test"), PropagateAtLaunch: aws.Bool(true)}},
	}
	change(in)
	_, err := f.groups.CreateAutoScalingGroup(f.Context(), in)
	must(f, err)
}

// until waits, in the bubble's time.
func (f *fleet) until(what string, ok func() bool) {
	f.Helper()
	for range 5000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Second)
	}
	f.Fatalf("waited too long until %s", what)
}

func (f *fleet) serving() (n int) {
	for _, state := range f.states(f.pool) {
		if state == elb.TargetHealthStateEnumHealthy {
			n++
		}
	}
	return n
}

func (f *fleet) look() scaling.AutoScalingGroup {
	f.Helper()
	out, err := f.groups.DescribeAutoScalingGroups(f.Context(), &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{"web"}})
	must(f, err)
	if len(out.AutoScalingGroups) != 1 {
		f.Fatal("the group is gone")
	}
	return out.AutoScalingGroups[0]
}

// is checks which version the group has, and from which image all that serve were launched.
func (f *fleet) is(version string, image cloud.ImageID) {
	f.Helper()
	g := f.look()
	if got := *g.LaunchTemplate.Version; got != version {
		f.Errorf("the group has version %s of its template, want %s", got, version)
	}
	if len(g.Instances) < size {
		f.Errorf("the group has %d instances", len(g.Instances))
	}
	for _, i := range g.Instances {
		out, err := f.api.DescribeInstances(f.Context(), &sdk.DescribeInstancesInput{InstanceIds: []string{*i.InstanceId}})
		must(f, err)
		if got := *out.Reservations[0].Instances[0].ImageId; i.LifecycleState == scaling.LifecycleStateInService && got != string(image) {
			f.Errorf("%s launched %s, want %s", *i.InstanceId, got, image)
		}
	}
	if n := f.serving(); n != size {
		f.Errorf("%d servers serve", n)
	}
}

// reaches waits for a state of the roll, and for none that it cannot come to from there. It gives the
// least number of servers that served meanwhile.
func (f *fleet) reaches(p cloud.Balancer, want cloud.RollState, via ...cloud.RollState) (last cloud.RollProgress, least int) {
	f.Helper()
	least = size
	f.until("the roll is "+string(want), func() bool {
		var err error
		last, err = p.Rolled(f.Context(), f.roll)
		must(f, err)
		least = min(least, f.serving())
		if last.State != want && !slices.Contains(via, last.State) {
			f.Fatalf("it is %+v on its way to %s", last, want)
		}
		return last.State == want
	})
	return last, least
}

// end removes the fleet.
func (f *fleet) end() {
	f.Helper()
	_, err := f.groups.DeleteAutoScalingGroup(f.Context(), &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String("web"), ForceDelete: aws.Bool(true)})
	must(f, err)
	f.until("the group is gone", func() bool {
		out, err := f.groups.DescribeAutoScalingGroups(f.Context(), &autoscaling.DescribeAutoScalingGroupsInput{})
		must(f, err)
		return len(out.AutoScalingGroups) == 0
	})
	_, err = f.api.DeleteLaunchTemplate(f.Context(), &sdk.DeleteLaunchTemplateInput{LaunchTemplateId: &f.template})
	must(f, err)
}
