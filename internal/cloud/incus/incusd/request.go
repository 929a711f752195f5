package incusd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
)

// bodyBound is the largest answer, in bytes, that is read: thousands of instances with their user-data.
const bodyBound = 64 << 20

// errorBound is how much of the daemon's text an Error keeps, in bytes.
const errorBound = 64 << 10

// Error is the daemon's answer that something was not done.
type Error struct {
	Status int    // of HTTP; 0: an operation had begun and failed, of which only the text says how
	Text   string // the daemon's
}

// Error gives the daemon's text.
func (e *Error) Error() string { return e.Text }

// request is one to be made; everything but method and path may be left out.
type request struct {
	method string
	path   []string // below /1.0, not escaped
	query  url.Values
	header http.Header
	body   io.Reader
}

// answer is the daemon's, of whatever type: "sync" with metadata, or "async" with an operation as metadata.
type answer struct {
	Type     string          `json:"type"`
	Error    string          `json:"error"`
	Metadata json.RawMessage `json:"metadata"`

	etag string
}

// send makes a request and reads the answer. Errors are *Error if the daemon answered, else those of
// net/http.
func (c *Client) send(ctx context.Context, r request) (answer, error) {
	var path strings.Builder
	path.WriteString("/1.0")
	for _, part := range r.path {
		path.WriteString("/" + url.PathEscape(part))
	}
	what := r.method + " " + path.String()
	query := maps.Clone(r.query)
	if query == nil {
		query = url.Values{}
	}
	if c.project != "" {
		query.Set("project", c.project)
	}
	// The host is for nobody: the connection is to the socket.
	hr, err := http.NewRequestWithContext(ctx, r.method, "http://incus"+path.String()+"?"+query.Encode(), r.body)
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", what, err)
	}
	if r.header != nil {
		hr.Header = r.header
	}
	hr.Header.Set("User-Agent", c.agent)
	got, err := c.http.Do(hr)
	if err != nil {
		return answer{}, err
	}
	defer got.Body.Close()
	text, err := io.ReadAll(io.LimitReader(got.Body, bodyBound+1))
	if err != nil {
		return answer{}, fmt.Errorf("%s: read the answer: %w", what, err)
	}
	if len(text) > bodyBound {
		return answer{}, fmt.Errorf("%s: Incus' answer has more than %d MiB, which is more than is read", what, bodyBound>>20)
	}
	a := answer{etag: got.Header.Get("ETag")}
	unread := json.Unmarshal(text, &a)
	switch {
	case got.StatusCode >= http.StatusBadRequest && (unread != nil || a.Error == ""): // a proxy's, or nobody's
		return answer{}, &Error{got.StatusCode, what + ": " + got.Status}
	case got.StatusCode >= http.StatusBadRequest:
		return answer{}, &Error{got.StatusCode, clip(a.Error)}
	case unread == nil && a.Type == "error":
		// An operation that is waited for: Incus sends the status 200 when the waiting begins.
		return answer{}, &Error{Text: clip(a.Error)}
	case unread != nil:
		return answer{}, fmt.Errorf("%s: Incus' answer is not the JSON that it documents: %w", what, unread)
	case a.Type != "sync" && a.Type != "async":
		return answer{}, fmt.Errorf("%s: Incus answers %s, of a type %q that it does not document", what, got.Status, a.Type)
	}
	return a, nil
}

func clip(text string) string { return text[:min(len(text), errorBound)] }

// get reads one thing.
func get[T any](ctx context.Context, c *Client, query url.Values, path ...string) (T, error) {
	var it T
	a, err := c.send(ctx, request{method: http.MethodGet, path: path, query: query})
	if err == nil {
		err = a.into(&it)
	}
	return it, err
}

// list reads all things of a kind, each as whole as get would.
func list[T any](ctx context.Context, c *Client, path ...string) ([]T, error) {
	return get[[]T](ctx, c, url.Values{"recursion": {"1"}}, path...)
}

// listAll reads all things of a kind in all projects.
func listAll[T any](ctx context.Context, c *Client, path ...string) ([]T, error) {
	return get[[]T](ctx, c, url.Values{"recursion": {"1"}, "all-projects": {"true"}}, path...)
}

// find reports whether something is there: Absent of its error tells that it is not.
func find(ctx context.Context, c *Client, path ...string) error {
	_, err := get[struct{}](ctx, c, nil, path...)
	return err
}

func (c *Client) post(ctx context.Context, body any, path ...string) (json.RawMessage, error) {
	r, err := jsonRequest(http.MethodPost, body, path)
	if err != nil {
		return nil, err
	}
	return c.do(ctx, r)
}

func (c *Client) put(ctx context.Context, body any, etag string, path ...string) error {
	r, err := jsonRequest(http.MethodPut, body, path)
	if err != nil {
		return err
	}
	if etag != "" {
		r.header.Set("If-Match", etag)
	}
	_, err = c.do(ctx, r)
	return err
}

func (c *Client) remove(ctx context.Context, path ...string) error {
	_, err := c.do(ctx, request{method: http.MethodDelete, path: path})
	return err
}

func jsonRequest(method string, body any, path []string) (request, error) {
	text, err := json.Marshal(body)
	return request{
		method: method, path: path, body: bytes.NewReader(text), header: http.Header{"Content-Type": {"application/json"}},
	}, err
}

// into reads the metadata of an answer.
func (a answer) into(it any) error {
	if len(a.Metadata) == 0 {
		return errors.New("the answer has no metadata, which Incus documents")
	}
	if err := json.Unmarshal(a.Metadata, it); err != nil {
		return fmt.Errorf("the answer is not what Incus documents: %w", err)
	}
	return nil
}
