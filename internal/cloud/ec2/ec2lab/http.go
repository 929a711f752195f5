package ec2lab

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// longestRequest is far above what 16 KiB of user-data need.
const longestRequest = 1 << 20

// call is one request to a service, with mu held while it is served.
type call struct {
	*Lab
	ctx     context.Context //nolint:containedctx // a call is one request's life
	r       *region
	who     principal
	service service
	name    string
	form    url.Values
	at      time.Time       // when it came, as the API gives times
	given   map[string]bool // of RunInstances: the request's own parameters, without a launch template's
}

// action serves one action of a service.
type action func(*call) (any, error)

// dry is embedded by every request that knows DryRun.
type dry struct{ DryRun bool }

func (d dry) rehearsed() bool { return d.DryRun }

// done is the answer of actions that say no more than that.
type done struct {
	Return bool `xml:"return"`
}

// on makes an action of a function over its decoded parameters. Whoever may not call it is told so before
// a dry run ends, and before anything is looked for.
func on[In any](serve func(*call, *In) (any, error)) action {
	return func(c *call) (any, error) {
		in := new(In)
		if err := query.Decode(c.form, in); err != nil {
			return nil, err
		}
		if err := c.authorize(in); err != nil {
			return nil, err
		}
		if r, ok := any(in).(interface{ rehearsed() bool }); ok && r.rehearsed() {
			return nil, &query.Error{
				Code: "DryRunOperation", Status: http.StatusPreconditionFailed,
				Message: "Request would have succeeded, but DryRun flag is set.",
			}
		}
		return serve(c, in)
	}
}

// Handler answers requests to EC2 and all services that go with it, which are told apart by what they say, not by host.
func (l *Lab) Handler() http.Handler { return http.HandlerFunc(l.serve) }

var scope = regexp.MustCompile(`Credential=([^/,]+)/[0-9]{8}/([^/,]+)/([^/,]+)/aws4_request`)

func (l *Lab) serve(w http.ResponseWriter, req *http.Request) {
	id := l.requestID()
	if hangsUp, down := l.isDown(); hangsUp {
		panic(http.ErrAbortHandler) // closes the connection without an answer
	} else if down {
		l.said(query.Fail(w, id, &query.Error{
			Code: "Unavailable", Status: http.StatusServiceUnavailable,
			Message: "The server is overloaded and cannot handle the request.",
		}))
		return
	}
	if target := req.Header.Get("X-Amz-Target"); target != "" {
		l.serveSSM(w, req, id, target)
		return
	}
	c, err := l.receive(w, req)
	if err != nil {
		l.said(query.Fail(w, id, err))
		return
	}
	body, err := l.answer(c)
	if err != nil {
		l.cfg.Log.Debug("refused", "service", c.service.name, "action", c.name, "region", c.r.name, "err", err)
	}
	switch {
	case c.service.namespace != "" && err != nil:
		l.failResult(w, c.service.namespace, id, err)
	case c.service.namespace != "":
		l.answerResult(w, c.service.namespace, c.name, id, body)
	case err != nil:
		l.said(query.Fail(w, id, err))
	default:
		l.said(query.Answer(w, c.name, id, body))
	}
}

// said is what happens when a caller does not wait for the answer: nothing.
func (l *Lab) said(err error) {
	if err != nil {
		l.cfg.Log.Debug("answer", "err", err)
	}
}

func (l *Lab) requestID() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newID("request-")
}

func (l *Lab) receive(w http.ResponseWriter, req *http.Request) (*call, error) {
	if req.Method != http.MethodPost {
		return nil, &query.Error{Code: "InvalidRequest", Status: http.StatusMethodNotAllowed, Message: "The lab takes POST only"}
	}
	r, err := l.regionOf(req)
	if err != nil {
		return nil, err
	}
	req.Body = http.MaxBytesReader(w, req.Body, longestRequest)
	if err := req.ParseForm(); err != nil {
		return nil, query.Errorf("MalformedQueryString", "The request's parameters: %v", err)
	}
	for name, values := range req.PostForm {
		if len(values) > 1 {
			return nil, query.Errorf("InvalidParameterValue", "The parameter %s was given more than once", name)
		}
	}
	who, err := l.who(req)
	if err != nil {
		return nil, err
	}
	return &call{
		Lab: l, ctx: req.Context(), r: r, who: who, service: services[req.PostForm.Get("Version")],
		name: req.PostForm.Get("Action"), form: req.PostForm, at: l.now(),
	}, nil
}

// regionOf reads the region from the scope of the signature, which is not verified. IAM has none.
func (l *Lab) regionOf(req *http.Request) (*region, error) {
	match := scope.FindStringSubmatch(req.Header.Get("Authorization"))
	if match == nil {
		return nil, &query.Error{
			Code: "MissingAuthenticationToken", Status: http.StatusForbidden,
			Message: "The request has no Authorization header with a credential scope",
		}
	}
	name := match[2]
	if match[3] == "iam" {
		name = l.cfg.Regions[0].Name
	}
	r := l.regions[name]
	if r == nil {
		return nil, &query.Error{
			Code: "AuthFailure", Status: http.StatusUnauthorized,
			Message: fmt.Sprintf("Credential should be scoped to a valid region, not '%s'.", name),
		}
	}
	return r, nil
}

const ec2Version = "2016-11-15"

// answer finds and runs the action.
func (l *Lab) answer(c *call) (any, error) {
	version := c.form.Get("Version")
	if c.service.name == "" {
		return nil, query.Errorf("NoSuchVersion", "The requested version (%s) of service AmazonEC2 does not exist; the lab has %s", version, ec2Version)
	}
	act := c.service.actions[c.name]
	if act == nil {
		return nil, query.Errorf("InvalidAction", "Could not find operation %s for version %s", c.name, version)
	}
	if err := l.scripted(c.name); err != nil {
		return nil, err
	}
	if c.service.namespace != "" {
		var err error
		if c.form, err = query.Members(c.form); err != nil {
			return nil, err
		}
	}
	body, err := l.held(c, act)
	// The state has changed even if the caller has gone. What is not enforced must not look as if it was.
	if failed := l.settle(context.WithoutCancel(c.ctx)); err == nil && failed != nil {
		err = fmt.Errorf("bring the security groups to the host: %w", failed)
	}
	return body, err
}

func (l *Lab) held(c *call, act action) (any, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return act(c)
}

// once makes an action idempotent by its client token: make is called at the first time only, and
// gives the id of what it made.
func (c *call) once(clientToken string, make func() (string, error)) (string, error) {
	if clientToken == "" {
		return make()
	}
	if len(clientToken) > 64 {
		return "", query.Errorf("InvalidParameterValue", "A client token has at most 64 characters")
	}
	key, request := c.name+" "+clientToken, c.form.Encode()
	if t, known := c.r.tokens[key]; known {
		if t.request != request {
			return "", query.Errorf("IdempotentParameterMismatch", "The client token '%s' was used with other parameters before", clientToken)
		}
		return t.made, nil
	}
	id, err := make()
	if err == nil {
		c.r.tokens[key] = token{request: request, made: id}
	}
	return id, err
}

// task does work in the background that Close waits for.
func (c *call) task(work func(context.Context)) { c.spawn(work) }

// joined gives several errors of a kind as one: EC2 names the first that is wrong.
func joined(errs ...error) error {
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}
