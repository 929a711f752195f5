package main

import (
	"io"
	"os"

	"golang.org/x/term"

	"github.com/hallmark-ci/hallmark/internal/printable"
	"github.com/hallmark-ci/hallmark/internal/report"
)

// screen is where people read: stdout, stderr, or a file that is written in their place. Everything that a command
// prints or logs is written to one, and nothing that others wrote steers a terminal from there on.
type screen struct {
	*printable.Writer
	raw io.Writer
}

func screenOn(w io.Writer) *screen { return &screen{printable.NewWriter(w), w} }

// painted is past the cleaning: for what colours text or moves the cursor. Who writes to it has cleaned all that is
// not its own.
func (s *screen) painted() io.Writer { return s.raw }

// terminal says how text is to look here.
func (s *screen) terminal() report.Terminal { return report.TerminalOf(s.raw) }

// size gives columns and rows of a terminal; false if it is none.
func (s *screen) size() (columns, rows int, ok bool) {
	f, isFile := s.raw.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 0, 0, false
	}
	columns, rows, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 100, 24, true
	}
	return columns, rows, true
}
