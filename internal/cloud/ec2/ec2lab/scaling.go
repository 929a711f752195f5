package ec2lab

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

const scalingVersion = "2011-01-01"

// scalingActions are those of Auto Scaling.
var scalingActions = map[string]action{
	"CreateAutoScalingGroup":    on((*call).createScalingGroup),
	"UpdateAutoScalingGroup":    on((*call).updateScalingGroup),
	"DescribeAutoScalingGroups": on((*call).describeScalingGroups),
	"DeleteAutoScalingGroup":    on((*call).deleteScalingGroup),
	"DescribeScalingActivities": on((*call).describeActivities),
	"StartInstanceRefresh":      on((*call).startRefresh),
	"CancelInstanceRefresh":     on((*call).cancelRefresh),
	"RollbackInstanceRefresh":   on((*call).rollbackRefresh),
	"DescribeInstanceRefreshes": on((*call).describeRefreshes),
}

// invalid is how Auto Scaling refuses nearly everything.
func invalid(format string, args ...any) error {
	return query.Errorf("ValidationError", format, args...)
}

// scalingGroup keeps a number of instances up. Its id is its ARN.
type scalingGroup struct {
	identity
	name                string
	made                time.Time
	least, most, wanted int
	template            *template
	version             string // a number, $Default or $Latest
	subnets             []*subnet
	pools               []string // ARNs of target groups
	checks              string   // EC2, or ELB: also what the target groups say
	grace, warmup       time.Duration
	tags                []groupTag
	members             []*grouped
	activities          []*activity // the newest last
	refreshes           []*refresh  // the newest last
	turn                int         // of the subnets
	pause               time.Time   // nothing is launched before, because the last launch was refused
	ends                bool        // it is being deleted
}

type groupTag struct {
	ResourceID, ResourceType, Key, Value string
	PropagateAtLaunch                    bool
}

// grouped is an instance of a group.
type grouped struct {
	*instance
	version int
	state   string // Pending, InService, Terminating
	ill     bool
	at      time.Time // when it came into its state
	goes    time.Time // of one that is Terminating: when its target groups have let it go
}

// scalingParameters are those that a group is made with and that can be changed.
type scalingParameters struct {
	AutoScalingGroupName   string `query:"required"`
	LaunchTemplate         *templateRef
	MinSize                *int
	MaxSize                *int
	DesiredCapacity        *int
	VPCZoneIdentifier      string
	HealthCheckType        string
	HealthCheckGracePeriod *int
	DefaultInstanceWarmup  *int
}

type createScalingGroup struct {
	scalingParameters
	TargetGroupARNs []string
	Tags            []groupTag
}

func (c *call) createScalingGroup(in *createScalingGroup) (any, error) {
	switch {
	case c.r.scaling[in.AutoScalingGroupName] != nil:
		return nil, query.Errorf("AlreadyExists", "AutoScalingGroup by this name already exists - A group with the name %s already exists", in.AutoScalingGroupName)
	case in.LaunchTemplate == nil:
		return nil, invalid("Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or MixedInstancesPolicy parameter.")
	case in.VPCZoneIdentifier == "" || in.MinSize == nil || in.MaxSize == nil:
		return nil, invalid("The lab needs VPCZoneIdentifier, MinSize and MaxSize")
	}
	for _, arn := range in.TargetGroupARNs {
		if _, err := find(c.r.pools, arn, "ValidationError"); err != nil {
			return nil, err
		}
	}
	g := &scalingGroup{name: in.AutoScalingGroupName, made: c.at, pools: in.TargetGroupARNs, checks: "EC2", warmup: -1}
	for _, t := range in.Tags {
		if err := checkTags([]tag{{t.Key, t.Value}}); err != nil {
			return nil, err
		}
		t.ResourceID, t.ResourceType = g.name, "auto-scaling-group"
		g.tags = append(g.tags, t)
	}
	g.wanted = *in.MinSize
	if err := c.change(g, &in.scalingParameters); err != nil {
		return nil, err
	}
	g.identity = c.identify(c.scalingARN())
	g.id += scalingName + g.name
	c.r.scaling[g.name] = g
	r := c.r
	c.task(func(ctx context.Context) { c.keep(ctx, r, g) })
	return struct{}{}, nil
}

