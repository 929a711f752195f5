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
	zone, err := time.LoadLocation(s.Timezone)
	if err != nil {
		return time.Time{} // Check refused it
	}
	ticks, err := fiveFields.Parse(s.Cron)
	if err != nil {
		return time.Time{}
	}
	return ticks.Next(t.In(zone))
}

// Due says which tick is to be acted on now, if any: the newest one after last that is not later
// than the catch-up allows. The daemon that looks within grace of a tick has not missed it. A zero
// last (the schedule is new) makes nothing due.
func (s Schedule) Due(last, now time.Time, grace time.Duration) (tick time.Time, due bool) {
	if last.IsZero() {
		return time.Time{}, false
	}
	late := max(grace, time.Duration(s.CatchUp))
	from := last
	if earliest := now.Add(-late); late < math.MaxInt64 && earliest.After(from) {
		from = earliest.Add(-time.Nanosecond)
	}
	for next := s.Next(from); !next.IsZero() && !next.After(now); next = s.Next(next) {
		tick, due = next, true
	}
	return tick, due
}
