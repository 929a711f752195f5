package ec2lab

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

const elbVersion = "2015-12-01"

// elbActions are those of Elastic Load Balancing, version 2. There are no load balancers: every target
// group counts as used by one.
var elbActions = map[string]action{
	"CreateTargetGroup":             on((*call).createTargetGroup),
	"DescribeTargetGroups":          on((*call).describeTargetGroups),
	"ModifyTargetGroupAttributes":   on((*call).modifyTargetGroupAttributes),
	"DescribeTargetGroupAttributes": on((*call).describeTargetGroupAttributes),
	"DeleteTargetGroup":             on((*call).deleteTargetGroup),
	"RegisterTargets":               on((*call).registerTargets),
	"DeregisterTargets":             on((*call).deregisterTargets),
	"DescribeTargetHealth":          on((*call).describeTargetHealth),
	"AddTags":                       on((*call).addPoolTags),
	"DescribeTags":                  on((*call).describePoolTags),
}

// targetGroup is a set of targets among which a load balancer would spread requests. Its id is its ARN.
type targetGroup struct {
	identity
	name, protocol, kind, path string
	port                       int
	interval                   time.Duration // between two checks of a target
	delay                      time.Duration // for which a target that is deregistered drains
	tags                       tagSet
	targets                    []*target
}

const noPool = "TargetGroupNotFound"

