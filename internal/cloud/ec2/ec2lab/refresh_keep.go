package ec2lab

import (
	"context"
	"strconv"
	"time"
)

// turn is what one look at a refresh finds.
type turn struct {
	version int                 // to launch
	old     func(*grouped) bool // to be replaced
	least   int                 // in service
	most    int                 // there
}

// warmup of an instance before it counts as serving: those that are replaced have served before.
func (t turn) warmup(m *grouped, f *refresh) time.Duration {
	if t.old(m) {
		return 0
	}
	return f.warmup
}

func (f *refresh) turn(g *scalingGroup) turn {
	least, most := 90, 100
	if p := f.how.MinHealthyPercentage; p != nil {
		least = *p
	}
	if p := f.how.MaxHealthyPercentage; p != nil {
		most = *p
	}
	t := turn{version: f.desired, least: (g.wanted*least + 99) / 100, most: g.wanted * most / 100}
	if f.desired == 0 {
		t.version = g.number()
	}
	t.old = func(m *grouped) bool { return m.born < f.born && (!f.how.SkipMatching || m.version != t.version) }
	if f.status == "RollbackInProgress" {
		t.version = g.number()
		t.old = func(m *grouped) bool { return m.version != t.version }
	}
	switch {
	case t.least < g.wanted || t.most > g.wanted:
	case f.how.MaxHealthyPercentage != nil: // it launches before it terminates
		t.most++
	default:
		t.least--
	}
	return t
}

// advance goes on with a refresh. Called with mu held.
func (l *Lab) advance(ctx context.Context, r *region, g *scalingGroup, f *refresh) {
	if f.status == "Cancelling" {
		l.over(f, "Cancelled")
		return
	}
	if f.status == "Pending" {
		f.status = "InProgress"
	}
	t := f.turn(g)
	old, fresh, serving, done := 0, 0, 0, 0
	for _, m := range g.living() {
		ok := l.ready(r, g, m, t.warmup(m, f))
		if ok {
			serving++
		}
		if t.old(m) {
			old++
			continue
		}
		fresh++
		if ok {
			done++
		}
	}
	f.came(l.cfg.Clock.Now(), g.wanted, old, done)
	switch {
	case old == 0 && done == g.wanted:
		if f.status == "RollbackInProgress" {
			l.over(f, "RollbackSuccessful")
			return
		}
		if f.desired != 0 {
			g.version = strconv.Itoa(f.desired)
		}
		f.percent = 100
		l.over(f, "Successful")
		return
	case l.cfg.Clock.Now().Sub(f.moved) > l.cfg.Delays.Refresh:
		l.failed(g, f)
		return
	}
	for there := old + fresh; there < t.most && fresh < g.wanted; there++ {
		l.add(ctx, r, g, t.version)
		fresh++
	}
	l.retire(r, g, f, t, serving)
}

// retire dismisses what is to be replaced: what does not serve at once, the rest as far as enough serve.
func (l *Lab) retire(r *region, g *scalingGroup, f *refresh, t turn, serving int) {
	const cause = "an instance was taken out of service in response to an instance refresh."
	for _, m := range g.living() {
		if !t.old(m) {
			continue
		}
		if l.ready(r, g, m, t.warmup(m, f)) {
			if serving-1 < t.least {
				continue
			}
			serving--
		}
		l.dismiss(r, g, m, cause)
	}
}

// came notes how far a refresh has come.
func (f *refresh) came(now time.Time, wanted, old, done int) {
	percent := 100
	if wanted > 0 {
		percent = min(100, done*100/wanted)
	}
	if f.status == "RollbackInProgress" {
		percent = min(f.rollback.Percent, 100-percent)
	}
	if percent != f.percent || old != f.left {
		f.moved = now
	}
	f.percent, f.left = percent, old
}

func (l *Lab) over(f *refresh, status string) {
	now := l.now()
	f.status, f.end = status, &now
}

// failed is what a refresh comes to that does not come forward any more.
func (l *Lab) failed(g *scalingGroup, f *refresh) {
	const why = "The instance refresh timed out: new instances did not pass their health checks."
	switch {
	case f.status == "RollbackInProgress":
		f.why = why
		l.over(f, "RollbackFailed")
	case f.how.AutoRollback && g.reversible(f) == nil:
		l.turnBack(f, why)
	default:
		f.why = why
		l.over(f, "Failed")
	}
}
