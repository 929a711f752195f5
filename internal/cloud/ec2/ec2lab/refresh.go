package ec2lab

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// refresh is an instance refresh: it replaces a group's instances.
type refresh struct {
	identity
	status, why string
	desired     int    // version that it leads to; 0: none was given
	before      string // version that the group had
	how         preferences
	warmup      time.Duration
	start       time.Time
	end         *time.Time
	moved       time.Time // when it last came forward
	percent     int
	left        int // instances that are to be replaced yet
	rollback    *rollbackView
}

type preferences struct {
	MinHealthyPercentage *int
	MaxHealthyPercentage *int
	InstanceWarmup       *int
	SkipMatching         bool
	AutoRollback         bool
}

type rollbackView struct {
	Reason  string    `xml:"RollbackReason"`
	At      time.Time `xml:"RollbackStartTime"`
	Percent int       `xml:"PercentageCompleteOnRollback"`
	Left    int       `xml:"InstancesToUpdateOnRollback"`
}

func (f *refresh) goes() bool {
	return f.status == "Pending" || f.status == "InProgress" || f.status == "Cancelling" || f.status == "RollbackInProgress"
}

// refreshing is the refresh that goes on; nil: none.
func (g *scalingGroup) refreshing() *refresh {
	if n := len(g.refreshes); n > 0 && g.refreshes[n-1].goes() {
		return g.refreshes[n-1]
	}
	return nil
}

type startRefresh struct {
	AutoScalingGroupName string `query:"required"`
	Strategy             string
	DesiredConfiguration *struct{ LaunchTemplate *templateRef }
	Preferences          preferences
}

func (c *call) startRefresh(in *startRefresh) (any, error) {
	g, err := c.scalingGroup(in.AutoScalingGroupName)
	if err != nil {
		return nil, err
	}
	if g.refreshing() != nil {
		return nil, query.Errorf("InstanceRefreshInProgress", "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh.")
	}
	f := &refresh{identity: c.identify("refresh-"), status: "Pending", before: g.version, how: in.Preferences, start: c.at, moved: c.cfg.Clock.Now(), left: len(g.living())}
	if d := in.DesiredConfiguration; d != nil {
		if d.LaunchTemplate == nil {
			return nil, invalid("The lab has no mixed instances policies: give a launch template")
		}
		t, err := c.template(templateName{d.LaunchTemplate.LaunchTemplateID, d.LaunchTemplate.LaunchTemplateName})
		if err == nil {
			f.desired, err = t.number(d.LaunchTemplate.Version)
		}
		switch {
		case err != nil:
			return nil, invalid("You must use a valid fully-formed launch template. %v", err)
		case t != g.template:
			return nil, invalid("The lab refreshes a group with its own launch template")
		}
	}
	if _, err := oneOf("Strategy", in.Strategy, "Rolling"); err != nil {
		return nil, err
	}
	if in.Preferences.AutoRollback {
		if err := g.reversible(f); err != nil {
			return nil, invalid("AutoRollback cannot be set: %v", err)
		}
	}
	if err := f.takePreferences(g); err != nil {
		return nil, err
	}
	g.refreshes = append(g.refreshes, f)
	return refreshID{f.id}, nil
}

func (f *refresh) takePreferences(g *scalingGroup) error {
	least, most := 90, 100
	if p := f.how.MinHealthyPercentage; p != nil {
		least = *p
	}
	if p := f.how.MaxHealthyPercentage; p != nil {
		if most = *p; f.how.MinHealthyPercentage == nil {
			return invalid("You must specify MinHealthyPercentage when you specify MaxHealthyPercentage")
		}
	}
	if least < 0 || least > 100 || most < 100 || most > 200 || most-least > 100 {
		return invalid("MinHealthyPercentage %d and MaxHealthyPercentage %d are out of range or too far apart", least, most)
	}
	switch f.warmup = g.warmup; {
	case f.how.InstanceWarmup != nil:
		f.warmup = time.Duration(*f.how.InstanceWarmup) * time.Second
	case f.warmup < 0:
		f.warmup = g.grace
	}
	return nil
}

