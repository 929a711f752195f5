package verifier_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/probe"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

const (
	nginx = "service:nginx:holds"
	port  = "port:tcp:80:holds"
)

func (p *place) goss() []ledger.Result {
	p.t.Helper()
	return p.run("web", "goss web", "web-1")
}

// validates scripts what the probe says of web's goss file.
func (p *place) validates(exit int, c probe.Checks) {
	p.t.Helper()
	body, err := json.Marshal(c)
	if err != nil {
		p.t.Fatal(err)
	}
	p.when("web-1", "validate", exits(exit, string(body)))
}

// One goss file is one test, and each of its checks a result of its own.
func TestGossChecks(t *testing.T) {
	passed := wanted{outcome: ledger.Passed}
	for name, c := range map[string]struct {
		spoil func(*place)
		want  map[string]wanted // by check
		lines string            // of nginx
	}{
		"all pass": {func(*place) {}, map[string]wanted{nginx: passed, port: passed}, ""},
		"one fails": {func(p *place) { p.answers.Fail("web-1", nginx, "is not running") },
			map[string]wanted{nginx: {ledger.Failed, verdict.TestFailed, []string{"is not running"}}, port: passed},
			"expected true\nfound    false"},
		"one outlives its time": {func(p *place) { p.answers.Fail("web-1", nginx, "Command execution timed out (10s)") },
			map[string]wanted{nginx: {ledger.Failed, verdict.TestTimeout, []string{"timed out"}}, port: passed},
			"expected true\nfound    false"},
		"one outlives its time on a starved host": {func(p *place) {
			p.answers.Fail("web-1", nginx, "Command execution timed out (10s)")
			p.audit = clean()
			p.audit.Starved, p.audit.Findings = true, []string{"the host was starved"}
		}, map[string]wanted{nginx: {ledger.Inconclusive, verdict.TestTimeout, []string{"timed out", "the host was starved"}}, port: passed},
			"expected true\nfound    false"},
		"one fails on a server that is not healthy": {func(p *place) {
			p.answers.Fail("web-1", nginx, "is not running")
			p.audit = unclean()
		}, map[string]wanted{
			nginx: {ledger.Inconclusive, verdict.TestFailed, []string{"is not running", "web-1 is gone", "web-1 lets nobody in"}}, port: passed,
		}, "expected true\nfound    false"},
		"one fails and nobody can look why": {func(p *place) {
			p.answers.Fail("web-1", nginx, "is not running")
			p.audit = verdict.Audit{}
		}, map[string]wanted{nginx: {ledger.Inconclusive, verdict.TestFailed, []string{"is not running"}}, port: passed}, "expected true\nfound    false"},
		"one is skipped": {func(p *place) {
			p.validates(probe.ExitOK, probe.Checks{Results: []probe.Check{
				{Name: nginx, Outcome: probe.Skipped, Message: "not in a container"}, {Name: port, Outcome: probe.Passed}}})
		}, map[string]wanted{nginx: {ledger.Skipped, verdict.None, []string{"not in a container"}}, port: passed}, ""},
		"an outcome that nobody knows": {func(p *place) {
			p.validates(probe.ExitOK, probe.Checks{Results: []probe.Check{{Name: nginx, Outcome: "fine", Message: "never seen"}, {Name: port, Outcome: probe.Passed}}})
		}, map[string]wanted{nginx: {ledger.Failed, verdict.TestFailed, []string{"never seen"}}, port: passed}, "expected \nfound    "},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			c.spoil(p)
			results := p.goss()
			if len(results) != len(c.want) {
				t.Fatalf("%d results: %+v", len(results), results)
			}
			failed := 0
			for _, r := range results {
				if key := (ledger.ResultKey{Tier: "build", Suite: "web", Test: r.Test, Server: "web-1"}); r.ResultKey != key {
					t.Errorf("key %+v", r.ResultKey)
				}
				want, known := c.want[r.Test]
				if !known {
					t.Errorf("a result of %q", r.Test)
				}
				want.check(t, r)
				if r.Test == nginx && r.Lines != c.lines {
					t.Errorf("lines %q, want %q", r.Lines, c.lines)
				}
				if want.cause != verdict.None {
					failed++
				}
			}
			if p.audits != min(1, failed) {
				t.Errorf("%d audits after %d failures", p.audits, failed)
			}
		})
	}
}

