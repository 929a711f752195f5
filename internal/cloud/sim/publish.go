package sim

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Copy remembers for which channels an image has its copies.
func (c *Cloud) Copy(ctx context.Context, id cloud.ImageID, channels []string) error {
	return c.do(ctx, cloud.VerbCopy, string(id), func(w *world, _ time.Time) error {
		if err := w.offerable(id); err != nil {
			return err
		}
		if w.Copied == nil {
			w.Copied = map[cloud.ImageID][]string{}
		}
		w.Copied[id] = slices.Compact(slices.Sorted(slices.Values(slices.Concat(w.Copied[id], channels))))
		return nil
	})
}

// Publish remembers for which channels an image is published. What it was published for before goes with
// its copies.
func (c *Cloud) Publish(ctx context.Context, id cloud.ImageID, channels []string) error {
	return c.do(ctx, cloud.VerbPublish, string(id), func(w *world, _ time.Time) error {
		if len(channels) == 0 {
			if err := w.unnamed(id); err != nil {
				return err
			}
			delete(w.Published, id)
			delete(w.Copied, id)
			return nil
		}
		if err := w.offerable(id); err != nil {
			return err
		}
		for _, channel := range channels {
			if !slices.Contains(w.Copied[id], channel) {
				return refuse(cloud.CodeRefused, "its copies for channel %s are not made", channel)
			}
		}
		w.Copied[id] = slices.DeleteFunc(w.Copied[id], func(channel string) bool {
			return slices.Contains(w.Published[id], channel) && !slices.Contains(channels, channel)
		})
		if w.Published == nil {
			w.Published = map[cloud.ImageID][]string{}
		}
		w.Published[id] = slices.Compact(slices.Sorted(slices.Values(channels)))
		return nil
	})
}

// offerable refuses an image that is not there, and one that was revoked.
func (w *world) offerable(id cloud.ImageID) error {
	switch i := w.image(id); {
	case i == nil:
		return notFound("image", id)
	case i.Revoked:
		return refuse(cloud.CodeRefused, "image %s was revoked", id)
	}
	return nil
}

// Revoke keeps an image from being launched and published.
func (c *Cloud) Revoke(ctx context.Context, id cloud.ImageID) error {
	return c.do(ctx, cloud.VerbRevoke, string(id), func(w *world, _ time.Time) error {
		if err := w.unnamed(id); err != nil {
			return err
		}
		if i := w.image(id); i != nil {
			i.Revoked = true
		}
		return nil
	})
}

// unnamed refuses an image that a channel names.
func (w *world) unnamed(id cloud.ImageID) error {
	for channel, names := range w.Pointed {
		for role, named := range names {
			if named == id {
				return refuse(cloud.CodeConflict, "channel %s names it as its image of %s", channel, role)
			}
		}
	}
	return nil
}

// Published lists what is published, all of it complete.
func (c *Cloud) Published(ctx context.Context, owner string) (got map[cloud.ImageID][]string, err error) {
	err = c.do(ctx, cloud.VerbPublished, "", func(w *world, _ time.Time) error {
		got = map[cloud.ImageID][]string{}
		for id, channels := range w.Published {
			if i := w.image(id); i != nil && i.Tags.Owner == owner {
				got[id] = slices.Clone(channels)
			}
		}
		return nil
	})
	return got, err
}

// Point remembers what a channel names.
func (c *Cloud) Point(ctx context.Context, channel, role string, id cloud.ImageID) error {
	return c.do(ctx, cloud.VerbPoint, channel+"/"+role, func(w *world, _ time.Time) error {
		if id == "" {
			delete(w.Pointed[channel], role)
			return nil
		}
		if i := w.image(id); i != nil && i.Revoked {
			return refuse(cloud.CodeRefused, "image %s was revoked", id)
		}
		if !slices.Contains(w.Published[id], channel) {
			return refuse(cloud.CodeRefused, "image %s is not published for it", id)
		}
		if w.Pointed == nil {
			w.Pointed = map[string]map[string]cloud.ImageID{}
		}
		if w.Pointed[channel] == nil {
			w.Pointed[channel] = map[string]cloud.ImageID{}
		}
		w.Pointed[channel][role] = id
		return nil
	})
}

// Pointed gives what a channel names.
func (c *Cloud) Pointed(ctx context.Context, channel string) (got map[string]cloud.ImageID, err error) {
	err = c.do(ctx, cloud.VerbPointed, channel, func(w *world, _ time.Time) error {
		got = maps.Clone(w.Pointed[channel])
		return nil
	})
	return got, err
}
