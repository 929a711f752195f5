package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/probe"
)

// A check that goss could not carry out is a failed one, with goss's words as its message.
func TestErrorOfACheck(t *testing.T) {
	checks, err := fromGoss([]byte(`{"results": [{"resource-type": "Command", "resource-id": "slow", "property": "exit-status",
		"successful": false, "err": "Command execution timed out\n (50ms)", "summary-line-compact": "x", "duration": 50}]}`))
	if err != nil || len(checks.Results) != 1 || checks.Broken != "" {
		t.Fatalf("%+v, %v", checks, err)
	}
	if c := checks.Results[0]; c.Outcome != probe.Failed || c.Message != "Command execution timed out (50ms)" || c.Duration != 50 {
		t.Errorf("check %+v", c)
	}
}

// The tests run real goss checks of this machine's own files and commands.
func TestValidate(t *testing.T) {
	cases := map[string]struct {
		spec     string
		code     int
		broken   string            // part of Broken
		outcomes map[string]string // test → outcome and message's part
	}{
		"all pass": {
			spec:     "file:\n  {{.Vars.file}}: {exists: true}\ncommand:\n  say:\n    exec: echo hello\n    title: it speaks\n    exit-status: 0\n    stdout: [hello]\n",
			code:     probe.ExitOK,
			outcomes: map[string]string{"command:say:exit-status": "passed", "command:say:stdout": "passed"},
		},
		"one fails, its rest is skipped with a reason": {
			spec:     "file:\n  /nowhere: {exists: true, mode: \"0644\"}\n  /: {exists: true}\n",
			code:     probe.ExitFailed,
			outcomes: map[string]string{"file:/nowhere:exists": "failed Expected false to equal true", "file:/nowhere:mode": "skipped an earlier check", "file:/:exists": "passed"},
		},
		"skipped by the specification": {
			spec:     "file:\n  /nowhere: {exists: true, skip: true, meta: {reason: not yet}}\n",
			code:     probe.ExitOK,
			outcomes: map[string]string{"file:/nowhere:exists": "skipped not yet"},
		},
		"misspelt type":      {spec: "fiel:\n  /: {exists: true}\n", code: probe.ExitBroken, broken: `spec.yaml:1: unknown resource type "fiel"`},
		"misspelt attribute": {spec: "file:\n  /: {exist: true}\n", code: probe.ExitBroken, broken: "exist"},
		"unknown matcher":    {spec: "file:\n  /: {exists: {bogus: 1}}\n", code: probe.ExitBroken, broken: "Unknown matcher: bogus"},
		"no resources":       {spec: "", code: probe.ExitBroken, broken: "no resources"},
		"compares nothing":   {spec: "service:\n  cron: {}\n", code: probe.ExitBroken, broken: "compare nothing"},
		"unknown variable":   {spec: "file:\n  {{.Vars.nope}}: {exists: true}\n", code: probe.ExitBroken, broken: "nope"},
		"misspelt in include": {
			spec: "gossfile:\n  other*.yaml: {}\n", code: probe.ExitBroken, broken: `other.yaml:1: unknown resource type "prot"`,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			spec := filepath.Join(dir, "spec.yaml")
			vars := filepath.Join(dir, "vars.yaml")
			for file, content := range map[string]string{
				spec: c.spec, vars: "file: " + spec + "\n", filepath.Join(dir, "other.yaml"): "prot:\n  tcp:22: {listening: true}\n",
			} {
				if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var stdout, stderr bytes.Buffer
			code := run(context.Background(), []string{"validate", "--spec", spec, "--vars", vars}, &stdout, &stderr)
			answer, err := probe.ParseChecks(stdout.Bytes())
			if err != nil {
				t.Fatalf("%v\n%s", err, stdout.String())
			}
			if code != c.code || !strings.Contains(answer.Broken, c.broken) || (c.broken == "") != (answer.Broken == "") {
				t.Errorf("exit %d, broken %q; want %d, %q\n%s", code, answer.Broken, c.code, c.broken, stdout.String())
			}
			got := make(map[string]string)
			for _, r := range answer.Results {
				got[r.Name] = string(r.Outcome) + " " + r.Message
			}
			for test, want := range c.outcomes {
				if !strings.HasPrefix(got[test], want) {
					t.Errorf("%s: %q, want %q", test, got[test], want)
				}
			}
		})
	}
}

func TestWrongUse(t *testing.T) {
	for _, args := range [][]string{nil, {"nonsense"}, {"units", "extra"}, {"validate", "--bogus"}, {"validate"}, {"validate", "--spec", "/nowhere.yaml"}} {
		var stdout, stderr bytes.Buffer
		if code := run(context.Background(), args, &stdout, &stderr); code != probe.ExitBroken {
			t.Errorf("%q: exit %d, want %d", args, code, probe.ExitBroken)
		}
	}
}
