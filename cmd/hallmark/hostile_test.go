package main_test

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/cloudtest"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

var faults = flag.Bool("faults", false, "run a hostile product on real servers, beside a healthy one")

// edit changes the text of a file.
func edit(t *testing.T, file string, change func(string) string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	after := change(string(text))
	if after == string(text) {
		t.Fatalf("%s: nothing was changed", file)
	}
	if err := os.WriteFile(file, []byte(after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// hostileProduct is the small product with unit tests that try what a commit must not be able to do, and a front
// server that harms those who test it.
func hostileProduct(t *testing.T, dir string) {
	t.Helper()
	for from, to := range map[string]string{"../../internal/product/testdata/hostile/tests": "tests", "testdata/hostile/puppet": "puppet"} {
		if err := os.CopyFS(filepath.Join(dir, to), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	suite, err := os.ReadFile("testdata/hostile/front.yaml")
	if err != nil {
		t.Fatal(err)
	}
	edit(t, filepath.Join(dir, "suites/build/front.yaml"), func(text string) string { return text + string(suite) })
	edit(t, filepath.Join(dir, "puppet/modules/role/manifests/front.pp"), func(text string) string {
		return strings.Replace(text, "small::daemon", "include hostile\n  small::daemon", 1)
	})
	edit(t, filepath.Join(dir, "hallmark.yaml"), func(text string) string {
		return text + "\nunit-tests: {command: tests/run, timeout: 2m}\nsecrets:\n  - {name: token, roles: [front]}\n"
	})
}

// hostState is what a run must leave as it was on this host, one thing a line. What other tests make does not
// count: it carries names of theirs.
const hostState = `getent passwd | cut -d: -f1; nft list tables; ls -d /etc/* /var/lib/* /usr/local/*/* /root/.[a-z]*; ls /etc/cron.d /etc/systemd/system /run | sort -u`

// TestHostileRun: a product that wants harm goes through a whole run on real servers, beside a healthy one. Its
// attempts are refused, its output steers no terminal and shows no secret, the run's verdict is "failed", and neither
// the host nor the other run is disturbed.
func TestHostileRun(t *testing.T) {
	if !*faults {
		t.Skip("a server that takes all it can get: run `make faults`")
	}
	bad, good := onRealServers(t, "upgrade: none-yet\n"), onRealServers(t, "upgrade: none-yet\n")
	for _, m := range []*machine{bad, good} {
		m.smallTree()
		if m == bad {
			hostileProduct(t, m.repo)
		}
		m.shell("cd " + m.repo + " && git init -q -b main && git add -A && git -c user.name=test -c user.email=test@example.org commit -q -m product")
	}
	before := bad.shell(hostState)
	began := time.Now()

	out, err := bad.command("check", bad.repo).CombinedOutput()
	if err != nil {
		t.Errorf("check: %v", err)
	}
	checked := string(out)
	script, err := os.ReadFile("../../internal/product/testdata/hostile/tests/run")
	if err != nil {
		t.Fatal(err)
	}
	attempts := bytes.Count(script, []byte("\ntry '"))
	if refused := strings.Count(checked, "refused  "); attempts == 0 || refused != attempts || strings.Contains(checked, "DONE") {
		t.Errorf("check: %d of %d attempts were refused:\n%s", refused, attempts, checked)
	}

	neighbour := good.command("run", "--kind", "nightly", "--no-promote")
	var said bytes.Buffer
	neighbour.Stdout, neighbour.Stderr = &said, &said
	if err := neighbour.Start(); err != nil {
		t.Fatal(err)
	}
	run := bad.command("run", "--kind", "nightly", "--no-promote", "--follow")
	var shown bytes.Buffer
	run.Stdout, run.Stderr = &shown, &shown
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	l := bad.book()
	var secrets []string
	bad.until("the hostile run has ended", 40*time.Minute, func() bool {
		secrets = append(secrets, livingSecrets(t, l)...)
		runs, err := l.Runs(context.Background(), ledger.RunFilter{})
		return err == nil && len(runs) == 1 && runs[0].State == ledger.Finished
	})
	_ = run.Wait() // its exit code is looked at below
	if err := neighbour.Wait(); err != nil {
		t.Errorf("the healthy run beside it: %v\n%s", err, said.String())
	}
	t.Logf("it said:\n%s", shown.String())
	if code := run.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit %d, want 1: the product has failed", code)
	}
	runs, err := l.Runs(t.Context(), ledger.RunFilter{})
	if err != nil {
		t.Fatal(err)
	}
	id := runs[0].ID
	results, err := l.Results(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	scanned, spoke := false, false
	for _, r := range results {
		if r.Server == "front-1" && strings.Contains(r.Test, "/var/lib/hostile/reached") {
			scanned = true
			if r.Outcome == ledger.Failed && r.Cause == verdict.TestFailed {
				t.Errorf("it reached something: %s", r.Message)
			}
		}
		spoke = spoke || strings.Contains(r.Lines, "token (secret)")
	}
	if !scanned || !spoke {
		t.Errorf("no result is about what it scanned (%v), or about what it printed (%v)", scanned, spoke)
	}
	slices.Sort(secrets)
	secrets = slices.Compact(secrets)
	if len(secrets) == 0 {
		t.Error("no secret was seen, so looking for them proves nothing")
	}
	page := bad.file("run.html")
	if _, code := bad.hallmark("runs", "report", id, "-o", "html", "--file", page); code != 0 {
		t.Errorf("runs report: exit %d", code)
	}
	html, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := bad.hallmark("runs", "show", id)
	document, _ := bad.hallmark("runs", "show", id, "-o", "json")
	for name, output := range map[string]string{"run": shown.String(), "runs show": text, "JSON": document, "HTML": string(html)} {
		if strings.ContainsAny(output, "\x1b\x07\u202e") {
			t.Errorf("%s steers a terminal", name)
		}
		for _, s := range secrets {
			if strings.Contains(output, s) {
				t.Errorf("%s tells a secret", name)
			}
		}
	}
	bad.hallmark("gc")
	nothingLeft(bad)
	if after := bad.shell(hostState); after != before {
		t.Errorf("the host was\n%s\nand is\n%s", before, after)
	}
	found, err := cloudtest.Search(secrets, append(cloudtest.OfIncus(began), cloudtest.Place{Path: bad.dir})...)
	if err != nil {
		t.Error(err)
	}
	for _, f := range found {
		t.Errorf("after the run and gc %s", f)
	}
}
