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
	Gone     []string // branches deleted or retired for so long that none of their sets stays for being the newest
}

// Superseded gives the images that may be deleted, oldest first. What stays: the set that a channel
// holds; the sets that it can go back to (see back); and what keep names. A revoked set stays only while a channel holds it or keep names it.
func Superseded(h Holdings, keep Keep) []ledger.Image {
	sets := make(map[string]ledger.ImageSet, len(h.Sets))
	for _, s := range h.Sets {
		sets[s.ID] = s
	}
	there := make(map[string]bool, len(h.Images)) // image ID
	for _, image := range h.Images {
		there[image.ID] = image.Deleted.IsZero()
	}
	usable := func(id string) (bool, error) {
		for _, image := range sets[id].Images {
			if !there[image] {
				return false, nil
			}
		}
		return len(sets[id].Images) > 0 && sets[id].Revoked == "", nil
	}
	needed := make(map[string]bool) // set ID
	for _, id := range keep.Sets {
		needed[id] = true
	}
	for _, c := range h.Channels {
		needed[c.Set] = true
		for _, id := range back(c, h, usable) {
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

// back lists the sets that a channel can go back to: the one that a rollback would go to, and the one
// that its last rollback left, so that this can be undone.
func back(c ledger.Channel, h Holdings, usable func(set string) (bool, error)) []string {
	var moves []ledger.Move
	for _, m := range h.Moves {
		if m.Channel == c.Name {
			moves = append(moves, m)
		}
	}
	slices.SortFunc(moves, func(a, b ledger.Move) int { return cmp.Compare(b.Version, a.Version) })
	var ids []string
	if id, _ := ledger.GoesBackTo(moves, usable); id != "" { // usable gives no error
		ids = append(ids, id)
	}
	if len(moves) > 0 && moves[0].Kind != ledger.Promote && moves[0].From != "" {
		ids = append(ids, moves[0].From)
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
		switch {
		case slices.Contains(keep.Branches, s.Branch):
			room = max(room, 1)
		case slices.Contains(keep.Gone, s.Branch):
			room = 0
		}
		if s.Revoked == "" && seen[s.Branch] < room {
			seen[s.Branch]++
			ids = append(ids, s.ID)
		}
	}
	return ids
}
