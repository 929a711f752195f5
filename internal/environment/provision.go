package environment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// bench reports whether this is a Bench's single server.
func (e *Environment) bench() bool { return e.settings().Stage == puppet.StageBake }

func (e *Environment) puppetTimeout() time.Duration {
	if t := e.settings().Spec.Product.Puppet.Timeout; t > 0 {
		return t
	}
	return e.site.Timeouts.withDefaults().Puppet
}

// convergedStep waits until a server has reported and keeps Puppet's report.
func (e *Environment) convergedStep(server string) Step {
	return e.step("provision "+server, func(ctx context.Context) error {
		m := e.machine(server)
		if m.Ready {
			return nil
		}
		var (
			status  puppet.Status
			session remote.Session
		)
		if err := e.comingUp(ctx, server, func(ctx context.Context) (err error) {
			status, session, err = e.awaitStatus(ctx, m)
			return err
		}); err != nil {
			return err
		}
		var report puppet.Report
		var reportErr error
		if session != nil {
			report, reportErr = readReport(ctx, session)
		}
		if err := e.alter(ctx, server, func(m *machine) {
			m.Status = &status
			if session != nil && reportErr == nil {
				m.Report = &report
			}
		}); err != nil {
			return err
		}
		if err := failure(server, status, report); err != nil {
			return err
		}
		if reportErr != nil {
			return fmt.Errorf("report of %s: %w", server, reportErr)
		}
		gone := !e.bench() // the bootstrap user
		return e.alter(ctx, server, func(m *machine) { m.Ready, m.HandedOver = true, gone })
	})
}

// failure puts the resources that failed into the error of a provisioning.
func failure(server string, status puppet.Status, report puppet.Report) error {
	err := status.Err(server)
	if err == nil || status.Cause != verdict.PuppetFailed {
		return err
	}
	var said []string
	for _, r := range report.Failed {
		said = append(said, r.String())
	}
	said = append(said, report.Errors...)
	if len(said) == 0 {
		return err
	}
	if len(said) > 3 {
		said = append(said[:3], fmt.Sprintf("and %d more", len(said)-3))
	}
	return verdict.Errorf(status.Cause, server, "provisioning at stage %s: %s", status.Stage, strings.Join(said, "; "))
}

// Exit codes of the watch, beside 0 for a report that is there.
const (
	watchWorking  = 75 // still at work
	watchEnded    = 76 // the unit ended and left no report
	watchHandOver = 77 // the server hands over: this session has to end
)

// watchWithin is how long one watch stays on a server before it comes back to see whether anybody
// still waits.
const watchWithin = 5 * time.Second

// watchScript waits on the server itself, so that its end is noticed at once and without a login. It
// is sparing: the server has work to do, and often shares a processor with many. In a session of the
// bootstrap user it ends when the server hands over.
func watchScript(commit string, stage puppet.Stage, bootstrap bool) string {
	handOver := ""
	if bootstrap {
		handOver = fmt.Sprintf("if [ -e %s ]; then exit %d; fi", puppet.HandOverPath, watchHandOver)
	}
	return fmt.Sprintf(`reported() { [ -e %[4]s ] && grep -qs '"commit": *"%[2]s", *"stage": *"%[3]s"' %[4]s; }
for i in $(seq %[1]d); do
	if reported; then exec cat %[4]s; fi
	%[8]s
	if [ $i = %[1]d ]; then
		case $(systemctl show -P ActiveState %[5]s)/$(systemctl show -P ExecMainExitTimestampMonotonic %[5]s) in
		failed/*|inactive/[1-9]*)
			sleep 0.2
			if reported; then exec cat %[4]s; fi
			exit %[6]d ;;
		esac
	fi
	sleep 0.15
done
exit %[7]d`, watchWithin/(150*time.Millisecond), commit, stage, puppet.StatusPath, puppet.Unit, watchEnded, watchWorking, handOver)
}

