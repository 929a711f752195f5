// Package printable cleans text that others wrote before people see it: commit subjects, names of tests and
// resources, output of servers. It owns what is taken out, and gives one form for each kind of output: Text and Of
// for pages, Writer for terminals and logs, JSON for programs, which loses nothing.
package printable

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// escape is a sequence that a terminal obeys, in its 7-bit form (ECMA-48): CSI, OSC and other strings,
// or ESC and one more character.
var escape = regexp.MustCompile(`\x1b(\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(\x07|\x1b\\)?|[ -/]*[0-~])?`)

// unseen are characters that are no control or format characters and yet show nothing: fillers, and lines' and
// paragraphs' ends.
var unseen = &unicode.RangeTable{R16: []unicode.Range16{
	{Lo: 0x034f, Hi: 0x034f, Stride: 1}, {Lo: 0x115f, Hi: 0x1160, Stride: 1}, {Lo: 0x17b4, Hi: 0x17b5, Stride: 1},
	{Lo: 0x2028, Hi: 0x2029, Stride: 1}, {Lo: 0x3164, Hi: 0x3164, Stride: 1}, {Lo: 0xffa0, Hi: 0xffa0, Stride: 1},
}}

// steers reports whether a character steers a terminal, changes the order of others, or is there without being
// seen: control characters but newline and tab, and format characters (Unicode category Cf: writing directions,
// isolates, zero width, tags) but those that are signs of their own.
func steers(r rune) bool {
	switch {
	case r == '\n', r == '\t':
		return false
	case unicode.IsControl(r), unicode.Is(unseen, r):
		return true
	}
	return unicode.Is(unicode.Cf, r) && !unicode.Is(unicode.Prepended_Concatenation_Mark, r)
}

// Text gives a text without escape sequences and without the characters that steer. Bytes that are no UTF-8 become
// U+FFFD.
func Text(text string) string {
	return strings.Map(func(r rune) rune {
		if steers(r) {
			return -1
		}
		return r
	}, escape.ReplaceAllString(text, ""))
}

// Writer cleans all that is written to it as Text does, and hands it on. It is safe for concurrent use.
type Writer struct {
	to io.Writer

	mu   sync.Mutex
	held []byte // the beginning of a character whose end is still to come
}

// NewWriter gives a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{to: w} }

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := append(w.held, p...)
	w.held = nil
	for back := 1; back < utf8.UTFMax && back <= len(text); back++ {
		if begin := text[len(text)-back:]; utf8.RuneStart(begin[0]) {
			if !utf8.FullRune(begin) {
				w.held, text = bytes.Clone(begin), text[:len(text)-back]
			}
			break
		}
	}
	if _, err := io.WriteString(w.to, Text(string(text))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// JSON writes a value for programs, indented and with nothing left out: what Text would take out is spelled as an
// escape of JSON.
func JSON(w io.Writer, value any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return err
	}
	var safe strings.Builder
	for _, r := range b.String() {
		switch {
		case !steers(r):
			safe.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&safe, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&safe, `\u%04x`, r)
		}
	}
	_, err := io.WriteString(w, safe.String())
	return err
}
