package ec2lab

import (
	"encoding/xml"
	"errors"
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

// serveSTS tells who a caller is: always the one account's root, or whatever role it assumes. Its
// answers look unlike EC2's.
func (l *Lab) serveSTS(w http.ResponseWriter, c *call, id string) {
	result, err := l.sts(c)
	if err != nil {
		code, message := "InternalFailure", err.Error()
		var refusal *query.Error
		if errors.As(err, &refusal) {
			code, message = refusal.Code, refusal.Message
		}
		l.stsAnswer(w, http.StatusBadRequest, "ErrorResponse", struct {
			Kind    string `xml:"Error>Type"`
			Code    string `xml:"Error>Code"`
			Message string `xml:"Error>Message"`
			ID      string `xml:"RequestId"`
		}{"Sender", code, message, id})
		return
	}
	l.stsAnswer(w, http.StatusOK, c.name+"Response", struct {
		Result any
		ID     string `xml:"ResponseMetadata>RequestId"`
	}{result, id})
}

func (l *Lab) stsAnswer(w http.ResponseWriter, status int, name string, body any) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	l.said(xml.NewEncoder(w).EncodeElement(body, xml.StartElement{Name: xml.Name{Local: name}}))
}

func (l *Lab) sts(c *call) (any, error) {
	if err := l.scripted(c.name); err != nil {
		return nil, err
	}
	switch c.name {
	case "GetCallerIdentity":
		if err := query.Decode(c.form, new(struct{})); err != nil {
			return nil, err
		}
		return struct {
			XMLName xml.Name `xml:"GetCallerIdentityResult"`
			Arn     string
			UserID  string `xml:"UserId"`
			Account string
		}{Arn: l.root(), UserID: l.cfg.Account, Account: l.cfg.Account}, nil
	case "AssumeRole":
		in := new(assumeRole)
		if err := query.Decode(c.form, in); err != nil {
			return nil, err
		}
		_, role, ok := strings.Cut(in.RoleArn, ":role/")
		if !ok {
			return nil, query.Errorf("ValidationError", "%s is invalid", in.RoleArn)
		}
		if in.DurationSeconds == 0 {
			in.DurationSeconds = 3600
		}
		key := l.fixedID("ASIA", in.RoleArn+in.RoleSessionName)
		return struct {
			XMLName     xml.Name `xml:"AssumeRoleResult"`
			Arn         string   `xml:"AssumedRoleUser>Arn"`
			ID          string   `xml:"AssumedRoleUser>AssumedRoleId"`
			Credentials credentials
		}{
			Arn: fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/%s", l.cfg.Account, role, in.RoleSessionName), ID: key + ":" + in.RoleSessionName,
			Credentials: credentials{key, "secret of nothing", "token of nothing", l.now().Add(time.Duration(in.DurationSeconds) * time.Second)},
		}, nil
	}
	return nil, query.Errorf("InvalidAction", "Could not find operation %s for version %s", c.name, stsVersion)
}
