package ec2lab

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/iam"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

const iamVersion = "2010-05-08"

// roleActions are what a person needs to make a role that is assumed, and to be rid of it.
var roleActions = map[string]action{
	"CreateRole":       on((*call).createRole),
	"GetRole":          on((*call).getRole),
	"DeleteRole":       on((*call).deleteRole),
	"PutRolePolicy":    on((*call).putRolePolicy),
	"GetRolePolicy":    on((*call).getRolePolicy),
	"DeleteRolePolicy": on((*call).deleteRolePolicy),
}

var (
	identityName = regexp.MustCompile(`^[\w+=,.@-]{1,128}$`)
	identityPath = regexp.MustCompile(`^/([!-~]+/)?$`)
)

type roleView struct {
	Path        string    `xml:"Role>Path"`
	Name        string    `xml:"Role>RoleName"`
	ID          string    `xml:"Role>RoleId"`
	Arn         string    `xml:"Role>Arn"`
	Made        time.Time `xml:"Role>CreateDate"`
	Trust       string    `xml:"Role>AssumeRolePolicyDocument"`
	Description string    `xml:"Role>Description,omitempty"`
}

func (c *call) roleView(r *role) roleView {
	return roleView{r.path, r.name, r.id, c.roleARN(r), r.made, url.PathEscape(r.trust), r.description}
}

type createRole struct {
	RoleName                 string `query:"required"`
	AssumeRolePolicyDocument string `query:"required"`
	Path, Description        string
	MaxSessionDuration       int // not enforced
}

func (c *call) createRole(in *createRole) (any, error) {
	if in.Path == "" {
		in.Path = "/"
	}
	switch {
	case !identityName.MatchString(in.RoleName) || !identityPath.MatchString(in.Path):
		return nil, query.Errorf("ValidationError", "The role name %q or the path %q is invalid", in.RoleName, in.Path)
	case !json.Valid([]byte(in.AssumeRolePolicyDocument)):
		return nil, query.Errorf("MalformedPolicyDocument", "The trust policy is no JSON")
	case c.roles[in.RoleName] != nil:
		return nil, &query.Error{Code: "EntityAlreadyExists", Status: http.StatusConflict, Message: "Role with name " + in.RoleName + " already exists."}
	}
	r := c.newRole(in.RoleName, in.Path)
	r.trust, r.description = in.AssumeRolePolicyDocument, in.Description
	return c.roleView(r), nil
}

// role finds one by its name. Called with mu held.
func (c *call) role(name string) (*role, error) {
	if r := c.roles[name]; r != nil {
		return r, nil
	}
	return nil, noEntity("The role with name %s cannot be found.", name)
}

func noEntity(format string, args ...any) error {
	err := query.Errorf("NoSuchEntity", format, args...)
	err.Status = http.StatusNotFound
	return err
}

type roleOnly struct {
	RoleName string `query:"required"`
}

func (c *call) getRole(in *roleOnly) (any, error) {
	r, err := c.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	return c.roleView(r), nil
}

func (c *call) deleteRole(in *roleOnly) (any, error) {
	r, err := c.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	if len(r.policies) > 0 {
		return nil, &query.Error{Code: "DeleteConflict", Status: http.StatusConflict, Message: "Cannot delete entity, must delete policies first."}
	}
	delete(c.roles, r.name) // credentials that were given for it allow nothing any more
	return nil, nil         // an answer without content
}

type putRolePolicy struct {
	RoleName       string `query:"required"`
	PolicyName     string `query:"required"`
	PolicyDocument string `query:"required"`
}

func (c *call) putRolePolicy(in *putRolePolicy) (any, error) {
	r, err := c.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	if !identityName.MatchString(in.PolicyName) {
		return nil, query.Errorf("ValidationError", "The policy name %q is invalid", in.PolicyName)
	}
	p, err := iam.Parse([]byte(in.PolicyDocument), conditionKeys)
	if err != nil {
		return nil, query.Errorf("MalformedPolicyDocument", "The lab does not take it: %v", err)
	}
	r.policies[in.PolicyName] = policy{in.PolicyDocument, p}
	return nil, nil // an answer without content
}

type policyOnly struct {
	RoleName   string `query:"required"`
	PolicyName string `query:"required"`
}

func (c *call) getRolePolicy(in *policyOnly) (any, error) {
	r, err := c.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	p, ok := r.policies[in.PolicyName]
	if !ok {
		return nil, noEntity("The role policy with name %s cannot be found.", in.PolicyName)
	}
	return struct {
		RoleName, PolicyName, PolicyDocument string
	}{RoleName: r.name, PolicyName: in.PolicyName, PolicyDocument: url.PathEscape(p.text)}, nil
}

func (c *call) deleteRolePolicy(in *policyOnly) (any, error) {
	if _, err := c.getRolePolicy(in); err != nil {
		return nil, err
	}
	delete(c.roles[in.RoleName].policies, in.PolicyName)
	return nil, nil // an answer without content
}

// assumable finds a role by its ARN.
func (l *Lab) assumable(arn string) *role {
	for _, r := range l.roles {
		if l.roleARN(r) == arn {
			return r
		}
	}
	return nil
}
