package probe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Look is what systemd says of all its units at one moment.
type Look struct {
	At    time.Duration // since the first look
	State string        // of the whole system
	Units []UnitState
}

// UnitState is one unit in a Look.
type UnitState struct {
	Unit
	Triggered bool          // by a timer, a path or a socket: it works when its time comes, whatever the boot
	Restarts  int           // by systemd itself, since it was loaded
	Delay     time.Duration // before each of these
}

// How long is waited before something is held to be so for good.
const (
	// startPatience is longer than the 90 seconds that systemd gives a unit to start, so what is slow ends
	// by itself, well or failed.
	startPatience = 100 * time.Second
	// restartPatience comes on top of twice a unit's own delay.
	restartPatience = 10 * time.Second
	longestDelay    = 60 * time.Second
)

// JudgeUnits says which units are not as they should be: failed ones, those that stay activating while
// nothing but the boot asked for them, and those that systemd starts again and again, however they end.
// It compares the last look with the first. If more is positive, nothing is certain yet of some of them,
// and another look is needed by then.
func JudgeUnits(looks []Look) (bad []Unit, more time.Duration) {
	first, last := looks[0], looks[len(looks)-1]
	before := make(map[string]UnitState, len(first.Units))
	for _, u := range first.Units {
		before[u.Name] = u
	}
	wait := func(until time.Duration) bool {
		more = max(more, until-last.At)
		return until > last.At
	}
	if last.State == "starting" {
		wait(startPatience)
	}
	for _, u := range last.Units {
		was, known := before[u.Name]
		switch {
		case u.Active == "failed":
			u.Why = "failed"
		case known && u.Restarts > was.Restarts:
			u.Why = fmt.Sprintf("is started again and again (%d times so far)", u.Restarts)
		case u.Sub == "auto-restart" || u.Restarts > 0:
			wait(restartPatience + 2*min(u.Delay, longestDelay)) // a loop, or was it long ago?
			continue
		case u.Active == "activating" && u.Sub != tentative && (!u.Triggered || last.State == "starting"):
			if wait(startPatience) || !known || was.Active != "activating" {
				continue
			}
			u.Why = "stays activating (" + u.Sub + ")"
		default:
			continue
		}
		bad = append(bad, u.Unit)
	}
	return bad, more
}

// tentative is a device that others refer to and that may come one day: it is activating for ever, and
// no unit that starts.
const tentative = "tentative"

// ListedUnits reads the output of "systemctl list-units --all -o json".
func ListedUnits(data []byte) ([]UnitState, error) {
	var listed []struct{ Unit, Load, Active, Sub, Description string }
	if data = bytes.TrimSpace(data); len(data) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(data, &listed); err != nil {
		return nil, fmt.Errorf("list of units: %w", err)
	}
	units := make([]UnitState, len(listed))
	for i, u := range listed {
		units[i].Unit = Unit{Name: u.Unit, Description: u.Description, Load: u.Load, Active: u.Active, Sub: u.Sub}
	}
	return units, nil
}

// UnitProperties are what Detail reads of units.
const UnitProperties = "Id,TriggeredBy,NRestarts,RestartUSec"

// Detail adds to units what "systemctl show --property=UnitProperties" says of them: a block of
// NAME=VALUE lines for each.
func Detail(units []UnitState, data []byte) {
	for block := range strings.SplitSeq(string(data), "\n\n") {
		properties := make(map[string]string)
		for line := range strings.Lines(block) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
				properties[name] = value
			}
		}
		i := slices.IndexFunc(units, func(u UnitState) bool { return u.Name == properties["Id"] })
		if i < 0 {
			continue
		}
		units[i].Triggered = properties["TriggeredBy"] != ""
		units[i].Restarts, _ = strconv.Atoi(properties["NRestarts"])
		units[i].Delay = span(properties["RestartUSec"])
	}
}

// span reads a time as systemd writes it for people: "100ms", "1min 30s"; what it does not know counts
// for nothing.
func span(text string) time.Duration {
	names := strings.NewReplacer("min", "m", "us", "µs")
	total := time.Duration(0)
	for word := range strings.FieldsSeq(text) {
		d, err := time.ParseDuration(names.Replace(word))
		if err != nil {
			return 0
		}
		total += d
	}
	return total
}
