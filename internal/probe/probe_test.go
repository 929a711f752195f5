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
	rules := Rules{Ignore: []Ignore{{"^nothing: ", "never seen"}}}
	got, err := Scan(lines, rules, "lxc")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Lines) != 1 || got.Lines[0].Source != "journal" || got.Lines[0].Why != "PHP fatal error" {
		t.Errorf("found %+v, want the journal's line alone", got.Lines)
	}
	if i := got.Ignored; len(i) != 2 || i[0].Lines != 0 || i[0].From != FromProduct || i[1].Lines != 1 || i[1].From != FromContainer {
		t.Errorf("ignored %+v", i)
	}
	// What a container may not is an error on a machine.
	if got, err = Scan(lines, rules, ""); err != nil || len(got.Lines) != 2 || got.Lines[1].Program != "rsyslogd" && got.Lines[0].Program != "rsyslogd" {
		t.Errorf("on a machine, found %+v, %v", got.Lines, err)
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
			if _, err := Scan(nil, Rules{Ignore: []Ignore{rule}}, ""); err == nil {
				t.Errorf("rule %+v was accepted", rule)
			}
		})
	}
}

func TestJournal(t *testing.T) {
	in := `{"__REALTIME_TIMESTAMP":"1795471302554279","PRIORITY":"3","SYSLOG_IDENTIFIER":"app","_SYSTEMD_UNIT":"app.service","MESSAGE":"no"}
{"__REALTIME_TIMESTAMP":"1795471302554280","_COMM":"sh","_UID":"1000","MESSAGE":[104,105,255]}
{"_UID":"0","MESSAGE":null}
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
	if lines[0].uid != 0 || lines[1].uid != 1000 || lines[2].uid != 0 {
		t.Errorf("users %d, %d, %d", lines[0].uid, lines[1].uid, lines[2].uid)
	}
	if _, err := Journal(strings.NewReader("{")); err == nil {
		t.Error("half an entry is no error")
	}
}

func FuzzSyslog(f *testing.F) {
	f.Add("<11>1 2026-11-23T22:00:01.5+00:00 web-1 app 3 - [a b=\"c\"] first\n")
	f.Add("2026-11-23T22:00:01.5+00:00 web-1 sshd[3]: Accepted publickey for b from 10.0.0.3 port 5 ssh2\n2026-11-23T22:00:01.5+00:00 web-1 sshd[3]: fatal: x\n")
	f.Add("2026-11-23T22:00:01.5+00:00 web-1 app[3]: first\nNov 23 22:00:02 web-1 cron: second\n")
	f.Fuzz(func(t *testing.T, in string) {
		file, err := Syslog(strings.NewReader(in), time.Time{}, time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC))
		if err != nil {
			t.Fatal(err)
		}
		if file.Understood > file.Written {
			t.Fatalf("understood %d of %d lines", file.Understood, file.Written)
		}
		if _, err := Scan(file.Lines, Rules{Ours: Ours{Bootstrap: "b", Servers: []string{"10.0.0.2"}}}, "lxc"); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzJournal(f *testing.F) {
	f.Add(`{"__REALTIME_TIMESTAMP":"1","PRIORITY":"3","MESSAGE":[1,2]}`)
	f.Fuzz(func(_ *testing.T, in string) { _, _ = Journal(strings.NewReader(in)) })
}