// A goss file that says nothing of the product is one result, named as the test.
func TestGossWithoutAnAnswer(t *testing.T) {
	trouble := verdict.Errorf(verdict.ServerSudo, "web-1", "no sudo")
	for name, c := range map[string]struct {
		spoil func(*place)
		want  wanted
	}{
		"the specification is broken": {
			func(p *place) { p.validates(probe.ExitBroken, probe.Checks{Broken: "line 3: tabs"}) },
			wanted{ledger.Failed, verdict.TestBroken, []string{"suites/build/web.yaml", "line 3: tabs", "web-1"}}},
		"it is broken and the server is not healthy": {func(p *place) {
			p.validates(probe.ExitBroken, probe.Checks{Broken: "line 3: tabs"})
			p.audit = unclean()
		}, wanted{ledger.Failed, verdict.TestBroken, []string{"line 3: tabs"}}},
		"it is broken, whatever the exit code": {
			func(p *place) {
				p.validates(probe.ExitOK, probe.Checks{Broken: "tabs", Results: []probe.Check{{Name: nginx, Outcome: probe.Passed}}})
			},
			wanted{ledger.Failed, verdict.TestBroken, []string{"tabs"}}},
		"wrong use": {func(p *place) { p.when("web-1", "validate", exits(probe.ExitBroken, "{}")) },
			wanted{ledger.Failed, verdict.TestBroken, []string{"exit 2: complaint"}}},
		"no JSON": {func(p *place) { p.when("web-1", "validate", exits(1, "what?")) },
			wanted{ledger.Failed, verdict.TestBroken, []string{"exit 1", "complaint"}}},
		"nothing was checked": {func(p *place) { p.validates(probe.ExitOK, probe.Checks{}) },
			wanted{ledger.Failed, verdict.TestBroken, []string{"goss web of suite web checked nothing"}}},
		"the connection breaks": {func(p *place) { p.when("web-1", "validate", breaks(verdict.Transport)) },
			wanted{ledger.Inconclusive, verdict.Transport, []string{"as scripted"}}},
		"the bastion lets nobody in": {func(p *place) { p.noSession = verdict.Errorf(verdict.RemoteBastion, "bastion", "no answer") },
			wanted{ledger.Inconclusive, verdict.RemoteBastion, []string{"no answer"}}},
		"nothing can be put there": {func(p *place) { p.noPut = verdict.Errorf(verdict.Transport, "web-1", "broken pipe") },
			wanted{ledger.Inconclusive, verdict.Transport, []string{"broken pipe"}}},
		"nobody can look for the probe": {func(p *place) { p.when("web-1", "sha256sum", breaks(verdict.Transport)) },
			wanted{ledger.Inconclusive, verdict.Transport, []string{"as scripted"}}},
		"the probe was not built": {func(p *place) { p.verifier.Probe += ".gone" },
			wanted{ledger.Inconclusive, verdict.Unexplained, []string{"make build", "probe.gone"}}},
		"nobody becomes root": {func(p *place) { p.noSession = trouble }, wanted{ledger.Failed, verdict.ServerSudo, []string{"no sudo"}}},
		"nobody becomes root on a server that is not healthy": {func(p *place) { p.noSession, p.audit = trouble, unclean() },
			wanted{ledger.Inconclusive, verdict.ServerSudo, []string{"no sudo", "web-1 is gone"}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			c.spoil(p)
			p.one("web", "goss web", "web-1", c.want)
			if p.audits != 1 {
				t.Errorf("%d audits", p.audits)
			}
		})
	}
}

// The probe is put once, as root; the specification each time, readable by root only.
func TestGossDelivers(t *testing.T) {
	p := newPlace(t)
	p.goss()
	p.write("suites/build/web.yaml", "service: {nginx: {running: false}}\n")
	p.goss()
	p.write("probe", "a newer binary")
	p.goss()
	const spec = "web-1 0600 /var/lib/hallmark/suite-build-web.yaml"
	var kinds []string
	probes := map[string]bool{}
	for _, put := range p.puts {
		if path, ok := strings.CutPrefix(put, "web-1 0755 /var/lib/hallmark/probe-"); ok {
			probes[path] = true
			put = "probe"
		}
		kinds = append(kinds, put)
	}
	if want := []string{spec, "probe", spec, spec, "probe"}; !slices.Equal(kinds, want) || len(probes) != 2 {
		t.Errorf("put %q, want %q, the two probes under different names", p.puts, want)
	}
	want, err := os.ReadFile(p.product.Dir + "/suites/build/web.yaml")
	if got := p.files["web-1"]["/var/lib/hallmark/suite-build-web.yaml"]; err != nil || got != string(want) {
		t.Errorf("the specification there is %q, %v", got, err)
	}
	if last := p.asked[len(p.asked)-1]; !strings.HasSuffix(last, " --spec /var/lib/hallmark/suite-build-web.yaml --vars "+puppet.FactsPath) {
		t.Errorf("asked %q", last)
	}
}

