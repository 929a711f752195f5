package imager

import (
	"slices"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// holdings has one set of one image for each letter, each an hour younger than the one before, all
// of main but those named in branches.
func holdings(letters string, branches map[string]string) Holdings {
	var h Holdings
	at := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	for _, r := range letters {
		id := string(r)
		branch := "main"
		if b := branches[id]; b != "" {
			branch = b
		}
		at = at.Add(time.Hour)
		h.Images = append(h.Images, ledger.Image{ID: "image-" + id, Run: "run-" + id, Branch: branch, Created: at})
		h.Sets = append(h.Sets, ledger.ImageSet{ID: id, Run: "run-" + id, Branch: branch, Images: map[string]string{"web": "image-" + id}, Created: at})
	}
	return h
}

// moves of one channel, in order; the first comes from nothing.
func (h Holdings) channel(name string, to ...string) Holdings {
	from := ""
	for i, set := range to {
		h.Moves = append(h.Moves, ledger.Move{Channel: name, From: from, To: set, Version: int64(i + 1)})
		from = set
	}
	h.Channels = append(h.Channels, ledger.Channel{Name: name, Set: from, Version: int64(len(to))})
	return h
}

func (h Holdings) revoke(id string) Holdings {
	for i := range h.Sets {
		if h.Sets[i].ID == id {
			h.Sets[i].Revoked = "bad"
		}
	}
	return h
}

func TestSuperseded(t *testing.T) {
	cases := map[string]struct {
		h    Holdings
		keep Keep
		want []string
	}{
		"nothing known":                    {Holdings{}, Keep{}, nil},
		"no channel, nothing asked for":    {holdings("ab", nil), Keep{}, []string{"a", "b"}},
		"a channel and its previous stay":  {holdings("abcd", nil).channel("development", "a", "b", "c"), Keep{}, []string{"a", "d"}},
		"after a rollback both ways stay":  {holdings("abcd", nil).channel("development", "a", "b", "c", "b"), Keep{}, []string{"d"}},
		"two channels":                     {holdings("abcd", nil).channel("development", "c", "d").channel("production", "a"), Keep{}, []string{"b"}},
		"a revoked previous set goes":      {holdings("ab", nil).channel("development", "a", "b").revoke("a"), Keep{}, []string{"a"}},
		"a revoked set in a channel stays": {holdings("ab", nil).channel("development", "b").revoke("b"), Keep{}, []string{"a"}},
		"the newest candidate of a branch": {holdings("abc", map[string]string{"b": "next"}), Keep{Newest: 1}, []string{"a"}},
		"a live release never promoted":    {holdings("abc", map[string]string{"a": "release/1.0", "b": "release/1.0"}), Keep{Branches: []string{"release/1.0"}}, []string{"a", "c"}},
		"in use":                           {holdings("abc", nil), Keep{Sets: []string{"b"}}, []string{"a", "c"}},
		"a run at work":                    {holdings("abc", nil), Keep{Runs: []string{"run-c"}}, []string{"a", "b"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, image := range Superseded(c.h, c.keep) {
				got = append(got, image.ID[len("image-"):])
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("superseded %v, want %v", got, c.want)
			}
		})
	}
}

func TestSupersededLeavesOutWhatIsGoneAndTakesOrphans(t *testing.T) {
	h := holdings("a", nil)
	h.Images[0].Deleted = h.Images[0].Created
	h.Images = append(h.Images, ledger.Image{ID: "orphan", Run: "run-failed", Created: h.Images[0].Created})
	got := Superseded(h, Keep{})
	if len(got) != 1 || got[0].ID != "orphan" {
		t.Errorf("superseded %+v, want the image of the failed run alone", got)
	}
}
