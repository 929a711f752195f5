package ec2lab

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// records is embedded by requests of Auto Scaling whose answers come in pages.
type records struct {
	MaxRecords int
	NextToken  string
}

func (r records) pages() pages { return pages{r.MaxRecords, r.NextToken} }

type scalingGroupView struct {
	Name      string          `xml:"AutoScalingGroupName"`
	ARN       string          `xml:"AutoScalingGroupARN"`
	Template  templateRefView `xml:"LaunchTemplate"`
	Least     int             `xml:"MinSize"`
	Most      int             `xml:"MaxSize"`
	Wanted    int             `xml:"DesiredCapacity"`
	Cooldown  int             `xml:"DefaultCooldown"`
	Zones     []string        `xml:"AvailabilityZones>member"`
	Pools     []string        `xml:"TargetGroupARNs>member"`
	Checks    string          `xml:"HealthCheckType"`
	Grace     int             `xml:"HealthCheckGracePeriod"`
	Warmup    *int            `xml:"DefaultInstanceWarmup"`
	Instances []groupedView   `xml:"Instances>member"`
	Made      time.Time       `xml:"CreatedTime"`
	Subnets   string          `xml:"VPCZoneIdentifier"`
	Tags      []groupTagView  `xml:"Tags>member"`
	Status    string          `xml:"Status,omitempty"`
}

type templateRefView struct {
	ID      string `xml:"LaunchTemplateId"`
	Name    string `xml:"LaunchTemplateName"`
	Version string
}

type groupTagView struct {
	ID         string `xml:"ResourceId"`
	Kind       string `xml:"ResourceType"`
	Key, Value string
	Propagates bool `xml:"PropagateAtLaunch"`
}

type groupedView struct {
	ID        string          `xml:"InstanceId"`
	Kind      string          `xml:"InstanceType"`
	Zone      string          `xml:"AvailabilityZone"`
	State     string          `xml:"LifecycleState"`
	Health    string          `xml:"HealthStatus"`
	Protected bool            `xml:"ProtectedFromScaleIn"`
	Template  templateRefView `xml:"LaunchTemplate"`
}

func (g *scalingGroup) view() scalingGroupView {
	v := scalingGroupView{
		Name: g.name, ARN: g.id, Template: templateRefView{g.template.id, g.template.name, g.version}, Least: g.least, Most: g.most, Wanted: g.wanted,
		Cooldown: 300, Pools: g.pools, Checks: g.checks, Grace: int(g.grace.Seconds()), Made: g.made,
	}
	if g.warmup >= 0 {
		seconds := int(g.warmup.Seconds())
		v.Warmup = &seconds
	}
	if g.ends {
		v.Status = "Delete in progress"
	}
	var ids []string
	for _, s := range g.subnets {
		ids, v.Zones = append(ids, s.id), append(v.Zones, s.zone)
	}
	v.Subnets = strings.Join(ids, ",")
	for _, m := range g.members {
		i := groupedView{ID: m.id, Kind: m.kind.name, State: m.state, Health: "Healthy", Template: templateRefView{g.template.id, g.template.name, strconv.Itoa(m.version)}}
		if m.nic != nil {
			i.Zone = m.nic.subnet.zone
		}
		if m.ill {
			i.Health = "Unhealthy"
		}
		v.Instances = append(v.Instances, i)
	}
	for _, t := range g.tags {
		v.Tags = append(v.Tags, groupTagView{t.ResourceID, t.ResourceType, t.Key, t.Value, t.PropagateAtLaunch})
	}
	return v
}

type describeScalingGroups struct {
	records
	AutoScalingGroupNames []string
	Filters               []struct {
		Name   string `query:"required"`
		Values []string
	}
}

// describeScalingGroups leaves out groups that are not there, as Auto Scaling does.
func (c *call) describeScalingGroups(in *describeScalingGroups) (any, error) {
	list := sorted(c.r.scaling)
	if len(in.AutoScalingGroupNames) > 0 {
		list = slices.DeleteFunc(list, func(g *scalingGroup) bool { return !slices.Contains(in.AutoScalingGroupNames, g.name) })
	}
	for _, f := range in.Filters {
		key, byKey := strings.CutPrefix(f.Name, "tag:")
		if !byKey && f.Name != "tag-key" {
			return nil, invalid("Filter type %s is not correct. The lab has tag-key and tag:<key>", f.Name)
		}
		list = slices.DeleteFunc(list, func(g *scalingGroup) bool {
			return !slices.ContainsFunc(g.tags, func(t groupTag) bool {
				return byKey && t.Key == key && slices.Contains(f.Values, t.Value) || !byKey && slices.Contains(f.Values, t.Key)
			})
		})
	}
	list, next, err := page(list, in.pages())
	views := make([]scalingGroupView, 0, len(list))
	for _, g := range list {
		views = append(views, g.view())
	}
	return struct {
		Groups []scalingGroupView `xml:"AutoScalingGroups>member"`
		Next   string             `xml:"NextToken,omitempty"`
	}{views, next}, err
}

// activity is one thing that a group did.
type activity struct {
	identity    `xml:"-"`
	ID          string `xml:"ActivityId"`
	Group       string `xml:"AutoScalingGroupName"`
	Description string
	Cause       string
	Start       time.Time  `xml:"StartTime"`
	End         *time.Time `xml:"EndTime"`
	Status      string     `xml:"StatusCode"`
	Message     string     `xml:"StatusMessage,omitempty"`
	Progress    int
}

// did notes an activity that is over. Called with mu held.
func (l *Lab) did(g *scalingGroup, description, cause, failure string) {
	now := l.now()
	a := &activity{
		identity: l.identify("activity-"), Group: g.name, Description: description,
		Cause: "At " + now.Format("2006-01-02T15:04:05Z") + " " + cause, Start: now, End: &now, Status: "Successful", Progress: 100,
	}
	a.ID = a.id
	if failure != "" {
		a.Status, a.Message = "Failed", failure
	}
	g.activities = append(g.activities, a)
}

type describeActivities struct {
	records
	AutoScalingGroupName string `query:"required"`
}

func (c *call) describeActivities(in *describeActivities) (any, error) {
	g, err := c.scalingGroup(in.AutoScalingGroupName)
	if err != nil {
		return nil, err
	}
	list, next, err := newest(g.activities, in.records)
	return struct {
		Activities []*activity `xml:"Activities>member"`
		Next       string      `xml:"NextToken,omitempty"`
	}{list, next}, err
}

// newest gives a page of a list whose newest is last, the newest first. A token is how many were given.
func newest[T any](list []T, r records) ([]T, string, error) {
	list = slices.Clone(list)
	slices.Reverse(list)
	from, err := 0, error(nil)
	if r.NextToken != "" {
		if from, err = strconv.Atoi(r.NextToken); err != nil || from < 0 || from > len(list) {
			return nil, "", invalid("The token '%s' is invalid", r.NextToken)
		}
	}
	to := len(list)
	if r.MaxRecords > 0 {
		to = min(to, from+r.MaxRecords)
	}
	if to == len(list) {
		return list[from:], "", nil
	}
	return list[from:to], strconv.Itoa(to), nil
}
