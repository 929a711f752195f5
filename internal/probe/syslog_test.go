package probe

import (
	"strings"
	"testing"
	"time"
)

func TestSyslogSinceBoot(t *testing.T) {
	since := time.Date(2026, 11, 23, 22, 0, 0, 0, time.UTC)
	in := `2026-11-23T21:59:59.1+00:00 web-1 old[3]: PHP Fatal error: before
  more of the one before
2026-11-23T22:00:01.5+00:00 web-1 app[3]: first
  more of the first
Nov 23 22:00:02 web-1 cron: second
<27>Nov 23 22:00:03 web-1 cron[8]: third
<11>1 2026-11-23T22:00:04.5+00:00 web-1 app 77 ID47 [a@1 b="c] \"d"][e@2] fourth
1 2026-11-23T22:00:05Z web-1 app - - - fifth
`
	file, err := Syslog(strings.NewReader(in), since, since.Add(time.Hour))
	if err != nil || file.Written != 8 || file.Understood != 6 || file.Unread() != "" {
		t.Fatalf("%+v, %v", file, err)
	}
	want := []Line{
		{Program: "app", PID: 3, Priority: -1, Message: "first"}, {Program: "app", PID: 3, Priority: -1, Message: "  more of the first"},
		{Program: "cron", Priority: -1, Message: "second"}, {Program: "cron", PID: 8, Priority: 3, Message: "third"},
		{Program: "app", PID: 77, Priority: 3, Message: "fourth"}, {Program: "app", Priority: -1, Message: "fifth"},
	}
	if len(file.Lines) != len(want) {
		t.Fatalf("lines %+v", file.Lines)
	}
	for i, w := range want {
		l := file.Lines[i]
		if l.Program != w.Program || l.PID != w.PID || l.Priority != w.Priority || l.Message != w.Message || l.Time.Before(since) {
			t.Errorf("line %d: %+v, want %+v", i, l, w)
		}
	}
}

// A format without a year begins no new one: December's lines are of the year that has just ended.
func TestSyslogAcrossNewYear(t *testing.T) {
	since := time.Date(2026, 12, 31, 23, 58, 0, 0, time.UTC)
	in := "Dec 30 10:00:00 web-1 app: before the boot\nDec 31 23:59:00 web-1 app: in December\nJan  1 00:01:00 web-1 app: in January\n"
	file, err := Syslog(strings.NewReader(in), since, time.Date(2027, 1, 1, 0, 5, 0, 0, time.UTC))
	if err != nil || len(file.Lines) != 2 || file.Lines[0].Message != "in December" || file.Lines[1].Message != "in January" {
		t.Fatalf("%+v, %v", file.Lines, err)
	}
	if got := file.Lines[1].Time; got != time.Date(2027, 1, 1, 0, 1, 0, 0, time.UTC) {
		t.Errorf("January's line is of %v", got)
	}
	// A boot in January does not own what is left of the year before.
	file, err = Syslog(strings.NewReader(in), time.Date(2027, 1, 1, 0, 0, 30, 0, time.UTC), time.Date(2027, 1, 1, 0, 5, 0, 0, time.UTC))
	if err != nil || len(file.Lines) != 1 || file.Lines[0].Message != "in January" {
		t.Errorf("after a boot in January: %+v, %v", file.Lines, err)
	}
	file, err = Syslog(strings.NewReader("Feb 29 12:00:00 web-1 app: leap\n"), time.Date(2028, 2, 29, 0, 0, 0, 0, time.UTC), time.Date(2028, 3, 1, 0, 0, 0, 0, time.UTC))
	if err != nil || len(file.Lines) != 1 || file.Lines[0].Time.Year() != 2028 {
		t.Errorf("of a leap day: %+v, %v", file.Lines, err)
	}
}

// A file in a format that nobody understands proves nothing, from its first line or from a later one.
func TestSyslogThatNobodyCanRead(t *testing.T) {
	known := strings.Repeat("2026-11-23T22:00:01+00:00 web-1 app[3]: fine\n", 50)
	odd := func(n int) string { return strings.Repeat("23/11/26 22:00:01 app PHP Fatal error: x\n", n) }
	for name, c := range map[string]struct {
		in  string
		why string
	}{
		"empty":                 {"\n", ""},
		"known":                 {known, ""},
		"a message of 19 lines": {known + odd(19), ""},
		"none":                  {odd(2), "none of its 2 lines could be read: use a template"},
		"JSON":                  {`{"time":"2026-11-23T22:00:01Z","msg":"PHP Fatal error"}` + "\n", "none of its 1 lines"},
		"not since a change":    {known + odd(20), "20 of its 70 lines could not be read"},
		"mostly not":            {known + odd(60) + known, ""},
		"fewer than half":       {odd(200) + known, "200 of its 250 lines"},
	} {
		t.Run(name, func(t *testing.T) {
			file, err := Syslog(strings.NewReader(c.in), time.Time{}, time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC))
			if why := file.Unread(); err != nil || !strings.Contains(why, c.why) || (c.why == "") != (why == "") {
				t.Errorf("says %q, %v; want %q", why, err, c.why)
			}
		})
	}
}
