package ec2lab

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/iam"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// needs tells what a request, with its parameters decoded, does to which resources, with the condition
// keys that AWS' service authorization reference has for each; a key that is not there, AWS does not
// give either. An empty action is the call's own.
type needs func(c *call, in any) []iam.Request

// conditionKeys are those that policies may name. Those of KMS and service-linked roles are of actions
// that nobody asks the lab for; every other is given to the requests below.
var conditionKeys = []string{
	"aws:RequestTag/", "aws:ResourceTag/", "aws:TagKeys", "aws:RequestedRegion", "ec2:ResourceTag/",
	"ec2:CreateAction", "ec2:Owner", "ec2:Region", "ec2:Subnet", "ec2:Vpc", "ec2:LaunchTemplate", "ec2:IsLaunchTemplateResource",
	"elasticloadbalancing:ResourceTag/", "elasticloadbalancing:CreateAction", "autoscaling:ResourceTag/",
	"kms:ViaService", "iam:AWSServiceName",
}

// everything is the resource of actions that know none.
const everything = "*"

// rights is the whole list; a new action is one line here, and without one a role may not call it.
var rights = map[string]needs{
	"ec2:RunInstances":                  of((*call).runNeeds),
	"ec2:DescribeInstances":             all,
	"ec2:DescribeInstanceStatus":        all,
	"ec2:TerminateInstances":            there("InstanceId"),
	"ec2:StopInstances":                 there("InstanceId"),
	"ec2:StartInstances":                there("InstanceId"),
	"ec2:RebootInstances":               there("InstanceId"),
	"ec2:GetConsoleOutput":              there("InstanceId"),
	"ec2:GetConsoleScreenshot":          there("InstanceId"),
	"ec2:ModifyInstanceAttribute":       there("InstanceId", "GroupId"),
	"ec2:ModifyInstanceMetadataOptions": there("InstanceId"),
	"ec2:DescribeInstanceTypes":         all,
	"ec2:CancelSpotInstanceRequests":    there("SpotInstanceRequestId"),
	"ec2:DescribeSpotInstanceRequests":  all,

	"ec2:CreateImage":                          both(there("InstanceId"), made("image", "snapshot")),
	"ec2:DescribeImages":                       all,
	"ec2:DeregisterImage":                      there("ImageId"),
	"ec2:CopyImage":                            both(of((*call).copyNeeds), made("image", "snapshot")),
	"ec2:ModifyImageAttribute":                 there("ImageId"),
	"ec2:DescribeImageAttribute":               there("ImageId"),
	"ec2:DisableImage":                         there("ImageId"),
	"ec2:EnableImage":                          there("ImageId"),
	"ec2:EnableImageDeprecation":               there("ImageId"),
	"ec2:DisableImageDeprecation":              there("ImageId"),
	"ec2:EnableImageDeregistrationProtection":  there("ImageId"),
	"ec2:DisableImageDeregistrationProtection": there("ImageId"),

	"ec2:CreateSnapshot":            both(there("VolumeId"), made("snapshot")),
	"ec2:DescribeSnapshots":         all,
	"ec2:DeleteSnapshot":            there("SnapshotId"),
	"ec2:ModifySnapshotAttribute":   there("SnapshotId"),
	"ec2:DescribeSnapshotAttribute": there("SnapshotId"),

	"ec2:CreateVolume":    both(there("SnapshotId"), made("volume")),
	"ec2:DescribeVolumes": all,
	"ec2:AttachVolume":    there("InstanceId", "VolumeId"),
	"ec2:DetachVolume":    (*call).detachNeeds,
	"ec2:DeleteVolume":    there("VolumeId"),

	"ec2:CreateSecurityGroup":           both((*call).vpcNeeds, made("security-group")),
	"ec2:DescribeSecurityGroups":        all,
	"ec2:DeleteSecurityGroup":           there("GroupId"),
	"ec2:AuthorizeSecurityGroupIngress": both(there("GroupId"), tagged("security-group-rule")),
	"ec2:AuthorizeSecurityGroupEgress":  both(there("GroupId"), tagged("security-group-rule")),
	"ec2:RevokeSecurityGroupIngress":    there("GroupId"),
	"ec2:RevokeSecurityGroupEgress":     there("GroupId"),

	"ec2:CreateNetworkInterface":          both(there("SubnetId", "SecurityGroupId"), made("network-interface")),
	"ec2:DescribeNetworkInterfaces":       all,
	"ec2:DeleteNetworkInterface":          there("NetworkInterfaceId"),
	"ec2:ModifyNetworkInterfaceAttribute": there("NetworkInterfaceId", "SecurityGroupId"),

	"ec2:DescribeSubnets":           all,
	"ec2:DescribeVpcs":              all,
	"ec2:DescribeAvailabilityZones": all,
	"ec2:DescribeRegions":           all,

	"ec2:ImportKeyPair":    made("key-pair"),
	"ec2:DescribeKeyPairs": all,
	"ec2:DeleteKeyPair":    (*call).keyPairNeeds,

	"ec2:CreateTags":   (*call).tagNeeds,
	"ec2:DeleteTags":   (*call).tagNeeds,
	"ec2:DescribeTags": all,

	"ec2:CreateLaunchTemplate":           made("launch-template"),
	"ec2:CreateLaunchTemplateVersion":    (*call).templateNeeds,
	"ec2:DescribeLaunchTemplates":        all,
	"ec2:DescribeLaunchTemplateVersions": all,
	"ec2:ModifyLaunchTemplate":           (*call).templateNeeds,
	"ec2:DeleteLaunchTemplate":           (*call).templateNeeds,

	"elasticloadbalancing:CreateTargetGroup":             of((*call).newPoolNeeds),
	"elasticloadbalancing:DescribeTargetGroups":          all,
	"elasticloadbalancing:ModifyTargetGroupAttributes":   (*call).poolNeeds,
	"elasticloadbalancing:DescribeTargetGroupAttributes": all,
	"elasticloadbalancing:DeleteTargetGroup":             (*call).poolNeeds,
	"elasticloadbalancing:RegisterTargets":               (*call).poolNeeds,
	"elasticloadbalancing:DeregisterTargets":             (*call).poolNeeds,
	"elasticloadbalancing:DescribeTargetHealth":          all,
	"elasticloadbalancing:AddTags":                       of((*call).addPoolTagsNeeds),
	"elasticloadbalancing:DescribeTags":                  all,

	"autoscaling:CreateAutoScalingGroup":    of((*call).newGroupNeeds),
	"autoscaling:UpdateAutoScalingGroup":    of((*call).changeGroupNeeds),
	"autoscaling:DescribeAutoScalingGroups": all,
	"autoscaling:DeleteAutoScalingGroup":    (*call).groupNeeds,
	"autoscaling:DescribeScalingActivities": all,
	"autoscaling:StartInstanceRefresh":      of((*call).refreshNeeds),
	"autoscaling:CancelInstanceRefresh":     (*call).groupNeeds,
	"autoscaling:RollbackInstanceRefresh":   (*call).groupNeeds,
	"autoscaling:DescribeInstanceRefreshes": all,

	"ssm:GetParameter":        of((*call).parameterNeeds),
	"ssm:GetParameters":       of((*call).parameterNeeds),
	"ssm:GetParametersByPath": of((*call).parameterNeeds),
	"ssm:PutParameter":        of((*call).parameterNeeds),
	"ssm:DeleteParameter":     of((*call).parameterNeeds),

	"sts:GetCallerIdentity": func(*call, any) []iam.Request { return nil }, // nobody can be kept from it
	"sts:AssumeRole":        of((*call).assumeNeeds),

	"iam:CreateRole":       (*call).roleNeeds,
	"iam:GetRole":          (*call).roleNeeds,
	"iam:DeleteRole":       (*call).roleNeeds,
	"iam:PutRolePolicy":    (*call).roleNeeds,
	"iam:GetRolePolicy":    (*call).roleNeeds,
	"iam:DeleteRolePolicy": (*call).roleNeeds,
}

