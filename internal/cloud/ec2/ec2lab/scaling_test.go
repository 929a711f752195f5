package ec2lab_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	scaling "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elasticloadbalancing "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
)

// TestServicesUnderstand holds for every action of the other services that a parameter nobody knows, or
// a list as EC2 has it, is refused by name, in the service's own form.
func TestServicesUnderstand(t *testing.T) {
	for version, actions := range ec2lab.ServiceActions() {
		if ec2lab.ServiceName(version) == "ec2" {
			continue
		}
		for _, name := range actions {
			t.Run(name, func(t *testing.T) {
				inBubble(t, ec2lab.Config{}, func(b *bench) {
					for _, parameter := range []string{"Colour=red", "Tags.1.Key=a"} {
						req := httptest.NewRequestWithContext(b.ctx(), http.MethodPost, "/", strings.NewReader("Action="+name+"&Version="+version+"&"+parameter))
						req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
						req.Header.Set("Authorization", "Credential=AKID/20260101/eu-lab-1/any/aws4_request")
						w := httptest.NewRecorder()
						b.lab.Handler().ServeHTTP(w, req)
						word, _, _ := strings.Cut(parameter, "=")
						if body := w.Body.String(); w.Code != 400 || !strings.Contains(body, word) || !strings.HasPrefix(body, "<ErrorResponse xmlns=") {
							t.Errorf("%d %s", w.Code, body)
						}
					}
				})
			})
		}
	}
}

// site is a bench with clients of the other services and what a group needs.
type site struct {
	*bench
	elb  *elasticloadbalancing.Client
	asg  *autoscaling.Client
	pool *string
}

var slowly = ec2lab.Config{Delays: ec2lab.Delays{Launch: 8 * time.Second, Stop: 5 * time.Second, Refresh: 5 * time.Minute}}

func onSite(t *testing.T, test func(s *site)) {
	t.Helper()
	inBubble(t, slowly, func(b *bench) {
		s := &site{bench: b, elb: elasticloadbalancing.NewFromConfig(config(b.lab, "eu-lab-1")), asg: autoscaling.NewFromConfig(config(b.lab, "eu-lab-1"))}
		vpcs, err := b.api.DescribeVpcs(b.ctx(), &ec2.DescribeVpcsInput{})
		must(t, err)
		pool, err := s.elb.CreateTargetGroup(b.ctx(), &elasticloadbalancing.CreateTargetGroupInput{
			Name: aws.String("web"), Protocol: elb.ProtocolEnumHttp, Port: aws.Int32(80), VpcId: vpcs.Vpcs[0].VpcId,
			Tags: []elb.Tag{{Key: aws.String("who"), Value: aws.String("me")}},
		})
		must(t, err)
		s.pool = pool.TargetGroups[0].TargetGroupArn
		_, err = s.elb.ModifyTargetGroupAttributes(b.ctx(), &elasticloadbalancing.ModifyTargetGroupAttributesInput{
			TargetGroupArn: s.pool, Attributes: []elb.TargetGroupAttribute{{Key: aws.String("deregistration_delay.timeout_seconds"), Value: aws.String("20")}},
		})
		must(t, err)
		test(s)
	})
}

// target is what the target group says of one target.
func (s *site) target(id string) elb.TargetHealth {
	s.Helper()
	out, err := s.elb.DescribeTargetHealth(s.ctx(), &elasticloadbalancing.DescribeTargetHealthInput{TargetGroupArn: s.pool, Targets: []elb.TargetDescription{{Id: &id}}})
	must(s, err)
	return *out.TargetHealthDescriptions[0].TargetHealth
}

