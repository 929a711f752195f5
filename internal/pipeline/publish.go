package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// What a channel holds, the ledger says. A provider that is a Publisher offers these images to others and
// tells them of the channel; Align brings it in line, whatever happened before. The order is always the
// same: an image is published before a channel moves to it, then the channel names it, then the one
// that it named before is withdrawn. So whoever follows a channel finds an image at any moment.

// errStays says that a channel goes on naming what it named.
var errStays = errors.New("not all of its images are published")

// publisher is nil if the provider only serves runs.
func (p Parts) publisher() cloud.Publisher { return cloud.CapabilitiesOf(p.Cloud).Publisher }

// Move moves a channel as the ledger's MoveChannel does, after the images of the new set are published for
// it: if that fails, the channel stays. Align is to follow.
func Move(ctx context.Context, parts Parts, m ledger.Move, expected int64) (ledger.Channel, error) {
	p := parts.publisher()
	if p == nil {
		return parts.Ledger.MoveChannel(ctx, m, expected)
	}
	release, err := publishing(ctx, parts, true)
	if err != nil {
		return ledger.Channel{}, err
	}
	defer release()
	done, err := parts.Ledger.CheckMove(ctx, m, expected) // before minutes are spent on copies
	if err != nil {
		return ledger.Channel{}, err
	}
	if !done && m.To != "" {
		if err := publishSet(ctx, parts, p, m.To, m.Channel); err != nil {
			return ledger.Channel{}, fmt.Errorf("its images could not be published, so channel %s stays: %w", m.Channel, err)
		}
	}
	return parts.Ledger.MoveChannel(ctx, m, expected)
}

// Align makes the provider offer the images that channels hold, and name them, and nothing else. With
// nothing to do it only looks. What it could not do is in the error, and the next call tries again; one
// channel's trouble does not keep another from moving on.
func Align(ctx context.Context, parts Parts) error { return align(ctx, parts, true) }

// align is Align; without wait it leaves the work to a process that is at it.
func align(ctx context.Context, parts Parts, wait bool) error {
	p := parts.publisher()
	if p == nil {
		return nil
	}
	release, err := publishing(ctx, parts, wait)
	if err != nil || release == nil {
		return err
	}
	defer release()
	held, err := holdings(ctx, parts)
	if err != nil {
		return err
	}
	published, err := p.Published(ctx, parts.Config.Owner)
	if err != nil {
		return err
	}
	named, err := names(ctx, p, held)
	if err != nil {
		return err
	}
	wanted := offers(held)
	// What a channel still names stays as that channel wants it, until it names another.
	both := offers(held, named)
	maps.DeleteFunc(both, func(id cloud.ImageID, _ []string) bool { return wanted[id] == nil })
	missing, failed := publish(ctx, parts, p, both, published)
	maps.DeleteFunc(wanted, func(id cloud.ImageID, _ []string) bool { return missing[id] })
	for id, channels := range both {
		if !missing[id] {
			published[id] = channels
		}
	}
	for _, channel := range slices.Sorted(maps.Keys(held)) {
		var err error
		if slices.ContainsFunc(slices.Collect(maps.Values(held[channel])), func(id cloud.ImageID) bool { return missing[id] }) {
			err = errStays // all roles move at once, or none
		} else {
			err = point(ctx, parts, p, channel, held[channel], named[channel])
			failed = errors.Join(failed, err)
		}
		if err != nil {
			maps.DeleteFunc(wanted, func(id cloud.ImageID, _ []string) bool {
				return slices.Contains(slices.Collect(maps.Values(named[channel])), id)
			})
		}
	}
	_, err = publish(ctx, parts, p, wanted, published)
	failed = errors.Join(failed, err)
	for _, id := range slices.Sorted(maps.Keys(published)) {
		if both[id] != nil {
			continue
		}
		err := p.Publish(ctx, id, nil)
		if cloud.CodeOf(err) == cloud.CodeConflict { // a channel in trouble names it, or servers are still launched from it
			parts.Log.Debug("image stays published", "image", id, "err", err)
			continue
		}
		if err == nil {
			parts.Log.Info("image withdrawn: no channel holds it", "image", id)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// holding is the images that each channel holds, by role. A channel that is empty has none.
type holding map[string]map[string]cloud.ImageID

// holdings reads what is held of this provider's images: others are not its business.
func holdings(ctx context.Context, parts Parts) (holding, error) {
	channels, err := parts.Ledger.Channels(ctx)
	if err != nil {
		return nil, err
	}
	held := holding{}
	for _, c := range channels {
		if held[c.Name], err = imagesOf(ctx, parts, c.Set); err != nil {
			return nil, fmt.Errorf("channel %s: %w", c.Name, err)
		}
	}
	return held, nil
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

// names gives what channels name now, by role.
func names(ctx context.Context, p cloud.Publisher, held holding) (holding, error) {
	named := holding{}
	for channel := range held {
		var err error
		if named[channel], err = p.Pointed(ctx, channel); err != nil {
			return nil, err
		}
	}
	return named, nil
}

// publishSet publishes a set's images for one channel more than those that hold them.
func publishSet(ctx context.Context, parts Parts, p cloud.Publisher, set, channel string) error {
	held, err := holdings(ctx, parts)
	if err != nil {
		return err
	}
	images, err := imagesOf(ctx, parts, set)
	if err != nil {
		return err
	}
	published, err := p.Published(ctx, parts.Config.Owner)
	if err != nil {
		return err
	}
	named, err := names(ctx, p, held)
	if err != nil {
		return err
	}
	before, want := offers(held, named), map[cloud.ImageID][]string{}
	for _, id := range images {
		want[id] = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(before[id]), channel))))
	}
	_, err = publish(ctx, parts, p, want, published)
	return err
}

