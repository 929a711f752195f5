package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/sim"
	"github.com/hallmark-ci/hallmark/internal/ledger"
)

var update = flag.Bool("update", false, "write the golden files in scripts anew")

// TestMain makes this test binary the command that scripts run.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hallmark": hallmark})
}

// hallmark is main with another list of providers.
func hallmark() {
	if uid, err := strconv.Atoi(os.Getenv("AS_UID")); err == nil {
		if err := syscall.Setuid(uid); err != nil {
			panic(err)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	c := &cli{out: screenOn(os.Stdout), errOut: screenOn(os.Stderr), providers: simulated, probe: filepath.Join(os.Getenv("WORK"), "hallmark-probe")}
	code := c.execute(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// TestScripts runs the files of testdata/script: what people and their programs see of the command
// line. Each has a repository of the product in testdata/shop, a configuration, and a simulated cloud.
func TestScripts(t *testing.T) {
	// World-readable, unlike t.TempDir, for scripts that run a command as another user.
	root, err := os.MkdirTemp("", "hallmark-scripts-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	// A puppet that finds nothing wrong: what the real one says of products is tested in package product, and takes seconds.
	tools := filepath.Join(root, "bin")
	if err := errors.Join(os.Mkdir(tools, 0o755), os.WriteFile(filepath.Join(tools, "puppet"), []byte("#!/bin/sh\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", WorkdirRoot: root, UpdateScripts: *update, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", tools+":"+e.Getenv("PATH"))
			return setUp(e)
		},
		Condition: func(name string) (bool, error) {
			if name != "root" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return os.Geteuid() == 0, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "terminate": terminate, "capture": capture, "until": until, "untouched": untouched, "began": began, "within": within,
		},
	})
}

// configuration is what a script has that brings none of its own.
const configuration = `state-dir: state
product:
  repository: product
provider:
  kind: sim
  incus: {cache: "127.0.0.1:3142"}
limits: {lanes: 4, image-builds: 4}
upgrade: none-yet
`

func setUp(e *testscript.Env) error {
	e.Vars = append(e.Vars,
		"HALLMARK_CONFIG=hallmark.yaml", "USER=ada", "TZ=UTC",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_AUTHOR_DATE=2026-11-01T00:00:00Z",
		"GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.org", "GIT_COMMITTER_DATE=2026-11-01T00:00:00Z",
	)
	repository := filepath.Join(e.WorkDir, "product")
	if err := os.CopyFS(repository, os.DirFS("testdata/shop")); err != nil {
		return err
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"commit", "-q", "-m", "The shop"}} {
		git := exec.Command("git", append([]string{"-C", repository}, args...)...)
		git.Env = e.Vars
		if out, err := git.CombinedOutput(); err != nil {
			return errors.New(string(out))
		}
	}
	for name, content := range map[string]string{"hallmark.yaml": configuration, "hallmark-probe": "the probe\n"} {
		file := filepath.Join(e.WorkDir, name)
		if _, err := os.Stat(file); err == nil {
			continue // the script's own
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// exits CODE COMMAND… runs a command that must end with this exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	got := 0
	if exit != nil {
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// until PATTERN COMMAND… runs a command again and again until its stdout matches.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until PATTERN COMMAND [ARG…]")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		_ = ts.Exec(args[1], args[2:]...) // it may well fail until then
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no match for %q within a minute", args[0])
		}
	}
}

// terminate sends SIGTERM to what runs in the background.
func terminate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 || len(ts.BackgroundCmds()) == 0 {
		ts.Fatalf("usage: terminate, while something runs in the background")
	}
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(syscall.SIGTERM))
	}
}

// capture VARIABLE PATTERN keeps what the pattern's group finds in stdout.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture VARIABLE PATTERN")
	}
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	found := pattern.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) < 2 {
		ts.Fatalf("no group of %q in stdout", args[1])
	}
	ts.Setenv(args[0], found[1])
}

// untouched checks that nothing was recorded and nothing was ever started.
func untouched(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: untouched")
	}
	ctx := context.Background()
	if file := ts.MkAbs("state/ledger.db"); exists(file) {
		l, err := ledger.Open(ctx, file)
		ts.Check(err)
		defer l.Close()
		runs, err := l.Runs(ctx, ledger.RunFilter{})
		ts.Check(err)
		channels, err := l.Channels(ctx)
		ts.Check(err)
		if len(runs)+len(channels) > 0 {
			ts.Fatalf("recorded: runs %v, channels %v", runs, channels)
		}
	}
	if file := ts.MkAbs(simFile); exists(file) {
		servers, err := sim.Open(file, sim.Options{})
		ts.Check(err)
		// Ids are counted and never given twice: the first one shows that none was before.
		n, err := servers.CreateNetwork(ctx, cloud.NetworkSpec{Name: "first", Tags: cloud.Tags{Owner: "script"}})
		ts.Check(err)
		ts.Check(servers.DeleteNetwork(ctx, n.ID))
		if n.ID != "net-0001" {
			ts.Fatalf("something was created in the cloud: the next id is %s", n.ID)
		}
		ts.Check(os.Remove(file))
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// began starts the watch that within reads.
func began(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Setenv("BEGAN", time.Now().Format(time.RFC3339Nano))
}

// within DURATION checks that no more than this passed since began.
func within(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: within DURATION")
	}
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	start, err := time.Parse(time.RFC3339Nano, ts.Getenv("BEGAN"))
	ts.Check(err)
	if took := time.Since(start); took > limit {
		ts.Fatalf("it took %s, more than %s", took, limit)
	}
}
