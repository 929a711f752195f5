package ec2lab

import (
	"maps"
	"slices"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/iam"
)

// runNeeds are those of RunInstances, after a launch template's data were put under the request's own.
// The reference has the tags of an interface that exists for every action but this one: here it is told
// by its subnet only. A spot request counts if it is tagged.
func (c *call) runNeeds(run *runInstances) []iam.Request {
	list := []iam.Request{c.existing(c.r, run.ImageID)}
	list = append(list, c.creating("instance", nil)...)
	place, groups := c.run(run, &list)
	if place != nil {
		list = append(list, c.existing(c.r, place.id))
	}
	if len(groups) == 0 {
		groups = []string{c.r.defaultGroup().id}
	}
	for _, id := range groups {
		list = append(list, c.existing(c.r, id))
	}
	list = append(list, c.creating("volume", nil)...)
	for _, m := range run.BlockDeviceMapping {
		if m.Ebs != nil && m.Ebs.SnapshotID != "" {
			list = append(list, c.existing(c.r, m.Ebs.SnapshotID))
		}
	}
	if run.KeyName != "" {
		list = append(list, c.keyPair(run.KeyName))
	}
	if p := run.IamInstanceProfile; p != nil { // the lab has no profiles: the role counts as named the same
		_, name, _ := strings.Cut(p.Arn, "instance-profile/")
		list = append(list, iam.Request{Action: "iam:PassRole", Resource: c.roleARN(&role{path: "/", name: name + p.Name}), Keys: c.ambient(c.r)})
	}
	list = append(list, tagged("spot-instances-request")(c, run)...)
	if ref := run.LaunchTemplate; ref != nil {
		template := c.launchTemplate(templateName{ref.LaunchTemplateID, ref.LaunchTemplateName})
		list = append(list, template)
		c.byTemplate(template.Resource, list)
	}
	return list
}

// run adds the interface, one that exists or a new one, and gives where it is and its groups.
func (c *call) run(in *runInstances, list *[]iam.Request) (*subnet, []string) {
	place, err := c.placement(in)
	if err != nil { // what does not exist is found out afterwards
		place = nil
	}
	groups := in.SecurityGroupID
	if len(in.NetworkInterface) > 0 {
		groups = in.NetworkInterface[0].SecurityGroupID
		if id := in.NetworkInterface[0].NetworkInterfaceID; id != "" {
			n := iam.Request{Resource: c.arnIn(c.r, "network-interface", id), Keys: c.ambient(c.r)}
			if is := c.r.nics[id]; is != nil {
				maps.Copy(n.Keys, c.placed(c.r, is.subnet))
				groups = is.groups
			}
			*list = append(*list, n)
			return place, groups
		}
	}
	var keys map[string][]string
	if place != nil {
		keys = c.placed(c.r, place)
	}
	*list = append(*list, c.creating("network-interface", keys)...)
	return place, groups
}

// copyNeeds are those of CopyImage on the image that is copied. It is told by its owner, and its tags
// do not count.
func (c *call) copyNeeds(source *copyImage) []iam.Request {
	from := c.regions[source.SourceRegion]
	if from == nil {
		return nil // it is refused for that
	}
	r := iam.Request{Resource: c.arnIn(from, "image", source.SourceImageID), Keys: c.ambient(from)}
	if img := from.images[source.SourceImageID]; img != nil {
		r.Keys["ec2:Owner"] = []string{img.owner}
	}
	return []iam.Request{r}
}

// detachNeeds are the volume and the instance that has it, named or not.
func (c *call) detachNeeds(in any) []iam.Request {
	list := there("VolumeId", "InstanceId")(c, in)
	if v := c.r.volumes[c.form.Get("VolumeId")]; v != nil && v.attachment != nil && c.form.Get("InstanceId") == "" {
		list = append(list, c.existing(c.r, v.attachment.instance.id))
	}
	return list
}

