package ledger

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// The longest texts that are stored, in bytes. They come from programs, which may say megabytes; lists and
// reports show them all.
const (
	mostMessage = 4 << 10  // of a result; also a run's and a move's reason
	mostDetail  = 16 << 10 // of a stage
	mostLines   = 64 << 10 // of a result
)

// bounded gives a text as valid UTF-8 of at most so many bytes. Of a longer one it keeps the head, which
// says what was attempted, and the tail, which says how it ended, and tells between them how much is missing.
func bounded(text string, most int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= most {
		return text
	}
	const mark = "\n… %d bytes left out …\n"
	room := (most - len(mark) - len("9223372036854775807")) / 2
	head, tail := room, len(text)-room
	for head > 0 && !utf8.RuneStart(text[head]) {
		head--
	}
	for tail < len(text) && !utf8.RuneStart(text[tail]) {
		tail++
	}
	return text[:head] + fmt.Sprintf(mark, tail-head) + text[tail:]
}
