// Package verdict decides whose fault it is. It owns the coded causes of trouble and the one
// judgement from causes to a verdict. It is data and pure functions: it talks to nothing and
// imports nothing of Hallmark, so every other package may name a cause.
package verdict

import "fmt"

// Verdict is what is known about a thing that was tried. Its zero value is Inconclusive: nothing
// was learned, so it never promotes and never counts as a failure of the product.
type Verdict int

// The three verdicts (DESIGN.md section 1).
const (
	Inconclusive Verdict = iota
	Passed
	Failed
)

var verdictNames = [...]string{"inconclusive", "passed", "failed"}

// String is the word used in the CLI, the ledger and reports.
func (v Verdict) String() string {
	if v < 0 || int(v) >= len(verdictNames) {
		return verdictNames[Inconclusive]
	}
	return verdictNames[v]
}

// MarshalText writes the verdict's word.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads a verdict's word; an unknown word is an error.
func (v *Verdict) UnmarshalText(text []byte) error {
	for i, name := range verdictNames {
		if name == string(text) {
			*v = Verdict(i)
			return nil
		}
	}
	return fmt.Errorf("unknown verdict %q: use one of %v", text, verdictNames)
}

// Worst combines the verdicts of parts into the verdict of the whole: a failure decides, then
// anything inconclusive; only if every part passed has the whole passed. No parts: Inconclusive.
func Worst(parts ...Verdict) Verdict {
	if len(parts) == 0 {
		return Inconclusive
	}
	whole := Passed
	for _, p := range parts {
		switch p {
		case Failed:
			return Failed
		case Passed:
		default:
			whole = Inconclusive
		}
	}
	return whole
}
