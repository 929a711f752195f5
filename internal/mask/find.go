package mask

// Finder looks for secrets in much text, such as all files of a disk. Mask is for text that is shown.
type Finder struct {
	mask *Mask
	// begins tells of two bytes whether a form may begin with them: all that most text is looked at for.
	begins *[1 << 16]bool
}

// NewFinder makes a Finder of secrets, in the forms that a Mask knows.
func NewFinder(secrets ...string) *Finder {
	f := &Finder{mask: New(secrets...), begins: new([1 << 16]bool)}
	for _, needle := range f.mask.needles {
		first := int(needle[0]) << 8
		for _, second := range []byte{needle[1], '\n', '\r', '\\'} { // a line may end there: see lineEnd
			f.begins[first|int(second)] = true
		}
	}
	return f
}

// In reports whether a secret stands in the text as a whole, in any form. A part of one at the text's beginning or
// end is none: whoever reads in pieces lets them overlap by Longest bytes.
func (f *Finder) In(text []byte) bool {
	if f.mask.none() {
		return false
	}
	for i := 0; i+1 < len(text); i++ {
		if f.begins[int(text[i])<<8|int(text[i+1])] {
			if end, _ := f.mask.match(text, i); end > 0 {
				return true
			}
		}
	}
	return false
}

// Longest is how many bytes the longest form takes, if it is broken into lines of 20 bytes and more.
func (f *Finder) Longest() int {
	most := 0
	for _, needle := range f.mask.needles {
		most = max(most, len(needle))
	}
	return most + (most/20+1)*longestGap
}