var poolName = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,30}[a-zA-Z0-9])?$`)

type createTargetGroup struct {
	Name                       string `query:"required"`
	Protocol, TargetType       string
	Port                       int
	VpcID                      string
	HealthCheckPath            string
	HealthCheckIntervalSeconds int
	Tags                       []tag
}

func (c *call) createTargetGroup(in *createTargetGroup) (any, error) {
	switch {
	case !poolName.MatchString(in.Name):
		return nil, query.Errorf("ValidationError", "Target group name '%s' must have 1 to 32 letters, digits and hyphens", in.Name)
	case in.Port < 1 || in.Port > 65535 || in.Protocol == "":
		return nil, query.Errorf("ValidationError", "A protocol and a port must be specified")
	case in.VpcID != c.r.vpc.id:
		return nil, query.Errorf("ValidationError", "The VPC ID '%s' is not found", in.VpcID)
	case in.HealthCheckIntervalSeconds != 0 && (in.HealthCheckIntervalSeconds < 5 || in.HealthCheckIntervalSeconds > 300):
		return nil, query.Errorf("ValidationError", "Health check interval must be between 5 and 300 seconds")
	case slices.ContainsFunc(sorted(c.r.pools), func(g *targetGroup) bool { return g.name == in.Name }):
		return nil, query.Errorf("DuplicateTargetGroupName", "A target group with the same name '%s' exists, but with different settings", in.Name)
	}
	kind, err := oneOf("TargetType", in.TargetType, "instance", "ip")
	if err == nil {
		err = checkTags(in.Tags)
	}
	if err != nil {
		return nil, err
	}
	g := &targetGroup{
		identity: c.identify(c.poolARN(in.Name)),
		name:     in.Name, protocol: in.Protocol, port: in.Port, kind: kind, path: in.HealthCheckPath,
		interval: 30 * time.Second, delay: 300 * time.Second, tags: tagSet{},
	}
	if in.HealthCheckIntervalSeconds != 0 {
		g.interval = time.Duration(in.HealthCheckIntervalSeconds) * time.Second
	}
	for _, t := range in.Tags {
		g.tags[t.Key] = t.Value
	}
	c.r.pools[g.id] = g
	return poolViews{[]poolView{c.poolView(g)}}, nil
}

// poolARN is a target group's, without its id.
func (c *call) poolARN(name string) string {
	return fmt.Sprintf("arn:aws:elasticloadbalancing:%s:%s:targetgroup/%s/", c.r.name, c.cfg.Account, name)
}

type poolView struct {
	ARN      string `xml:"TargetGroupArn"`
	Name     string `xml:"TargetGroupName"`
	Protocol string
	Port     int
	VPC      string `xml:"VpcId"`
	Kind     string `xml:"TargetType"`
	Path     string `xml:"HealthCheckPath,omitempty"`
	Interval int    `xml:"HealthCheckIntervalSeconds"`
	Checks   bool   `xml:"HealthCheckEnabled"`
}

type poolViews struct {
	Groups []poolView `xml:"TargetGroups>member"`
}

func (c *call) poolView(g *targetGroup) poolView {
	return poolView{g.id, g.name, g.protocol, g.port, c.r.vpc.id, g.kind, g.path, int(g.interval.Seconds()), true}
}

type describeTargetGroups struct {
	TargetGroupArns, Names []string
}

func (c *call) describeTargetGroups(in *describeTargetGroups) (any, error) {
	for _, name := range in.Names {
		i := slices.IndexFunc(sorted(c.r.pools), func(g *targetGroup) bool { return g.name == name })
		if i < 0 {
			return nil, query.Errorf(noPool, "One or more target groups not found")
		}
		in.TargetGroupArns = append(in.TargetGroupArns, sorted(c.r.pools)[i].id)
	}
	list, err := listed(c.r.pools, in.TargetGroupArns, noPool)
	var views poolViews
	for _, g := range list {
		views.Groups = append(views.Groups, c.poolView(g))
	}
	return views, err
}

type poolARN struct {
	TargetGroupArn string `query:"required"`
}

func (c *call) deleteTargetGroup(in *poolARN) (any, error) {
	if _, err := find(c.r.pools, in.TargetGroupArn, noPool); err != nil {
		return nil, err
	}
	for _, s := range c.r.scaling {
		if slices.Contains(s.pools, in.TargetGroupArn) {
			return nil, query.Errorf("ResourceInUse", "Target group '%s' is currently in use by a scaling group", in.TargetGroupArn)
		}
	}
	delete(c.r.pools, in.TargetGroupArn)
	return struct{}{}, nil
}

const delayAttribute = "deregistration_delay.timeout_seconds"

type modifyTargetGroupAttributes struct {
	poolARN
	Attributes []struct{ Key, Value string }
}

func (c *call) modifyTargetGroupAttributes(in *modifyTargetGroupAttributes) (any, error) {
	g, err := find(c.r.pools, in.TargetGroupArn, noPool)
	if err != nil {
		return nil, err
	}
	for _, a := range in.Attributes {
		seconds, err := time.ParseDuration(a.Value + "s")
		if a.Key != delayAttribute || err != nil || seconds < 0 || seconds > time.Hour {
			return nil, query.Errorf("InvalidConfigurationRequest", "The lab has the attribute %s, from 0 to 3600, not %s = %s", delayAttribute, a.Key, a.Value)
		}
		g.delay = seconds
	}
	return c.describeTargetGroupAttributes(&in.poolARN)
}

func (c *call) describeTargetGroupAttributes(in *poolARN) (any, error) {
	g, err := find(c.r.pools, in.TargetGroupArn, noPool)
	if err != nil {
		return nil, err
	}
	type attribute struct{ Key, Value string }
	return struct {
		Attributes []attribute `xml:"Attributes>member"`
	}{[]attribute{{delayAttribute, fmt.Sprint(int(g.delay.Seconds()))}}}, nil
}

type pooled struct{ ResourceArns []string }

type addPoolTags struct {
	pooled
	Tags []tag
}

func (c *call) addPoolTags(in *addPoolTags) (any, error) {
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	list, err := listed(c.r.pools, in.ResourceArns, noPool)
	for _, g := range list {
		for _, t := range in.Tags {
			g.tags[t.Key] = t.Value
		}
	}
	return struct{}{}, err
}

// tagView is a tag as all services but EC2 write it.
type tagView struct{ Key, Value string }

func (c *call) describePoolTags(in *pooled) (any, error) {
	type description struct {
		ARN  string    `xml:"ResourceArn"`
		Tags []tagView `xml:"Tags>member"`
	}
	if len(in.ResourceArns) == 0 {
		return nil, query.Errorf("ValidationError", "At least one resource ARN must be specified")
	}
	list, err := listed(c.r.pools, in.ResourceArns, noPool)
	var all []description
	for _, g := range list {
		d := description{ARN: g.id}
		for _, t := range g.tags.view() {
			d.Tags = append(d.Tags, tagView(t))
		}
		all = append(all, d)
	}
	return struct {
		Descriptions []description `xml:"TagDescriptions>member"`
	}{all}, err
}