// of is for needs that depend on the decoded parameters.
func of[In any](need func(*call, *In) []iam.Request) needs {
	return func(c *call, in any) []iam.Request {
		typed, ok := in.(*In)
		if !ok {
			panic(fmt.Sprintf("ec2lab: what %s needs is not read from a %T", c.name, in))
		}
		return need(c, typed)
	}
}

// all are actions that are allowed on everything or not at all.
func all(c *call, _ any) []iam.Request {
	return []iam.Request{{Resource: everything, Keys: c.ambient(c.r)}}
}

// both joins what a request does to several resources.
func both(parts ...needs) needs {
	return func(c *call, in any) []iam.Request {
		var list []iam.Request
		for _, part := range parts {
			list = append(list, part(c, in)...)
		}
		return list
	}
}

// there are resources that exist, by the parameters that name them.
func there(parameters ...string) needs {
	return func(c *call, _ any) []iam.Request {
		var list []iam.Request
		for _, p := range parameters {
			for _, id := range named(c.form, p) {
				list = append(list, c.existing(c.r, id))
			}
		}
		return list
	}
}

// made are resources of some types that a request creates. Tags at creation are a right of their own,
// which knows the creating action.
func made(types ...string) needs {
	return func(c *call, _ any) []iam.Request {
		var list []iam.Request
		for _, kind := range types {
			list = append(list, c.creating(kind, nil)...)
		}
		return list
	}
}

