package limit

import (
	"context"
	"fmt"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Provider gives the provider under the cap: Launch waits until there is room, or for the end of its
// context. Servers must carry the owner's tag. The capabilities stay.
func (s *Slots) Provider() cloud.Provider {
	return cloud.With(capped{s.inner, s}, cloud.CapabilitiesOf(s.inner))
}

// capped is a provider under Slots.
type capped struct {
	cloud.Provider
	slots *Slots
}

// Launch waits for a slot, unless a server of this environment and name is there already: then the
// provider decides by the token what the call means.
func (c capped) Launch(ctx context.Context, spec cloud.ServerSpec) (cloud.Server, error) {
	s, who := c.slots, seat{spec.Tags.Environment, spec.Name}
	err := s.room(ctx,
		func() {
			if !s.there(who) {
				s.starting[spec.Token] = who
			}
		},
		func() { delete(s.starting, spec.Token) },
	)
	if err != nil {
		return cloud.Server{}, fmt.Errorf("launch %s: wait for room for a server: %w", spec.Name, err)
	}
	server, err := c.Provider.Launch(ctx, spec)
	s.change(func() {
		delete(s.starting, spec.Token)
		if err == nil {
			s.live[server.ID] = who
		}
	})
	return server, err
}

// there reports whether a server of this environment and name lives. Called with mu held.
func (s *Slots) there(who seat) bool {
	for _, seat := range s.live {
		if seat == who {
			return true
		}
	}
	return false
}

// Destroy gives the server's slot back once it is gone.
func (c capped) Destroy(ctx context.Context, id cloud.ServerID) error {
	if err := c.Provider.Destroy(ctx, id); err != nil {
		return err
	}
	c.slots.change(func() { delete(c.slots.live, id) })
	return nil
}

// Delete gives a server's slot back as Destroy does.
func (c capped) Delete(ctx context.Context, r cloud.Resource) error {
	if err := c.Provider.Delete(ctx, r); err != nil {
		return err
	}
	if r.Kind == cloud.KindServer {
		c.slots.change(func() { delete(c.slots.live, cloud.ServerID(r.ID)) })
	}
	return nil
}
