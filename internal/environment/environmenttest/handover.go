package environmenttest

import (
	"fmt"
	"slices"
	"time"

	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/puppet"
)

// HandOver is how long a server takes for each step of its hand-over from the bootstrap user to the
// admin, after Puppet has converged. All are zero unless a test says otherwise.
type HandOver struct {
	Announce time.Duration // from converged to the announcement
	Close    time.Duration // from there to the closed door: no new login
	Forget   time.Duration // from the end of the last session to the end of PAM's and logind's part
	Remove   time.Duration // from there to the report, with the user removed
}

// HandOver slows down the hand-overs of servers of that name.
func (w *World) HandOver(server string, h HandOver) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handOvers[server] = h
}

// HandOverFaults lists what a real server would have logged as errors, or what was risked: logins of the
// bootstrap user that were tried between the announcement and the report, and sessions that the server
// had to end.
func (w *World) HandOverFaults() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.faults)
}

// Disconnect ends every connection, as the end of Hallmark's process does.
func (w *World) Disconnect() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.hosts {
		for s := range h.inside {
			w.hangUp(s)
		}
	}
}

// handedOver lets the steps of a hand-over happen that have had their time, and reports whether the last
// is done. It expects w.mu to be held.
func (w *World) handedOver(h *host, converged time.Time) bool {
	takes, now := w.handOvers[h.name], w.clock.Now()
	announced := converged.Add(takes.Announce)
	if now.Before(announced) {
		return false
	}
	h.announced, h.admin = true, true // Puppet has made the admin's account before
	closed := announced.Add(takes.Close)
	if now.Before(closed) {
		return false
	}
	h.closed = true
	if patience := closed.Add(puppet.HandOverPatience); len(h.inside) > 0 {
		if now.Before(patience) {
			return false
		}
		w.faults = append(w.faults, fmt.Sprintf("%s: a session of %s is ended by the server", h.name, environment.BootstrapUser))
		for s := range h.inside {
			w.hangUp(s)
		}
		h.lastLeft = patience
	}
	if h.lastLeft.After(closed) {
		closed = h.lastLeft
	}
	if now.Before(closed.Add(takes.Forget + takes.Remove)) {
		return false
	}
	h.bootstrap = ""
	return true
}

// hangUp expects w.mu to be held.
func (w *World) hangUp(s *session) {
	s.closed = true
	if _, open := s.host.inside[s]; open {
		delete(s.host.inside, s)
		s.host.lastLeft = w.clock.Now()
	}
}

// Dialled counts the logins of the bootstrap user that were tried on servers of that name.
func (w *World) Dialled(server string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dials[server]
}

// dialled counts a login of the bootstrap user, and notes one that must not be tried. It expects w.mu to be held.
func (w *World) dialled(h *host) {
	w.dials[h.name]++
	if h.announced && h.status == nil {
		w.faults = append(w.faults, fmt.Sprintf("%s: %s is dialled after the hand-over was announced", h.name, environment.BootstrapUser))
	}
}