// reversible says why a refresh could not be rolled back.
func (g *scalingGroup) reversible(f *refresh) error {
	n, err := g.template.number(f.before)
	switch {
	case f.desired == 0:
		return fmt.Errorf("no desired configuration is specified")
	case !g.numbered():
		return fmt.Errorf("the group uses the version %s of its launch template", g.version)
	case err != nil || strings.HasPrefix(g.template.versions[n-1].data.ImageID, "resolve:"):
		return fmt.Errorf("the group's launch template uses a parameter instead of an AMI ID")
	}
	return nil
}

type refreshID struct {
	ID string `xml:"InstanceRefreshId"`
}

type ofGroup struct {
	AutoScalingGroupName string `query:"required"`
}

const noRefresh = "ActiveInstanceRefreshNotFound"

func (c *call) cancelRefresh(in *ofGroup) (any, error) {
	g, err := c.scalingGroup(in.AutoScalingGroupName)
	if err != nil {
		return nil, err
	}
	f := g.refreshing()
	if f == nil {
		return nil, query.Errorf(noRefresh, "No in progress or pending Instance Refresh found for Auto Scaling group %s", g.name)
	}
	f.status, f.why = "Cancelling", "Cancelled by user."
	return refreshID{f.id}, nil
}

func (c *call) rollbackRefresh(in *ofGroup) (any, error) {
	g, err := c.scalingGroup(in.AutoScalingGroupName)
	if err != nil {
		return nil, err
	}
	f := g.refreshing()
	if f == nil || f.status != "Pending" && f.status != "InProgress" {
		return nil, query.Errorf(noRefresh, "No in progress or pending Instance Refresh found for Auto Scaling group %s", g.name)
	}
	if err := g.reversible(f); err != nil {
		return nil, query.Errorf("IrreversibleInstanceRefresh", "The instance refresh can't be rolled back: %v", err)
	}
	c.turnBack(f, "Rollback started by user.")
	return refreshID{f.id}, nil
}

func (l *Lab) turnBack(f *refresh, why string) {
	f.status, f.why, f.moved = "RollbackInProgress", why, l.cfg.Clock.Now()
	f.rollback = &rollbackView{why, l.now(), f.percent, f.left}
}

type describeRefreshes struct {
	records
	AutoScalingGroupName string `query:"required"`
	InstanceRefreshIDs   []string
}

type refreshView struct {
	ID       string           `xml:"InstanceRefreshId"`
	Group    string           `xml:"AutoScalingGroupName"`
	Status   string           `xml:"Status"`
	Why      string           `xml:"StatusReason,omitempty"`
	Strategy string           `xml:"Strategy"`
	Start    time.Time        `xml:"StartTime"`
	End      *time.Time       `xml:"EndTime"`
	Percent  int              `xml:"PercentageComplete"`
	Left     int              `xml:"InstancesToUpdate"`
	Template *templateRefView `xml:"DesiredConfiguration>LaunchTemplate"`
	How      preferences      `xml:"Preferences"`
	Rollback *rollbackView    `xml:"RollbackDetails"`
}

func (c *call) describeRefreshes(in *describeRefreshes) (any, error) {
	g, err := c.scalingGroup(in.AutoScalingGroupName)
	if err != nil {
		return nil, err
	}
	if len(in.InstanceRefreshIDs) > 0 {
		return nil, invalid("The lab describes all refreshes of a group: leave out InstanceRefreshIds")
	}
	list, next, err := newest(g.refreshes, in.records)
	views := make([]refreshView, 0, len(list))
	for _, f := range list {
		v := refreshView{f.id, g.name, f.status, f.why, "Rolling", f.start, f.end, f.percent, f.left, nil, f.how, f.rollback}
		if f.desired != 0 {
			v.Template = &templateRefView{g.template.id, g.template.name, strconv.Itoa(f.desired)}
		}
		views = append(views, v)
	}
	return struct {
		Refreshes []refreshView `xml:"InstanceRefreshes>member"`
		Next      string        `xml:"NextToken,omitempty"`
	}{views, next}, err
}
