package query

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// Namespace of every answer of EC2's API version 2016-11-15.
const Namespace = "http://ec2.amazonaws.com/doc/2016-11-15/"

// Error is an answer that says no, with a code of the API reference.
type Error struct {
	Code    string
	Message string
	Status  int // HTTP; 0: 400
}

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Errorf makes an Error with the usual status 400.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Answer writes the XML of a successful action. The body's fields are the children of
// <ActionResponse>, after the request id.
func Answer(w http.ResponseWriter, action, requestID string, body any) error {
	var b bytes.Buffer
	encoder := xml.NewEncoder(&b)
	start := xml.StartElement{
		Name: xml.Name{Local: action + "Response"},
		Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: Namespace}},
	}
	if err := encoder.EncodeElement(body, start); err != nil {
		return fmt.Errorf("encode the answer to %s: %w", action, err)
	}
	head, rest, _ := bytes.Cut(b.Bytes(), []byte(">"))
	return write(w, http.StatusOK, requestID, fmt.Sprintf("%s><requestId>%s</requestId>%s", head, requestID, rest))
}

// Fail writes the XML of an error; what is no *Error is EC2's InternalError.
func Fail(w http.ResponseWriter, requestID string, err error) error {
	var refusal *Error
	if !errors.As(err, &refusal) {
		refusal = &Error{Code: "InternalError", Message: err.Error(), Status: http.StatusInternalServerError}
	}
	status := refusal.Status
	if status == 0 {
		status = http.StatusBadRequest
	}
	return write(w, status, requestID, fmt.Sprintf(
		"<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>%s</RequestID></Response>",
		escaped(refusal.Code), escaped(refusal.Message), requestID))
}

func write(w http.ResponseWriter, status int, requestID, body string) error {
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	w.Header().Set("X-Amzn-Requestid", requestID)
	body = xml.Header + body
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, err := io.WriteString(w, body)
	return err
}

func escaped(s string) string {
	var b bytes.Buffer
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		return "" // a buffer takes everything
	}
	return b.String()
}
