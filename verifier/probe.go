package verifier

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path"

	"github.com/hallmark-ci/hallmark/internal/probe"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

const onServer = "/var/lib/hallmark" // where the probe and its specifications are put

// mostSaid bounds a probe's answer, in bytes: the whole log of a very noisy server still fits.
const mostSaid = 64 << 20

// notOurs is the exit code of a command that did not run the probe: none is there, or another program under its
// name, which the product or an image left.
const notOurs = 90

// probe runs the probe on a server as root and gives its answer. The command that runs it looks at its digest
// first, every time; if it is not ours, ours is put there.
func (v *Verifier) probe(ctx context.Context, s remote.Session, server, arguments string, stdin []byte) (remote.Result, error) {
	content, err := os.ReadFile(v.Probe)
	if err != nil {
		return remote.Result{}, verdict.Errorf(verdict.Unexplained, "", "read the probe (make build makes it): %w", err)
	}
	sum := sha256.Sum256(content)
	file := path.Join(onServer, fmt.Sprintf("probe-%x", sum[:6]))
	line := fmt.Sprintf("echo '%x  %s' | sha256sum --check --status 2>/dev/null || exit %d; exec %s %s", sum, file, notOurs, file, arguments)
	for put := false; ; put = true {
		cmd := remote.Command{Line: line, Sudo: true, Bound: mostSaid}
		if stdin != nil {
			cmd.Stdin = bytes.NewReader(stdin)
		}
		out, err := s.Run(ctx, cmd)
		switch {
		case err != nil:
			return out, err
		case out.Exit != notOurs && out.Truncated:
			return out, verdict.Errorf(verdict.TestBroken, server, "hallmark-probe said more than the %d MiB that are read of it: the beginning is lost, so nothing is proved", mostSaid>>20)
		case out.Exit != notOurs:
			return out, nil
		case put:
			return out, verdict.Errorf(verdict.TestBroken, server, "%s has another digest than the hallmark-probe that was just put there: the product replaces it, and what it would say proves nothing", file)
		}
		if err := s.Put(ctx, file, bytes.NewReader(content), 0o755, true); err != nil {
			return out, err
		}
	}
}

// ask runs a subcommand of the probe on a server; stdin may be nil.
func (v *Verifier) ask(ctx context.Context, place Place, server, arguments string, stdin []byte) (remote.Result, error) {
	s, err := place.Session(ctx, server)
	if err != nil {
		return remote.Result{}, err
	}
	defer s.Close()
	return v.probe(ctx, s, server, arguments, stdin)
}

// broken is why a probe gave no answer: its own rules are wrong, or it could not even do its work.
func broken(server, what, why string, err error, out remote.Result) error {
	cause := verdict.TestBroken
	if out.Exit > probe.ExitBroken { // bash says 126 and up of what was killed or cannot be started
		cause = verdict.Unexplained
	}
	switch {
	case why != "":
	case err != nil:
		why = fmt.Sprintf("%v (exit %d): %s", err, out.Exit, bytes.TrimSpace(out.Stderr))
	default:
		why = fmt.Sprintf("exit %d: %s", out.Exit, bytes.TrimSpace(out.Stderr))
	}
	return verdict.Errorf(cause, server, "%s: %s", what, why)
}
