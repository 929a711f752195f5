package probe

import (
	"testing"
	"time"
)

func TestListedUnits(t *testing.T) {
	units, err := ListedUnits([]byte(`[{"unit":"bad.service","load":"loaded","active":"failed","sub":"failed","description":"/bin/false"},
		{"unit":"job.service","load":"loaded","active":"activating","sub":"start","description":"a job"}]`))
	if err != nil || len(units) != 2 || units[0].Name != "bad.service" || units[0].Sub != "failed" {
		t.Errorf("ListedUnits: %+v, %v", units, err)
	}
	Detail(units, []byte("NRestarts=7\nRestartUSec=1min 30s 200ms\nId=bad.service\n\nTriggeredBy=job.timer\nNRestarts=0\nRestartUSec=infinity\nId=job.service\n"))
	if u := units[0]; u.Restarts != 7 || u.Delay != 90*time.Second+200*time.Millisecond || u.Triggered {
		t.Errorf("details %+v", u)
	}
	if u := units[1]; !u.Triggered || u.Delay != 0 {
		t.Errorf("details %+v", u)
	}
	if units, err := ListedUnits([]byte("\n")); err != nil || len(units) != 0 {
		t.Errorf("no output: %+v, %v", units, err)
	}
	if _, err := ListedUnits([]byte("{")); err == nil {
		t.Error("half an answer is no error")
	}
}

// What is under way is looked at again until it has had its time; what is wrong for certain is told.
func TestJudgeUnits(t *testing.T) {
	unit := func(active, sub string, restarts int) UnitState {
		return UnitState{Unit: Unit{Name: "x.service", Active: active, Sub: sub}, Restarts: restarts, Delay: 5 * time.Second}
	}
	timed := unit("activating", "start", 0)
	timed.Triggered = true
	for name, c := range map[string]struct {
		state       string
		first, then UnitState
		after       time.Duration // between the looks; 0: there is only the first
		why         string
		more        bool
	}{
		"runs":                             {"running", unit("active", "running", 0), UnitState{}, 0, "", false},
		"failed":                           {"degraded", unit("failed", "failed", 0), UnitState{}, 0, "failed", false},
		"was restarted, once or always":    {"running", unit("active", "running", 3), UnitState{}, 0, "", true},
		"was restarted long ago":           {"running", unit("active", "running", 3), unit("active", "running", 3), 20 * time.Second, "", false},
		"is restarted":                     {"running", unit("active", "running", 3), unit("active", "running", 4), 6 * time.Second, "is started again and again (4 times so far)", false},
		"ends well and is restarted":       {"running", unit("activating", "auto-restart", 3), unit("activating", "auto-restart", 4), 6 * time.Second, "is started again and again (4 times so far)", false},
		"is about to be restarted":         {"running", unit("activating", "auto-restart", 0), UnitState{}, 0, "", true},
		"starts":                           {"starting", unit("activating", "start", 0), UnitState{}, 0, "", true},
		"has started":                      {"running", unit("activating", "start", 0), unit("active", "running", 0), 9 * time.Second, "", false},
		"still starts":                     {"running", unit("activating", "start", 0), unit("activating", "start", 0), 30 * time.Second, "", true},
		"stays activating":                 {"running", unit("activating", "start-post", 0), unit("activating", "start-post", 0), startPatience, "stays activating (start-post)", false},
		"works when its time comes":        {"running", timed, UnitState{}, 0, "", false},
		"a device that may come":           {"running", unit("activating", "tentative", 0), UnitState{}, 0, "", false},
		"holds the boot up":                {"starting", timed, timed, startPatience, "stays activating (start)", false},
		"nothing, but the boot goes on":    {"starting", unit("active", "running", 0), UnitState{}, 0, "", true},
		"nothing, and the boot never ends": {"starting", unit("active", "running", 0), unit("active", "running", 0), startPatience, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			looks := []Look{{State: c.state, Units: []UnitState{c.first}}}
			if c.after > 0 {
				looks = append(looks, Look{At: c.after, State: c.state, Units: []UnitState{c.then}})
			}
			bad, more := JudgeUnits(looks)
			if len(bad) > 1 || (len(bad) == 1) != (c.why != "") || len(bad) == 1 && bad[0].Why != c.why || (more > 0) != c.more {
				t.Errorf("bad %+v, another look within %v; want %q, %v", bad, more, c.why, c.more)
			}
		})
	}
}

func FuzzUnits(f *testing.F) {
	f.Add(`[{"unit":"a.service","active":"activating","sub":"auto-restart"}]`, "Id=a.service\nNRestarts=3\nRestartUSec=1min 5s\n\n")
	f.Fuzz(func(t *testing.T, list, details string) {
		units, err := ListedUnits([]byte(list))
		if err != nil {
			return
		}
		Detail(units, []byte(details))
		if _, more := JudgeUnits([]Look{{State: "running", Units: units}, {At: time.Hour, State: "running", Units: units}}); more > 0 {
			t.Errorf("after an hour nothing is certain yet: %v more", more)
		}
	})
}
