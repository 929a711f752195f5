package probe

import (
	"io"
	"runtime"
	"strings"
	"testing"
	"time"
)

// endless gives a line of so many bytes without ever holding it.
type endless struct{ left int }

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), e.left)
	for i := range n {
		p[i] = "x\x00\xff"[i%3]
	}
	e.left -= n
	return n, nil
}

// A line of 100 MB is one line, is not held in memory, and hides nothing that follows.
func TestLineWithoutEnd(t *testing.T) {
	const head, next = "2026-11-23T22:00:00.000000+00:00 web-1 app: ", "2026-11-23T22:00:01.000000+00:00 web-1 app: segfault at 0\n"
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	now := time.Date(2026, 11, 23, 23, 0, 0, 0, time.UTC)
	file, err := Syslog(io.MultiReader(strings.NewReader(head), &endless{100 << 20}, strings.NewReader("\n"+next)), time.Time{}, now)
	runtime.ReadMemStats(&after)
	if err != nil || file.Written != 2 || file.Understood != 2 || len(file.Lines) != 2 || file.Lines[1].Message != "segfault at 0" {
		t.Fatalf("%d lines, %d understood: %v", file.Written, file.Understood, err)
	}
	if l := file.Lines[0].Message; len(l) > longestRead || !strings.HasSuffix(l, "…") {
		t.Errorf("%d bytes are kept", len(l))
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 10<<20 {
		t.Errorf("%d bytes were taken", used)
	}
}
