package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Align makes the provider offer the images that channels hold, name them, and offer nothing else but
// what they would go back to, if it is offered already. With nothing to do it only looks. What it could not do is in the error, and the
// next call tries again; one channel's trouble does not keep another from moving on.
func Align(ctx context.Context, parts Parts) error { return align(ctx, parts, true) }

// align is Align; without wait it leaves the work to a process that is at it.
func align(ctx context.Context, parts Parts, wait bool) error {
	p := parts.publisher()
	if p == nil {
		return nil
	}
	a := alignment{parts: parts, p: p, copied: map[cloud.ImageID][]string{}, failed: map[cloud.ImageID]error{}}
	for {
		lacking, err := a.look(ctx, wait)
		if len(lacking) == 0 {
			return errors.Join(err, joined(a.failed))
		}
		if err := a.copy(ctx, lacking); err != nil {
			return err
		}
		wait = true
	}
}

// errStays says that a channel goes on naming what it named.
var errStays = errors.New("not all of its images are published")

// alignment is one call of Align. It looks, and where copies are lacking it makes them, while others may
// publish, and looks again.
type alignment struct {
	parts  Parts
	p      cloud.Publisher
	copied map[cloud.ImageID][]string // for these channels
	failed map[cloud.ImageID]error    // to be copied or published: not again in this call
}

// copy makes the copies of images for their channels.
func (a *alignment) copy(ctx context.Context, lacking map[cloud.ImageID][]string) error {
	kept, err := copying(ctx, a.parts)
	if err != nil {
		return err
	}
	defer kept()
	maps.Copy(a.failed, each(lacking, func(id cloud.ImageID, channels []string) error { return a.p.Copy(ctx, id, channels) }))
	maps.Copy(a.copied, lacking)
	return nil
}

// look does all that takes no time, and gives the images whose copies are to be made first. While
// somebody makes copies nobody knows whose they will be, so that it only points to what is published.
func (a *alignment) look(ctx context.Context, wait bool) (lacking map[cloud.ImageID][]string, err error) {
	release, err := publishing(ctx, a.parts, wait)
	if err != nil || release == nil {
		return nil, err
	}
	defer release()
	alone, err := uncopied(ctx, a.parts)
	if err != nil {
		return nil, err
	}
	if alone != nil {
		defer alone()
	}
	s, err := survey(ctx, a.parts, a.p)
	if err != nil {
		return nil, err
	}
	unsettled, err := unsettledChannels(ctx, a.parts, s)
	if err != nil {
		return nil, err
	}
	wanted := offers(s.held, s.before)
	// What a channel still names stays as that channel wants it, until it names another.
	both := offers(s.held, s.before, s.named)
	maps.DeleteFunc(both, func(id cloud.ImageID, _ []string) bool { return wanted[id] == nil })
	if alone != nil {
		lacking = a.publish(ctx, both, s.published)
	}

	var failed error
	for _, channel := range slices.Sorted(maps.Keys(s.held)) {
		lacks := func(id cloud.ImageID) bool { return !slices.Contains(s.published[id], channel) }
		err := errStays // all roles move at once, or none
		if why := unsettled[channel]; why != nil {
			err = why
			failed = errors.Join(failed, err)
		} else if !slices.ContainsFunc(slices.Collect(maps.Values(s.held[channel])), lacks) {
			err = point(ctx, a.parts, a.p, channel, s.held[channel], s.named[channel])
			failed = errors.Join(failed, err)
		} else if alone == nil {
			failed = errors.Join(failed, fmt.Errorf("channel %s: %w, and copies are being made: look again when that is over", channel, errStays))
		}
		if err != nil {
			maps.DeleteFunc(wanted, func(id cloud.ImageID, _ []string) bool {
				return slices.Contains(slices.Collect(maps.Values(s.named[channel])), id)
			})
		}
	}
	failed = errors.Join(failed, a.revoke(ctx)) // when no channel names them any more, and whoever makes copies
	if alone == nil {
		return nil, failed
	}
	a.publish(ctx, wanted, s.published) // without what channels have left
	doubtful, err := doubtfulOffers(ctx, a.parts, s.published)
	if err != nil {
		return lacking, errors.Join(failed, err)
	}
	for _, id := range slices.Sorted(maps.Keys(s.published)) {
		if both[id] == nil && !doubtful[id] {
			failed = errors.Join(failed, a.withdraw(ctx, id))
		}
	}
	return lacking, failed
}

// publish publishes what is wanted and has its copies, notes in published what it did, and gives what lacks
// copies.
func (a *alignment) publish(ctx context.Context, wanted, published map[cloud.ImageID][]string) map[cloud.ImageID][]string {
	ready, lacking := map[cloud.ImageID][]string{}, map[cloud.ImageID][]string{}
	for id, channels := range wanted {
		more := slices.ContainsFunc(channels, func(c string) bool { return !slices.Contains(published[id], c) })
		switch {
		case slices.Equal(published[id], channels), a.failed[id] != nil:
		case !more, slices.Equal(a.copied[id], channels):
			ready[id] = channels
		default:
			lacking[id] = channels
		}
	}
	failed := publish(ctx, a.parts, a.p, ready)
	maps.Copy(a.failed, failed)
	for id, channels := range ready {
		if failed[id] == nil {
			published[id] = channels
		}
	}
	return lacking
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

// withdraw takes back what was published of an image that no channel holds.
func (a *alignment) withdraw(ctx context.Context, id cloud.ImageID) error {
	err := a.p.Publish(ctx, id, nil)
	switch {
	case cloud.CodeOf(err) == cloud.CodeConflict: // a channel in trouble names it, or servers are still launched from it
		a.parts.Log.Debug("image stays published", "image", id, "err", err)
		return nil
	case err == nil:
		a.parts.Log.Info("image withdrawn: no channel holds it", "image", id)
	}
	return err
}

// revoke takes the images of revoked sets from everybody. It asks only if there is such a set, and changes only what
// can still be launched: what a crash or a hand has left is revoked by the next call.
func (a *alignment) revoke(ctx context.Context) error {
	revoked, err := revokedImages(ctx, a.parts)
	if err != nil || len(revoked) == 0 {
		return err
	}
	there, err := a.parts.Cloud.Images(ctx, cloud.Filter{Owner: a.parts.Config.Owner})
	if err != nil {
		return err
	}
	var failed error
	for _, image := range there {
		if !revoked[image.ID] {
			continue
		}
		err := a.p.Revoke(ctx, image.ID)
		if err == nil {
			a.parts.Log.Info("image revoked: nobody can launch it any more", "image", image.ID)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// revokedImages are those of this provider that a revoked set holds, also those that the ledger gave up: where they
// could not be removed, they can still be launched.
func revokedImages(ctx context.Context, parts Parts) (map[cloud.ImageID]bool, error) {
	sets, err := parts.Ledger.Sets(ctx, "", 0)
	if err != nil {
		return nil, err
	}
	revoked := map[cloud.ImageID]bool{}
	for _, set := range sets {
		if set.Revoked == "" {
			continue
		}
		images, err := imagesOf(ctx, parts, set.ID)
		if err != nil {
			return nil, fmt.Errorf("revoked set %s: %w", set.ID, err)
		}
		for _, id := range images {
			revoked[id] = true
		}
	}
	return revoked, nil
}
