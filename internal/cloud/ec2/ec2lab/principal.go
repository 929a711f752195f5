package ec2lab

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/iam"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// principal is whom a request comes from.
type principal struct {
	arn, id string
	role    *role // nil: the account's root, who may do everything
}

// role is an identity of IAM. Who may assume it is remembered, not checked: in a lab there is root only.
type role struct {
	name, path, id, description, trust string
	made                               time.Time
	policies                           map[string]policy // by name
}

// policy is one of a role's, as it was written and as it was read.
type policy struct {
	text string
	iam.Policy
}

// documents are a role's policies, in the order of their names.
func (r *role) documents() []iam.Policy {
	var all []iam.Policy
	for _, name := range slices.Sorted(maps.Keys(r.policies)) {
		all = append(all, r.policies[name].Policy)
	}
	return all
}

func (l *Lab) roleARN(r *role) string {
	return "arn:aws:iam::" + l.cfg.Account + ":role" + r.path + r.name
}

// Role makes a role with one policy, and gives its ARN. One that is there gets the policy instead of
// those that it had.
func (l *Lab) Role(name, document string) (string, error) {
	p, err := iam.Parse([]byte(document), conditionKeys)
	if err != nil {
		return "", fmt.Errorf("role %s: %w", name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.roles[name]
	if r == nil {
		r = l.newRole(name, "/")
	}
	r.policies = map[string]policy{"inline": {document, p}}
	return l.roleARN(r), nil
}

// newRole is called with mu held.
func (l *Lab) newRole(name, path string) *role {
	r := &role{name: name, path: path, id: strings.ToUpper(l.newID("AROA")), made: l.now(), policies: map[string]policy{}}
	l.roles[name] = r
	return r
}

// temporary is what the keys of temporary credentials begin with.
const temporary = "ASIA"

// who tells by the access key whom a request comes from. Keys that AssumeRole gave are its role's; any
// other key is root's, but for temporary ones that this lab never gave.
func (l *Lab) who(req *http.Request) (principal, error) {
	key := ""
	if match := scope.FindStringSubmatch(req.Header.Get("Authorization")); match != nil {
		key = match[1]
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if p, known := l.assumed[key]; known {
		return p, nil
	}
	if strings.HasPrefix(key, temporary) {
		return principal{}, &query.Error{
			Code: "AuthFailure", Status: http.StatusUnauthorized,
			Message: "AWS was not able to validate the provided access credentials",
		}
	}
	return principal{arn: l.root(), id: l.cfg.Account}, nil
}