// A program that lies on a server under the probe's name is not run: the product or an image may have left it. It
// is replaced; one that comes back proves nothing.
func TestAnotherProbe(t *testing.T) {
	p := newPlace(t)
	p.goss()
	probeFile := ""
	for file := range p.files["web-1"] {
		if strings.Contains(file, "/probe-") {
			probeFile = file
		}
	}
	p.files["web-1"][probeFile] = "a program that finds all well"
	p.puts = nil
	p.one("system", "no failed units", "web-1", wanted{outcome: ledger.Passed})
	if p.files["web-1"][probeFile] != "a static binary" || !slices.Equal(p.puts, []string{"web-1 0755 " + probeFile}) {
		t.Errorf("put %q; %s holds %q", p.puts, probeFile, p.files["web-1"][probeFile])
	}
	p.when("web-1", "sha256sum", exits(90, `{"results":[{"name":"all is well","outcome":"passed"}]}`))
	p.one("web", "goss web", "web-1", wanted{ledger.Failed, verdict.TestBroken, []string{probeFile, "another digest"}})
	p.one("system", "clean logs", "web-1", wanted{ledger.Failed, verdict.TestBroken, []string{probeFile, "another digest"}})
}

// The very line, on this machine: the probe runs if it is ours, and gets its input.
func TestDigestIsLookedAt(t *testing.T) {
	dir := t.TempDir()
	p := newPlace(t)
	p.write("probe", "#!/bin/sh\necho ours \"$@\"; cat\n")
	line := ""
	p.when("web-1", "sha256sum", func(_ context.Context, cmd remote.Command) (remote.Result, error) {
		line = cmd.Line
		return remote.Result{Exit: 1}, nil
	})
	p.run("system", "no failed units", "web-1")
	line = strings.ReplaceAll(line, "/var/lib/hallmark", dir)
	run := func() (string, int) {
		cmd := exec.CommandContext(t.Context(), "bash", "-c", line)
		cmd.Stdin = strings.NewReader("input")
		out, err := cmd.CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
			t.Fatal(err)
		} else if ok {
			return string(out), exit.ExitCode()
		}
		return string(out), 0
	}
	if out, exit := run(); out != "" || exit != 90 {
		t.Errorf("none is there: exit %d, %q", exit, out)
	}
	file := regexp.MustCompile(regexp.QuoteMeta(dir) + `/probe-\w+`).FindString(line)
	for content, want := range map[string]string{"#!/bin/sh\necho ours \"$@\"; cat\n": "ours units\ninput", "#!/bin/sh\necho another\n": ""} {
		if err := os.WriteFile(file, []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
		if out, exit := run(); out != want || (exit == 90) != (want == "") {
			t.Errorf("%q is there: exit %d, %q", content, exit, out)
		}
	}
}

// An answer without end is not read to its end, and is no answer.
func TestAnswerWithoutEnd(t *testing.T) {
	p := newPlace(t)
	p.when("web-1", "sha256sum", func(_ context.Context, cmd remote.Command) (remote.Result, error) {
		if cmd.Bound <= 0 {
			t.Error("it has no bound")
		}
		return remote.Result{Stdout: []byte(`{"results":[{"name":"all is well","outcome":"passed"}]}`), Truncated: true}, nil
	})
	for test, suite := range map[string]string{"goss web": "web", "no failed units": "system", "clean logs": "system"} {
		p.one(suite, test, "web-1", wanted{ledger.Failed, verdict.TestBroken, []string{"more than the 64 MiB"}})
	}
}

// A check has its own duration, else its share of the test's.
func TestDurations(t *testing.T) {
	p := newPlace(t)
	p.validates(probe.ExitOK, probe.Checks{Results: []probe.Check{
		{Name: nginx, Outcome: probe.Passed, Duration: time.Second}, {Name: port, Outcome: probe.Passed}}})
	answer := p.instead[0].reply
	p.instead[0].reply = func(ctx context.Context, cmd remote.Command) (remote.Result, error) {
		p.clock.Advance(6 * time.Second)
		return answer(ctx, cmd)
	}
	for _, r := range p.goss() {
		if want := map[string]time.Duration{nginx: time.Second, port: 3 * time.Second}[r.Test]; r.Duration != want {
			t.Errorf("%s took %v, want %v", r.Test, r.Duration, want)
		}
	}
}
