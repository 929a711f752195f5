package verifier

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Bounds of what is kept of one test. What comes from a server may be of any length.
const (
	mostResults = 10_000
	mostName    = 300      // bytes
	mostMessage = 4 << 10  // bytes
	mostKept    = 64 << 10 // bytes of Lines
)

// bound cuts texts to what is kept of them, saying how much was left out, and makes them text that a ledger can
// keep. Results that are too many, or have the same name, are an error: one of them would hide another.
func bound(t Test, results []ledger.Result) error {
	if n := len(results); n > mostResults {
		return verdict.Errorf(verdict.TestBroken, t.Server, "%s of suite %s gave %d results, more than the %d that are kept", t.Name, t.Suite, n, mostResults)
	}
	names := make(map[string]bool, len(results))
	for i := range results {
		r := &results[i]
		if name := storable(r.Test); len(name) > mostName {
			// Two long names may begin alike.
			r.Test = fmt.Sprintf("%s… (%d bytes, %x)", first(name, mostName), len(name), sha256.Sum256([]byte(name)))
		} else {
			r.Test = name
		}
		if names[r.Test] {
			return verdict.Errorf(verdict.TestBroken, t.Server, "%s of suite %s gave more than one result for %s", t.Name, t.Suite, r.Test)
		}
		names[r.Test] = true
		r.Message, r.Lines = cut(r.Message, mostMessage), cut(r.Lines, mostKept)
		for j := range r.Excuses {
			e := &r.Excuses[j]
			e.Match, e.Reason = cut(e.Match, mostMessage), cut(e.Reason, mostMessage)
		}
	}
	return nil
}

func cut(text string, most int) string {
	text = storable(text)
	if over := len(text) - most; over > 0 {
		return first(text, most) + fmt.Sprintf("… (%d bytes more)", over)
	}
	return text
}

// first gives at most n bytes, of whole characters.
func first(text string, n int) string {
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// storable is UTF-8 without NUL, which no text column of PostgreSQL takes.
func storable(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd"), "\x00", "\ufffd")
}
