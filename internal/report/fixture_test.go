package report_test

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cost"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/report"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

var began = time.Date(2026, 11, 23, 2, 30, 0, 0, time.UTC)

const (
	thisRun  = "20261123-0230-nightly-ab12"
	upgrade  = "upgrade from release/1.0 by rolling"
	baseHash = "sha256:5d1f0e3c9a7b42d8c6e1f0a9b8d7c6e5f4a3b2c1d0e9f8a7b6c5d4e3f2a1b0c9"
)

// results are those of a run in which everything passes, for changing.
func results() []ledger.Result {
	servers := []string{"bastion", "db-1", "web-1", "web-2"}
	var all []ledger.Result
	add := func(scenario, origin, phase, tier, suite string, tests ...string) {
		for _, test := range tests {
			for _, server := range servers {
				all = append(all, ledger.Result{
					ResultKey: ledger.ResultKey{Run: thisRun, Scenario: scenario, Origin: origin, Phase: phase, Tier: tier, Suite: suite, Test: test, Server: server, Attempt: 1},
					Outcome:   ledger.Passed, Duration: 40 * time.Millisecond, Recorded: began.Add(9 * time.Minute),
				})
			}
		}
	}
	for _, origin := range []string{"base", "prebuilt"} {
		for _, phase := range []string{"launched", "rebooted"} {
			add("verify", origin, phase, "smoke", "access", "root is refused", "key without code is refused", "bootstrap user is gone")
			add("verify", origin, phase, "smoke", "system", "no failed units", "second Puppet run changes nothing")
			add("verify", origin, phase, "build", "common", "rsyslog runs", "cron runs", "clock is set", "port 22 listens")
		}
		add(upgrade, origin, "launched", "smoke", "access", "root is refused", "key without code is refused")
		add(upgrade, origin, "upgraded", "smoke", "access", "root is refused", "key without code is refused")
		add(upgrade, origin, "upgraded", "build", "common", "rsyslog runs", "cron runs", "clock is set")
	}
	return all
}

// change alters the results that fit.
func change(all []ledger.Result, fits func(ledger.Result) bool, to func(*ledger.Result)) {
	for i := range all {
		if fits(all[i]) {
			to(&all[i])
		}
	}
}

func stages() []ledger.Stage {
	var all []ledger.Stage
	add := func(path string, from, to time.Duration) {
		all = append(all, ledger.Stage{Run: thisRun, Path: path, State: "done", Verdict: verdict.Passed, Started: began.Add(from), Finished: began.Add(to)})
	}
	sec := time.Second
	add("check", 0, 14*sec)
	add("base", 14*sec, 16*sec)
	for i, role := range []string{"bastion", "db", "web"} {
		at := time.Duration(16+60*i) * sec
		add("build/"+role, at, at+time.Duration(110+20*i)*sec)
	}
	add("verify base", 290*sec, 640*sec)
	add("verify base/launch", 290*sec, 500*sec)
	add("verify base/launched smoke", 500*sec, 525*sec)
	add("verify base/launched build", 525*sec, 540*sec)
	add("verify base/reboot", 540*sec, 575*sec)
	add("verify base/rebooted smoke", 575*sec, 610*sec)
	add("verify base/rebooted build", 610*sec, 640*sec)
	add("verify prebuilt", 290*sec, 470*sec)
	add("verify prebuilt/launch", 290*sec, 350*sec)
	add("verify prebuilt/launched smoke", 350*sec, 375*sec)
	add("verify prebuilt/launched build", 375*sec, 390*sec)
	add("verify prebuilt/reboot", 390*sec, 420*sec)
	add("verify prebuilt/rebooted smoke", 420*sec, 445*sec)
	add("verify prebuilt/rebooted build", 445*sec, 470*sec)
	add("upgrade from release/1.0 prebuilt", 470*sec, 800*sec)
	add("upgrade from release/1.0 prebuilt/launch", 470*sec, 540*sec)
	add("upgrade from release/1.0 prebuilt/launched smoke", 540*sec, 560*sec)
	add("upgrade from release/1.0 prebuilt/upgrade", 560*sec, 760*sec)
	add("upgrade from release/1.0 prebuilt/upgraded smoke", 760*sec, 780*sec)
	add("upgrade from release/1.0 prebuilt/upgraded build", 780*sec, 800*sec)
	add("upgrade from release/1.0 base", 640*sec, 1120*sec)
	add("upgrade from release/1.0 base/launch", 640*sec, 860*sec)
	add("upgrade from release/1.0 base/launched smoke", 860*sec, 880*sec)
	add("upgrade from release/1.0 base/upgrade", 880*sec, 1080*sec)
	add("upgrade from release/1.0 base/upgraded smoke", 1080*sec, 1100*sec)
	add("upgrade from release/1.0 base/upgraded build", 1100*sec, 1120*sec)
	add("gate", 1120*sec, 1120*sec+400*time.Millisecond)
	add("promote", 1120*sec+400*time.Millisecond, 1121*sec)
	return all
}

