package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	unitLines  = "20" // of a unit's journal
	patience   = 60 * time.Second
	lookEvery  = 2 * time.Second // at units
)

// logs scans journal and syslog of this boot.
func logs(ctx context.Context, rulesFile string) (probe.Logs, int) {
	broken := func(err error) (probe.Logs, int) {
		return probe.Logs{Lines: []probe.Line{}, Ignored: []probe.Ignored{}, Broken: err.Error()}, probe.ExitBroken
	}
	var rules probe.Rules
	if rulesFile != "" {
		data, err := os.ReadFile(rulesFile)
		if err != nil {
			return broken(err)
		}
		if err := json.Unmarshal(data, &rules); err != nil {
			return broken(fmt.Errorf("%s: %w", rulesFile, err))
		}
	}
	since, err := bootTime(ctx)
	if err != nil {
		return broken(err)
	}
	lines, err := journal(ctx, "journalctl", "--boot", "--quiet", "--no-pager", "--all", "--output=json")
	if err != nil {
		return broken(err)
	}
	var unread []probe.Unproved
	file, err := os.Open(syslogFile)
	switch {
	case errors.Is(err, fs.ErrNotExist): // a product may do without rsyslog
	case err != nil:
		return broken(err)
	default:
		defer file.Close()
		written, err := probe.Syslog(&bounded{from: file, left: mostLog, what: syslogFile}, since, time.Now())
		if err != nil {
			return broken(err)
		}
		lines = append(lines, written.Lines...)
		if why := written.Unread(); why != "" {
			unread = append(unread, probe.Unproved{Why: syslogFile + ": " + why, Product: true})
		}
	}
	if len(lines) == 0 {
		return broken(errors.New("journal and syslog of this boot are empty: nothing to judge"))
	}
	answer, err := probe.Scan(lines, rules, container(ctx))
	if err != nil {
		return broken(err)
	}
	answer.Since = since
	answer.Unproved = append(answer.Unproved, unread...)
	if len(answer.Lines)+len(answer.Unproved) > 0 {
		return answer, probe.ExitFailed
	}
	return answer, probe.ExitOK
}

// container names what kind of container this server is; "" if it is none, or the server can't tell.
func container(ctx context.Context) string {
	out, err := output(ctx, "systemd-detect-virt", "--container") // it exits with 1 where there is none
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
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

// units lists units that are not as they should be, with the last lines each wrote. It looks until
// what is under way has come to an end, or has had its time.
func units(ctx context.Context) (probe.Units, int) {
	answer := probe.Units{Failed: []probe.Unit{}}
	broken := func(err error) (probe.Units, int) {
		answer.Broken = err.Error()
		return answer, probe.ExitBroken
	}
	var looks []probe.Look
	var bad []probe.Unit
	for began := time.Now(); ; {
		look, err := lookAtUnits(ctx)
		if err != nil {
			return broken(err)
		}
		look.At = time.Since(began)
		looks = append(looks, look)
		var more time.Duration
		if bad, more = probe.JudgeUnits(looks); more <= 0 {
			break
		}
		select {
		case <-time.After(min(more, lookEvery)):
		case <-ctx.Done():
			return broken(context.Cause(ctx))
		}
	}
	answer.State = looks[len(looks)-1].State
	for _, u := range bad {
		lines, err := lastLines(ctx, u.Name)
		if err != nil {
			return broken(err)
		}
		u.Lines = lines
		answer.Failed = append(answer.Failed, u)
	}
	if answer.State == "running" && len(bad) == 0 {
		return answer, probe.ExitOK
	}
	if len(bad) == 0 { // the system as a whole is not well: what does it wait for?
		jobs, err := output(ctx, "systemctl", "list-jobs", "--no-legend", "--no-pager")
		if err != nil {
			return broken(err)
		}
		for line := range strings.Lines(string(jobs)) {
			if fields := strings.Fields(line); len(fields) > 3 {
				answer.Jobs = append(answer.Jobs, strings.Join(fields[1:4], " "))
			}
		}
	}
	return answer, probe.ExitFailed
}

func lookAtUnits(ctx context.Context) (probe.Look, error) {
	var look probe.Look
	// is-system-running exits with 1 for every state but running; the state is on its output.
	state, err := output(ctx, "systemctl", "is-system-running")
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return look, err
	}
	look.State = strings.TrimSpace(string(state))
	if look.State == "" || look.State == "offline" || look.State == "unknown" {
		return look, fmt.Errorf("systemd does not answer: state %q", look.State)
	}
	list, err := output(ctx, "systemctl", "list-units", "--all", "--output=json")
	if err != nil {
		return look, err
	}
	if look.Units, err = probe.ListedUnits(list); err != nil {
		return look, err
	}
	details, err := output(ctx, "systemctl", "show", "--property="+probe.UnitProperties, "*.service")
	if err != nil {
		return look, err
	}
	probe.Detail(look.Units, details)
	return look, nil
}

func lastLines(ctx context.Context, unit string) ([]string, error) {
	said, err := output(ctx, "journalctl", "--boot", "--quiet", "--no-pager", "--output=cat", "--lines="+unitLines, "--unit="+unit)
	return strings.Split(strings.TrimRight(string(said), "\n"), "\n"), err
}

// mostLog bounds what is read of one log, in bytes. A boot of a server under test fills a small part of it.
const mostLog = 256 << 20

// bounded is a log that has an end: more than is read of it is an error, for what was not read may be what matters.
type bounded struct {
	from io.Reader
	left int64
	what string
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("%s has more than the %d MiB that are read of a log: something floods it", b.what, mostLog>>20)
	}
	return n, err
}

// journal reads what a program prints as it comes, so that it never lies in memory as a whole.
func journal(ctx context.Context, name string, args ...string) ([]probe.Line, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	complaint := &bytes.Buffer{}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = complaint
	cmd.WaitDelay = time.Second // a child of it may hold its output open
	printed, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	lines, unread := probe.Journal(&bounded{from: printed, left: mostLog, what: "the journal"})
	if unread != nil {
		cancel() // it may print for ever
	}
	if err := cmd.Wait(); err != nil && unread == nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, args[0], err, strings.TrimSpace(complaint.String()))
	}
	return lines, unread
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
