package pipeline

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// Recognise looks whether this is the ledger that was used last, and whether it knows the runs of what this
// installation made: before that, nothing is to be changed at the provider. A provider that does not answer
// is no error, for the reaper looks again.
func Recognise(ctx context.Context, parts Parts) error {
	if _, err := identify(ctx, parts); err != nil {
		return err
	}
	owned, err := parts.Cloud.Owned(ctx, parts.Config.Owner)
	if err != nil {
		parts.Log.Warn("list what is ours; the reaper will retry", "err", err)
		return nil
	}
	_, _, err = survived(ctx, parts, owned)
	return err
}

// quarantine notes in the ledger what of the leftovers is not certain, and since when, and logs what is new.
func quarantine(ctx context.Context, parts Parts, found []Leftover) ([]Leftover, error) {
	before, err := parts.Ledger.Suspects(ctx)
	if err != nil {
		return nil, err
	}
	var now []ledger.Suspect
	for _, l := range found {
		if !l.Quarantined.IsZero() {
			now = append(now, ledger.Suspect{Kind: string(l.Kind), ID: l.ID, Name: l.Name, Why: l.Why})
		}
	}
	noted, err := parts.Ledger.Quarantine(ctx, now)
	if err != nil {
		return nil, fmt.Errorf("quarantine what is not certain: %w", err)
	}
	fresh, n := 0, 0
	for i := range found {
		if found[i].Quarantined.IsZero() {
			continue
		}
		s := noted[n]
		n++
		found[i].Quarantined = s.First
		if !slices.ContainsFunc(before, func(b ledger.Suspect) bool { return b.Kind == s.Kind && b.ID == s.ID }) {
			fresh++
			parts.Log.Info("quarantined", "kind", s.Kind, "name", s.Name, "id", s.ID, "why", s.Why)
		}
	}
	if fresh > 0 {
		parts.Log.Warn("the ledger does not know all of what this installation made: it is kept, `hallmark gc --dry-run` shows it", "new", fresh, "all", len(now), "such_as", now[0].Kind+" "+now[0].Name, "why", now[0].Why)
	}
	return found, nil
}

// unsettledChannels says of channels why they go on naming what they name: the ledger may lack moves that
// were made before it was lost or restored, and the channel was not moved since.
func unsettledChannels(ctx context.Context, parts Parts, s state) (map[string]error, error) {
	is, err := parts.Ledger.Identity(ctx)
	if err != nil || is.Forgotten.IsZero() {
		return nil, err
	}
	channels, err := parts.Ledger.Channels(ctx)
	if err != nil {
		return nil, err
	}
	unsettled := map[string]error{}
	for _, c := range channels {
		if len(s.named[c.Name]) > 0 && c.Moved.Before(is.Forgotten) && !maps.Equal(s.named[c.Name], s.held[c.Name]) {
			unsettled[c.Name] = fmt.Errorf("channel %s goes on naming what it names at the provider, which is not what the ledger says: the ledger was lost or restored on %s and may lack a move; promote to the channel, or roll it back, to say what it is to hold",
				c.Name, is.Forgotten.Format("2006-01-02 15:04"))
		}
	}
	return unsettled, nil
}

// doubtfulOffers lists the images that are offered to others and that the ledger does not know, or that are
// older than a loss or a restoration of the ledger: somebody may launch them.
func doubtfulOffers(ctx context.Context, parts Parts, published map[cloud.ImageID][]string) (map[cloud.ImageID]bool, error) {
	is, err := parts.Ledger.Identity(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for id := range published {
		names = append(names, string(id))
	}
	known := func(f ledger.ImageFact) bool { return !f.Deleted.IsZero() || !f.Created.Before(is.Forgotten) }
	facts, err := parts.Ledger.ImageFacts(ctx, names)
	if err != nil {
		return nil, err
	}
	doubtful := map[cloud.ImageID]bool{}
	for id := range published {
		doubtful[id] = !slices.ContainsFunc(facts, func(f ledger.ImageFact) bool { return f.ProviderID == string(id) && known(f) })
	}
	if !slices.Contains(slices.Collect(maps.Values(doubtful)), true) {
		return doubtful, nil
	}
	// Copies have ids of their own; the ledger knows them by name.
	owned, err := parts.Cloud.Owned(ctx, parts.Config.Owner)
	if err != nil {
		return nil, err
	}
	for _, o := range owned {
		if id := cloud.ImageID(o.ID); o.Kind == cloud.KindImage && doubtful[id] {
			facts, err := parts.Ledger.ImageFacts(ctx, []string{o.Name})
			if err != nil {
				return nil, err
			}
			doubtful[id] = !slices.ContainsFunc(facts, known)
		}
	}
	return doubtful, nil
}
