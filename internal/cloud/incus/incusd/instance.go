package incusd

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"time"
)

// Devices are an instance's, by name, each with its options.
type Devices map[string]map[string]string

// Instance is a container or a virtual machine.
type Instance struct {
	Name       string            `json:"name"`
	Project    string            `json:"project"`
	Status     string            `json:"status"`
	StatusCode Status            `json:"status_code"`
	Config     map[string]string `json:"config"`
	Devices    Devices           `json:"devices"`
	CreatedAt  time.Time         `json:"created_at"`
	LastUsedAt time.Time         `json:"last_used_at"` // zero, or at most 1970: never
}

// Instance reads one.
func (c *Client) Instance(ctx context.Context, name string) (Instance, error) {
	return get[Instance](ctx, c, nil, "instances", name)
}

// Instances lists those of the project.
func (c *Client) Instances(ctx context.Context) ([]Instance, error) {
	return list[Instance](ctx, c, "instances")
}

// AllInstances lists those of all projects.
func (c *Client) AllInstances(ctx context.Context) ([]Instance, error) {
	return listAll[Instance](ctx, c, "instances")
}

// NewInstance is a container to be made of an image. It gets no profile: what is not said here is not so.
type NewInstance struct {
	Image   string            `json:"-"` // fingerprint
	Name    string            `json:"name"`
	Config  map[string]string `json:"config"`
	Devices Devices           `json:"devices"`
	Start   bool              `json:"start"`
}

// CreateInstance makes a container, and starts it if that is asked for.
func (c *Client) CreateInstance(ctx context.Context, n NewInstance) error {
	_, err := c.post(ctx, struct {
		NewInstance
		Type     string            `json:"type"`
		Source   map[string]string `json:"source"`
		Profiles []string          `json:"profiles"`
	}{n, "container", map[string]string{"type": "image", "fingerprint": n.Image}, []string{}}, "instances")
	return err
}

// DeleteInstance removes a stopped instance.
func (c *Client) DeleteInstance(ctx context.Context, name string) error {
	return c.remove(ctx, "instances", name)
}

// ChangeDevices reads the devices of an instance and writes what edit makes of them: see change.
func (c *Client) ChangeDevices(ctx context.Context, instance string, edit func(Devices)) error {
	type part struct {
		Devices Devices `json:"devices"`
	}
	return change(ctx, c, func(p *part) {
		if p.Devices == nil {
			p.Devices = Devices{}
		}
		edit(p.Devices)
	}, "instances", instance)
}

// InstanceState is what an instance is at.
type InstanceState struct {
	Status     string `json:"status"`
	StatusCode Status `json:"status_code"`
	PID        int64  `json:"pid"` // of its init, on the daemon's host
}

// InstanceState reads it.
func (c *Client) InstanceState(ctx context.Context, name string) (InstanceState, error) {
	return get[InstanceState](ctx, c, nil, "instances", name, "state")
}

// StateChange is what an instance is to do.
type StateChange struct {
	Action  string        // start, stop or restart
	Force   bool          // pull the plug rather than shut down
	Timeout time.Duration // for a shutdown, in whole seconds, at least one; 0: as long as it takes
}

// ChangeState returns when the change is made, or was given up.
func (c *Client) ChangeState(ctx context.Context, name string, change StateChange) error {
	timeout := -1
	if change.Timeout > 0 {
		timeout = max(1, int(change.Timeout/time.Second))
	}
	return c.put(ctx, map[string]any{"action": change.Action, "force": change.Force, "timeout": timeout}, "", "instances", name, "state")
}

// Exec starts a command in an instance that runs. It waits neither for the command nor for what it says,
// and nobody learns its exit code.
func (c *Client) Exec(ctx context.Context, instance string, command ...string) error {
	r, err := jsonRequest(http.MethodPost, map[string]any{"command": command}, []string{"instances", instance, "exec"})
	if err != nil {
		return err
	}
	_, err = c.send(ctx, r)
	return err
}

// WriteFile writes a file of root's into an instance, in place of one that is there.
func (c *Client) WriteFile(ctx context.Context, instance, path string, mode fs.FileMode, content io.Reader) error {
	return c.writeFile(ctx, instance, path, "file", mode, content)
}

// MakeFolder makes a folder of root's in an instance, in one that is there.
func (c *Client) MakeFolder(ctx context.Context, instance, path string, mode fs.FileMode) error {
	return c.writeFile(ctx, instance, path, "directory", mode, nil)
}

func (c *Client) writeFile(ctx context.Context, instance, path, kind string, mode fs.FileMode, content io.Reader) error {
	header := http.Header{}
	for name, value := range map[string]string{
		"Content-Type": "application/octet-stream", "X-Incus-type": kind, "X-Incus-write": "overwrite",
		"X-Incus-mode": fmt.Sprintf("%04o", mode.Perm()), "X-Incus-uid": "0", "X-Incus-gid": "0",
	} {
		header.Set(name, value)
	}
	_, err := c.do(ctx, request{
		method: http.MethodPost, path: []string{"instances", instance, "files"}, query: url.Values{"path": {path}}, header: header, body: content,
	})
	return err
}

// FindInstanceSnapshot reports whether an instance has a snapshot: Absent of its error tells that it has not.
func (c *Client) FindInstanceSnapshot(ctx context.Context, instance, snapshot string) error {
	return find(ctx, c, "instances", instance, "snapshots", snapshot)
}

// CreateInstanceSnapshot keeps an instance as it is, under a name; its attached volumes are no part of it.
func (c *Client) CreateInstanceSnapshot(ctx context.Context, instance, snapshot string) error {
	_, err := c.post(ctx, map[string]string{"name": snapshot}, "instances", instance, "snapshots")
	return err
}

// DeleteInstanceSnapshot removes one.
func (c *Client) DeleteInstanceSnapshot(ctx context.Context, instance, snapshot string) error {
	return c.remove(ctx, "instances", instance, "snapshots", snapshot)
}

// RestoreInstance takes an instance back to a snapshot.
func (c *Client) RestoreInstance(ctx context.Context, instance, snapshot string) error {
	return c.put(ctx, map[string]string{"restore": snapshot}, "", "instances", instance)
}
