package ec2lab

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

const stsVersion = "2011-06-15"

type assumeRole struct {
	RoleArn         string `query:"required"`
	RoleSessionName string `query:"required"`
	ExternalID      string
	DurationSeconds int
}

type credentials struct {
	Key     string    `xml:"AccessKeyId"`
	Secret  string    `xml:"SecretAccessKey"`
	Token   string    `xml:"SessionToken"`
	Expires time.Time `xml:"Expiration"`
}

// sessionActions are STS'.
var sessionActions = map[string]action{
	"GetCallerIdentity": on((*call).callerIdentity),
	"AssumeRole":        on((*call).assumeRole),
}

func (c *call) callerIdentity(*struct{}) (any, error) {
	return struct {
		Arn     string
		UserID  string `xml:"UserId"`
		Account string
	}{Arn: c.who.arn, UserID: c.who.id, Account: c.cfg.Account}, nil
}

// assumeRole gives credentials of a role. One that does not exist is denied, as STS does it.
func (c *call) assumeRole(in *assumeRole) (any, error) {
	if !strings.Contains(in.RoleArn, ":role/") {
		return nil, query.Errorf("ValidationError", "%s is invalid", in.RoleArn)
	}
	r := c.assumable(in.RoleArn)
	if r == nil {
		return nil, &query.Error{
			Code: "AccessDenied", Status: http.StatusForbidden,
			Message: fmt.Sprintf("User: %s is not authorized to perform: sts:AssumeRole on resource: %s", c.who.arn, in.RoleArn),
		}
	}
	if in.DurationSeconds == 0 {
		in.DurationSeconds = 3600
	}
	key := c.newID(temporary)
	p := principal{
		arn: fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/%s", c.cfg.Account, r.name, in.RoleSessionName), id: r.id + ":" + in.RoleSessionName, role: r,
	}
	c.assumed[key] = p
	return struct {
		Arn         string `xml:"AssumedRoleUser>Arn"`
		ID          string `xml:"AssumedRoleUser>AssumedRoleId"`
		Credentials credentials
	}{
		Arn: p.arn, ID: p.id,
		Credentials: credentials{key, "secret of nothing", "token of nothing", c.now().Add(time.Duration(in.DurationSeconds) * time.Second)},
	}, nil
}