// tagged are those that a right is needed for if they get tags.
func tagged(types ...string) needs {
	return func(c *call, in any) []iam.Request {
		tags := c.newTags()
		return made(slices.DeleteFunc(slices.Clone(types), func(kind string) bool { return tags[kind] == nil })...)(c, in)
	}
}

// named gives the values of a parameter or of the list of that name, each once.
func named(form url.Values, parameter string) []string {
	var ids []string
	for name := range form {
		n, isList := strings.CutPrefix(name, parameter+".")
		if _, err := strconv.Atoi(n); (name == parameter || isList && err == nil) && form.Get(name) != "" {
			ids = append(ids, form.Get(name))
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// ambient are the keys that every request has.
func (c *call) ambient(r *region) map[string][]string {
	keys := map[string][]string{"aws:RequestedRegion": {c.r.name}}
	if c.service.name == "ec2" {
		keys["ec2:Region"] = []string{r.name}
	}
	return keys
}

// arnIn is the name of a resource of EC2 in a region. Images and snapshots have no account in theirs.
func (c *call) arnIn(r *region, kind, id string) string {
	account := c.cfg.Account
	if kind == "image" || kind == "snapshot" {
		account = ""
	}
	return "arn:aws:ec2:" + r.name + ":" + account + ":" + kind + "/" + id
}

// existing is a resource with its tags. One that is not there has none: a policy that wants some denies
// it, and so does EC2, where one would expect to hear that it does not exist.
func (c *call) existing(r *region, id string) iam.Request {
	kind, keys := kindOf(id), c.ambient(r)
	r.tags[id].resource("ec2", keys)
	switch kind {
	case "image":
		if img := r.images[id]; img != nil {
			keys["ec2:Owner"] = []string{img.owner}
		}
	case "snapshot":
		keys["ec2:Owner"] = []string{c.cfg.Account}
	case "network-interface":
		if n := r.nics[id]; n != nil {
			maps.Copy(keys, c.placed(r, n.subnet))
		}
	case "security-group", "subnet":
		keys["ec2:Vpc"] = []string{c.arnIn(r, "vpc", r.vpc.id)}
	}
	return iam.Request{Resource: c.arnIn(r, kind, id), Keys: keys}
}

// placed are the keys of a network interface.
func (c *call) placed(r *region, s *subnet) map[string][]string {
	return map[string][]string{"ec2:Subnet": {c.arnIn(r, "subnet", s.id)}, "ec2:Vpc": {c.arnIn(r, "vpc", r.vpc.id)}}
}

// creating is a resource that is not there yet, and has no id, with the tags that it is to get.
func (c *call) creating(kind string, more map[string][]string) []iam.Request {
	made := iam.Request{Resource: c.arnIn(c.r, kind, everything), Keys: c.ambient(c.r)}
	tags := c.newTags()[kind]
	tags.request(made.Keys)
	maps.Copy(made.Keys, more)
	if len(tags) == 0 {
		return []iam.Request{made}
	}
	tagging := iam.Request{Action: "ec2:CreateTags", Resource: made.Resource, Keys: c.ambient(c.r)}
	tags.request(tagging.Keys)
	tagging.Keys["ec2:CreateAction"] = []string{c.name}
	return []iam.Request{made, tagging}
}

// newTags are the tags of a request by the type of resource that gets them.
func (c *call) newTags() map[string]tagSet {
	form := url.Values{}
	for name, values := range c.form {
		if strings.HasPrefix(name, "TagSpecification.") {
			form[name] = values
		}
	}
	var in struct{ TagSpecification []tagSpecification }
	if query.Decode(form, &in) != nil {
		return nil // impossible: the whole request was decoded before
	}
	sets := map[string]tagSet{}
	for _, s := range in.TagSpecification {
		set := tagSet{}
		for _, t := range s.Tag {
			set[t.Key] = t.Value
		}
		sets[s.ResourceType] = set
	}
	return sets
}

// request adds the keys of tags that a request carries.
func (t tagSet) request(keys map[string][]string) {
	for k, v := range t {
		keys["aws:RequestTag/"+k] = []string{v}
	}
	if len(t) > 0 {
		keys["aws:TagKeys"] = t.keys()
	}
}
