package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// What a channel holds, the ledger says. A provider that is a Publisher offers these images to others and
// tells them of the channel; Align brings it in line, whatever happened before. The order is always the
// same: an image is copied, which may take an hour and holds up nobody, and published before a channel moves
// to it; then the channel names it. What the channel named before stays published as long as a roll-back
// would go there: going back takes seconds.

// publisher is nil if the provider only serves runs.
func (p Parts) publisher() cloud.Publisher { return cloud.CapabilitiesOf(p.Cloud).Publisher }

// unpublished lists the images of a set that a channel does not offer yet, each with all its channels.
func unpublished(ctx context.Context, parts Parts, p cloud.Publisher, channel string, images map[string]cloud.ImageID) (map[cloud.ImageID][]string, error) {
	s, err := survey(ctx, parts, p)
	if err != nil {
		return nil, err
	}
	now, want := offers(s.held, s.before, s.named), map[cloud.ImageID][]string{}
	for id := range offers(holding{channel: images}) {
		is := s.published[id]
		if slices.Contains(is, channel) {
			continue
		}
		if is == nil { // or it is not as it should be, and nobody may lose it
			is = now[id]
		}
		want[id] = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(is), channel))))
	}
	return want, nil
}

// publish publishes images, and gives those that could not be.
func publish(ctx context.Context, parts Parts, p cloud.Publisher, want map[cloud.ImageID][]string) map[cloud.ImageID]error {
	return each(want, func(id cloud.ImageID, channels []string) error {
		err := p.Publish(ctx, id, channels)
		if err == nil {
			parts.Log.Info("image published", "image", id, "channels", channels)
		}
		return err
	})
}

// each does something for all images at once, since a provider may take minutes for each, and gives what
// failed.
func each(images map[cloud.ImageID][]string, do func(cloud.ImageID, []string) error) map[cloud.ImageID]error {
	var mu sync.Mutex
	var all sync.WaitGroup
	failed := map[cloud.ImageID]error{}
	for id, channels := range images {
		all.Go(func() {
			if err := do(id, channels); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[id] = err
			}
		})
	}
	all.Wait()
	return failed
}

// joined is all of them as one error, nil for none.
func joined(failed map[cloud.ImageID]error) error {
	return errors.Join(slices.Collect(maps.Values(failed))...)
}

// holding is the images that each channel holds, by role. A channel that is empty has none.
type holding map[string]map[string]cloud.ImageID

// state is what the ledger says of channels, and what the provider does.
type state struct {
	held      holding
	before    holding // what roll-backs would go to, as far as it is published for that: nothing is made for it
	named     holding
	published map[cloud.ImageID][]string // for which channels
}

func survey(ctx context.Context, parts Parts, p cloud.Publisher) (s state, err error) {
	if s.held, s.before, err = holdings(ctx, parts); err != nil {
		return s, err
	}
	if s.published, err = p.Published(ctx, parts.Config.Owner); err != nil {
		return s, err
	}
	for channel, images := range s.before {
		maps.DeleteFunc(images, func(_ string, id cloud.ImageID) bool { return !slices.Contains(s.published[id], channel) })
	}
	s.named = holding{}
	for channel := range s.held {
		if s.named[channel], err = p.Pointed(ctx, channel); err != nil {
			return s, err
		}
	}
	return s, nil
}

// holdings reads what is held of this provider's images, and what roll-backs would go to: the images of
// others are not its business.
func holdings(ctx context.Context, parts Parts) (held, before holding, err error) {
	channels, err := parts.Ledger.Channels(ctx)
	for err == nil {
		held, before = holding{}, holding{}
		for _, c := range channels {
			if held[c.Name], before[c.Name], err = heldBy(ctx, parts, c); err != nil {
				return nil, nil, fmt.Errorf("channel %s: %w", c.Name, err)
			}
		}
		var now []ledger.Channel
		if now, err = parts.Ledger.Channels(ctx); err == nil && slices.Equal(now, channels) {
			return held, before, nil
		}
		channels = now // one has moved meanwhile: what it goes back to is not of the same moment
	}
	return nil, nil, err
}

func heldBy(ctx context.Context, parts Parts, c ledger.Channel) (held, before map[string]cloud.ImageID, err error) {
	if held, err = imagesOf(ctx, parts, c.Set); err != nil {
		return nil, nil, err
	}
	previous, err := parts.Ledger.PreviousSet(ctx, c.Name)
	if errors.Is(err, ledger.ErrNotFound) {
		return held, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	before, err = imagesOf(ctx, parts, previous.ID)
	return held, before, err
}

// imagesOf gives a set's images, by role; none for no set.
func imagesOf(ctx context.Context, parts Parts, id string) (map[string]cloud.ImageID, error) {
	if id == "" {
		return nil, nil
	}
	set, err := parts.Ledger.Set(ctx, id)
	if err != nil {
		return nil, err
	}
	images := map[string]cloud.ImageID{}
	for role, id := range set.Images {
		image, err := parts.Ledger.Image(ctx, id)
		if err != nil {
			return nil, err
		}
		if image.Provider == parts.Config.Provider.Kind {
			images[role] = cloud.ImageID(image.ProviderID)
		}
	}
	return images, nil
}

// offers gives for each image the channels that hold (or name) it, sorted.
func offers(all ...holding) map[cloud.ImageID][]string {
	channels := map[cloud.ImageID][]string{}
	for _, h := range all {
		for channel, images := range h {
			for _, id := range images {
				channels[id] = append(channels[id], channel)
			}
		}
	}
	for id, list := range channels {
		slices.Sort(list)
		channels[id] = slices.Compact(list) // one image may serve two roles
	}
	return channels
}

// discard deletes an image that nothing holds, and what was published of it.
func discard(ctx context.Context, parts Parts, id cloud.ImageID) error {
	if err := withdraw(ctx, parts, id); err != nil {
		return err
	}
	return parts.Cloud.DeleteImage(ctx, id)
}

func withdraw(ctx context.Context, parts Parts, id cloud.ImageID) error {
	p := parts.publisher()
	if p == nil {
		return nil
	}
	return p.Publish(ctx, id, nil)
}
