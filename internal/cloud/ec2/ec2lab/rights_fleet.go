package ec2lab

import (
	"maps"
	"slices"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/iam"
)

// poolNeeds are the target groups that a request names, with their tags, if they are there.
func (c *call) poolNeeds(any) []iam.Request {
	var list []iam.Request
	for _, arn := range append(named(c.form, "ResourceArns"), named(c.form, "TargetGroupArn")...) {
		r := iam.Request{Resource: arn, Keys: c.ambient(c.r)}
		if g := c.r.pools[arn]; g != nil {
			g.tags.resource(c.service.name, r.Keys)
		}
		list = append(list, r)
	}
	return list
}

// addPoolTagsNeeds have the tags that are added as well.
func (c *call) addPoolTagsNeeds(in *addPoolTags) []iam.Request {
	list := c.poolNeeds(in)
	for _, r := range list {
		taggedWith(in.Tags).request(r.Keys)
	}
	return list
}

// newPoolNeeds are those of a target group that is not there yet. Tags are a right of their own.
func (c *call) newPoolNeeds(in *createTargetGroup) []iam.Request {
	made := iam.Request{Resource: c.poolARN(in.Name) + everything, Keys: c.ambient(c.r)}
	tags := taggedWith(in.Tags)
	tags.request(made.Keys)
	if len(tags) == 0 {
		return []iam.Request{made}
	}
	tagging := iam.Request{Action: "elasticloadbalancing:AddTags", Resource: made.Resource, Keys: maps.Clone(made.Keys)}
	tagging.Keys["elasticloadbalancing:CreateAction"] = []string{c.name}
	return []iam.Request{made, tagging}
}

// groupNeeds are the scaling group that a request names, with its tags. The ARN has an id that only a
// group which is there has.
func (c *call) groupNeeds(any) []iam.Request {
	name := c.form.Get("AutoScalingGroupName")
	r := iam.Request{Resource: c.scalingARN() + everything + scalingName + name, Keys: c.ambient(c.r)}
	if g := c.r.scaling[name]; g != nil {
		r.Resource = g.id
		tags := tagSet{}
		for _, t := range g.tags {
			tags[t.Key] = t.Value
		}
		tags.resource(c.service.name, r.Keys)
	}
	return []iam.Request{r}
}

func (c *call) newGroupNeeds(in *createScalingGroup) []iam.Request {
	list, tags := c.groupNeeds(in), tagSet{}
	for _, t := range in.Tags {
		tags[t.Key] = t.Value
	}
	tags.request(list[0].Keys)
	return append(list, c.launchNeeds(in.LaunchTemplate, strings.Split(in.VPCZoneIdentifier, ","))...)
}

func (c *call) changeGroupNeeds(in *updateScalingGroup) []iam.Request {
	return append(c.groupNeeds(in), c.launchNeeds(in.LaunchTemplate, c.placesOf(in.AutoScalingGroupName))...)
}

func (c *call) refreshNeeds(in *startRefresh) []iam.Request {
	list := c.groupNeeds(in)
	if in.DesiredConfiguration != nil {
		list = append(list, c.launchNeeds(in.DesiredConfiguration.LaunchTemplate, c.placesOf(in.AutoScalingGroupName))...)
	}
	return list
}

// placesOf are the subnets of a scaling group.
func (c *call) placesOf(name string) []string {
	var ids []string
	if g := c.r.scaling[name]; g != nil {
		for _, s := range g.subnets {
			ids = append(ids, s.id)
		}
	}
	return ids
}

// launchNeeds are what a launch by a template needs. Whoever gives one to Auto Scaling must be allowed to
// launch by it, which is looked at then and not when it launches.
func (c *call) launchNeeds(ref *templateRef, places []string) []iam.Request {
	if ref == nil {
		return nil
	}
	var list []iam.Request
	for _, place := range places {
		launch, err := c.launching(*ref, place)
		if err != nil {
			return nil // it is refused for that
		}
		run, err := launch.decoded()
		if err != nil {
			return nil
		}
		for _, r := range launch.runNeeds(run) {
			if r.Action == "" {
				r.Action = "ec2:RunInstances"
			}
			list = append(list, r)
		}
	}
	return list
}

// describes are the parameters of RunInstances that say what a resource of some type is.
var describes = map[string][]string{
	"image": {"ImageId"}, "instance": {"InstanceType"}, "key-pair": {"KeyName"}, "launch-template": {"LaunchTemplate"},
	"network-interface": {"NetworkInterface"}, "security-group": {"SecurityGroupId", "NetworkInterface"},
	"snapshot": {"BlockDeviceMapping"}, "subnet": {"SubnetId", "NetworkInterface"}, "volume": {"BlockDeviceMapping"},
}

// byTemplate adds the keys of a launch by a template to what it needs: the template, and whether that is
// what describes the resource. What neither it nor the request names is not the template's.
func (c *call) byTemplate(template string, list []iam.Request) {
	inForm := tops(c.form)
	for _, r := range list {
		kind, _, _ := strings.Cut(strings.SplitN(r.Resource, ":", 6)[5], "/")
		if r.Action != "" || describes[kind] == nil {
			continue
		}
		own := kind != "launch-template" && slices.ContainsFunc(describes[kind], func(p string) bool { return c.given[p] })
		r.Keys["ec2:LaunchTemplate"] = []string{template}
		r.Keys["ec2:IsLaunchTemplateResource"] = []string{"false"}
		if !own && slices.ContainsFunc(describes[kind], func(p string) bool { return inForm[p] }) {
			r.Keys["ec2:IsLaunchTemplateResource"] = []string{"true"}
		}
	}
}

// resource adds the keys of tags that a resource has, by their two names.
func (t tagSet) resource(service string, keys map[string][]string) {
	for k, v := range t {
		keys["aws:ResourceTag/"+k] = []string{v}
		keys[service+":ResourceTag/"+k] = []string{v}
	}
}

func taggedWith(tags []tag) tagSet {
	set := tagSet{}
	for _, t := range tags {
		set[t.Key] = t.Value
	}
	return set
}