func image(role string, bytes int64, packages map[string]string, slowest ...puppet.Resource) ledger.Image {
	ran, err := json.Marshal(puppet.Report{
		Status: "changed", Version: "7.23.0", Totals: map[string]int{"total": 84, "changed": 31, "failed": 0}, Slowest: slowest,
	})
	if err != nil {
		panic(err)
	}
	common := map[string]string{"openssh-server": "1:9.2p1-2+deb12u7", "rsyslog": "8.2302.0-1", "puppet-agent": "7.23.0-1"}
	for name, version := range packages {
		common[name] = version
	}
	sealed := &ledger.Seal{Files: 1522, Bytes: 8 << 20}
	if role == "web" {
		sealed.Kept = []ledger.KeptPath{{Path: "/srv/site/tests/key.pem", What: "a private key (PEM)", Reason: "a key of the site's own tests"}}
		sealed.Idle = []ledger.SealRule{{Path: "/srv/site/old.pem", Reason: "was there once"}}
	}
	return ledger.Image{
		Seal: sealed,
		ID:   thisRun + "-" + role, Run: thisRun, Role: role, Branch: "main", Commit: "9f3c2d1e8b7a6f5e4d3c2b1a0f9e8d7c6b5a4f3e", BaseDigest: baseHash,
		Digest: fmt.Sprintf("sha256:%064x", bytes), SizeBytes: bytes, Packages: common, PuppetReport: string(ran),
		Timings: map[string]string{
			"launch": "4.2s", "launch: network": "700ms", "provision": "1m32s", "seal": "3.1s", "capture": "8.4s", ledger.TimingTotal: "1m47.7s",
		}, Created: began.Add(3 * time.Minute),
	}
}

func run(v verdict.Verdict, reason string) ledger.Run {
	return ledger.Run{
		ID: thisRun, Kind: "nightly", Branch: "main", Commit: "9f3c2d1e8b7a6f5e4d3c2b1a0f9e8d7c6b5a4f3e", Trigger: "every-night", Actor: "schedule",
		State: ledger.Finished, Verdict: v, Reason: reason, Base: baseHash, Set: thisRun,
		Created: began, Started: began, Finished: began.Add(1121 * time.Second),
	}
}

