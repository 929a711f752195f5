package product

import (
	"bytes"
	"fmt"
	"strings"
)

// How much of a command's output a problem keeps: its beginning, where the first error is, and more of its
// end, where most programs sum up. Bytes.
const (
	mostHead = 2 << 10
	mostTail = 6 << 10
)

// excerpt keeps the head and the tail of what is written to it.
type excerpt struct {
	head, tail []byte
	dropped    int
}

func (e *excerpt) Write(p []byte) (int, error) {
	n := len(p)
	if free := mostHead - len(e.head); free > 0 {
		free = min(free, len(p))
		e.head, p = append(e.head, p[:free]...), p[free:]
	}
	e.tail = append(e.tail, p[max(0, len(p)-mostTail):]...)
	e.dropped += len(p) - min(len(p), mostTail)
	if over := len(e.tail) - mostTail; over > 0 {
		e.tail = append(e.tail[:0], e.tail[over:]...)
		e.dropped += over
	}
	return n, nil
}

// String is what was kept as text for people: without control characters but tab and newline.
func (e *excerpt) String() string {
	text := string(e.head) + string(e.tail)
	if e.dropped > 0 {
		text = fmt.Sprintf("%s\n… %d bytes left out …\n%s", bytes.TrimRight(e.head, "\n"), e.dropped, e.tail)
	}
	return strings.TrimRight(plain(text), "\n")
}

// excerptOf is the excerpt of a whole output.
func excerptOf(said []byte) string {
	var e excerpt
	_, _ = e.Write(said) // it never fails
	return e.String()
}

func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// clip bounds a message, in bytes.
func clip(text string, most int) string {
	text = plain(text)
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
