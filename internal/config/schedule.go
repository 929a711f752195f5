package config

import (
	"errors"
	"math"
	"time"

	"github.com/robfig/cron/v3"
)

// CatchUp is how late a tick that was missed (the daemon was down) is still acted on. In the file
// it is false, true (however late), or a duration. Of several missed ticks only the last counts.
type CatchUp time.Duration

// UnmarshalText reads false, true or a duration.
func (c *CatchUp) UnmarshalText(text []byte) error {
	switch string(text) {
	case "false":
		*c = 0
		return nil
	case "true":
		*c = math.MaxInt64
		return nil
	}
	d, err := ParseDuration(string(text))
	if err != nil {
		return errors.New("is no way to catch up: write true, false or a duration such as 6h")
	}
	*c = CatchUp(d)
	return nil
}

// fiveFields is minute, hour, day of month, month, day of week; no seconds and no @daily.
var fiveFields = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

// Next is the first tick after t, in the schedule's own time zone. The zero time says that there is
// none (the schedule names a day that never comes).
func (s Schedule) Next(t time.Time) time.Time {
	table, err := s.table()
	if err != nil {
		return time.Time{} // Check refused it
	}
	return table.next(t)
}

// Look is what a schedule's time table says at one moment.
type Look struct {
	Due    time.Time // the tick to be acted on now; zero: none
	Missed time.Time // the newest tick that is too late to be acted on; zero: none
	Count  int       // of the ticks that are too late
}

// longest bounds how far a Look goes back to count what was missed.
const longest = 400 * 24 * time.Hour

// Look says which tick is to be acted on now: the newest one after last, unless the catch-up finds
// it too late. The daemon that looks within grace of a tick is not late. A zero last (the schedule
// is new) makes nothing due. One that is Ahead tells nothing, so only a tick within grace is due then.
func (s Schedule) Look(last, now time.Time, grace time.Duration) (l Look) {
	table, err := s.table()
	if err != nil || last.IsZero() {
		return Look{}
	}
	late := max(grace, time.Duration(s.CatchUp))
	earliest := now.Add(-min(late, longest))
	from := last
	if s.Ahead(last, now) {
		from = now.Add(-grace - time.Nanosecond)
	}
	if bound := now.Add(-longest); from.Before(bound) {
		from = bound
	}
	for tick := table.next(from); !tick.IsZero() && !tick.After(now); tick = table.next(tick) {
		if !l.Due.IsZero() { // a newer one takes its place
			l.Missed, l.Count = l.Due, l.Count+1
		}
		l.Due = tick
	}
	if !l.Due.IsZero() && l.Due.Before(earliest) {
		l = Look{Missed: l.Due, Count: l.Count + 1}
	}
	return l
}

// Ahead reports whether last, the tick acted on last, lies so far in the future that a tick would be
// left out: the clock was wrong when it was noted.
func (s Schedule) Ahead(last, now time.Time) bool {
	next := s.Next(now)
	return !next.IsZero() && next.Before(last)
}

func (s Schedule) table() (timetable, error) {
	zone, err := time.LoadLocation(s.Timezone)
	if err != nil {
		return timetable{}, err
	}
	ticks, err := fiveFields.Parse(s.Cron)
	if err != nil {
		return timetable{}, err
	}
	spec, ok := ticks.(*cron.SpecSchedule)
	if !ok {
		return timetable{}, errors.New("is no time table")
	}
	wall := *spec
	wall.Location = time.UTC
	const everyHour = 1<<24 - 1
	return timetable{zone: zone, wall: &wall, hourly: wall.Hour&everyHour == everyHour}, nil
}
