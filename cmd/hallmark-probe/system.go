package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/probe"
)

const (
	syslogFile = "/var/log/syslog"
	unitLines  = "20" // of a failed unit's journal
	patience   = 60 * time.Second
)

// logs scans journal and syslog of this boot.
func logs(ctx context.Context, ignoreFile string) (probe.Logs, int) {
	answer := probe.Logs{Lines: []probe.Line{}, Ignored: []probe.Ignored{}}
	broken := func(err error) (probe.Logs, int) {
		answer.Broken = err.Error()
		return answer, probe.ExitBroken
	}
	var rules []probe.Ignore
	if ignoreFile != "" {
		data, err := os.ReadFile(ignoreFile)
		if err != nil {
			return broken(err)
		}
		if err := json.Unmarshal(data, &rules); err != nil {
			return broken(fmt.Errorf("%s: %w", ignoreFile, err))
		}
	}
	since, err := bootTime(ctx)
	if err != nil {
		return broken(err)
	}
	journal, err := output(ctx, "journalctl", "--boot", "--quiet", "--no-pager", "--all", "--output=json")
	if err != nil {
		return broken(err)
	}
	lines, err := probe.Journal(bytes.NewReader(journal))
	if err != nil {
		return broken(err)
	}
	file, err := os.Open(syslogFile)
	switch {
	case errors.Is(err, fs.ErrNotExist): // a product may do without rsyslog
	case err != nil:
		return broken(err)
	default:
		defer file.Close()
		written, err := probe.Syslog(file, since)
		if err != nil {
			return broken(err)
		}
		lines = append(lines, written...)
	}
	answer.Since, answer.Read = since, len(lines)
	if answer.Read == 0 {
		return broken(errors.New("journal and syslog of this boot are empty: nothing to judge"))
	}
	if answer.Lines, answer.Ignored, err = probe.Scan(lines, rules); err != nil {
		answer.Lines, answer.Ignored = []probe.Line{}, []probe.Ignored{}
		return broken(err)
	}
	if len(answer.Lines) > 0 {
		return answer, probe.ExitFailed
	}
	return answer, probe.ExitOK
}

// bootTime is when this system's own init started: right in a container too, where the kernel's
// boot time is the host's.
func bootTime(ctx context.Context) (time.Time, error) {
	out, err := output(ctx, "systemctl", "show", "--property=UserspaceTimestamp", "--value", "--timestamp=unix")
	if err != nil {
		return time.Time{}, err
	}
	seconds, err := strconv.ParseInt(strings.TrimPrefix(strings.TrimSpace(string(out)), "@"), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("time of boot: %w", err)
	}
	return time.Unix(seconds, 0), nil
}

// units lists failed units with the last lines each wrote.
func units(ctx context.Context) (probe.Units, int) {
	answer := probe.Units{Failed: []probe.Unit{}}
	broken := func(err error) (probe.Units, int) {
		answer.Broken = err.Error()
		return answer, probe.ExitBroken
	}
	// is-system-running exits with 1 for every state but running; the state is on its output.
	state, err := output(ctx, "systemctl", "is-system-running")
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return broken(err)
	}
	answer.State = strings.TrimSpace(string(state))
	if answer.State == "" || answer.State == "offline" || answer.State == "unknown" {
		return broken(fmt.Errorf("systemd does not answer: state %q", answer.State))
	}
	list, err := output(ctx, "systemctl", "list-units", "--all", "--state=failed", "--output=json")
	if err != nil {
		return broken(err)
	}
	failed, err := probe.FailedUnits(list)
	if err != nil {
		return broken(err)
	}
	for _, u := range failed {
		said, err := output(ctx, "journalctl", "--boot", "--quiet", "--no-pager", "--output=cat", "--lines="+unitLines, "--unit="+u.Name)
		if err != nil {
			return broken(err)
		}
		u.Lines = strings.Split(strings.TrimRight(string(said), "\n"), "\n")
		answer.Failed = append(answer.Failed, u)
	}
	if len(failed) > 0 {
		return answer, probe.ExitFailed
	}
	return answer, probe.ExitOK
}

// output runs a program and gives what it printed; its complaint becomes part of the error.
func output(ctx context.Context, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%s %s: %w: %s", name, args[0], err, strings.TrimSpace(complaint.String()))
	}
	return out, nil
}