// green is a run that was promoted.
func green() report.Data {
	r := run(verdict.Passed, "208 passed")
	since := ledger.Run{ID: "20261119-0230-nightly-77aa", Created: began.AddDate(0, 0, -4), Commit: "51ce", Base: baseHash}
	before := ledger.Run{ID: "20261118-0230-nightly-04cd", Created: began.AddDate(0, 0, -5), Commit: "a0b1", Base: "sha256:0ld"}
	d := report.Data{
		Run: r, Now: r.Finished, Stages: stages(), Results: results(),
		Branch: ledger.BranchStatus{Branch: "main", Verdict: verdict.Passed, Last: &r, Since: &since, Before: &before, Latest: &r},
		Commits: []report.Commit{
			{ID: r.Commit, Author: "Ada Lovelace", Subject: "web: serve WordPress through php-fpm's own socket", At: began.Add(-9 * time.Hour)},
			{ID: "77e0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8", Author: "Grace Hopper", Subject: "db: back up at night, keep seven", At: began.Add(-12 * time.Hour)},
		},
		Set: ledger.ImageSet{ID: thisRun, Run: thisRun, Branch: "main", Commit: r.Commit, Digest: "4be1c7aa90f0d1e2c3b4a5968778695a4b3c2d1e0f1029384756afbecd102938"},
		Images: []ledger.Image{
			image("bastion", 620<<20, nil, puppet.Resource{Title: "Package[libpam-google-authenticator]", Took: 6 * time.Second}),
			image("db", 905<<20, map[string]string{"mariadb-server": "1:10.11.14-0+deb12u2"},
				puppet.Resource{Title: "Package[mariadb-server]", File: "modules/profile/manifests/db.pp", Line: 12, Took: 41 * time.Second},
				puppet.Resource{Title: "Exec[initialise data directory]", File: "modules/profile/manifests/db.pp", Line: 31, Took: 5200 * time.Millisecond}),
			image("web", 1180<<20, map[string]string{"nginx": "1.22.1-9+deb12u3", "php8.2-fpm": "8.2.29-1~deb12u1", "wordpress": "6.1.9+dfsg1-0+deb12u1"},
				puppet.Resource{Title: "Package[wordpress]", File: "modules/profile/manifests/web.pp", Line: 18, Took: 38 * time.Second},
				puppet.Resource{Title: "Package[php8.2-fpm]", File: "modules/profile/manifests/web.pp", Line: 9, Took: 12 * time.Second}),
		},
		Cost: &cost.Estimate{
			ServerHours: 6.22, Types: []cost.TypeUse{{Type: "m7i.large", Hours: 5.4}, {Type: "m7i.xlarge", Hours: 0.82}}, DiskGiBHours: 61.5, ImageGiBMonths: 0.01,
			Money: &cost.Money{Currency: "EUR", Servers: 0.83, Disks: 0.01, Total: 0.84},
		},
		PreviousSet: "20261122-0230-nightly-c0de",
		Releases:    []report.Release{{Branch: "release/1.0", Commit: "1d5a0c", Source: "channel production"}},
		Gate:        &report.Gate{Verdict: verdict.Passed, Counts: map[string]int{"passed": 208}},
		Channel:     "development",
		Evidence:    &ledger.Evidence{Set: thisRun, Run: thisRun, Statement: []byte(`{"_type":"https://in-toto.io/Statement/v1"}`), Created: r.Finished},
		Moves: []ledger.Move{{Channel: "development", From: "20261122-0230-nightly-c0de", To: thisRun, Version: 41, Kind: "promote",
			Actor: "schedule", Reason: "208 passed", Run: thisRun, At: r.Finished}},
	}
	d.Required = append(d.Required, places()...)
	d.Previous = []ledger.Image{
		image("bastion", 1, map[string]string{"openssh-server": "1:9.2p1-2+deb12u6"}),
		image("db", 2, map[string]string{"openssh-server": "1:9.2p1-2+deb12u6", "mariadb-server": "1:10.11.14-0+deb12u2", "mailutils": "1:3.15-4"}),
		image("web", 3, map[string]string{"openssh-server": "1:9.2p1-2+deb12u6", "nginx": "1.22.1-9+deb12u2", "php8.2-fpm": "8.2.29-1~deb12u1"}),
	}
	return d
}

func places() []report.Place {
	var all []report.Place
	for _, origin := range []string{"base", "prebuilt"} {
		for _, phase := range []string{"launched", "rebooted"} {
			all = append(all, report.Place{Scenario: "verify", Origin: origin, Phase: phase, Tier: "smoke"},
				report.Place{Scenario: "verify", Origin: origin, Phase: phase, Tier: "build"})
		}
		all = append(all, report.Place{Scenario: upgrade, Origin: origin, Phase: "upgraded", Tier: "build"})
	}
	return all
}