func TestTargets(t *testing.T) {
	onSite(t, func(s *site) {
		id := s.run().InstanceId
		register := &elasticloadbalancing.RegisterTargetsInput{TargetGroupArn: s.pool, Targets: []elb.TargetDescription{{Id: id}}}
		_, err := s.elb.RegisterTargets(s.ctx(), register)
		refused(t, err, "InvalidTarget") // it is pending
		s.reaches(*id, types.InstanceStateNameRunning)
		if h := s.target(*id); h.State != elb.TargetHealthStateEnumUnused || h.Reason != elb.TargetHealthReasonEnumNotRegistered {
			t.Errorf("%+v", h)
		}
		for range 2 {
			_, err = s.elb.RegisterTargets(s.ctx(), register)
			must(t, err)
			if h := s.target(*id); h.State != elb.TargetHealthStateEnumInitial || h.Reason != elb.TargetHealthReasonEnumRegistrationInProgress {
				t.Errorf("%+v", h)
			}
		}
		time.Sleep(30 * time.Second)
		if h := s.target(*id); h.State != elb.TargetHealthStateEnumHealthy || h.Reason != "" {
			t.Errorf("%+v", h)
		}
		s.script(ec2lab.Fault{Kind: ec2lab.Unhealthy, Instance: *id, Code: "Target.Timeout", Message: "Request timed out", For: time.Minute})
		if h := s.target(*id); h.State != elb.TargetHealthStateEnumUnhealthy || h.Reason != elb.TargetHealthReasonEnumTimeout || *h.Description != "Request timed out" {
			t.Errorf("%+v", h)
		}
		time.Sleep(time.Minute)
		_, err = s.elb.DeregisterTargets(s.ctx(), &elasticloadbalancing.DeregisterTargetsInput{TargetGroupArn: s.pool, Targets: register.Targets})
		must(t, err)
		if h := s.target(*id); h.State != elb.TargetHealthStateEnumDraining || h.Reason != elb.TargetHealthReasonEnumDeregistrationInProgress {
			t.Errorf("%+v", h)
		}
		time.Sleep(20 * time.Second)
		if h := s.target(*id); h.State != elb.TargetHealthStateEnumUnused {
			t.Errorf("%+v", h)
		}
		out, err := s.elb.DescribeTags(s.ctx(), &elasticloadbalancing.DescribeTagsInput{ResourceArns: []string{*s.pool}})
		must(t, err)
		if tag := out.TagDescriptions[0].Tags[0]; *tag.Key != "who" || *tag.Value != "me" {
			t.Errorf("%+v", tag)
		}
		_, err = s.elb.DescribeTargetGroups(s.ctx(), &elasticloadbalancing.DescribeTargetGroupsInput{Names: []string{"other"}})
		refused(t, err, "TargetGroupNotFound")
		s.script(ec2lab.Fault{Kind: ec2lab.Throttle, Action: "DescribeTargetGroups"})
		_, err = s.elb.DescribeTargetGroups(s.ctx(), &elasticloadbalancing.DescribeTargetGroupsInput{})
		refused(t, err, "Throttling")
		_, err = s.elb.DeleteTargetGroup(s.ctx(), &elasticloadbalancing.DeleteTargetGroupInput{TargetGroupArn: s.pool})
		must(t, err)
	})
}

// grow makes a group of four behind the target group, from version 1 of a template of two.
func (s *site) grow() {
	s.Helper()
	template, err := s.api.CreateLaunchTemplate(s.ctx(), &ec2.CreateLaunchTemplateInput{
		LaunchTemplateName: aws.String("web"), LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String(s.base()), InstanceType: types.InstanceTypeT3Small},
	})
	must(s, err)
	made, err := s.api.CreateLaunchTemplateVersion(s.ctx(), &ec2.CreateLaunchTemplateVersionInput{
		LaunchTemplateId: template.LaunchTemplate.LaunchTemplateId, SourceVersion: aws.String("1"),
		LaunchTemplateData: &types.RequestLaunchTemplateData{InstanceType: types.InstanceTypeT3Micro},
	})
	must(s, err)
	if d := made.LaunchTemplateVersion.LaunchTemplateData; *d.ImageId != s.base() || d.InstanceType != types.InstanceTypeT3Micro {
		s.Errorf("%+v", d)
	}
	_, err = s.asg.CreateAutoScalingGroup(s.ctx(), &autoscaling.CreateAutoScalingGroupInput{
		AutoScalingGroupName: aws.String("web"), MinSize: aws.Int32(4), MaxSize: aws.Int32(8), TargetGroupARNs: []string{*s.pool}, HealthCheckType: aws.String("ELB"),
		HealthCheckGracePeriod: aws.Int32(60), VPCZoneIdentifier: aws.String(s.lab.Subnet("eu-lab-1a") + "," + s.lab.Subnet("eu-lab-1b")),
		LaunchTemplate: &scaling.LaunchTemplateSpecification{LaunchTemplateName: aws.String("web"), Version: aws.String("1")},
		Tags:           []scaling.Tag{{Key: aws.String("role"), Value: aws.String("web"), PropagateAtLaunch: aws.Bool(true)}},
	})
	must(s, err)
	s.until("four serve", func() bool { return s.healthy() == 4 })
}

func (s *site) healthy() (n int) {
	out, err := s.elb.DescribeTargetHealth(s.ctx(), &elasticloadbalancing.DescribeTargetHealthInput{TargetGroupArn: s.pool})
	must(s, err)
	for _, d := range out.TargetHealthDescriptions {
		if d.TargetHealth.State == elb.TargetHealthStateEnumHealthy {
			n++
		}
	}
	return n
}

