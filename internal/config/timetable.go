package config

import (
	"time"

	"github.com/robfig/cron/v3"
)

// timetable finds the moments at which a time zone's clocks show what a schedule asks for. The rule
// for the days on which clocks are moved:
//
//   - A time that is left out (2:30 in the night in which clocks go from 2:00 to 3:00) comes when it is
//     over, at 3:00. Several such times come once.
//   - A time that is shown twice (2:30 in the night in which clocks go from 3:00 back to 2:00) counts
//     once, the first time.
//   - A schedule for every hour of the day ("0,30 * * * *") goes on in the hour that is repeated, for
//     else it would pause that long.
type timetable struct {
	zone   *time.Location
	wall   *cron.SpecSchedule // evaluated on what clocks show, as if that were UTC
	hourly bool               // it ticks in every hour of the day
}

// widest is more than clocks were ever moved at once (a whole day, at the date line).
const widest = 25 * time.Hour

// next is the first tick after t, zero if there is none.
func (c timetable) next(t time.Time) time.Time {
	t = t.In(c.zone)
	begin, end := t.ZoneBounds()
	if begin.IsZero() || t.Sub(begin) > widest { // clocks were not moved lately: what they show tells the moment
		wall := c.wall.Next(shown(t))
		if wall.IsZero() {
			return time.Time{}
		}
		_, offset := t.Zone()
		if tick := c.moment(wall, offset); end.IsZero() || tick.Before(end) {
			return tick
		}
	}
	before, after := c.offsets(shown(t))
	back := time.Duration(max(before-after, 0)) * time.Second // what was shown so long ago may be shown again
	var first time.Time
	for wall := c.wall.Next(shown(t).Add(-back)); !wall.IsZero(); wall = c.wall.Next(wall) {
		one, again := c.moments(wall)
		for _, tick := range []time.Time{one, again} {
			if tick.After(t) && (first.IsZero() || tick.Before(first)) {
				first = tick
			}
		}
		if one.After(t) {
			break
		}
	}
	return first
}

// moments gives when clocks show a time, and when they show it again, if that counts.
func (c timetable) moments(wall time.Time) (one, again time.Time) {
	before, after := c.offsets(wall)
	first, second := c.moment(wall, before), c.moment(wall, after)
	switch {
	case before == after:
		return first, time.Time{}
	case shown(first).Equal(wall) && shown(second).Equal(wall): // shown twice
		period := c.wall.Next(wall).Sub(wall)
		if c.hourly && second.Sub(first) >= period {
			return first, second
		}
		return first, time.Time{}
	case shown(first).Equal(wall):
		return first, time.Time{}
	case shown(second).Equal(wall):
		return second, time.Time{}
	}
	begin, _ := first.ZoneBounds() // left out: first is what the old offset makes of it, which is after the change
	return begin, time.Time{}
}

// offsets are those of the zone before and after the change of clocks that a time shown is near to.
func (c timetable) offsets(wall time.Time) (before, after int) {
	_, before = wall.Add(-widest).In(c.zone).Zone()
	_, after = wall.Add(widest).In(c.zone).Zone()
	return before, after
}

func (c timetable) moment(wall time.Time, offset int) time.Time {
	return wall.Add(-time.Duration(offset) * time.Second).In(c.zone)
}

// shown is what clocks show at t, written as if it were UTC.
func shown(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}