// publish publishes the images that are not published as wanted, all at once: a provider may take
// minutes for each. It gives those that could not be.
func publish(ctx context.Context, parts Parts, p cloud.Publisher, want, published map[cloud.ImageID][]string) (map[cloud.ImageID]bool, error) {
	var mu sync.Mutex
	var all sync.WaitGroup
	missing := map[cloud.ImageID]bool{}
	var failed error
	for id, channels := range want {
		if slices.Equal(published[id], channels) {
			continue
		}
		all.Go(func() {
			err := p.Publish(ctx, id, channels)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				missing[id], failed = true, errors.Join(failed, err)
				return
			}
			parts.Log.Info("image published", "image", id, "channels", channels)
		})
	}
	all.Wait()
	return missing, failed
}

// point makes a channel name these images, by role, and no others. Named is what it names now.
func point(ctx context.Context, parts Parts, p cloud.Publisher, channel string, images, named map[string]cloud.ImageID) error {
	want := map[string]cloud.ImageID{}
	for role := range named {
		want[role] = "" // it names a role that the set has not
	}
	maps.Copy(want, images)
	var failed error
	for _, role := range slices.Sorted(maps.Keys(want)) {
		if named[role] == want[role] {
			continue
		}
		if err := p.Point(ctx, channel, role, want[role]); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		parts.Log.Info("channel names another image", "channel", channel, "role", role, "image", want[role], "before", named[role])
	}
	return failed
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

// publishing makes this the only one at work on publications, in this process and others: between the
// publishing of an image and the move of the channel nobody may find that no channel holds it. The end of
// the process gives it back. Without wait release is nil if somebody else is at it.
func publishing(ctx context.Context, parts Parts, wait bool) (release func(), err error) {
	f, err := os.OpenFile(parts.Config.PublishFile(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock publications: %w", err)
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for said := false; ; said = true {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() { unlock(f) }, nil
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
		case !wait:
			return nil, f.Close()
		case !said:
			parts.Log.Warn("another process publishes images: this one waits for it")
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for others that publish: %w", ctx.Err()), f.Close())
		case <-tick.C:
		}
	}
}

// unlock does not leave it to closing the file: a child process that is just being made shares the lock
// until it runs its own program.
func unlock(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	_ = f.Close()
}
