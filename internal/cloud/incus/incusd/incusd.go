// Package incusd is how Incus' daemon is spoken to: connections whose calls end with their context, and
// what Incus 6.0 gives up for a passing reason, done again until it is done. Provider and laboratory both
// build on it; what their nouns are on Incus is theirs.
package incusd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	client "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
)

// Connect gives a client for one project ("": default) whose calls all end with ctx. It talks to
// nobody yet. The socket "" is where Incus puts it; agent names the program to Incus.
//
// The client library binds some requests to the connection's context and others to none, so each call
// of ours has its own connection and a transport that binds every request.
func Connect(ctx context.Context, socket, agent, project string) (client.InstanceServer, error) {
	hc := &http.Client{}
	c, err := client.ConnectIncusUnixWithContext(ctx, socket, &client.ConnectionArgs{
		HTTPClient: hc, SkipGetServer: true, SkipGetEvents: true, UserAgent: agent,
	})
	if err != nil {
		return nil, fmt.Errorf("connect to Incus: %w", err)
	}
	t, ok := hc.Transport.(*http.Transport)
	if !ok {
		return nil, fmt.Errorf("the Incus client's transport is a %T", hc.Transport)
	}
	hc.Transport = bound{ctx: ctx, transport: t}
	if project != "" {
		c = c.UseProject(project)
	}
	return c, nil
}

// bound ends every request with the context of the call it belongs to.
type bound struct {
	ctx       context.Context //nolint:containedctx // one connection lives for one call
	transport *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (b bound) RoundTrip(r *http.Request) (*http.Response, error) {
	return b.transport.RoundTrip(r.WithContext(b.ctx))
}

// Transport implements the client library's HTTPTransporter, which looks for the transport itself.
func (b bound) Transport() *http.Transport { return b.transport }

// Finish waits for an operation that a call has just started, and gives its metadata: pass it both
// results of that call. Incus goes on with the operation when the waiting ends early. Operations live in
// the daemon's memory: one that it does not know any more, or that was cancelled, gives ErrInterrupted.
func Finish(c client.InstanceServer, op client.Operation, err error) (map[string]any, error) {
	if err != nil {
		return nil, err
	}
	done, _, err := c.GetOperationWait(op.Get().ID, -1)
	switch {
	case forgotten(err):
		return nil, fmt.Errorf("%w (%v)", ErrInterrupted, err) //nolint:errorlint // it would say that the thing itself is absent
	case err != nil:
		return nil, err
	case done.Err != "":
		return nil, errors.New(done.Err)
	case done.StatusCode != api.Success:
		return nil, fmt.Errorf("%w (it is %s)", ErrInterrupted, strings.ToLower(done.Status))
	}
	return done.Metadata, nil
}
