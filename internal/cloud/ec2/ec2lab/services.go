package ec2lab

import (
	"bytes"
	"encoding/xml"
	"errors"
	"net/http"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// service is one that speaks the Query protocol.
type service struct {
	name string // as in the names of rights
	// namespace is that of answers in the form which all services but EC2 have: lists are member.N, an
	// answer is a result with metadata, an error says whose it is.
	namespace string
	actions   map[string]action
}

// services are told apart by the version of their API. EC2 has answers of its own, which package query writes.
var services = map[string]service{
	ec2Version:     {"ec2", "", actions},
	elbVersion:     {"elasticloadbalancing", "http://elasticloadbalancing.amazonaws.com/doc/" + elbVersion + "/", elbActions},
	scalingVersion: {"autoscaling", "http://autoscaling.amazonaws.com/doc/" + scalingVersion + "/", scalingActions},
	stsVersion:     {"sts", "https://sts.amazonaws.com/doc/" + stsVersion + "/", sessionActions},
	iamVersion:     {"iam", "https://iam.amazonaws.com/doc/" + iamVersion + "/", roleActions},
}

// answerResult writes <ActionResponse><ActionResult>.
func (l *Lab) answerResult(w http.ResponseWriter, namespace, name, id string, result any) {
	l.writeXML(w, http.StatusOK, namespace, name+"Response", element{name + "Result", result}, element{"ResponseMetadata", struct {
		ID string `xml:"RequestId"`
	}{id}})
}

// failResult writes an error. What EC2 calls RequestLimitExceeded the others call Throttling.
func (l *Lab) failResult(w http.ResponseWriter, namespace, id string, err error) {
	var refusal *query.Error
	if !errors.As(err, &refusal) {
		refusal = &query.Error{Code: "InternalFailure", Message: err.Error(), Status: http.StatusInternalServerError}
	}
	kind, code, status := "Sender", refusal.Code, refusal.Status
	if code == "RequestLimitExceeded" {
		code, status = "Throttling", http.StatusBadRequest
	}
	if status == 0 {
		status = http.StatusBadRequest
	}
	if status >= http.StatusInternalServerError {
		kind = "Receiver"
	}
	l.writeXML(w, status, namespace, "ErrorResponse", element{"Error", struct{ Type, Code, Message string }{kind, code, refusal.Message}}, element{"RequestId", id})
}

// element is a part of an answer.
type element struct {
	name string
	body any
}

func (l *Lab) writeXML(w http.ResponseWriter, status int, namespace, name string, parts ...element) {
	var b bytes.Buffer
	encoder := xml.NewEncoder(&b)
	start := xml.StartElement{Name: xml.Name{Local: name}, Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: namespace}}}
	err := encoder.EncodeToken(start)
	for _, p := range parts {
		if err == nil {
			err = encoder.EncodeElement(p.body, xml.StartElement{Name: xml.Name{Local: p.name}})
		}
	}
	if err == nil {
		err = encoder.EncodeToken(start.End())
	}
	if err == nil {
		err = encoder.Flush()
	}
	if err != nil {
		l.cfg.Log.Error("encode an answer", "answer", name, "err", err)
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_, err = w.Write(b.Bytes())
	l.said(err)
}
