package ledger

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A ledger notices that it is not the one that was used here last.
func TestIdentity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	copied := path + ".copy"
	use := func(times int) (is Identity, noticed bool) {
		t.Helper()
		l, err := Open(t.Context(), path, WithClock((&clock{now: noon}).look))
		must(t, err)
		for range times {
			var now bool
			is, now, err = l.Identify(t.Context())
			must(t, err)
			noticed = noticed || now
		}
		if same := get[Identity](t)(l.Identity(t.Context())); same != is {
			t.Errorf("identity is %+v, then %+v", is, same)
		}
		must(t, l.Close())
		return is, noticed
	}
	put := func(to, from string) {
		t.Helper()
		in, err := os.Open(from)
		must(t, err)
		defer in.Close()
		out, err := os.Create(to)
		must(t, err)
		_, err = io.Copy(out, in)
		must(t, err)
		must(t, out.Close())
	}
	first, noticed := use(3)
	if noticed || first.ID == "" || !first.Forgotten.IsZero() {
		t.Errorf("a new ledger is %+v, %v", first, noticed)
	}
	put(copied, path)
	if is, noticed := use(1); noticed || is.ID != first.ID || !is.Forgotten.IsZero() {
		t.Errorf("used again it is %+v, %v", is, noticed)
	}

	put(path, copied)
	is, noticed := use(1)
	if !noticed || is.ID != first.ID || is.Forgotten.IsZero() {
		t.Errorf("an older copy is %+v, %v", is, noticed)
	}
	if again, noticed := use(2); noticed || again.Forgotten != is.Forgotten {
		t.Errorf("then it is %+v, %v", again, noticed)
	}

	must(t, os.Remove(path))
	other, noticed := use(1)
	if !noticed || other.ID == first.ID || other.Forgotten.IsZero() {
		t.Errorf("a ledger begun anew is %+v, %v", other, noticed)
	}

	must(t, os.WriteFile(path+".seen", []byte("{"), 0o600))
	l := open(t, path)
	if _, _, err := l.Identify(t.Context()); err == nil || !strings.Contains(err.Error(), "ledger.db.seen") || !strings.Contains(err.Error(), "remove the file") {
		t.Errorf("a file that is cut off: %v", err)
	}
}

// A run of the ledger's own time that it does not know shows that it lacks something, once.
func TestLacks(t *testing.T) {
	l := fresh(t)
	is, _, err := l.Identify(t.Context()) // created soon after noon
	must(t, err)
	lacks := get[bool](t)
	after := "20261123-1500-nightly-abcdef"
	for run, want := range map[string]bool{
		after: true, "20261123-1200-nightly-abcdef": true, // the same minute
		"20261123-1159-nightly-abcdef": false, "20251123-1500-nightly-abcdef": false, "lost": false, "": false,
	} {
		if got := lacks(l.Lacks(t.Context(), run)); got != want {
			t.Errorf("run %q shows that the ledger of %v lacks something: %v", run, is.Created, got)
		}
	}
	must(t, l.Forgot(t.Context(), after))
	if is := get[Identity](t)(l.Identity(t.Context())); is.Forgotten.Before(noon.Add(3*time.Hour)) || lacks(l.Lacks(t.Context(), after)) {
		t.Errorf("noted, the ledger is %+v", is)
	}
}

// What is in quarantine keeps the time at which it was first seen, and goes when it is explained.
func TestQuarantine(t *testing.T) {
	l := fresh(t)
	note := get[[]Suspect](t)
	a, b := Suspect{Kind: "image", ID: "a", Name: "x", Why: "unknown"}, Suspect{Kind: "server", ID: "a", Name: "y", Why: "unknown"}
	first := note(l.Quarantine(t.Context(), []Suspect{a}))
	both := note(l.Quarantine(t.Context(), []Suspect{b, a}))
	if len(first) != 1 || len(both) != 2 || both[1].First != first[0].First || !both[0].First.After(first[0].First) {
		t.Errorf("first %+v, then %+v", first, both)
	}
	if listed := note(l.Suspects(t.Context())); len(listed) != 2 || listed[0] != first[0] || listed[1] != both[0] {
		t.Errorf("listed are %+v", listed)
	}
	if left := note(l.Quarantine(t.Context(), nil)); len(left) != 0 || len(note(l.Suspects(t.Context()))) != 0 {
		t.Errorf("left are %+v", left)
	}
	if again := note(l.Quarantine(t.Context(), []Suspect{a})); !again[0].First.After(both[0].First) {
		t.Errorf("seen anew since %v", again[0].First)
	}
}
