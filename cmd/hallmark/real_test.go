package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/cloudtest"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/report"
)

// machine is one installation of Hallmark on this host, with real Incus servers.
type machine struct {
	t      *testing.T
	dir    string
	binary string
	repo   string
	daemon *exec.Cmd
	log    *os.File

	inLaboratory bool // its servers are those of an EC2 account of ours
}

// onRealServers builds the binaries and makes the reference product's repository.
func onRealServers(t *testing.T, settings string) *machine {
	t.Helper()
	if testing.Short() {
		t.Skip("needs root and Incus: not with -short")
	}
	if _, err := os.Stat("/var/lib/incus/unix.socket"); err != nil {
		t.Fatalf("Incus is not there: run `make host` (%v)", err)
	}
	m := &machine{t: t, dir: t.TempDir()}
	m.binary, m.repo = filepath.Join(m.dir, "bin", "hallmark"), filepath.Join(m.dir, "acme")
	for _, name := range []string{"hallmark", "hallmark-probe"} {
		build := exec.Command("go", "build", "-o", filepath.Join(m.dir, "bin", name), "../"+name)
		if name == "hallmark-probe" { // as `make build` does: what it compiled is not compiled again
			build.Args = append(build.Args[:2:2], append([]string{"-ldflags", "-s -w"}, build.Args[2:]...)...)
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
		}
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	m.shell("../../configs/acme/make-repository.sh " + m.repo)
	config := "state-dir: " + m.state() + "\nproduct:\n  repository: " + m.repo + "\n" + settings
	if err := os.WriteFile(m.file("hallmark.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(m.file("daemon.log"))
	if err != nil {
		t.Fatal(err)
	}
	m.log = log
	t.Cleanup(m.clear)
	return m
}

func (m *machine) file(name string) string { return filepath.Join(m.dir, name) }
func (m *machine) state() string           { return m.file("state") }

func (m *machine) shell(script string) string {
	m.t.Helper()
	out, err := exec.Command("bash", "-euc", script).CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

func (m *machine) command(args ...string) *exec.Cmd {
	cmd := exec.Command(m.binary, append([]string{"--config", m.file("hallmark.yaml")}, args...)...)
	cmd.Env = os.Environ()
	return cmd
}

// hallmark runs a command to its end and gives what it said and its exit code.
func (m *machine) hallmark(args ...string) (stdout string, code int) {
	m.t.Helper()
	var out, errOut bytes.Buffer
	cmd := m.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.t.Fatalf("hallmark %v: %v", args, err)
	}
	if s := errOut.String(); s != "" {
		m.t.Logf("hallmark %v said: %s", args, s)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// read runs a command with -o json into a value.
func read[T any](m *machine, args ...string) (value T) {
	m.t.Helper()
	out, code := m.hallmark(append(args, "-o", "json")...)
	if code != 0 {
		m.t.Fatalf("hallmark %v: exit %d\n%s", args, code, out)
	}
	if err := json.Unmarshal([]byte(out), &value); err != nil {
		m.t.Fatalf("hallmark %v: %v\n%s", args, err, out)
	}
	return value
}

func (m *machine) serve() {
	m.t.Helper()
	m.daemon = m.command("serve", "-v")
	m.daemon.Stdout, m.daemon.Stderr = m.log, m.log
	if err := m.daemon.Start(); err != nil {
		m.t.Fatal(err)
	}
}

// end sends a signal to the daemon and says how long it took to go.
func (m *machine) end(sig syscall.Signal) time.Duration {
	m.t.Helper()
	started := time.Now()
	if err := m.daemon.Process.Signal(sig); err != nil {
		m.t.Fatal(err)
	}
	_ = m.daemon.Wait() // killed on purpose
	m.daemon = nil
	return time.Since(started)
}

// clear leaves nothing on the host, whatever happened.
func (m *machine) clear() {
	if m.daemon != nil {
		_ = m.daemon.Process.Kill()
		_ = m.daemon.Wait()
	}
	if m.t.Failed() {
		text, _ := os.ReadFile(m.log.Name())
		m.t.Logf("the daemon said:\n%s", text)
	}
	l, err := ledger.Open(context.Background(), filepath.Join(m.state(), "ledger.db"))
	if err != nil {
		m.t.Error(err)
		return
	}
	runs, _ := l.Runs(context.Background(), ledger.RunFilter{})
	for _, r := range runs {
		if _, err := l.UpdateRun(context.Background(), r.ID, func(r *ledger.Run) { r.State = ledger.Cancelled }, ledger.Queued, ledger.Working, ledger.Cancelling); err != nil && !errors.Is(err, ledger.ErrMoved) {
			m.t.Error(err)
		}
	}
	images, _ := l.Images(context.Background(), ledger.ImageFilter{})
	if err := l.Close(); err != nil {
		m.t.Error(err)
	}
	if !m.inLaboratory { // a laboratory takes all that is in it with it
		m.hallmark("gc")
	}
	for _, i := range images {
		_ = exec.Command("incus", "image", "delete", i.ProviderID).Run()
	}
}

// until waits for something that a run will come to.
func (m *machine) until(what string, within time.Duration, done func() bool) {
	m.t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			m.t.Fatalf("%s: not within %s", what, within)
		case <-tick.C:
		}
	}
	m.t.Logf("%s", what)
}

// book opens the ledger beside the daemon, as the command line does.
func (m *machine) book() *ledger.Ledger {
	m.t.Helper()
	l, err := ledger.Open(context.Background(), filepath.Join(m.state(), "ledger.db"))
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = l.Close() })
	return l
}

// working reports whether a stage whose path matches is being done, deep enough to be cut off.
func working(t *testing.T, l *ledger.Ledger, run, path, detail string) bool {
	t.Helper()
	stages, err := l.Stages(context.Background(), run)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(stages, func(s ledger.Stage) bool {
		return s.State != "done" && regexp.MustCompile(path).MatchString(s.Path) && regexp.MustCompile(detail).MatchString(s.Detail)
	})
}

// A whole nightly run on real servers, in which the daemon is ended four times: by SIGTERM and by
// kill -9 while images build, while tests run and while an upgrade rolls.
func TestNightlySurvivesEverything(t *testing.T) {
	t.Parallel()
	began := time.Now()
	m := onRealServers(t, "schedules:\n  - {name: nightly, kind: nightly, cron: \"0 3 * * *\", timezone: Europe/Berlin}\n")
	out, _ := m.hallmark("schedules")
	if !regexp.MustCompile(`nightly +nightly +0 3 \* \* \* +Europe/Berlin +- +\d{4}-`).MatchString(out) {
		t.Errorf("schedules do not show the next tick:\n%s", out)
	}
	m.serve()
	m.until("the daemon has the lock", time.Minute, func() bool {
		text, _ := os.ReadFile(m.log.Name())
		return bytes.Contains(text, []byte("SCHEDULE"))
	})
	out, code := m.hallmark("run", "--kind", "nightly", "--detach")
	if code != 0 || !strings.Contains(out, "handed over") {
		t.Fatalf("run --detach: exit %d\n%s", code, out)
	}
	id := regexp.MustCompile(`run (\S+) `).FindStringSubmatch(out)[1]
	l := m.book()

	var secrets []string
	ends := []struct {
		what, path, detail string
		signal             syscall.Signal
	}{
		{"an image is being provisioned: SIGTERM", "^build/", "^provision", syscall.SIGTERM},
		{"an image is being provisioned: kill -9", "^build/", "^provision", syscall.SIGKILL},
		{"tests are running: kill -9", "^verify .*/launched build$", ".", syscall.SIGKILL},
		{"an upgrade rolls: kill -9", "^upgrade .*/upgrade$", "web|db", syscall.SIGKILL},
	}
	var before []ledger.Result
	for _, e := range ends {
		m.until(e.what, 15*time.Minute, func() bool { return working(t, l, id, e.path, e.detail) })
		secrets = append(secrets, livingSecrets(t, l)...)
		searchProcesses(t, secrets)
		if took := m.end(e.signal); took > 10*time.Second {
			t.Errorf("%s: the daemon took %s to go, 10 s is the limit", e.what, took)
		}
		results, err := l.Results(context.Background(), id)
		if err != nil {
			t.Fatal(err)
		}
		before = append(before, results...)
		m.serve()
	}
	m.until("the run has ended", 20*time.Minute, func() bool {
		run, err := l.Run(context.Background(), id)
		return err == nil && run.State == ledger.Finished
	})

	r := read[report.Report](m, "runs", "show", id)
	if r.Status != report.Good {
		text, _ := m.hallmark("runs", "show", id)
		t.Fatalf("the run came to %s:\n%s", r.Status, text)
	}
	for _, want := range []string{"verify", "upgrade from release/1.0 by rolling"} {
		if !slices.ContainsFunc(r.Scenarios, func(s report.Scenario) bool { return s.Name == want }) {
			t.Errorf("no scenario %q in the report", want)
		}
	}
	if len(r.Images) != 3 {
		t.Errorf("%d images, want one for each of 3 roles", len(r.Images))
	}
	moves, err := l.Moves(context.Background(), "development", 0)
	if err != nil || len(moves) != 1 || moves[0].To != id || moves[0].Actor == "" {
		t.Errorf("development was moved %d times, want once, to %s by somebody: %+v, %v", len(moves), id, moves, err)
	}
	notRepeated(t, l, id, before)
	nothingLeft(m)
	html, code := m.hallmark("runs", "report", id, "-o", "html")
	if code != 0 || !strings.Contains(html, "<html") || regexp.MustCompile(`(?:src|href)="(?:https?:)?//`).MatchString(html) {
		t.Errorf("the page is not one self-contained page (exit %d, %d bytes)", code, len(html))
	}
	if len(secrets) == 0 {
		t.Error("no environment had secrets, so the search for them proves nothing")
	}
	searchFiles(t, m.dir, secrets)
	m.hallmark("gc")
	places := cloudtest.OfIncus(began)
	if found, err := cloudtest.Search([]string{id}, places...); err != nil || len(found) == 0 {
		t.Errorf("the run itself is found nowhere, so the search for its secrets proves nothing: %v", err)
	}
	slices.Sort(secrets)
	secrets = slices.Compact(secrets) // which empties what it cuts off
	found, err := cloudtest.Search(secrets, places...)
	if err != nil {
		t.Error(err)
	}
	for _, f := range found {
		t.Errorf("after the run and gc %s", f)
	}
	// Incus may have its pool mounted in a namespace of its own.
	pool := "/proc/" + strings.TrimSpace(m.shell(`incus query /1.0 | sed -n 's/.*"server_pid": *\([0-9]*\).*/\1/p'`)) + "/root/var/lib/incus/storage-pools/hallmark/images"
	for _, i := range r.Images {
		searchFiles(t, filepath.Join(pool, i.Digest, "rootfs"), secrets)
	}
	if strings.Contains(html, "BEGIN OPENSSH PRIVATE KEY") {
		t.Error("a private key is in the page")
	}

	t.Run("a wrong dependency fails from clean", func(t *testing.T) { m.t = t; brokenDependency(m, l) })
	t.Run("refused launches are never the product's failure", func(t *testing.T) { m.t = t; refusedLaunches(m) })
	m.t = t
	if took := m.end(syscall.SIGTERM); took > 10*time.Second {
		t.Errorf("idle, the daemon took %s to go", took)
	}
}

// brokenDependency commits what works on a server that was provisioned before and fails from clean.
func brokenDependency(m *machine, l *ledger.Ledger) {
	m.shell(`cd ` + m.repo + ` && git checkout -q main && cat >>puppet/manifests/site.pp <<'END'

# Puppet puts nothing in order here: the folder is the package's, which may come later.
if $facts['hallmark_role'] == 'web' {
  file { '/etc/hallmark-broken/late.conf': content => "x\n" }
  exec { '/bin/mkdir -p /etc/hallmark-broken': creates => '/etc/hallmark-broken', require => File['/etc/hallmark-broken/late.conf'] }
}
END
git -c user.name=test -c user.email=test@example.org commit -qam 'a wrong dependency'`)
	out, code := m.hallmark("run", "--kind", "nightly")
	if code != 1 {
		m.t.Errorf("exit %d, want 1\n%s", code, out)
	}
	for _, want := range []string{"web", "bench", "/etc/hallmark-broken/late.conf"} {
		if !strings.Contains(out, want) {
			m.t.Errorf("the run does not name %s:\n%s", want, out)
		}
	}
	if moves, err := l.Moves(context.Background(), "development", 0); err != nil || len(moves) != 1 {
		m.t.Errorf("development was moved: %+v, %v", moves, err)
	}
	nothingLeft(m)
}

// refusedLaunches scripts a provider that refuses every launch: nothing is learnt of the product.
func refusedLaunches(m *machine) {
	m.shell("cd " + m.repo + " && git -c user.name=test -c user.email=test@example.org revert --no-edit HEAD >/dev/null")
	if err := os.WriteFile(m.file("faults.yaml"), []byte("- {call: launch, do: refuse, times: -1}\n"), 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.end(syscall.SIGTERM)
	config, err := os.ReadFile(m.file("hallmark.yaml"))
	if err != nil {
		m.t.Fatal(err)
	}
	faulty := append(config, []byte("provider:\n  faults: faults.yaml\n")...)
	if err := os.WriteFile(m.file("hallmark.yaml"), faulty, 0o600); err != nil {
		m.t.Fatal(err)
	}
	out, code := m.hallmark("run", "--kind", "nightly") // no daemon: in this process
	if code != 3 || strings.Contains(out, "✗") {
		m.t.Errorf("exit %d, want 3 and no failure of the product\n%s", code, out)
	}
	if err := os.WriteFile(m.file("hallmark.yaml"), config, 0o600); err != nil {
		m.t.Fatal(err)
	}
	nothingLeft(m)
	m.serve()
	m.until("the daemon is back", time.Minute, func() bool { return m.daemon.ProcessState == nil })
}

// notRepeated compares results that were there when the daemon was killed with those at the end.
func notRepeated(t *testing.T, l *ledger.Ledger, run string, before []ledger.Result) {
	t.Helper()
	results, err := l.Results(context.Background(), run)
	if err != nil {
		t.Fatal(err)
	}
	after := map[ledger.ResultKey]time.Time{}
	for _, r := range results {
		after[r.ResultKey] = r.Recorded
	}
	repeated := 0
	for _, r := range before {
		if !after[r.ResultKey].Equal(r.Recorded) {
			repeated++
			t.Logf("recorded again: %+v", r.ResultKey)
		}
	}
	// A test that was in flight and had just written its results is done again: one for each kill and lane.
	if len(before) == 0 || repeated > 3*40 {
		t.Errorf("%d of %d results from before the kills were recorded again", repeated, len(before))
	}
}

// nothingLeft asks Hallmark and Incus itself.
func nothingLeft(m *machine) {
	m.t.Helper()
	if left := read[[]map[string]any](m, "gc", "--dry-run"); len(left) > 0 {
		m.t.Errorf("gc finds left over: %v", left)
	}
	owner, err := os.ReadFile(filepath.Join(m.state(), "owner"))
	if err != nil {
		m.t.Fatal(err)
	}
	tag := strings.TrimSpace(string(owner))
	for _, list := range []string{"incus project list -f json", "incus list --all-projects -f json", "incus network list -f json", "incus network acl list -f json"} {
		if out := m.shell(list); strings.Contains(out, tag) {
			m.t.Errorf("%s still shows something of %s", list, tag)
		}
	}
}

// livingSecrets gives the secrets of the environments that are there.
func livingSecrets(t *testing.T, l *ledger.Ledger) []string {
	t.Helper()
	envs, err := l.Environments(context.Background(), ledger.EnvironmentFilter{})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range envs {
		full, err := l.Environment(context.Background(), e.ID)
		if err != nil {
			t.Fatal(err)
		}
		var sealed any
		if json.Unmarshal(full.Sealed, &sealed) == nil {
			found = append(found, texts(sealed)...)
		}
	}
	return found
}

// texts gives the strings of JSON that are long enough to be secrets.
func texts(value any) []string {
	var all []string
	switch v := value.(type) {
	case string:
		if len(v) >= 16 {
			all = append(all, v)
		}
	case []any:
		for _, e := range v {
			all = append(all, texts(e)...)
		}
	case map[string]any:
		for _, e := range v {
			all = append(all, texts(e)...)
		}
	}
	return all
}

// searchProcesses looks for secrets in the arguments of every process of this host, those in
// containers too.
func searchProcesses(t *testing.T, secrets []string) {
	t.Helper()
	lists, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range lists {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		for _, s := range secrets {
			if bytes.Contains(text, []byte(s)) {
				t.Errorf("a secret is among the arguments of %s", bytes.ReplaceAll(text[:min(60, len(text))], []byte{0}, []byte{' '}))
			}
		}
	}
}

// searchFiles looks for secrets in every file of a folder.
func searchFiles(t *testing.T, dir string, secrets []string) {
	t.Helper()
	read := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		read++
		for _, s := range secrets {
			if bytes.Contains(text, []byte(s)) {
				t.Errorf("a secret is in %s", path)
			}
		}
		return nil
	})
	if err != nil || read == 0 {
		t.Errorf("search %s: %d files read, %v", dir, read, err)
	}
}
