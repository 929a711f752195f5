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
		"misspelt type":                  {spec: "fiel:\n  /: {exists: true}\n", code: probe.ExitBroken, broken: `spec.yaml:1: unknown resource type "fiel"`},
		"misspelt attribute":             {spec: "file:\n  /: {exist: true}\n", code: probe.ExitBroken, broken: "exist"},
		"unknown matcher":                {spec: "file:\n  /: {exists: {bogus: 1}}\n", code: probe.ExitBroken, broken: "Unknown matcher: bogus"},
		"broken expression":              {spec: "file:\n  {{.Vars.file}}: {exists: true, contents: ['/root(/']}\n", code: probe.ExitBroken, broken: "spec.yaml:contents: error parsing regexp"},
		"broken expression of a matcher": {spec: "command:\n  echo 1: {exit-status: 0, stdout: {match-regexp: '('}}\n", code: probe.ExitBroken, broken: "RegExp match failed to compile"},
		"a number among patterns":        {spec: "command:\n  echo 80: {exit-status: 0, stdout: [80]}\n", code: probe.ExitBroken, broken: "command:echo 80:stdout: HavePatterns matcher expects patterns to be a string"},
		"a number for a mode":            {spec: "file:\n  {{.Vars.file}}: {exists: true, mode: 0600}\n", code: probe.ExitBroken, broken: "wants text, not the number"},
		"a number for an owner":          {spec: "file:\n  {{.Vars.file}}: {exists: true, owner: 0}\n", code: probe.ExitBroken, broken: "wants text, not the number 0"},
		"a number for truth":             {spec: "file:\n  {{.Vars.file}}: {exists: 1}\n", code: probe.ExitBroken, broken: "file:"},
		"text for truth":                 {spec: "file:\n  {{.Vars.file}}: {exists: 'yes'}\n", code: probe.ExitBroken, broken: "wants true or false, not the text \"yes\""},
		"text for a number":              {spec: "command:\n  'true': {exit-status: ok}\n", code: probe.ExitBroken, broken: "exit-status: wants a number, not the text \"ok\""},
		"a pattern of a slash":           {spec: "file:\n  {{.Vars.file}}: {exists: true, contents: [/]}\n", code: probe.ExitBroken, broken: "spec.yaml:2: the pattern"},
		"text to be less than":           {spec: "file:\n  {{.Vars.file}}: {exists: true, size: {lt: small}}\n", code: probe.ExitBroken, broken: "Expected a number."},
		"length of a number":             {spec: "file:\n  {{.Vars.file}}: {exists: true, size: {have-len: 3}}\n", code: probe.ExitBroken, broken: "HaveLen"},
		"no constraint":                  {spec: "command:\n  echo 1.2.3: {exit-status: 0, stdout: {semver-constraint: new}}\n", code: probe.ExitBroken, broken: "Expected a valid semver constraint"},
		"compared with null":             {spec: "file:\n  {{.Vars.file}}: {exists: null}\n", code: probe.ExitBroken, broken: "Missing required attribute"},
		"no such scheme":                 {spec: "http:\n  htp://127.0.0.1/: {status: 200}\n", code: probe.ExitBroken, broken: "unsupported protocol scheme"},
		"no URL":                         {spec: "http:\n  'http://127.0.0.1:x/': {status: 200}\n", code: probe.ExitBroken, broken: "invalid port"},
		"text for a time-out":            {spec: "command:\n  'true': {exit-status: 0, timeout: soon}\n", code: probe.ExitBroken, broken: "cannot unmarshal !!str `soon` into int"},
		"a broken template":              {spec: "file:\n  {{.Vars.file}: {exists: true}\n", code: probe.ExitBroken, broken: "template"},
		"no such environment variable":   {spec: "file:\n  /{{.Env.HALLMARK_NO_SUCH}}: {exists: true}\n", code: probe.ExitBroken, broken: "HALLMARK_NO_SUCH"},
		"an attribute of another":        {spec: "command:\n  'true': {exit-status: 0, retry_count: 3}\n", code: probe.ExitBroken, broken: "retry_count"},
		"no YAML":                        {spec: "file: [\n", code: probe.ExitBroken, broken: "yaml"},
		"what is included": {
			spec: "gossfile:\n  more.yaml: {}\n  no*.yaml: {skip: true}\n", code: probe.ExitOK,
			outcomes: map[string]string{"command:echo {{}}:stdout": "passed"},
		},
		"what a server says instead of a number": {
			spec: "command:\n  echo many: {exit-status: 0, stdout: {gt: 3}}\n", code: probe.ExitFailed,
			outcomes: map[string]string{"command:echo many:stdout": "failed"},
		},
		"what a server says instead of JSON": {
			spec: "command:\n  echo oops: {exit-status: 0, stdout: {gjson: {state: up}}}\n", code: probe.ExitFailed,
			outcomes: map[string]string{"command:echo oops:stdout": "failed"},
		},
		"JSON of another shape": {
			spec: "command:\n  'echo {\"state\":5}': {exit-status: 0, stdout: {gjson: {state: {have-len: 3}}}}\n", code: probe.ExitFailed,
		},
		"no resources":     {spec: "", code: probe.ExitBroken, broken: "no resources"},
		"compares nothing": {spec: "service:\n  cron: {}\n", code: probe.ExitBroken, broken: "compare nothing"},
		"unknown variable": {spec: "file:\n  {{.Vars.nope}}: {exists: true}\n", code: probe.ExitBroken, broken: "nope"},
		"misspelt in include": {
			spec: "gossfile:\n  other*.yaml: {}\n", code: probe.ExitBroken, broken: `other.yaml:1: unknown resource type "prot"`,
		},
	}
	for name, c := range cases {
		for _, stretch := range []string{"1", "3.5"} { // a busy host changes nothing but times
			t.Run(name+" at "+stretch, func(t *testing.T) {
				dir := t.TempDir()
				spec := filepath.Join(dir, "spec.yaml")
				vars := filepath.Join(dir, "vars.yaml")
				for file, content := range map[string]string{
					spec: c.spec, vars: "file: " + spec + "\n", filepath.Join(dir, "more.yaml"): "command:\n  echo {{\"{{\"}}}}: {exit-status: 0, stdout: ['{{\"{{\"}}}}']}\n", filepath.Join(dir, "other.yaml"): "prot:\n  tcp:22: {listening: true}\n",
				} {
					if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				var stdout, stderr bytes.Buffer
				code := run(context.Background(), []string{"validate", "--spec", spec, "--vars", vars, "--stretch", stretch}, &stdout, &stderr)
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
}

func TestWrongUse(t *testing.T) {
	for _, args := range [][]string{nil, {"nonsense"}, {"units", "extra"}, {"validate", "--bogus"}, {"validate"}, {"validate", "--spec", "/nowhere.yaml"}} {
		var stdout, stderr bytes.Buffer
		if code := run(context.Background(), args, &stdout, &stderr); code != probe.ExitBroken {
			t.Errorf("%q: exit %d, want %d", args, code, probe.ExitBroken)
		}
	}
}
