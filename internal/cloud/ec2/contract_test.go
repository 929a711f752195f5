package ec2_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/cloudtest"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
)

func TestContract(t *testing.T) {
	for name, spot := range map[string]bool{"on demand": false, "spot": true} {
		t.Run(name, func(t *testing.T) { contract(t, func(c *ec2.Config) { c.Spot = spot }) })
	}
}

func contract(t *testing.T, change func(*ec2.Config)) {
	const moment = 2 * time.Millisecond
	cloudtest.Run(t, func(t *testing.T) cloudtest.Fixture {
		b := newBenchOf(t, "contract", ec2lab.Config{Delays: ec2lab.Delays{
			Visible: moment, Launch: moment, Stop: moment, Image: moment, Copy: moment, Volume: moment, Validate: moment,
		}}, func(c *ec2.Config) {
			c.Poll = moment
			c.Publish = []ec2.Offer{{Channels: []string{"contract-b"}, Regions: []string{elsewhere}}}
			change(c)
		})
		base := b.base()
		return cloudtest.Fixture{
			Provider: b.p, Owner: "contract", Base: base, Patience: 20 * time.Second,
			Pause:    func(time.Duration) { time.Sleep(moment) },
			BaseSpec: cloud.BaseSpec{Name: baseName, Digest: string(base.ID)},
			Family:   func(prefix string) string { return "self/" + prefix + "*" },
		}
	})
}

func TestBalancerContract(t *testing.T) {
	inFleet(t, func(f *fleet) {
		bad := f.images("web-bad")[0]
		f.script(ec2lab.Fault{Kind: ec2lab.Unhealthy, Name: "web-bad"})
		f.bench.pool("theirs", "them", elb.TargetTypeEnumInstance)
		f.group("theirs", func(in *autoscaling.CreateAutoScalingGroupInput) {
			in.Tags[0].Value, in.DesiredCapacity, in.TargetGroupARNs = aws.String("them"), aws.Int32(0), nil
		})
		f.bench.pool("single", "test", elb.TargetTypeEnumInstance)
		s := f.server("web-1")
		cloudtest.RunBalancer(f.T, cloudtest.Fleet{
			Balancer: cloud.CapabilitiesOf(f.p).Balancer, Pool: "single", Theirs: "theirs", Server: s.ID,
			Ail: func(t *testing.T, ails bool) {
				if !ails {
					time.Sleep(2 * patience) // the bubble's: until it is over
					return
				}
				must(t, f.lab.Script(ec2lab.Fault{Kind: ec2lab.Unhealthy, Instance: string(s.ID), For: 2 * patience}))
			},
			Roll: f.roll, Old: f.from, Bad: bad,
			Launches: func(t *testing.T) cloud.ImageID {
				out, err := f.api.DescribeLaunchTemplateVersions(t.Context(), &sdk.DescribeLaunchTemplateVersionsInput{
					LaunchTemplateId: &f.template, Versions: []string{*f.look().LaunchTemplate.Version},
				})
				must(t, err)
				return cloud.ImageID(*out.LaunchTemplateVersions[0].LaunchTemplateData.ImageId)
			},
			Patience: patience, Pause: time.Sleep,
		})
		must(f, f.p.Destroy(f.Context(), s.ID))
		_, err := f.groups.DeleteAutoScalingGroup(f.Context(), &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String("theirs")})
		must(f, err)
	})
}
