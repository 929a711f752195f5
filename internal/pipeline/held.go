package pipeline

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Held is what a channel holds for a role, and what the provider tells others of it.
type Held struct {
	Channel string        `json:"channel"`
	Role    string        `json:"role"`
	Set     string        `json:"set"`
	Image   cloud.ImageID `json:"image"` // "" : the set has no such role
	// Named is what the provider names, "" for nothing; nil if it names none for anybody.
	Named   *cloud.ImageID `json:"named,omitempty"`
	Differs bool           `json:"differs,omitempty"` // Align will change it
}

// WhatIsHeld tells of one channel, or of all that ever moved for "", by channel and role.
func WhatIsHeld(ctx context.Context, parts Parts, channel string) ([]Held, error) {
	channels, err := parts.Ledger.Channels(ctx)
	if err != nil {
		return nil, err
	}
	var all []Held
	for _, c := range channels {
		if channel != "" && c.Name != channel {
			continue
		}
		images, err := imagesOf(ctx, parts, c.Set)
		if err != nil {
			return nil, fmt.Errorf("channel %s: %w", c.Name, err)
		}
		var named map[string]cloud.ImageID
		if p := parts.publisher(); p != nil {
			if named, err = p.Pointed(ctx, c.Name); err != nil {
				return nil, err
			}
		}
		roles := slices.Concat(slices.Collect(maps.Keys(images)), slices.Collect(maps.Keys(named)))
		slices.Sort(roles)
		for _, role := range slices.Compact(roles) {
			h := Held{Channel: c.Name, Role: role, Set: c.Set, Image: images[role]}
			if parts.publisher() != nil {
				is := named[role]
				h.Named, h.Differs = &is, is != h.Image
			}
			all = append(all, h)
		}
	}
	return all, nil
}
