package ec2lab

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// param is a parameter of SSM's store.
type param struct {
	value, dataType string
	version         int
	changed         float64 // seconds, as SSM says times
	tags            tagSet
}

var paramName = regexp.MustCompile(`^[a-zA-Z0-9_.\-/]+$`)

type putParameter struct {
	Name, Value, Type, DataType, Description, Tier string
	Overwrite                                      bool
	Tags                                           []struct{ Key, Value string }
}

type parameterView struct {
	Name, Type, Value string
	Version           int
	LastModifiedDate  float64
	ARN               string
	DataType          string
}

// serveSSM serves the parameter store, which speaks JSON.
func (l *Lab) serveSSM(w http.ResponseWriter, req *http.Request, id, target string) {
	result, err := l.ssm(w, req, strings.TrimPrefix(target, "AmazonSSM."))
	status := http.StatusOK
	if err != nil {
		status = http.StatusBadRequest
		code := "InternalServerError"
		message := err.Error()
		var refusal *query.Error
		if errors.As(err, &refusal) {
			code, message = refusal.Code, refusal.Message
		}
		result = map[string]string{"__type": code, "message": message}
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Requestid", id)
	w.WriteHeader(status)
	l.said(json.NewEncoder(w).Encode(result))
}

// strictly decodes JSON and refuses fields that it has no place for.
func strictly(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return query.Errorf("ValidationException", "The lab does not understand the request: %v", err)
	}
	return nil
}

func (l *Lab) ssm(w http.ResponseWriter, req *http.Request, action string) (any, error) {
	r, err := l.regionOf(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, longestRequest))
	if err != nil {
		return nil, query.Errorf("ValidationException", "%v", err)
	}
	who, err := l.who(req)
	if err != nil {
		return nil, err
	}
	if err := l.scripted(action); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	touched := new(parameters)
	if err := json.Unmarshal(body, touched); err != nil {
		return nil, query.Errorf("ValidationException", "The lab does not understand the request: %v", err)
	}
	c := &call{Lab: l, ctx: req.Context(), r: r, who: who, service: service{name: "ssm"}, name: action}
	if err := c.authorize(touched); err != nil {
		return nil, err
	}
	switch action {
	case "PutParameter":
		in := new(putParameter)
		if err := strictly(body, in); err != nil {
			return nil, err
		}
		return l.putParameter(r, in)
	case "GetParameter":
		var in struct {
			Name           string
			WithDecryption bool
		}
		if err := strictly(body, &in); err != nil {
			return nil, err
		}
		if r.params[in.Name] == nil {
			return nil, query.Errorf("ParameterNotFound", "Parameter %s not found.", in.Name)
		}
		return map[string]any{"Parameter": l.parameterView(r, in.Name)}, nil
	case "GetParameters":
		var in struct {
			Names          []string
			WithDecryption bool
		}
		if err := strictly(body, &in); err != nil {
			return nil, err
		}
		found, invalid := []parameterView{}, []string{}
		for _, name := range in.Names {
			if r.params[name] == nil {
				invalid = append(invalid, name)
			} else {
				found = append(found, l.parameterView(r, name))
			}
		}
		return map[string]any{"Parameters": found, "InvalidParameters": invalid}, nil
	case "GetParametersByPath":
		in := new(getParametersByPath)
		if err := strictly(body, in); err != nil {
			return nil, err
		}
		return l.parametersByPath(r, in)
	case "DeleteParameter":
		var in struct{ Name string }
		if err := strictly(body, &in); err != nil {
			return nil, err
		}
		if r.params[in.Name] == nil {
			return nil, query.Errorf("ParameterNotFound", "Parameter %s not found.", in.Name)
		}
		delete(r.params, in.Name)
		return map[string]any{}, nil
	}
	return nil, query.Errorf("UnknownOperationException", "The lab has no %s", action)
}

type getParametersByPath struct {
	Path                      string
	Recursive, WithDecryption bool
	MaxResults                int
	NextToken                 string
}

// mostByPath is how many parameters SSM gives at once.
const mostByPath = 10

// parametersByPath lists what is below a path in the order of names. The token of the next page is the
// last name of this one.
func (l *Lab) parametersByPath(r *region, in *getParametersByPath) (any, error) {
	if !strings.HasPrefix(in.Path, "/") {
		return nil, query.Errorf("ValidationException", "The parameter path %q doesn't begin with a slash", in.Path)
	}
	if in.MaxResults < 0 || in.MaxResults > mostByPath {
		return nil, query.Errorf("ValidationException", "MaxResults must be from 1 to %d", mostByPath)
	}
	most := cmp.Or(in.MaxResults, mostByPath)
	found, answer := []parameterView{}, map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(r.params)) {
		below, ok := strings.CutPrefix(name, strings.TrimSuffix(in.Path, "/")+"/")
		if !ok || strings.Contains(below, "/") && !in.Recursive || name <= in.NextToken {
			continue
		}
		if len(found) == most {
			answer["NextToken"] = found[most-1].Name
			break
		}
		found = append(found, l.parameterView(r, name))
	}
	answer["Parameters"] = found
	return answer, nil
}

// putParameter sets a value. One that must name an image is looked at later, as SSM does it: if there
// is no such image then, the parameter stays as it was, and nobody is told.
func (l *Lab) putParameter(r *region, in *putParameter) (any, error) {
	old := r.params[in.Name]
	switch {
	case !paramName.MatchString(in.Name) || len(in.Name) > 1011:
		return nil, query.Errorf("ValidationException", "Parameter name %q: letters, digits and _ . - / only", in.Name)
	case in.Type != "String" && (in.Type != "" || old == nil):
		return nil, query.Errorf("UnsupportedParameterType", "The lab has the type String, not %q", in.Type)
	case in.DataType != "" && in.DataType != "text" && in.DataType != "aws:ec2:image":
		return nil, query.Errorf("ValidationException", "The lab has the data types text and aws:ec2:image, not %q", in.DataType)
	case in.Value == "" || len(in.Value) > 4096:
		return nil, query.Errorf("ValidationException", "A value has 1 to 4096 characters")
	case old != nil && !in.Overwrite:
		return nil, query.Errorf("ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
	case in.Overwrite && len(in.Tags) > 0:
		return nil, query.Errorf("ValidationException", "Invalid request: tags and overwrite can't be used together.")
	}
	p := &param{value: in.Value, dataType: in.DataType, version: 1, changed: float64(l.now().Unix()), tags: tagSet{}}
	for _, t := range in.Tags {
		p.tags[t.Key] = t.Value
	}
	if p.dataType == "" {
		p.dataType = "text"
	}
	if old != nil {
		p.version, p.tags = old.version+1, old.tags
	}
	if p.dataType == "text" {
		r.params[in.Name] = p
	} else {
		l.spawn(func(ctx context.Context) {
			l.later(ctx, l.cfg.Delays.Validate, func() {
				if img := r.images[p.value]; img != nil && img.state == "available" {
					r.params[in.Name] = p
				}
			})
		})
	}
	return map[string]any{"Version": p.version, "Tier": "Standard"}, nil
}

func (l *Lab) parameterView(r *region, name string) parameterView {
	p := r.params[name]
	return parameterView{
		name, "String", p.value, p.version, p.changed, "arn:aws:ssm:" + r.name + ":" + l.cfg.Account + ":parameter/" + strings.TrimPrefix(name, "/"), p.dataType,
	}
}
