package incusd

import "context"

// Project is a room of its own for instances, volumes and what else its features say.
type Project struct {
	Name   string            `json:"name"`
	Config map[string]string `json:"config"`
}

// Project reads one.
func (c *Client) Project(ctx context.Context, name string) (Project, error) {
	return get[Project](ctx, c, nil, "projects", name)
}

// Projects lists all.
func (c *Client) Projects(ctx context.Context) ([]Project, error) {
	return list[Project](ctx, c, "projects")
}

// CreateProject makes one.
func (c *Client) CreateProject(ctx context.Context, name, description string, config map[string]string) error {
	_, err := c.post(ctx, map[string]any{"name": name, "description": description, "config": config}, "projects")
	return err
}

// DeleteProject removes one that is empty, once: see RemoveProject.
func (c *Client) DeleteProject(ctx context.Context, name string) error {
	return c.remove(ctx, "projects", name)
}
