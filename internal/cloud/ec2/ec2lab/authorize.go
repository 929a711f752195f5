package ec2lab

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/iam"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// Use is a statement of a policy that allowed something: an action, and the one of its resource patterns
// that fitted.
type Use struct{ Sid, Action, Resource string }

// Uses tells what of the policies was of use up to now: what is not in it, no request has needed.
func (l *Lab) Uses() []Use {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.SortedFunc(maps.Keys(l.uses), func(a, b Use) int {
		return cmp.Or(cmp.Compare(a.Sid, b.Sid), cmp.Compare(a.Action, b.Action), cmp.Compare(a.Resource, b.Resource))
	})
}

// authorize holds a request, whose parameters are in order, against the policies of whom it comes from.
// Every resource has to be allowed. Called with mu held.
func (c *call) authorize(in any) error {
	if c.who.role == nil {
		return nil
	}
	action := c.service.name + ":" + c.name
	need := rights[action]
	if need == nil {
		return query.Errorf("UnsupportedOperation", "The lab does not know what rights %s needs: they belong into its table (rights.go)", action)
	}
	for _, r := range need(c, in) {
		if r.Action == "" {
			r.Action = action
		}
		if d := c.decide(r); !d.Allowed {
			c.cfg.Log.Debug("denied", "action", r.Action, "resource", r.Resource, "keys", r.Keys)
			return c.denial(r, d)
		}
	}
	return nil
}

// may asks for a right on the way, where being denied is no error.
func (c *call) may(r iam.Request) bool { return c.who.role == nil || c.decide(r).Allowed }

func (c *call) decide(r iam.Request) iam.Decision {
	d := iam.Decide(c.who.role.documents(), r)
	if d.Allowed {
		c.uses[Use{d.By.Sid, r.Action, d.Pattern}] = true
	}
	return d
}

// denial says no in the service's own way.
func (c *call) denial(r iam.Request, d iam.Decision) error {
	on := " on resource: " + r.Resource
	if r.Resource == everything {
		on = ""
	}
	why := "because no identity-based policy allows the " + r.Action + " action"
	if d.Denied {
		why = "with an explicit deny in an identity-based policy"
	}
	text := fmt.Sprintf("User: %s is not authorized to perform: %s%s %s", c.who.arn, r.Action, on, why)
	switch c.service.name {
	case "ec2":
		return &query.Error{Code: "UnauthorizedOperation", Status: http.StatusForbidden, Message: "You are not authorized to perform this operation. " +
			text + ". Encoded authorization failure message: " + encoded(fmt.Appendf(nil, "the lab has nothing to add to %s of %s", r.Action, r.Resource))}
	case "ssm":
		return &query.Error{Code: "AccessDeniedException", Message: text}
	case "autoscaling":
		if r.Action != "autoscaling:"+c.name { // what Auto Scaling would do for the caller
			text = "You are not authorized to use launch template: " + cmp.Or(
				c.form.Get("DesiredConfiguration.LaunchTemplate.LaunchTemplateId"), c.form.Get("LaunchTemplate.LaunchTemplateId"))
		}
	}
	return &query.Error{Code: "AccessDenied", Status: http.StatusForbidden, Message: text}
}