// scalingName is between the id and the name in a group's ARN.
const scalingName = ":autoScalingGroupName/"

// scalingARN is a group's, without its id and name.
func (c *call) scalingARN() string {
	return fmt.Sprintf("arn:aws:autoscaling:%s:%s:autoScalingGroup:", c.r.name, c.cfg.Account)
}

// change sets what is given; nothing if any of it cannot be.
func (c *call) change(g *scalingGroup, in *scalingParameters) error {
	n := *g
	if ref := in.LaunchTemplate; ref != nil {
		t, err := c.template(templateName{ref.LaunchTemplateID, ref.LaunchTemplateName})
		if err == nil {
			_, err = t.number(ref.Version)
		}
		if err != nil {
			return invalid("You must use a valid fully-formed launch template. %v", err)
		}
		n.template, n.version = t, ref.Version
		if n.version == "" {
			n.version = "$Default"
		}
	}
	for number, given := range map[*int]*int{&n.least: in.MinSize, &n.most: in.MaxSize, &n.wanted: in.DesiredCapacity} {
		if given != nil {
			*number = *given
		}
	}
	for d, given := range map[*time.Duration]*int{&n.grace: in.HealthCheckGracePeriod, &n.warmup: in.DefaultInstanceWarmup} {
		if given != nil {
			*d = time.Duration(*given) * time.Second
		}
	}
	if in.VPCZoneIdentifier != "" {
		n.subnets = nil
		for id := range strings.SplitSeq(in.VPCZoneIdentifier, ",") {
			s, err := c.r.subnet(id)
			if err != nil {
				return invalid("The subnet ID '%s' does not exist", id)
			}
			n.subnets = append(n.subnets, s)
		}
	}
	if in.HealthCheckType != "" {
		n.checks = in.HealthCheckType
	}
	switch {
	case n.least < 0 || n.least > n.most || n.wanted < n.least || n.wanted > n.most:
		return invalid("Desired capacity:%d must be between the specified min size:%d and max size:%d", n.wanted, n.least, n.most)
	case n.checks != "EC2" && n.checks != "ELB":
		return invalid("Invalid health check type %s: the lab has EC2 and ELB", n.checks)
	case n.grace < 0:
		return invalid("Health check grace period must be 0 or more")
	}
	*g = n
	return nil
}

type updateScalingGroup struct{ scalingParameters }

func (c *call) updateScalingGroup(in *updateScalingGroup) (any, error) {
	g, err := c.scalingGroup(in.AutoScalingGroupName)
	if err != nil {
		return nil, err
	}
	if in.LaunchTemplate != nil && g.refreshing() != nil && g.refreshing().desired != 0 {
		return nil, invalid("An instance refresh with a desired configuration is in progress: the launch template can't be changed")
	}
	return struct{}{}, c.change(g, &in.scalingParameters)
}

func (c *call) scalingGroup(name string) (*scalingGroup, error) {
	if g := c.r.scaling[name]; g != nil {
		return g, nil
	}
	return nil, invalid("AutoScalingGroup name not found - AutoScalingGroup '%s' not found", name)
}

type deleteScalingGroup struct {
	AutoScalingGroupName string `query:"required"`
	ForceDelete          bool
}

// deleteScalingGroup with force ends the instances first; the group is there until they are gone.
func (c *call) deleteScalingGroup(in *deleteScalingGroup) (any, error) {
	g, err := c.scalingGroup(in.AutoScalingGroupName)
	if err != nil {
		return nil, err
	}
	if !in.ForceDelete && (len(g.members) > 0 || g.wanted > 0) {
		return nil, query.Errorf("ResourceInUse", "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group.")
	}
	g.ends, g.least, g.wanted = true, 0, 0
	return struct{}{}, nil
}

// number is the version that the group launches now.
func (g *scalingGroup) number() int {
	n, err := g.template.number(g.version)
	if err != nil {
		return 0 // the template is gone: nothing can be launched
	}
	return n
}

// numbered reports whether the group names a version by its number.
func (g *scalingGroup) numbered() bool {
	_, err := strconv.Atoi(g.version)
	return err == nil
}

// living are the members that are not on their way out.
func (g *scalingGroup) living() []*grouped {
	return slices.DeleteFunc(slices.Clone(g.members), func(m *grouped) bool { return m.state == "Terminating" })
}