// red is a run in which something is wrong in every way there is.
func red() report.Data {
	d := green()
	d.Run = run(verdict.Failed, "4 failed: Service[php8.2-fpm] on web-1 did not start; development stays where it was")
	d.Branch.Verdict, d.Branch.Last, d.Branch.Since, d.Branch.Latest = verdict.Failed, &d.Run, &d.Run, &d.Run
	d.Branch.Before = &ledger.Run{ID: "20261122-0230-nightly-c0de", Created: began.AddDate(0, 0, -1), Commit: "77e0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8", Base: baseHash}
	d.Commits = d.Commits[:1]
	d.Moves, d.Evidence = nil, nil

	// From the base the web servers never converge; nothing after that was run.
	var kept []ledger.Result
	for _, r := range d.Results {
		if r.Scenario != "verify" || r.Origin != "base" {
			kept = append(kept, r)
		}
	}
	key := ledger.ResultKey{Run: thisRun, Scenario: "verify", Origin: "base", Phase: "launched", Tier: "smoke", Suite: "environment", Test: "provision web-1", Server: "web-1", Attempt: 2}
	d.Results = append(kept, ledger.Result{
		ResultKey: key, Outcome: ledger.Failed, Cause: verdict.PuppetFailed,
		Message: "[puppet.failed] web-1: Service[php8.2-fpm] (modules/profile/manifests/web.pp:22): Could not find init script or upstart conf file",
		Lines: `Error: /Stage[main]/Profile::Web/Service[php8.2-fpm]: Could not evaluate: Could not find init script or upstart conf file for 'php8.2-fpm'
Notice: /Stage[main]/Profile::Web/Package[php8.2-fpm]/ensure: created
Notice: Applied catalog in 61.20 seconds`,
	})
	first := key
	first.Attempt, first.Test = 1, "launch db-1"
	d.Attempts = append(append([]ledger.Result{}, d.Results...), ledger.Result{
		ResultKey: first, Outcome: ledger.Inconclusive, Cause: verdict.CloudRefused, Message: "[cloud.refused] launch db-1: refused: scripted fault: refuse",
	})
	fail := func(message, lines string) func(*ledger.Result) {
		return func(r *ledger.Result) {
			r.Outcome, r.Cause, r.Message, r.Lines = ledger.Failed, verdict.TestFailed, message, lines
		}
	}
	change(d.Results, func(r ledger.Result) bool {
		return r.Test == "cron runs" && r.Phase == "rebooted" && r.Origin == "prebuilt" && r.Server != "bastion"
	}, fail("Service: cron: running: expected true, found false", "cron.service - Regular background program processing daemon\n   Active: failed (Result: exit-code)\n   cron[311]: can't open <var/run/crond.pid>: Read-only file system"))
	change(d.Results, func(r ledger.Result) bool {
		return r.Test == "clock is set" && r.Scenario == upgrade && r.Phase == "upgraded"
	},
		fail("Command: timedatectl show: stdout: expected NTPSynchronized=yes", ""))
	change(d.Results, func(r ledger.Result) bool {
		return r.Test == "port 22 listens" && r.Server == "db-1" && r.Phase == "launched"
	}, func(r *ledger.Result) { r.Outcome, r.Message = ledger.Flaky, "failed before: connection refused" })
	change(d.Results, func(r ledger.Result) bool { return r.Test == "rsyslog runs" && r.Server == "bastion" },
		func(r *ledger.Result) {
			r.Outcome, r.Ticket, r.Message = ledger.Waived, "OPS-1234", "remote log server moves (OPS-1234): connection refused"
		})
	change(d.Results, func(r ledger.Result) bool {
		return r.Test == "no failed units" && r.Server == "web-2" && r.Origin == "prebuilt" && r.Phase == "launched"
	}, func(r *ledger.Result) {
		r.Outcome, r.Cause, r.Message = ledger.Inconclusive, verdict.Transport, "[remote.transport] web-2: connection lost"
	})
	for i := range d.Stages {
		s := &d.Stages[i]
		switch s.Path {
		case "verify base", "verify base/launch":
			s.Verdict, s.Detail = verdict.Failed, "provision web-1: [puppet.failed] web-1: Service[php8.2-fpm]"
			s.Finished = began.Add(500 * time.Second)
		case "verify prebuilt", "verify prebuilt/rebooted build", "upgrade from release/1.0 base", "upgrade from release/1.0 prebuilt",
			"upgrade from release/1.0 base/upgraded build", "upgrade from release/1.0 prebuilt/upgraded build", "gate":
			s.Verdict, s.Detail = verdict.Failed, "build tests failed"
		case "verify prebuilt/launched smoke":
			s.Verdict, s.Detail = verdict.Inconclusive, "smoke tests inconclusive"
		}
	}
	var kept2 []ledger.Stage
	for _, s := range d.Stages {
		if s.Path != "promote" && s.Path != "verify base/launched smoke" && s.Path != "verify base/launched build" &&
			s.Path != "verify base/reboot" && s.Path != "verify base/rebooted smoke" && s.Path != "verify base/rebooted build" {
			kept2 = append(kept2, s)
		}
	}
	d.Stages = kept2
	d.Gate = &report.Gate{Verdict: verdict.Failed, Reasons: []string{
		"verify, base, launched, smoke: provision web-1 on web-1 failed: [puppet.failed] web-1: Service[php8.2-fpm]",
		"verify, prebuilt, rebooted, build: cron runs on db-1 failed: Service: cron: running: expected true, found false",
		"verify, base, rebooted, build: required, but no result",
	}}
	d.Shown = []report.Shown{{
		Where: "verify base, attempt 1", Server: "web-2",
		Console:    "/var/lib/hallmark/runs/" + thisRun + "/servers/e4k2xq7a/web-2/console.txt",
		Screenshot: "/var/lib/hallmark/runs/" + thisRun + "/servers/e4k2xq7a/web-2/screen.jpg",
	}}
	d.Inventories = []report.Inventory{
		{Scenario: "verify", Origin: "base", Server: "web-1", Role: "web", Packages: map[string]string{"php8.2-fpm": "8.2.30-1~deb12u1", "nginx": "1.22.1-9+deb12u3"}},
		{Scenario: "verify", Origin: "prebuilt", Server: "web-1", Role: "web", Packages: map[string]string{"php8.2-fpm": "8.2.29-1~deb12u1", "nginx": "1.22.1-9+deb12u3"}},
	}
	return d
}

