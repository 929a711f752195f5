package imager

import (
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
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
		"nothing known":                           {Holdings{}, Keep{}, nil},
		"no channel, nothing asked for":           {holdings("ab", nil), Keep{}, []string{"a", "b"}},
		"a channel and its previous stay":         {holdings("abcd", nil).channel("development", "a", "b", "c"), Keep{}, []string{"a", "d"}},
		"after a rollback both ways stay":         {holdings("abcd", nil).channel("development", "a", "b", "c", "b"), Keep{}, []string{"d"}},
		"two channels":                            {holdings("abcd", nil).channel("development", "c", "d").channel("production", "a"), Keep{}, []string{"b"}},
		"before a revoked set, the one before it": {holdings("abc", nil).channel("development", "a", "b", "c").revoke("b"), Keep{}, []string{"b"}},
		"a revoked previous set goes":             {holdings("ab", nil).channel("development", "a", "b").revoke("a"), Keep{}, []string{"a"}},
		"a revoked set in a channel stays":        {holdings("ab", nil).channel("development", "b").revoke("b"), Keep{}, []string{"a"}},
		"the newest candidate of a branch":        {holdings("abc", map[string]string{"b": "next"}), Keep{Newest: 1}, []string{"a"}},
		"a live release never promoted":           {holdings("abc", map[string]string{"a": "release/1.0", "b": "release/1.0"}), Keep{Branches: []string{"release/1.0"}}, []string{"a", "c"}},
		"in use":                                  {holdings("abc", nil), Keep{Sets: []string{"b"}}, []string{"a", "c"}},
		"a run at work":                           {holdings("abc", nil), Keep{Runs: []string{"run-c"}}, []string{"a", "b"}},
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

// After any history of promotions, rollbacks and revocations, pruning takes nothing that a channel holds or
// that a rollback goes to.
func TestPruningLeavesWhatARollbackGoesTo(t *testing.T) {
	const histories, moves = 20, 30
	for seed := range uint64(histories) {
		ctx := t.Context()
		l, err := ledger.Open(ctx, filepath.Join(t.TempDir(), "ledger.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		random := rand.New(rand.NewPCG(seed, 11))
		letters := []string{"a", "b", "c", "d", "e", "f"}
		all := holdings(strings.Join(letters, ""), nil)
		for i, set := range all.Sets {
			must(l.CreateRun(ctx, ledger.Run{ID: set.Run, Kind: "nightly", Branch: "main"}))
			must(l.RecordImage(ctx, all.Images[i]))
			must(l.RecordSet(ctx, set))
			must(l.RecordEvidence(ctx, ledger.Evidence{Set: set.ID, Run: set.Run, Statement: []byte("{}")}))
		}
		for range moves {
			channel, err := l.Channel(ctx, "development")
			must(err)
			set := letters[random.IntN(len(letters))]
			switch random.IntN(6) {
			case 0, 1, 2:
				_, _ = l.MoveChannel(ctx, ledger.Move{Channel: "development", To: set, Kind: ledger.Promote}, channel.Version) // it may be revoked or gone
			case 3:
				if previous, err := l.PreviousSet(ctx, "development"); err == nil {
					_, err := l.MoveChannel(ctx, ledger.Move{Channel: "development", To: previous.ID, Kind: ledger.Rollback}, channel.Version)
					must(err)
				}
			case 4:
				if random.IntN(3) == 0 {
					_, err := l.RevokeSet(ctx, set, "ann", "CVE")
					must(err)
				}
			case 5:
				before, noneBefore := l.PreviousSet(ctx, "development")
				var h Holdings
				h.Images, err = l.Images(ctx, ledger.ImageFilter{})
				must(err)
				h.Sets, err = l.Sets(ctx, "", 0)
				must(err)
				h.Channels, err = l.Channels(ctx)
				must(err)
				h.Moves, err = l.Moves(ctx, "development", 0)
				must(err)
				for _, image := range Superseded(h, Keep{}) {
					must(l.RetireImage(ctx, image.ID, image.Created)) // never ErrHeld
				}
				if after, err := l.PreviousSet(ctx, "development"); noneBefore == nil && (err != nil || after.ID != before.ID) {
					t.Fatalf("seed %d: a rollback went to %s, and after pruning to %s, %v", seed, before.ID, after.ID, err)
				}
			}
		}
	}
}
