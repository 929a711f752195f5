package incusd

import (
	"net/http"
	"testing"
)

// What is written back holds all that was read, but for what the caller changed, and names the version read.
func TestChangeKeepsTheRest(t *testing.T) {
	const instance = `{"name": "web-1", "new_in_7.0": {"deep": [1, 2.50]}, "profiles": ["p"],
		"devices": {"root": {"type": "disk"}, "gone": {"type": "disk"}}}`
	const acl = `{"name": "hm1", "ingress": [{"action": "allow", "state": "enabled", "new_in_7.0": "x"}], "egress": [{"action": "drop", "state": "enabled", "new_in_7.0": "y"}]}`
	for name, c := range map[string]struct {
		path, before, want string
		do                 func(*Client) error
	}{
		"devices": {
			"/1.0/instances/web-1", instance, `{"devices":{"data":{"type":"disk"},"root":{"type":"disk"}},"name":"web-1","new_in_7.0":{"deep":[1,2.5]},"profiles":["p"]}`,
			func(c *Client) error {
				return c.ChangeDevices(t.Context(), "web-1", func(d Devices) { delete(d, "gone"); d["data"] = map[string]string{"type": "disk"} })
			},
		},
		"devices of an instance that has none": {
			"/1.0/instances/web-1", `{"name": "web-1"}`, `{"devices":{"data":{"type":"disk"}},"name":"web-1"}`,
			func(c *Client) error {
				return c.ChangeDevices(t.Context(), "web-1", func(d Devices) { d["data"] = map[string]string{"type": "disk"} })
			},
		},
		"nothing": {
			"/1.0/instances/web-1", instance, "",
			func(c *Client) error {
				return c.ChangeDevices(t.Context(), "web-1", func(d Devices) { delete(d, "x") })
			},
		},
		"one list of two": {
			"/1.0/network-acls/hm1", acl,
			`{"egress":[{"action":"allow","protocol":"tcp","state":"enabled"}],"ingress":[{"action":"allow","new_in_7.0":"x","state":"enabled"}],"name":"hm1"}`,
			func(c *Client) error {
				return c.ChangeNetworkACL(t.Context(), "hm1", func(r *NetworkACLRules) {
					r.Egress = []NetworkACLRule{{Action: "allow", State: "enabled", Protocol: "tcp"}}
				})
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, client := serve(t, map[string][]http.HandlerFunc{"GET " + c.path: {reply(c.before)}})
			if err := c.do(client); err != nil {
				t.Fatal(err)
			}
			got := d.all()
			switch {
			case c.want == "" && len(got) == 1:
			case c.want == "" || len(got) != 2 || got[1].call != "PUT "+c.path+"?project=env-1" || sorted(t, got[1].body) != c.want:
				t.Errorf("asked %+v, want %s", got, c.want)
			case got[1].header.Get("If-Match") != "v7":
				t.Errorf("version %q", got[1].header.Get("If-Match"))
			}
		})
	}
	t.Run("changed meanwhile", func(t *testing.T) {
		_, client := serve(t, map[string][]http.HandlerFunc{
			"GET /1.0/instances/web-1": {reply(instance)}, "PUT /1.0/instances/web-1": {refusal(412, "ETag doesn't match")},
		})
		if err := client.ChangeDevices(t.Context(), "web-1", func(d Devices) { clear(d) }); !Stale(err) {
			t.Errorf("%v, want it to be stale", err)
		}
	})
}