// unfit is a run that ended at the product's check.
func unfit() report.Data {
	r := run(verdict.Failed, "check failed")
	r.Finished, r.Set, r.Base = began.Add(9*time.Second), "", ""
	return report.Data{Run: r, Now: r.Finished, Stages: []ledger.Stage{{
		Run: thisRun, Path: "check", State: "done", Verdict: verdict.Failed, Started: began, Finished: r.Finished,
		Detail: "[check.failed] puppet parser validate: modules/profile/manifests/web.pp:14: Syntax error at '}'\nunit tests: not run",
	}}}
}

// working is a run in the middle of its work.
func working() report.Data {
	d := green()
	d.Run.State, d.Run.Verdict, d.Run.Reason, d.Run.Finished = ledger.Working, verdict.Inconclusive, "", time.Time{}
	d.Now = began.Add(400 * time.Second)
	d.Moves, d.Evidence, d.Gate = nil, nil, nil
	var kept []ledger.Stage
	for _, s := range d.Stages {
		if s.Started.After(d.Now) {
			continue
		}
		if s.Finished.After(d.Now) {
			s.Finished, s.State, s.Verdict, s.Detail = time.Time{}, "running", verdict.Inconclusive, "provision web-1"
		}
		kept = append(kept, s)
	}
	d.Stages = kept
	var results []ledger.Result
	for _, r := range d.Results {
		if r.Scenario == "verify" && r.Origin == "prebuilt" && r.Phase == "launched" {
			results = append(results, r)
		}
	}
	d.Results = results
	return d
}
