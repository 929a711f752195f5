// Package mask blanks secrets in text that comes from servers, before anything keeps, shows or sends it. It knows
// a secret in the forms in which programs print it. Which secrets there are, and what is read, is for its callers:
// package environment, through which everything passes that is read from a server.
package mask

import (
	"io"
	"slices"
	"strings"
)

// Mark stands where a secret was. It means nothing to YAML, JSON, XML and shells, so a masked document still parses.
const Mark = "(secret)"

const (
	// shortest is the length from which a secret can be found: a shorter one is part of ordinary words.
	shortest = 6
	// longestGap bounds what may break a secret between two of its characters: line ends and indentation.
	longestGap = 64
)

// Mask finds a set of secrets. The nil Mask finds none. It may be used by many at a time.
type Mask struct {
	root    *node
	needles []string // every form of every secret
}

// node is a place in the tree of all forms.
type node struct {
	next map[byte]*node
	end  bool // a form ends here
}

// New makes a Mask of secrets. One that is shorter than 6 bytes is not looked for.
func New(secrets ...string) *Mask {
	m := &Mask{root: &node{}}
	for _, secret := range secrets {
		if secret = strings.TrimSpace(secret); len(secret) < shortest {
			continue
		}
		m.needles = append(m.needles, forms(secret)...)
	}
	slices.Sort(m.needles)
	m.needles = slices.Compact(m.needles)
	for _, needle := range m.needles {
		at := m.root
		for i := range len(needle) {
			if at.next == nil {
				at.next = map[byte]*node{}
			}
			if at.next[needle[i]] == nil {
				at.next[needle[i]] = &node{}
			}
			at = at.next[needle[i]]
		}
		at.end = true
	}
	return m
}

func (m *Mask) none() bool { return m == nil || len(m.needles) == 0 }

// String is Bytes for a string.
func (m *Mask) String(text string) string {
	if m.none() {
		return text
	}
	return string(m.Bytes([]byte(text)))
}

// Bytes gives the text without secrets. A secret may be broken by line ends, and the text may begin or end in the
// midst of one. Text that has none is given as it is, not copied.
func (m *Mask) Bytes(text []byte) []byte {
	if m.none() {
		return text
	}
	var b []byte
	done := 0
	if n := m.cutHead(text); n > 0 {
		b, done = append(b, Mark...), n
	}
	for i := done; i < len(text); {
		end, going := m.match(text, i)
		if end == 0 && going >= shortest { // the text ends before the secret does
			end = len(text)
		}
		if end == 0 {
			i++
			continue
		}
		b = append(append(b, text[done:i]...), Mark...)
		i, done = end, end
	}
	if done == 0 {
		return text
	}
	return append(b, text[done:]...)
}

// match looks for the longest form that begins at i, and gives where it ends, or 0. If the text ended while one
// could still go on, going is how many of its bytes were there.
func (m *Mask) match(text []byte, i int) (end, going int) {
	at, depth, gap := m.root, 0, 0
	for j := i; j < len(text); {
		if next := at.next[text[j]]; next != nil {
			at, depth, gap = next, depth+1, 0
			j++
			if at.end {
				end = j
			}
			continue
		}
		n := lineEnd(text[j:], gap > 0)
		if depth == 0 || n == 0 || gap+n > longestGap || len(at.next) == 0 {
			return end, 0
		}
		gap += n
		j += n
	}
	if len(at.next) == 0 {
		return end, 0
	}
	return end, depth
}

// lineEnd is how many bytes of a line's end the text begins with: as it is, or escaped; inside also the indentation
// of the next line.
func lineEnd(text []byte, inside bool) int {
	switch {
	case text[0] == '\n', text[0] == '\r', inside && (text[0] == ' ' || text[0] == '\t'):
		return 1
	case text[0] == '\\' && len(text) == 1: // the rest of it is still to come
		return 1
	case text[0] == '\\' && (text[1] == 'n' || text[1] == 'r'):
		return 2
	}
	return 0
}

// cutHead is how many bytes of the text are the end of a secret whose beginning was cut off.
func (m *Mask) cutHead(text []byte) (most int) {
	for _, needle := range m.needles {
		for k := 1; len(needle)-k > max(most, shortest-1); k++ {
			if rest := needle[k:]; len(text) >= len(rest) && string(text[:len(rest)]) == rest {
				most = len(rest)
			}
		}
	}
	return most
}

// Writer masks what is written, in pieces of any size, and hands it on. It keeps back what may be the beginning of
// a secret until more is written, or Flush is called.
type Writer struct {
	mask *Mask
	to   io.Writer
	held []byte
}

// Writer gives a Writer to w. It may be used by one at a time.
func (m *Mask) Writer(w io.Writer) *Writer { return &Writer{mask: m, to: w} }

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	if w.mask.none() {
		return w.to.Write(p)
	}
	w.held = append(w.held, p...)
	var ready []byte
	i, done := 0, 0
	for i < len(w.held) {
		end, going := w.mask.match(w.held, i)
		if going > 0 {
			break
		}
		if end == 0 {
			i++
			continue
		}
		ready = append(append(ready, w.held[done:i]...), Mark...)
		i, done = end, end
	}
	ready = append(ready, w.held[done:i]...)
	w.held = append(w.held[:0], w.held[i:]...)
	if len(ready) == 0 {
		return len(p), nil
	}
	if _, err := w.to.Write(ready); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush hands on what was kept back.
func (w *Writer) Flush() error {
	if len(w.held) == 0 {
		return nil
	}
	held := w.mask.Bytes(w.held)
	w.held = nil
	_, err := w.to.Write(held)
	return err
}