func (c *call) vpcNeeds(any) []iam.Request {
	id := c.form.Get("VpcId")
	if id == "" {
		id = c.r.vpc.id
	}
	return []iam.Request{c.existing(c.r, id)}
}

// keyPair is named by its name, and tagged by its id.
func (c *call) keyPair(name string) iam.Request {
	r := iam.Request{Resource: c.arnIn(c.r, "key-pair", name), Keys: c.ambient(c.r)}
	if k := c.r.keys[name]; k != nil {
		r.Keys = c.existing(c.r, k.id).Keys
	}
	return r
}

func (c *call) keyPairNeeds(any) []iam.Request {
	name := c.form.Get("KeyName")
	for _, k := range c.r.keys {
		if k.id == c.form.Get("KeyPairId") {
			name = k.name
		}
	}
	return []iam.Request{c.keyPair(name)}
}

func (c *call) launchTemplate(name templateName) iam.Request {
	if t, err := c.template(name); err == nil {
		return c.existing(c.r, t.id)
	}
	return iam.Request{Resource: c.arnIn(c.r, "launch-template", name.LaunchTemplateID), Keys: c.ambient(c.r)}
}

func (c *call) templateNeeds(any) []iam.Request {
	return []iam.Request{c.launchTemplate(templateName{c.form.Get("LaunchTemplateId"), c.form.Get("LaunchTemplateName")})}
}

// tagNeeds are those of CreateTags and DeleteTags by name, which have no creating action.
func (c *call) tagNeeds(in any) []iam.Request {
	tags := tagSet{}
	switch in := in.(type) {
	case *createTags:
		for _, t := range in.Tag {
			tags[t.Key] = t.Value
		}
	case *deleteTags:
		for _, t := range in.Tag {
			tags[t.Key] = ""
			if t.Value != nil {
				tags[t.Key] = *t.Value
			}
		}
	}
	list := there("ResourceId")(c, in)
	for _, r := range list {
		tags.request(r.Keys)
	}
	return list
}

// parameters are what requests to SSM have in common.
type parameters struct {
	Name, Path string
	Names      []string
	Tags       []struct{ Key, Value string }
}

// parameterNeeds are the parameters, or the path that they are below; public ones belong to no account.
// Tags at creation are a right of their own. SSM tells the tags of what is there, but to PutParameter.
func (c *call) parameterNeeds(p *parameters) []iam.Request {
	tags := tagSet{}
	for _, t := range p.Tags {
		tags[t.Key] = t.Value
	}
	names := slices.DeleteFunc(append([]string{p.Name, p.Path}, p.Names...), func(name string) bool { return name == "" })
	var list []iam.Request
	for _, name := range names {
		account := c.cfg.Account
		if strings.HasPrefix(name, "/aws/") {
			account = ""
		}
		r := iam.Request{
			Resource: "arn:aws:ssm:" + c.r.name + ":" + account + ":parameter/" + strings.TrimPrefix(name, "/"), Keys: c.ambient(c.r),
		}
		tags.request(r.Keys)
		if is := c.r.params[name]; is != nil && c.name != "PutParameter" {
			for k, v := range is.tags {
				r.Keys["aws:ResourceTag/"+k] = []string{v}
			}
		}
		list = append(list, r)
		if len(tags) > 0 {
			list = append(list, iam.Request{Action: "ssm:AddTagsToResource", Resource: r.Resource, Keys: r.Keys})
		}
	}
	return list
}

func (c *call) assumeNeeds(in *assumeRole) []iam.Request {
	return []iam.Request{{Resource: in.RoleArn, Keys: c.ambient(c.r)}}
}

// roleNeeds are those of IAM's own actions.
func (c *call) roleNeeds(any) []iam.Request {
	r := c.roles[c.form.Get("RoleName")]
	if r == nil {
		r = &role{name: c.form.Get("RoleName"), path: "/"}
		if p := c.form.Get("Path"); p != "" {
			r.path = p
		}
	}
	return []iam.Request{{Resource: c.roleARN(r), Keys: c.ambient(c.r)}}
}
