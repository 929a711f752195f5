package remote

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Put implements Session. The content goes by standard input, never through an argument; the file
// takes its place by a rename once all of it is on disk, so nobody ever sees a part of it. The
// directory must exist. A symbolic link at path is replaced, not followed.
func (s *shell) Put(ctx context.Context, file string, content io.Reader, mode uint32, sudo bool) error {
	if !path.IsAbs(file) || strings.HasSuffix(file, "/") || mode&^0o7777 != 0 {
		return verdict.Errorf(verdict.Unexplained, s.server, "put %q with mode %o: an absolute path of a file and permission bits are wanted", file, mode)
	}
	r, err := s.Run(ctx, Command{
		Line:  putLine(file, mode),
		Sudo:  sudo,
		Stdin: gather{content},
	})
	cause := verdict.CauseOf(err)
	switch {
	case cause == verdict.TestTimeout:
		// Delivering a file is our work: a slow one is no test of the product.
		return verdict.Errorf(verdict.Transport, s.server, "put %s: not delivered in time: %w", file, ctx.Err())
	case err != nil:
		return verdict.Errorf(cause, s.server, "put %s: %w", file, err)
	case r.Exit != 0:
		return verdict.Errorf(verdict.Unexplained, s.server, "put %s: %s", file, abbreviate(string(r.Stderr), 300))
	}
	return nil
}

// gather fills a buffer before it gives it away, for each Read costs a frame.
type gather struct{ from io.Reader }

func (g gather) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m, err := g.from.Read(p[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// putLine is one line, and short, for it stands in the server's log. Its trap is set before there is anything
// to remove, and bash itself makes the file: a program that did might do it after the trap, if the command is
// ended just as it starts. What is not a file of ours by then (others may write to the folder) gets nothing.
func putLine(file string, mode uint32) string {
	temporary := path.Join(path.Dir(file), ".hallmark."+rand.Text())
	return fmt.Sprintf(`p=%s; trap 'rm -f -- "$p"' EXIT; umask 077; set -C; exec 7>"$p" && [ -f /dev/fd/7 ] && cat >&7 && chmod %04o -- "$p" && sync -- "$p" && mv -fT -- "$p" %s`,
		Quote(temporary), mode, Quote(file))
}