// awaitStatus waits for a server's report about its commit. On a base it comes in as bootstrap user
// until the server hands over, which is its last act before it reports; else as admin. A prebuilt
// server that failed may have no account at all: then the report is read on its console, and there
// is no session.
func (e *Environment) awaitStatus(ctx context.Context, m machine) (puppet.Status, remote.Session, error) {
	stage := e.settings().Stage
	limits := e.site.Timeouts.withDefaults()
	var (
		status  puppet.Status
		session remote.Session
		inside  bool // Hallmark has logged in at least once
		heard   bool // it said on its console that it converged
		lost    bool // the last try did not come in
		look    = e.watchState(m.Name)
		listen  = e.listen(m)
		door    = e.newDoor(func(ctx context.Context, server string) bool {
			return server == m.Name && heard || e.ready(ctx, server)
		})
	)
	within := limits.Boot + e.puppetTimeout() + limits.Login // the server's own clock ends Puppet earlier
	err := e.poll(ctx, within, func(ctx context.Context) (bool, error) {
		if lost {
			said, ok := listen(ctx)
			if ok && said.Err(m.Name) != nil {
				status = said
				return true, nil
			}
			heard = heard || ok && !e.bench()
		}
		lost = true
		began := e.site.clock().Now()
		var (
			err       error
			bootstrap bool
		)
		if session, bootstrap, err = e.arrive(ctx, m.Name); err != nil {
			session = nil
			if bootstrap {
				err = e.refusedBootstrap(ctx, m.Name, err)
			}
			if gone := look(ctx); gone != nil {
				return true, gone
			}
			return door.shut(ctx, began, err), err
		}
		r, err := session.Run(ctx, remote.Command{Line: watchScript(m.Commit, stage, bootstrap && !e.bench()), Timeout: 3 * watchWithin})
		if err != nil { // it may have closed the way that we were on
			return door.shut(ctx, began, err), err
		}
		inside, lost = true, false
		switch r.Exit {
		case 0:
			if err = whole(r, m.Name, puppet.StatusPath); err == nil {
				status, err = puppet.ParseStatus(bytes.NewReader(r.Stdout))
			}
			return true, err
		case watchEnded:
			return true, verdict.Errorf(verdict.Unexplained, m.Name, "%s ended without a report; %s ends with: %s",
				puppet.Unit, puppet.LogPath, logEnd(ctx, session))
		case watchWorking:
			return false, errWorking
		case watchHandOver:
			if err := e.leaveBootstrap(ctx, m.Name); err != nil {
				return true, err
			}
			return false, errWorking
		}
		return false, verdict.Errorf(verdict.Unexplained, m.Name, "watching %s: exit %d", puppet.Unit, r.Exit)
	})
	switch {
	case errors.Is(err, errWorking):
		err = verdict.Errorf(verdict.PuppetTimeout, m.Name, "did not converge within %v; %s ends with: %s",
			e.puppetTimeout(), puppet.LogPath, logEnd(ctx, session))
	case errors.Is(err, errTimeout) && !inside:
		err = e.neverUp(m, err)
	}
	return status, session, err
}

// consolePrefix begins the line in which hallmark-provision says its report on the console.
const consolePrefix = "hallmark-provision: report "

// listenEvery is how often a console is read for a report.
const listenEvery = time.Second

// listen gives a function that reads a server's console, at most every listenEvery, for its report. That
// it converged is no reason to go on, for then it can be entered; but what keeps an admin out from now on
// stays.
func (e *Environment) listen(m machine) func(context.Context) (puppet.Status, bool) {
	next := e.site.clock().Now()
	return func(ctx context.Context) (puppet.Status, bool) {
		now := e.site.clock().Now()
		if now.Before(next) {
			return puppet.Status{}, false
		}
		next = now.Add(listenEvery)
		return e.saidOnConsole(ctx, m)
	}
}

// saidOnConsole gives the report about its commit that a server made on its console. A server that hands over
// for the first time has converged, though its report is still to come.
func (e *Environment) saidOnConsole(ctx context.Context, m machine) (puppet.Status, bool) {
	console, err := e.console(ctx, m.ID)
	if err != nil {
		return puppet.Status{}, false // asking for the server's state will show why
	}
	stage := e.settings().Stage
	if at := bytes.LastIndex(console, []byte(consolePrefix)); at >= 0 {
		s, err := puppet.ParseStatus(bytes.NewReader(console[at+len(consolePrefix):]))
		if err == nil && s.For(m.Commit, stage) {
			return s, true
		}
	}
	over := m.Status == nil && e.bootstraps() && bytes.Contains(console, []byte(puppet.HandOverPrefix))
	return puppet.Status{Commit: m.Commit, Stage: stage, Outcome: puppet.Converged}, over
}

// errWorking says that a unit is still at work.
var errWorking = errors.New("still provisioning")

