package incusd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Status is what something is at, or how it ended: see "Status codes" in Incus' REST API.
type Status int

// The statuses that Hallmark tells apart.
const (
	Stopped  Status = 102
	Running  Status = 103
	Pending  Status = 105
	Starting Status = 106
	Stopping Status = 107
	Ready    Status = 113
	Success  Status = 200
)

// ended reports whether it is that of an operation which has ended.
func (s Status) ended() bool { return s >= Success }

// Operation is work that the daemon does in the background. It lives in the daemon's memory.
type Operation struct {
	ID          string              `json:"id"`
	Class       string              `json:"class"` // task, websocket or token
	Description string              `json:"description"`
	Status      string              `json:"status"`
	StatusCode  Status              `json:"status_code"`
	Resources   map[string][]string `json:"resources"` // paths by kind, such as instances
	Metadata    json.RawMessage     `json:"metadata"`
	Err         string              `json:"err"` // "": it has not failed
}

// do makes a request that changes something, waits for the operation if it starts one, and gives the
// operation's metadata. An operation that the daemon does not know any more, or that was cancelled, gives
// ErrInterrupted.
func (c *Client) do(ctx context.Context, r request) (json.RawMessage, error) {
	a, err := c.send(ctx, r)
	if err != nil || a.Type == "sync" {
		return nil, err
	}
	var op Operation
	if err := a.into(&op); err != nil {
		return nil, err
	}
	if op.ID == "" {
		return nil, errors.New("the operation that began has no identifier")
	}
	op, err = c.wait(ctx, op.ID)
	switch {
	case forgotten(err):
		return nil, fmt.Errorf("%w (%v)", ErrInterrupted, err) //nolint:errorlint // it would say that the thing itself is absent
	case err != nil:
		return nil, err
	case op.Err != "":
		return nil, &Error{Text: op.Err}
	case op.StatusCode != Success:
		return nil, fmt.Errorf("%w (it is %s)", ErrInterrupted, strings.ToLower(op.Status))
	}
	return op.Metadata, nil
}

// wait returns when an operation has ended, however long that takes.
func (c *Client) wait(ctx context.Context, id string) (Operation, error) {
	return get[Operation](ctx, c, url.Values{"timeout": {"-1"}}, "operations", id, "wait")
}

// operations lists those of the project that have not been forgotten yet.
func (c *Client) operations(ctx context.Context) ([]Operation, error) {
	byStatus, err := get[map[string][]Operation](ctx, c, url.Values{"recursion": {"1"}}, "operations")
	var all []Operation
	for _, some := range byStatus {
		all = append(all, some...)
	}
	return all, err
}

// Settle waits until no running operation of the project that concerns the caller is left. What they
// came to is for the caller to see.
func Settle(ctx context.Context, c *Client, concerns func(Operation) bool) error {
	known, err := c.operations(ctx)
	if err != nil {
		return err
	}
	for _, op := range known {
		if op.StatusCode.ended() || op.Class != "task" || !concerns(op) {
			continue
		}
		if _, err := c.wait(ctx, op.ID); err != nil && !Absent(err) {
			return err
		}
	}
	return nil
}

// On selects operations on one instance.
func On(instance string) func(Operation) bool {
	return func(op Operation) bool {
		return slices.ContainsFunc(op.Resources["instances"], func(resource string) bool {
			path, _, _ := strings.Cut(resource, "?")
			return strings.HasSuffix(path, "/instances/"+instance)
		})
	}
}
