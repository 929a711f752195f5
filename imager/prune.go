package imager

import (
	"cmp"
	"slices"

	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// Holdings is what the ledger knows of images and of the channels that hold them.
type Holdings struct {
	Images   []ledger.Image
	Sets     []ledger.ImageSet
	Channels []ledger.Channel
	Moves    []ledger.Move
}

// Keep says what is needed beside what channels hold.
type Keep struct {
	Branches []string // live release branches: the newest set of each stays, promoted or not
	Sets     []string // used at this moment, or asked for by a person
	Runs     []string // at work: their images are not superseded, in a set or not
	Newest   int      // sets of every other branch that stay for people to look at; 0: none
}

// Superseded gives the images that may be deleted, oldest first. What stays: the set that a channel
// holds; the sets that it held before, as far as a rollback reaches (see before); and what keep
// names. A revoked set stays only while a channel holds it or keep names it.
func Superseded(h Holdings, keep Keep) []ledger.Image {
	sets := make(map[string]ledger.ImageSet, len(h.Sets))
	for _, s := range h.Sets {
		sets[s.ID] = s
	}
	needed := make(map[string]bool) // set ID
	for _, id := range keep.Sets {
		needed[id] = true
	}
	for _, c := range h.Channels {
		needed[c.Set] = true
		for _, id := range before(c, h.Moves) {
			needed[id] = needed[id] || sets[id].Revoked == ""
		}
	}
	for _, id := range newest(h.Sets, keep) {
		needed[id] = true
	}

	stays := make(map[string]bool) // image ID
	for id, is := range needed {
		if !is {
			continue
		}
		for _, image := range sets[id].Images {
			stays[image] = true
		}
	}
	var superseded []ledger.Image
	for _, image := range h.Images {
		if image.Deleted.IsZero() && !stays[image.ID] && !slices.Contains(keep.Runs, image.Run) {
			superseded = append(superseded, image)
		}
	}
	slices.SortFunc(superseded, func(a, b ledger.Image) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return superseded
}

// before lists the sets to which a channel can be rolled back: what its last move left, and what
// was there before its present set first came. They differ after a rollback.
func before(c ledger.Channel, moves []ledger.Move) []string {
	var first, last *ledger.Move
	for i, m := range moves {
		if m.Channel != c.Name {
			continue
		}
		if m.To == c.Set && (first == nil || m.Version < first.Version) {
			first = &moves[i]
		}
		if last == nil || m.Version > last.Version {
			last = &moves[i]
		}
	}
	var ids []string
	for _, m := range []*ledger.Move{first, last} {
		if m != nil && m.From != "" {
			ids = append(ids, m.From)
		}
	}
	return ids
}

// newest lists the sets that stay for being the newest of their branch.
func newest(all []ledger.ImageSet, keep Keep) []string {
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(a, b ledger.ImageSet) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.ID, a.ID))
	})
	var ids []string
	seen := make(map[string]int)
	for _, s := range sorted {
		room := keep.Newest
		if slices.Contains(keep.Branches, s.Branch) {
			room = max(room, 1)
		}
		if s.Revoked == "" && seen[s.Branch] < room {
			seen[s.Branch]++
			ids = append(ids, s.ID)
		}
	}
	return ids
}