func (s *site) group() scaling.AutoScalingGroup {
	s.Helper()
	out, err := s.asg.DescribeAutoScalingGroups(s.ctx(), &autoscaling.DescribeAutoScalingGroupsInput{
		Filters: []scaling.Filter{{Name: aws.String("tag:role"), Values: []string{"web"}}},
	})
	must(s, err)
	return out.AutoScalingGroups[0]
}

// refresh starts one to version 2 and gives a look at it, and how few and how many served or were there.
func (s *site) refresh(how scaling.RefreshPreferences) (last scaling.InstanceRefresh, least, most int) {
	s.Helper()
	_, err := s.asg.StartInstanceRefresh(s.ctx(), &autoscaling.StartInstanceRefreshInput{
		AutoScalingGroupName: aws.String("web"), Preferences: &how,
		DesiredConfiguration: &scaling.DesiredConfiguration{LaunchTemplate: &scaling.LaunchTemplateSpecification{LaunchTemplateName: aws.String("web"), Version: aws.String("2")}},
	})
	must(s, err)
	least = 4
	for range 2000 {
		time.Sleep(2 * time.Second) // the bubble's
		out, err := s.asg.DescribeInstanceRefreshes(s.ctx(), &autoscaling.DescribeInstanceRefreshesInput{AutoScalingGroupName: aws.String("web"), MaxRecords: aws.Int32(1)})
		must(s, err)
		last = out.InstanceRefreshes[0]
		least = min(least, s.healthy())
		living := 0
		for _, i := range s.group().Instances {
			if i.LifecycleState != scaling.LifecycleStateTerminating {
				living++
			}
		}
		most = max(most, living)
		if last.EndTime != nil {
			return last, least, most
		}
	}
	s.Fatalf("the refresh is %s after so long", last.Status)
	return last, least, most
}

func TestGroupKeepsUp(t *testing.T) {
	onSite(t, func(s *site) {
		s.grow()
		g := s.group()
		one := s.describe(*g.Instances[0].InstanceId)
		tags := map[string]string{}
		for _, tag := range one.Tags {
			tags[*tag.Key] = *tag.Value
		}
		if tags["role"] != "web" || tags["aws:autoscaling:groupName"] != "web" || *g.Instances[0].LaunchTemplate.Version != "1" {
			t.Errorf("%v %+v", tags, g.Instances[0])
		}
		if *g.Instances[0].AvailabilityZone == *g.Instances[1].AvailabilityZone {
			t.Error("all are in one zone")
		}
		_, err := s.api.TerminateInstances(s.ctx(), &ec2.TerminateInstancesInput{InstanceIds: []string{*one.InstanceId}})
		must(t, err)
		s.script(ec2lab.Fault{Kind: ec2lab.Unhealthy, Instance: *g.Instances[1].InstanceId})
		time.Sleep(5 * time.Minute)
		if g = s.group(); len(g.Instances) != 4 || s.healthy() != 4 {
			t.Errorf("%d instances, %d serve", len(g.Instances), s.healthy())
		}
		activities, err := s.asg.DescribeScalingActivities(s.ctx(), &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: aws.String("web")})
		must(t, err)
		said := ""
		for _, a := range activities.Activities {
			said += *a.Description + ": " + *a.Cause + "\n"
		}
		for _, want := range []string{"Terminating EC2 instance: " + *one.InstanceId, "EC2 health check", "ELB system health check failure"} {
			if !strings.Contains(said, want) {
				t.Errorf("no activity says %q:\n%s", want, said)
			}
		}
		_, err = s.asg.UpdateAutoScalingGroup(s.ctx(), &autoscaling.UpdateAutoScalingGroupInput{AutoScalingGroupName: aws.String("web"), MinSize: aws.Int32(0), DesiredCapacity: aws.Int32(1)})
		must(t, err)
		_, err = s.asg.DeleteAutoScalingGroup(s.ctx(), &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String("web")})
		refused(t, err, "ResourceInUse")
		s.until("there is one", func() bool { return len(s.group().Instances) == 1 })
		_, err = s.asg.UpdateAutoScalingGroup(s.ctx(), &autoscaling.UpdateAutoScalingGroupInput{AutoScalingGroupName: aws.String("web"), DesiredCapacity: aws.Int32(0)})
		must(t, err)
		s.until("there is none", func() bool { return len(s.group().Instances) == 0 })
		_, err = s.asg.DeleteAutoScalingGroup(s.ctx(), &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String("web")})
		must(t, err)
	})
}