// logEnd is where a provisioning stands, for people.
func logEnd(ctx context.Context, session remote.Session) string {
	r, err := session.Run(ctx, remote.Command{Line: "tail -n 3 " + puppet.LogPath, Sudo: true, Timeout: 10 * time.Second})
	if err != nil || r.Exit != 0 {
		return "nothing that can be read"
	}
	return lastLines(r.Stdout, 3)
}

// neverUp says what a wait's end means for a server that runs and was never entered. An answer that
// keeps an admin out was certain before, if the server had converged.
func (e *Environment) neverUp(m machine, err error) error {
	if verdict.ServerOf(err) != m.Name || m.Ready && m.Left == "" {
		return err
	}
	switch leg := verdict.LegOf(err); leg {
	case "":
		return err
	case verdict.LegBastionPort, verdict.LegServerPort:
		return verdict.Errorf(verdict.ServerBoot, m.Name, "runs, but nothing answers there: %w", err)
	default:
		if m.Ready { // rebooted, and its sshd answers
			return err
		}
		return verdict.Errorf(verdict.PuppetTimeout, m.Name, "no admin can log in, and it did not report on its console within %v either: %w", e.puppetTimeout(), err)
	}
}

func readStatus(ctx context.Context, session remote.Session) (puppet.Status, error) {
	r, err := session.Run(ctx, remote.Command{Line: "cat " + puppet.StatusPath, Sudo: true, Timeout: 10 * time.Second})
	if err != nil {
		return puppet.Status{}, err
	}
	if err := whole(r, "", puppet.StatusPath); err != nil {
		return puppet.Status{}, err
	}
	return puppet.ParseStatus(bytes.NewReader(r.Stdout))
}

// whole is an error for a file of which only the end was read: what is missing may be what failed.
func whole(r remote.Result, server, file string) error {
	if !r.Truncated {
		return nil
	}
	return verdict.Errorf(verdict.Unexplained, server, "%s is longer than the %d bytes that are read of it", file, len(r.Stdout))
}

func readReport(ctx context.Context, session remote.Session) (puppet.Report, error) {
	r, err := session.Run(ctx, remote.Command{
		Line: "cat " + puppet.ReportPath, Sudo: true, Timeout: 30 * time.Second, Bound: 32 << 20,
	})
	if err != nil {
		return puppet.Report{}, err
	}
	if err := whole(r, "", puppet.ReportPath); err != nil {
		return puppet.Report{}, err
	}
	return puppet.ParseReport(bytes.NewReader(r.Stdout))
}

// stateEvery is how often a wait asks the provider whether the server still runs.
const stateEvery = 2 * time.Second

// watchState gives a function that asks the provider at most every stateEvery, and gives an error
// once the server is gone or stopped.
func (e *Environment) watchState(server string) func(context.Context) error {
	next := e.site.clock().Now().Add(stateEvery)
	return func(ctx context.Context) error {
		now := e.site.clock().Now()
		if now.Before(next) {
			return nil
		}
		next = now.Add(stateEvery)
		states, err := e.states(ctx)
		if err != nil {
			return err
		}
		m := e.machine(server)
		switch state, listed := states[m.ID]; {
		case !listed:
			// Whoever asks for one that is gone is told why, for as long as the provider remembers.
			if _, err := e.console(ctx, m.ID); err != nil {
				return verdict.Errorf(verdict.CloudLost, server, "the provider does not list it any more: %w", err)
			}
			return verdict.Errorf(verdict.CloudLost, server, "the provider does not list it any more")
		case state == cloud.Broken:
			return verdict.Errorf(verdict.CloudLost, server, "the provider calls it broken")
		case state == cloud.Stopped:
			return verdict.Errorf(verdict.ServerStopped, server, "it stopped, and Hallmark did not stop it")
		}
		return nil
	}
}

// states asks for all servers of the environment in one call.
func (e *Environment) states(ctx context.Context) (map[cloud.ServerID]cloud.State, error) {
	s := e.settings().Spec
	list, err := e.site.Provider.Servers(ctx, cloud.Filter{Owner: s.Owner, Environment: s.ID})
	if err != nil {
		return nil, err
	}
	states := make(map[cloud.ServerID]cloud.State, len(list))
	for _, server := range list {
		states[server.ID] = server.State
	}
	return states, nil
}
