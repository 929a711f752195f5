package ec2_test

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	elasticloadbalancing "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

const noPool = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/none/0123456789abcdef"

// pool is a target group for instances, with its name as a tag.
func (w *world) pool() (name, arn string) {
	w.Helper()
	name = w.name()
	out, err := w.balancing.CreateTargetGroup(w.Context(), &elasticloadbalancing.CreateTargetGroupInput{
		Name: &name, Protocol: elb.ProtocolEnumHttp, Port: aws.Int32(80), VpcId: w.subnets[0].VpcId, TargetType: elb.TargetTypeEnumInstance,
		Tags: []elb.Tag{{Key: aws.String("which"), Value: &name}},
	})
	must(w, err)
	return name, *out.TargetGroups[0].TargetGroupArn
}

// joined is a pool and a running instance that is registered with it.
func (w *world) joined() (arn, instance string) {
	w.Helper()
	instance = *w.instance().InstanceId
	_, arn = w.pool()
	_, err := w.balancing.RegisterTargets(w.Context(), &elasticloadbalancing.RegisterTargetsInput{TargetGroupArn: &arn, Targets: targets(instance)})
	must(w, err)
	return arn, instance
}

func (w *world) health(arn string) ([]elb.TargetHealthDescription, error) {
	out, err := w.balancing.DescribeTargetHealth(w.Context(), &elasticloadbalancing.DescribeTargetHealthInput{TargetGroupArn: &arn})
	if err != nil {
		return nil, err
	}
	return out.TargetHealthDescriptions, nil
}

var poolOpinions = []opinion{
	{
		action: "elasticloadbalancing:DescribeTargetGroups", says: "finds by name and by ARN, with the port and the type of its targets",
		try: func(w *world) error {
			name, arn := w.pool()
			for _, in := range []*elasticloadbalancing.DescribeTargetGroupsInput{{Names: []string{name}}, {TargetGroupArns: []string{arn}}} {
				out, err := w.balancing.DescribeTargetGroups(w.Context(), in)
				if err != nil {
					return err
				}
				if len(out.TargetGroups) != 1 || *out.TargetGroups[0].TargetGroupArn != arn || *out.TargetGroups[0].Port != 80 || out.TargetGroups[0].TargetType != elb.TargetTypeEnumInstance {
					return expect(false, "%+v", out.TargetGroups)
				}
			}
			return nil
		},
	},
	{
		action: "elasticloadbalancing:DescribeTargetGroups", says: "refuses a name that is not there",
		try: func(w *world) error {
			_, err := w.balancing.DescribeTargetGroups(w.Context(), &elasticloadbalancing.DescribeTargetGroupsInput{Names: []string{w.name()}})
			return refused(err, "TargetGroupNotFound")
		},
	},
	{
		action: "elasticloadbalancing:DescribeTags", says: "gives the tags of a target group",
		try: func(w *world) error {
			name, arn := w.pool()
			out, err := w.balancing.DescribeTags(w.Context(), &elasticloadbalancing.DescribeTagsInput{ResourceArns: []string{arn}})
			if err != nil {
				return err
			}
			d := out.TagDescriptions
			return expect(len(d) == 1 && *d[0].ResourceArn == arn && len(d[0].Tags) == 1 && *d[0].Tags[0].Value == name, "%+v", d)
		},
	},
	{
		action: "elasticloadbalancing:RegisterTargets", says: "takes an instance on the target group's port",
		try: func(w *world) error {
			arn, instance := w.joined()
			all, err := w.health(arn)
			if err != nil {
				return err
			}
			return expect(len(all) == 1 && *all[0].Target.Id == instance && aws.ToInt32(all[0].Target.Port) == 80, "%+v", all)
		},
	},
	{
		action: "elasticloadbalancing:RegisterTargets", says: "refuses a target group that is not there",
		try: func(w *world) error {
			_, err := w.balancing.RegisterTargets(w.Context(), &elasticloadbalancing.RegisterTargetsInput{
				TargetGroupArn: aws.String(noPool), Targets: targets(*w.instance().InstanceId),
			})
			return refused(err, "TargetGroupNotFound")
		},
	},
	{
		action: "elasticloadbalancing:DescribeTargetHealth", says: "calls a target that was just registered initial",
		moto: "calls it healthy", shows: "healthy",
		try: func(w *world) error {
			arn, _ := w.joined()
			all, err := w.health(arn)
			if err != nil {
				return err
			}
			return expect(len(all) == 1 && all[0].TargetHealth.State == elb.TargetHealthStateEnumInitial, "it is %s", all[0].TargetHealth.State)
		},
	},
	{
		action: "elasticloadbalancing:DeregisterTargets", says: "lists a target while it is drained",
		moto: "lists it no more", shows: "0 targets",
		try: func(w *world) error {
			arn, instance := w.joined()
			_, err := w.balancing.DeregisterTargets(w.Context(), &elasticloadbalancing.DeregisterTargetsInput{TargetGroupArn: &arn, Targets: targets(instance)})
			if err != nil {
				return err
			}
			all, err := w.health(arn)
			if err != nil {
				return err
			}
			return expect(len(all) == 1 && all[0].TargetHealth.State == elb.TargetHealthStateEnumDraining, "%d targets: %+v", len(all), all)
		},
	},
}