func TestRefreshInBatches(t *testing.T) {
	for name, c := range map[string]struct {
		how         scaling.RefreshPreferences
		least, most int
	}{
		"as it is by default": {scaling.RefreshPreferences{}, 3, 4},
		"half at a time":      {scaling.RefreshPreferences{MinHealthyPercentage: aws.Int32(50), InstanceWarmup: aws.Int32(40)}, 2, 4},
		"new ones first":      {scaling.RefreshPreferences{MinHealthyPercentage: aws.Int32(100), MaxHealthyPercentage: aws.Int32(150), InstanceWarmup: aws.Int32(40)}, 4, 6},
		"one new one first":   {scaling.RefreshPreferences{MinHealthyPercentage: aws.Int32(100), MaxHealthyPercentage: aws.Int32(100)}, 4, 5},
	} {
		t.Run(name, func(t *testing.T) {
			onSite(t, func(s *site) {
				s.grow()
				last, least, most := s.refresh(c.how)
				if last.Status != scaling.InstanceRefreshStatusSuccessful || *last.PercentageComplete != 100 || least != c.least || most != c.most {
					t.Errorf("%s, %d%%; %d to %d were there, want %d to %d", last.Status, *last.PercentageComplete, least, most, c.least, c.most)
				}
				if v := *s.group().LaunchTemplate.Version; v != "2" {
					t.Errorf("version %s", v)
				}
			})
		})
	}
}

func TestRefreshThatFails(t *testing.T) {
	for back, want := range map[bool]scaling.InstanceRefreshStatus{false: scaling.InstanceRefreshStatusFailed, true: scaling.InstanceRefreshStatusRollbackSuccessful} {
		t.Run(string(want), func(t *testing.T) {
			onSite(t, func(s *site) {
				s.grow()
				s.script(ec2lab.Fault{Kind: ec2lab.Capacity, Type: "t3.micro", Times: -1})
				last, _, _ := s.refresh(scaling.RefreshPreferences{AutoRollback: &back})
				if last.Status != want || (last.RollbackDetails != nil) != back {
					t.Errorf("%+v", last)
				}
				if v := *s.group().LaunchTemplate.Version; v != "1" {
					t.Errorf("version %s", v)
				}
				s.until("four serve", func() bool { return s.healthy() == 4 })
				_, err := s.asg.RollbackInstanceRefresh(s.ctx(), &autoscaling.RollbackInstanceRefreshInput{AutoScalingGroupName: aws.String("web")})
				refused(t, err, "ActiveInstanceRefreshNotFound")
			})
		})
	}
}

func TestWhatAutoScalingRefuses(t *testing.T) {
	onSite(t, func(s *site) {
		s.grow()
		name := aws.String("web")
		version := func(v string) *scaling.LaunchTemplateSpecification {
			return &scaling.LaunchTemplateSpecification{LaunchTemplateName: name, Version: &v}
		}
		start := func(v string, back bool) error {
			_, err := s.asg.StartInstanceRefresh(s.ctx(), &autoscaling.StartInstanceRefreshInput{
				AutoScalingGroupName: name, DesiredConfiguration: &scaling.DesiredConfiguration{LaunchTemplate: version(v)}, Preferences: &scaling.RefreshPreferences{AutoRollback: &back},
			})
			return err
		}
		refused(t, start("7", false), "ValidationError")
		_, err := s.asg.UpdateAutoScalingGroup(s.ctx(), &autoscaling.UpdateAutoScalingGroupInput{AutoScalingGroupName: name, LaunchTemplate: version("$Default")})
		must(t, err)
		refused(t, start("2", true), "ValidationError")
		must(t, start("2", false))
		refused(t, start("2", false), "InstanceRefreshInProgress")
		_, err = s.asg.RollbackInstanceRefresh(s.ctx(), &autoscaling.RollbackInstanceRefreshInput{AutoScalingGroupName: name})
		refused(t, err, "IrreversibleInstanceRefresh")
		_, err = s.asg.CancelInstanceRefresh(s.ctx(), &autoscaling.CancelInstanceRefreshInput{AutoScalingGroupName: name})
		must(t, err)
		_, err = s.asg.CreateAutoScalingGroup(s.ctx(), &autoscaling.CreateAutoScalingGroupInput{
			AutoScalingGroupName: name, MinSize: aws.Int32(0), MaxSize: aws.Int32(0), LaunchTemplate: version("1"), VPCZoneIdentifier: aws.String(s.lab.Subnet("eu-lab-1a")),
		})
		refused(t, err, "AlreadyExists")
		_, err = s.elb.DeleteTargetGroup(s.ctx(), &elasticloadbalancing.DeleteTargetGroupInput{TargetGroupArn: s.pool})
		refused(t, err, "ResourceInUse")
	})
}
