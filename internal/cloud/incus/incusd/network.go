package incusd

import "context"

// NetworkCreated is the status of a network that is whole.
const NetworkCreated = "Created"

// Network is a bridge, or another of the host's interfaces.
type Network struct {
	Name   string            `json:"name"`
	Status string            `json:"status"`
	Config map[string]string `json:"config"`
}

// Network reads one.
func (c *Client) Network(ctx context.Context, name string) (Network, error) {
	return get[Network](ctx, c, nil, "networks", name)
}

// Networks lists those of the project.
func (c *Client) Networks(ctx context.Context) ([]Network, error) {
	return list[Network](ctx, c, "networks")
}

// AllNetworks lists those of all projects.
func (c *Client) AllNetworks(ctx context.Context) ([]Network, error) {
	return listAll[Network](ctx, c, "networks")
}

// CreateBridge makes a network of type bridge.
func (c *Client) CreateBridge(ctx context.Context, name, description string, config map[string]string) error {
	_, err := c.post(ctx, map[string]any{"name": name, "type": "bridge", "description": description, "config": config}, "networks")
	return err
}

// DeleteNetwork takes a network down, once: see RemoveNetwork.
func (c *Client) DeleteNetwork(ctx context.Context, name string) error {
	return c.remove(ctx, "networks", name)
}

// NetworkACL is a list of what may pass to and from a network.
type NetworkACL struct {
	Name   string            `json:"name"`
	Config map[string]string `json:"config"`
}

// NetworkACLs lists those of the project.
func (c *Client) NetworkACLs(ctx context.Context) ([]NetworkACL, error) {
	return list[NetworkACL](ctx, c, "network-acls")
}

// FindNetworkACL reports whether there is one: Absent of its error tells that there is not.
func (c *Client) FindNetworkACL(ctx context.Context, name string) error {
	return find(ctx, c, "network-acls", name)
}

// CreateNetworkACL makes one that lets nothing pass.
func (c *Client) CreateNetworkACL(ctx context.Context, name, description string, config map[string]string) error {
	_, err := c.post(ctx, map[string]any{"name": name, "description": description, "config": config}, "network-acls")
	return err
}

// NetworkACLRules are both lists of an ACL.
type NetworkACLRules struct {
	Ingress []NetworkACLRule `json:"ingress"`
	Egress  []NetworkACLRule `json:"egress"`
}

// NetworkACLRule says of some packets whether they pass. What is empty fits every packet. It has all that
// Incus' rules have, so that two which are equal here do the same there.
type NetworkACLRule struct {
	Action          string `json:"action"` // allow, drop, reject
	State           string `json:"state"`  // enabled, disabled, logged
	Description     string `json:"description,omitempty"`
	Source          string `json:"source,omitempty"`      // addresses: CIDR, or first-last
	Destination     string `json:"destination,omitempty"` // the same
	Protocol        string `json:"protocol,omitempty"`
	SourcePort      string `json:"source_port,omitempty"`
	DestinationPort string `json:"destination_port,omitempty"`
	ICMPType        string `json:"icmp_type,omitempty"`
	ICMPCode        string `json:"icmp_code,omitempty"`
}

// ChangeNetworkACL reads the rules of an ACL and writes what edit makes of them: see change.
func (c *Client) ChangeNetworkACL(ctx context.Context, name string, edit func(*NetworkACLRules)) error {
	return change(ctx, c, edit, "network-acls", name)
}

// DeleteNetworkACL removes one that no network uses.
func (c *Client) DeleteNetworkACL(ctx context.Context, name string) error {
	return c.remove(ctx, "network-acls", name)
}
