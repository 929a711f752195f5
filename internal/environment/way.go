package environment

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// How long an admin's way has to stay closed at one leg before that is certain. What may still change
// while a server provisions itself, or boots, is never certain.
const (
	// settled is for a server that has reported: its sshd may just be reloading.
	settled = 10 * time.Second
	// reloading is the least that a way has to stay closed after the report.
	reloading = 5 * time.Second
	// silent is for a server that has not reported yet, but has booted: nothing answers for that long only
	// if something drops packets.
	silent = 20 * time.Second
	// surprised is for a port that closes on a server in use: it may be booting, though Hallmark did not ask for that.
	surprised = 45 * time.Second
	// remembered is how long an audit relies on what a wait has made certain.
	remembered = 2 * time.Minute
)

// closedWay is an admin's way as it was found closed.
type closedWay struct {
	leg      verdict.Leg
	server   string // where it ended
	said     string
	answered bool      // the far end itself said no; else there was silence
	since    time.Time // begin of the first try that ended so
	at       time.Time // end of the last one
}

// booting is what sshd tells admins while a server boots or shuts down (pam_nologin, systemd-user-sessions).
var booting = regexp.MustCompile(`(?i)system is (booting up|going down)`)

// wayOf reads an error of a try to come in; false if it does not say that a leg is closed.
func wayOf(err error, began, ended time.Time) (closedWay, bool) {
	w := closedWay{leg: verdict.LegOf(err), server: verdict.ServerOf(err), answered: remote.Answered(err), since: began, at: ended}
	if w.leg == "" || w.server == "" || booting.MatchString(err.Error()) {
		return w, false
	}
	w.said = strings.Join(strings.Fields(err.Error()), " ")
	if _, rest, ok := strings.Cut(w.said, fmt.Sprintf("leg %q: ", w.leg)); ok {
		w.said = rest
	}
	return w, true
}

// door watches one wait's tries to come in, and tells when it is certain that none will.
type door struct {
	env *Environment
	// reported reports whether a server has done its part: what it says now stays.
	reported func(ctx context.Context, server string) bool
	booted   bool // the servers have shown that they booted
	closed   closedWay
	since    time.Time // when closed's server was first known to have reported
}

func (e *Environment) newDoor(reported func(ctx context.Context, server string) bool) *door {
	return &door{env: e, reported: reported}
}

// ready reports whether a server has converged, and, if it was rebooted since, has said on its console that
// this boot is over.
func (e *Environment) ready(ctx context.Context, server string) bool {
	m := e.machine(server)
	if !m.Ready || m.Left == "" {
		return m.Ready
	}
	console, err := e.console(ctx, m.ID)
	return err == nil && bootedSince(console, m.LeftAt)
}

// bootEnd is what cloud-init says on the console at the end of every boot (cc_final_message), when all that
// multi-user.target wants was started.
var bootEnd = regexp.MustCompile(`Cloud-init v\. \S+ finished at (\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4})`)

// bootedSince reports whether a console tells of a boot that ended after a moment. Its times have no
// fractions of a second.
func bootedSince(console []byte, moment time.Time) bool {
	for _, m := range bootEnd.FindAllSubmatch(console, -1) {
		if at, err := time.Parse(time.RFC1123Z, string(m[1])); err == nil && !at.Before(moment.Truncate(time.Second)) {
			return true
		}
	}
	return false
}

// shut takes a try's error and reports whether the way is closed for certain. Then the environment's next
// audit knows of it.
func (d *door) shut(ctx context.Context, began time.Time, err error) bool {
	now := d.env.site.clock().Now()
	w, ok := wayOf(err, began, now)
	if !ok {
		d.closed, d.since = closedWay{}, time.Time{}
		return false
	}
	if d.closed.leg == w.leg && d.closed.server == w.server {
		w.since = d.closed.since
	} else {
		d.since = time.Time{}
	}
	d.closed = w
	lasting := settled
	switch {
	case d.reported(ctx, w.server):
		// A try that met the same before the report counts, but one has to be begun after it.
		if d.since.IsZero() {
			d.since = began
		}
	case d.booted && !w.answered && w.leg == verdict.LegServerPort && d.env.ready(ctx, d.env.machines()[0].Name):
		d.since, lasting = w.since, silent
	default:
		return false
	}
	if now.Sub(w.since) < lasting || now.Sub(d.since) < reloading {
		return false
	}
	d.env.noteClosed(w)
	return true
}

// noteClosed keeps for the next audit that a way is closed: to try it once more may take half a minute,
// until there is another one-time code.
func (e *Environment) noteClosed(w closedWay) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed == nil {
		e.closed = map[string]closedWay{}
	}
	e.closed[w.server] = w
}

// knownClosed gives the way to a server that a wait found closed just now.
func (e *Environment) knownClosed(server string) (closedWay, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w, ok := e.closed[server]
	if ok && e.site.clock().Now().Sub(w.at) > remembered {
		delete(e.closed, server)
		ok = false
	}
	return w, ok
}

// tryWay tries the admin's way to a server until it is open, giving the boot that the server is on, or
// closed for certain. Without a certain answer it gives the last error.
func (e *Environment) tryWay(ctx context.Context, m machine) (boot string, closed *closedWay, err error) {
	var first closedWay
	clock := e.site.clock()
	for pause := time.Second; ; pause = min(2*pause, 4*time.Second) {
		for _, server := range []string{e.machines()[0].Name, m.Name} {
			if w, ok := e.knownClosed(server); ok {
				return "", &w, nil
			}
		}
		began := clock.Now()
		if boot, err = e.bootNow(ctx, m.Name); err == nil {
			return boot, nil, nil
		}
		w, ok := wayOf(err, began, clock.Now())
		if !ok {
			if first.leg != "" || ctx.Err() != nil {
				return "", nil, err
			}
			first.leg = "unknown" // the first may only have found that its connection is gone
			continue
		}
		if first.leg == w.leg && first.server == w.server {
			w.since = first.since
		}
		first = w
		lasting := settled
		if w.leg == verdict.LegBastionPort || w.leg == verdict.LegServerPort {
			lasting = surprised
		}
		if !e.hasReported(ctx, w.server) { // nothing it says is certain
			return "", nil, err
		}
		if clock.Now().Sub(w.since) >= lasting {
			e.noteClosed(w)
			return "", &w, nil
		}
		if sleeping := clock.Sleep(ctx, pause); sleeping != nil {
			return "", nil, err
		}
	}
}

// hasReported reports whether a server has converged, as far as is known or its console says.
func (e *Environment) hasReported(ctx context.Context, server string) bool {
	m := e.machine(server)
	if m.Ready || m.Status != nil && m.Status.For(m.Commit, e.settings().Stage) && m.Status.Err(server) == nil {
		return true
	}
	status, said := e.saidOnConsole(ctx, m)
	return said && status.Err(server) == nil
}

// bootNow reads a server's boot ID with the account that it has at this moment.
func (e *Environment) bootNow(ctx context.Context, server string) (string, error) {
	session, err := e.enter(ctx, server)
	if err != nil {
		return "", err
	}
	boot, err := bootID(ctx, session, server)
	if verdict.LegOf(err) != verdict.LegSudo {
		return boot, err
	}
	// A login shell that runs nothing and says nothing looks like a sudo that does.
	if _, shell := session.Run(ctx, remote.Command{Line: "true", Timeout: 10 * time.Second}); verdict.LegOf(shell) == verdict.LegShell {
		return "", shell
	}
	return "", err
}
