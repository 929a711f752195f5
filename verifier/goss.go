package verifier

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"

	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/host"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/probe"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

const onServer = "/var/lib/hallmark" // where the probe and its specifications are put

// mostSaid bounds a probe's answer, in bytes: the whole log of a very noisy server still fits.
const mostSaid = 64 << 20

// gossTests makes a test of each goss file and server: suites/<tier>/all.yaml on every server,
// suites/<tier>/<role>.yaml on those of the role.
func (v *Verifier) gossTests(p *product.Product, servers []environment.Server, tier string) ([]Test, error) {
	var tests []Test
	for _, s := range servers {
		for _, suite := range []string{"all", s.Role} {
			spec, err := p.Text(path.Join("suites", tier, suite+".yaml"))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("suite %s/%s: %w", tier, suite, err)
			}
			tests = append(tests, Test{Tier: tier, Suite: suite, Name: "goss " + suite, Server: s.Name,
				run: v.goss(s.Name, tier, suite, spec)})
		}
	}
	if len(tests) == 0 {
		return nil, fmt.Errorf("suites/%s: no goss file for any role of the topology; add all.yaml or <role>.yaml", tier)
	}
	return tests, nil
}

func (v *Verifier) goss(server, tier, suite string, spec []byte) func(context.Context, Place) ([]ledger.Result, error) {
	return func(ctx context.Context, place Place) ([]ledger.Result, error) {
		s, err := place.Session(ctx, server)
		if err != nil {
			return nil, err
		}
		defer s.Close()
		binary, err := v.deliverProbe(ctx, s)
		if err != nil {
			return nil, err
		}
		file := path.Join(onServer, "suite-"+tier+"-"+suite+".yaml")
		if err := s.Put(ctx, file, bytes.NewReader(spec), 0o600, true); err != nil {
			return nil, err
		}
		line := binary + " validate --spec " + file + " --vars " + puppet.FactsPath + stretched(ctx)
		out, err := s.Run(ctx, remote.Command{Line: line, Sudo: true, Bound: mostSaid})
		if err != nil {
			return nil, err
		}
		checks, err := probe.ParseChecks(out.Stdout)
		if err != nil || checks.Broken != "" || out.Exit == probe.ExitBroken {
			return nil, broken(server, fmt.Sprintf("suites/%s/%s.yaml", tier, suite), checks.Broken, err, out)
		}
		return gossResults(checks), nil
	}
}

// stretched gives the probe's option for a busy host: the times that checks name are those of an idle one.
// What the host gives may halve while they run.
func stretched(ctx context.Context) string {
	stretch := host.PaceOf(ctx).Stretch()
	if stretch < 1.2 {
		return ""
	}
	return fmt.Sprintf(" --stretch %.1f", min(2*stretch, host.Bound))
}

// timeouts are what goss says of a check whose time was over.
var timeouts = regexp.MustCompile(`timed out|Timeout exceeded|deadline exceeded|i/o timeout`)

func gossResults(checks probe.Checks) []ledger.Result {
	var results []ledger.Result
	for _, c := range checks.Results {
		r := ledger.Result{ResultKey: ledger.ResultKey{Test: c.Name}, Duration: c.Duration}
		switch c.Outcome {
		case probe.Passed:
			r.Outcome = ledger.Passed
		case probe.Skipped:
			r.Outcome, r.Message = ledger.Skipped, c.Message
		default:
			r.Outcome, r.Message = ledger.Failed, c.Message
			if timeouts.MatchString(c.Message) {
				r.Cause = verdict.TestTimeout
			}
			r.Lines = "expected " + c.Expected + "\nfound    " + c.Found
		}
		results = append(results, r)
	}
	return results
}

// deliverProbe puts the probe on a server once and gives its path there.
func (v *Verifier) deliverProbe(ctx context.Context, s remote.Session) (string, error) {
	content, err := os.ReadFile(v.Probe)
	if err != nil {
		return "", verdict.Errorf(verdict.Unexplained, "", "read the probe (make build makes it): %w", err)
	}
	sum := sha256.Sum256(content)
	file := path.Join(onServer, "probe-"+hex.EncodeToString(sum[:6]))
	there, err := s.Run(ctx, remote.Command{Line: "test -x " + file, Sudo: true})
	if err != nil || there.Exit == 0 {
		return file, err
	}
	return file, s.Put(ctx, file, bytes.NewReader(content), 0o755, true)
}

// ask runs a subcommand of the probe that reads JSON rules from stdin and gives its answer.
func (v *Verifier) ask(ctx context.Context, place Place, server, arguments string, stdin io.Reader) (remote.Result, error) {
	s, err := place.Session(ctx, server)
	if err != nil {
		return remote.Result{}, err
	}
	defer s.Close()
	binary, err := v.deliverProbe(ctx, s)
	if err != nil {
		return remote.Result{}, err
	}
	return s.Run(ctx, remote.Command{Line: binary + " " + arguments, Sudo: true, Stdin: stdin, Bound: mostSaid})
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
