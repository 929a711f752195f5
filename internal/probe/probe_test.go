package probe

import (
	"strings"
	"testing"
	"time"
)

func TestTrouble(t *testing.T) {
	cases := map[string]struct {
		line Line
		want string
	}{
		"quiet":          {Line{Priority: 6, Message: "Started nginx.service"}, ""},
		"no priority":    {Line{Priority: -1, Message: "all is well"}, ""},
		"err":            {Line{Priority: 3, Message: "bind() failed"}, "priority err or worse"},
		"warning":        {Line{Priority: 4, Message: "deprecated option"}, ""},
		"segfault":       {Line{Priority: 6, Message: "php-fpm[33]: segfault at 0 ip 0"}, "segfault"},
		"oom":            {Line{Priority: 6, Message: "mariadbd invoked oom-killer: gfp_mask=0x0"}, "out of memory"},
		"php":            {Line{Priority: 5, Message: "PHP Fatal error:  Uncaught Error"}, "PHP fatal error"},
		"python":         {Line{Priority: -1, Message: "Traceback (most recent call last):"}, "Python traceback"},
		"failed unit":    {Line{Priority: 4, Message: "bad.service: Failed with result 'exit-code'."}, "unit failed to start"},
		"core dumped":    {Line{Priority: 5, Message: "a.service: Main process exited, code=dumped, status=11/SEGV (core dumped)"}, "core dumped"},
		"clean kill":     {Line{Priority: 5, Message: "a.service: Main process exited, code=killed, status=15/TERM"}, ""},
		"says no errors": {Line{Priority: 6, Message: "0 errors, no traceback"}, ""},
		"disk":           {Line{Priority: 6, Message: "write: No space left on device"}, "disk full"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := Trouble(c.line); got != c.want {
				t.Errorf("Trouble(%q) = %q, want %q", c.line.Message, got, c.want)
			}
		})
	}
}

func TestScanGivesOnceAndExcuses(t *testing.T) {
	at := time.Date(2026, 11, 23, 22, 0, 0, 0, time.UTC)
	lines := []Line{
		{Source: "syslog", Time: at.Add(time.Second), Program: "app", Priority: -1, Message: "PHP Fatal error: x"},
		{Source: "journal", Time: at, Program: "app", Priority: 3, Message: "PHP Fatal error: x"},
		{Source: "journal", Time: at, Program: "rsyslogd", Priority: 3, Message: "imklog: cannot open kernel log (/proc/kmsg): Permission denied."},
		{Source: "journal", Time: at, Program: "app", Priority: 6, Message: "hello"},
	}
	rules := append(ContainerNoise(), Ignore{"^nothing: ", "never seen"})
	found, ignored, err := Scan(lines, rules)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0].Source != "journal" || found[0].Why != "PHP fatal error" {
		t.Errorf("found %+v, want the journal's line alone", found)
	}
	if ignored[2].Lines != 1 || ignored[3].Lines != 0 || len(ignored) != len(rules) {
		t.Errorf("ignored %+v", ignored)
	}
}

func TestScanRefusesRules(t *testing.T) {
	for name, rule := range map[string]Ignore{
		"broken":      {"(", "r"},
		"everything":  {".*", "r"},
		"empty":       {"", "r"},
		"unexplained": {"x", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := Scan(nil, []Ignore{rule}); err == nil {
				t.Errorf("rule %+v was accepted", rule)
			}
		})
	}
}

func TestJournal(t *testing.T) {
	in := `{"__REALTIME_TIMESTAMP":"1795471302554279","PRIORITY":"3","SYSLOG_IDENTIFIER":"app","_SYSTEMD_UNIT":"app.service","MESSAGE":"no"}
{"__REALTIME_TIMESTAMP":"1795471302554280","_COMM":"sh","MESSAGE":[104,105,255]}
{"MESSAGE":null}
`
	lines, err := Journal(strings.NewReader(in))
	if err != nil || len(lines) != 3 {
		t.Fatalf("Journal: %d lines, %v", len(lines), err)
	}
	if l := lines[0]; l.Priority != 3 || l.Program != "app" || l.Unit != "app.service" || l.Time.UnixMicro() != 1795471302554279 {
		t.Errorf("first line %+v", l)
	}
	if l := lines[1]; l.Priority != -1 || l.Program != "sh" || l.Message != "hi�" {
		t.Errorf("second line %+v", l)
	}
	if _, err := Journal(strings.NewReader("{")); err == nil {
		t.Error("half an entry is no error")
	}
}

func TestSyslogSinceBoot(t *testing.T) {
	since := time.Date(2026, 11, 23, 22, 0, 0, 0, time.UTC)
	in := `2026-11-23T21:59:59.1+00:00 web-1 old[3]: PHP Fatal error: before
  more of the one before
2026-11-23T22:00:01.5+00:00 web-1 app[3]: first
  more of the first
Nov 23 22:00:02 web-1 cron: second
`
	lines, err := Syslog(strings.NewReader(in), since)
	if err != nil || len(lines) != 3 {
		t.Fatalf("Syslog: %+v, %v", lines, err)
	}
	for i, want := range []struct{ program, message string }{{"app", "first"}, {"app", "  more of the first"}, {"cron", "second"}} {
		if lines[i].Program != want.program || lines[i].Message != want.message {
			t.Errorf("line %d: %+v, want %+v", i, lines[i], want)
		}
	}
}

func TestFailedUnits(t *testing.T) {
	units, err := FailedUnits([]byte(`[{"unit":"bad.service","load":"loaded","active":"failed","sub":"failed","description":"/bin/false"}]`))
	if err != nil || len(units) != 1 || units[0].Name != "bad.service" || units[0].Sub != "failed" {
		t.Errorf("FailedUnits: %+v, %v", units, err)
	}
	if units, err := FailedUnits([]byte("\n")); err != nil || len(units) != 0 {
		t.Errorf("no output: %+v, %v", units, err)
	}
}

func FuzzSyslog(f *testing.F) {
	f.Add("2026-11-23T22:00:01.5+00:00 web-1 app[3]: first\nNov 23 22:00:02 web-1 cron: second\n")
	f.Fuzz(func(t *testing.T, in string) {
		lines, err := Syslog(strings.NewReader(in), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := Scan(lines, ContainerNoise()); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzJournal(f *testing.F) {
	f.Add(`{"__REALTIME_TIMESTAMP":"1","PRIORITY":"3","MESSAGE":[1,2]}`)
	f.Fuzz(func(_ *testing.T, in string) { _, _ = Journal(strings.NewReader(in)) })
}
