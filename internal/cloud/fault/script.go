// Package fault puts scripted trouble around any cloud.Provider, so that a test, a demonstration or a
// real run can have a refused launch, a slow boot or a lost server at a known moment. It owns the script
// and its counting; what a provider does without faults is the provider's. The script is counted anew
// by every process.
package fault

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Effect is what goes wrong.
type Effect string

// Effects. The first four fail the call before it reaches the provider.
const (
	Refuse   Effect = "refuse"   // cloud.CodeRefused
	Throttle Effect = "throttle" // cloud.CodeThrottled
	Crowd    Effect = "crowd"    // cloud.CodeCapacity
	Down     Effect = "down"     // cloud.CodeDown
	Slow     Effect = "slow"     // launch, start and reboot: pending for Delay longer; other calls begin Delay later
	Lose     Effect = "lose"     // the call's server vanishes Delay after the call
	Break    Effect = "break"    // the call's server is reported broken from Delay after the call
)

var codes = map[Effect]cloud.Code{
	Refuse: cloud.CodeRefused, Throttle: cloud.CodeThrottled, Crowd: cloud.CodeCapacity, Down: cloud.CodeDown,
}

// onServers are the calls after which a server can be lost or broken.
var onServers = []cloud.Verb{
	cloud.VerbLaunch, cloud.VerbReboot, cloud.VerbStop, cloud.VerbStart, cloud.VerbConsole, cloud.VerbSnapshot, cloud.VerbRestore,
}

// Fault is one trouble and when it happens. Calls are counted from 1 among those that it matches.
type Fault struct {
	Call    cloud.Verb    `yaml:"call"`    // "": every call
	Subject string        `yaml:"subject"` // pattern of path.Match for the name of what the call is about; "": all
	Do      Effect        `yaml:"do"`
	Nth     int           `yaml:"nth"`   // the first matching call that it strikes; 0: the first of all
	Times   int           `yaml:"times"` // how many it strikes; 0: one, or all if For is set; negative: all
	Delay   time.Duration `yaml:"delay"` // of slow, lose and break
	From    time.Duration `yaml:"from"`  // calls earlier than this after the start neither count nor are struck
	For     time.Duration `yaml:"for"`   // nor are calls that come this long after From; 0: no end
}

// Script is a list of faults. Every fault counts every call that it matches; the first that strikes acts.
type Script []Fault

// Parse reads a script from YAML, a list of faults. Unknown keys are errors, with their line.
func Parse(text []byte) (Script, error) {
	var s Script
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&s); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("fault script: %w", err)
	}
	return s, s.Validate()
}

// Validate says which fault of the script cannot be meant.
func (s Script) Validate() error {
	for i, f := range s {
		if err := f.validate(); err != nil {
			return fmt.Errorf("fault script, entry %d: %w", i+1, err)
		}
	}
	return nil
}

func (f Fault) validate() error {
	if f.Call != "" && !slices.Contains(cloud.Verbs(), f.Call) {
		return fmt.Errorf("call: %q is none of %v", f.Call, cloud.Verbs())
	}
	if _, err := path.Match(f.Subject, ""); err != nil {
		return fmt.Errorf("subject: %q is not a pattern", f.Subject)
	}
	_, fails := codes[f.Do]
	switch {
	case fails:
		if f.Delay != 0 {
			return fmt.Errorf("delay: %s has none", f.Do)
		}
	case f.Do == Slow:
		if f.Delay <= 0 {
			return errors.New("delay: slow needs one, as in 90s")
		}
	case f.Do == Lose, f.Do == Break:
		if !slices.Contains(onServers, f.Call) {
			return fmt.Errorf("call: %s needs one of %v", f.Do, onServers)
		}
	default:
		return fmt.Errorf("do: %q is none of refuse, throttle, crowd, down, slow, lose, break", f.Do)
	}
	if f.Nth < 0 || f.Delay < 0 || f.From < 0 || f.For < 0 {
		return errors.New("nth, delay, from and for cannot be negative")
	}
	return nil
}

// matches reports whether the fault is about this call at this time after the start.
func (f Fault) matches(verb cloud.Verb, subject string, since time.Duration) bool {
	if f.Call != "" && f.Call != verb || since < f.From || f.For > 0 && since >= f.From+f.For {
		return false
	}
	ok, err := path.Match(f.Subject, subject)
	return f.Subject == "" || err == nil && ok
}

// strikes reports whether the nth matching call is struck.
func (f Fault) strikes(n int) bool {
	first, times := max(f.Nth, 1), f.Times
	if times == 0 && f.For == 0 {
		times = 1
	}
	return n >= first && (times <= 0 || n < first+times)
}
