package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func open(t *testing.T, file, digest string, seed uint64) *tally {
	t.Helper()
	book, err := openTally(file, code{"abc", digest}, seed)
	if err != nil {
		t.Fatal(err)
	}
	return book
}

// A soak goes on where it stood; other code and another seed begin anew, and lose nothing of what is written.
func TestTallyGoesOn(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "state", "runs.jsonl")
	one, two := work{small, "", 1}, work{small, plants[0].name, 1}
	book := open(t, file, "old", 1)
	for _, w := range []work{one, two} {
		if err := book.add(line{work: w, Verdict: "passed", Good: true}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		digest string
		seed   uint64
		done   int
	}{{"old", 1, 2}, {"new", 1, 0}, {"old", 2, 0}} {
		book := open(t, file, c.digest, c.seed)
		if len(book.done) != c.done || book.has(one) != (c.done > 0) || book.has(work{acme, "", 1}) {
			t.Errorf("code %s, seed %d: %d runs are done, want %d", c.digest, c.seed, len(book.done), c.done)
		}
	}
	if err := open(t, file, "new", 1).add(line{work: one}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || strings.Count(string(text), "\n") != 3 || !strings.Contains(string(text), `"commit":"abc"`) {
		t.Errorf("the tally is %q, %v; want three lines with their commits", text, err)
	}
	if err := os.WriteFile(file, append(text, "{half"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openTally(file, code{}, 1); err == nil || !strings.Contains(err.Error(), "runs.jsonl:4") {
		t.Errorf("a broken line: %v, want file and line", err)
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	passed := line{work: work{Product: small}, Verdict: "passed", Good: true}
	failed := line{work: work{Product: small}, Verdict: "failed"}
	unclear := line{work: work{Product: acme}, Verdict: "inconclusive"}
	found := line{work: work{Product: small, Plant: plants[0].name}, Verdict: "failed, found", Good: true}
	missed := line{work: work{Product: small, Plant: plants[0].name}, Verdict: "passed, not found"}
	for name, c := range map[string]struct {
		lines []line
		good  bool
		says  string
	}{
		"all is well":      {[]line{passed, passed, found}, true, "small: 2 runs: 2 passed, 0 failed"},
		"a healthy failed": {[]line{passed, failed}, false, "1 failed"},
		"one inconclusive": {[]line{passed, unclear}, true, "acme: 1 runs: 0 passed, 0 failed, 1 inconclusive"},
		"two inconclusive": {[]line{unclear, unclear}, false, "2 inconclusive"},
		"a defect missed":  {[]line{found, missed}, false, "found in 1 of 2"},
	} {
		t.Run(name, func(t *testing.T) {
			var said strings.Builder
			if good := (&tally{done: c.lines}).verdict(&said); good != c.good || !strings.Contains(said.String(), c.says) {
				t.Errorf("%v, says %q", good, said.String())
			}
		})
	}
}

func TestTried(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]bool{
		"cmd/hallmark/main.go": true, "internal/puppet/hallmark-provision.sh": true, "internal/soak/small/hallmark.yaml": true,
		"configs/acme/puppet/manifests/site.pp": true, "go.mod": true,
		"internal/soak/main.go": false, "cmd/hallmark/main_test.go": false, "README.md": false, "configs/demo.sh": false, "Makefile": false,
	} {
		if tried(file) != want {
			t.Errorf("%s: %v, want %v", file, !want, want)
		}
	}
}

// Early figures tell of both products, and nothing is done twice.
func TestWork(t *testing.T) {
	t.Parallel()
	seen, acmes, first := map[work]bool{}, 0, -1
	for i, w := range (options{Small: 20, Acme: 3, Plants: 5}).work() {
		if seen[w] {
			t.Errorf("%s comes twice", w)
		}
		seen[w] = true
		if w.Product == acme {
			if acmes++; first < 0 {
				first = i
			}
		}
	}
	if len(seen) != 20+3+5*len(plants) || acmes != 3 || first > 10 {
		t.Errorf("%d runs, %d of acme, the first at %d", len(seen), acmes, first)
	}
	if got := len((options{Acme: 2}).work()); got != 2 {
		t.Errorf("%d runs, want two of acme alone", got)
	}
}
