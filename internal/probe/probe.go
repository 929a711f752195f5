// Package probe is what hallmark-probe says, in one stable schema: the results of goss checks, the
// troubled lines of a server's logs, and its failed units. It also holds the judgement of a log
// line, which is pure. Running goss and asking systemd belong to cmd/hallmark-probe; this package
// is light, so whoever reads the answers (the verifier) does not link goss.
package probe

import (
	"encoding/json"
	"fmt"
	"time"
)

// Exit codes of hallmark-probe.
const (
	ExitOK     = 0 // nothing to complain about
	ExitFailed = 1 // a check failed, a log line is troubled, a unit failed
	ExitBroken = 2 // wrong use, or a specification that can't be run: the test's own fault
)

// Outcome of one check.
type Outcome string

// The outcomes, in the words of the ledger.
const (
	Passed  Outcome = "passed"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
)

// Check is one property of one resource, compared.
type Check struct {
	Name     string        `json:"name"`     // "service:nginx:running": the id of the test, unique in its report
	Type     string        `json:"type"`     // goss resource type, lower case: service, file, port
	Title    string        `json:"title"`    // the specification's own words, if it has any
	Property string        `json:"property"` // what was compared: running, mode, exit-status
	Outcome  Outcome       `json:"outcome"`
	Message  string        `json:"message"` // one line; of a skipped check, the reason
	Expected string        `json:"expected,omitempty"`
	Found    string        `json:"found,omitempty"`
	Duration time.Duration `json:"duration"` // nanoseconds
}

// Checks is the answer of "hallmark-probe validate".
type Checks struct {
	Results []Check `json:"results"`          // sorted by name
	Broken  string  `json:"broken,omitempty"` // why the specification itself is wrong; exit code 2
}

// Line is one line of a log.
type Line struct {
	Source   string    `json:"source"` // journal or syslog
	Time     time.Time `json:"time"`   // zero: the line has none
	Program  string    `json:"program"`
	PID      int       `json:"pid,omitempty"`
	Unit     string    `json:"unit,omitempty"`
	Session  string    `json:"session,omitempty"` // login session of the process, which journald vouches for
	Priority int       `json:"priority"`          // syslog severity, 0 (emerg) to 7; -1: the line has none
	Message  string    `json:"message"`
	Why      string    `json:"why,omitempty"` // the rule that found it: "priority err", "segfault"

	opened login // of logind's "New session"
	uid    int   // user that the process worked as when it said this, as the kernel tells; 0: root, or not known
}

// login is a session as logind opens it for a process.
type login struct {
	session string
	leader  int // the process, such as the sshd of a connection
}

// Ignore is a product's rule for lines that are known and harmless.
type Ignore struct {
	Match  string `json:"match"` // regular expression, tried against "program: message"
	Reason string `json:"reason"`
}

// Rules are what "hallmark-probe logs" reads from its rules file.
type Rules struct {
	Ignore []Ignore `json:"ignore"` // the product's
	Ours   Ours     `json:"ours"`
}

// Whose a reason is to excuse a line.
const (
	FromProduct   = "product"   // a rule of its hallmark.yaml
	FromContainer = "container" // the server is one, and it may not do everything
	FromHallmark  = "hallmark"  // Hallmark itself made the server say it
)

// Ignored says what a rule did.
type Ignored struct {
	Ignore
	From  string `json:"from"`
	Lines int    `json:"lines"` // how many troubled lines it excused
}

// Unproved is a reason why a scan that found nothing proves nothing.
type Unproved struct {
	Why string `json:"why"`
	// Product: the product can and must mend it, such as a daemon that floods the log. Else it comes
	// from where the server runs, or from Hallmark.
	Product bool `json:"product"`
}

// Logs is the answer of "hallmark-probe logs".
type Logs struct {
	Since     time.Time  `json:"since"`               // start of this boot
	Container string     `json:"container,omitempty"` // what systemd-detect-virt calls the container; "" if the server is none
	Read      int        `json:"read"`                // lines looked at: 0 means that the scan proves nothing
	Lines     []Line     `json:"lines"`               // troubled, not excused, oldest first, each message once
	Ignored   []Ignored  `json:"ignored"`             // every rule of the product, also those that excused nothing, and what else excused lines
	Unproved  []Unproved `json:"unproved,omitempty"`
	Broken    string     `json:"broken,omitempty"`
}

// Unit is a systemd unit that is not as it should be.
type Unit struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Load        string   `json:"load"`
	Active      string   `json:"active"`
	Sub         string   `json:"sub"`
	Why         string   `json:"why"`   // "failed", "stays activating", "is started again and again"
	Lines       []string `json:"lines"` // the last of its journal in this boot
}

// Units is the answer of "hallmark-probe units".
type Units struct {
	State  string   `json:"state"`          // of the whole system: running, degraded, starting, …
	Jobs   []string `json:"jobs,omitempty"` // what a system that is still starting waits for
	Failed []Unit   `json:"failed"`
	Broken string   `json:"broken,omitempty"`
}

// ParseChecks reads the answer of "hallmark-probe validate".
func ParseChecks(data []byte) (Checks, error) { return parse[Checks](data, "validate") }

// ParseLogs reads the answer of "hallmark-probe logs".
func ParseLogs(data []byte) (Logs, error) { return parse[Logs](data, "logs") }

// ParseUnits reads the answer of "hallmark-probe units".
func ParseUnits(data []byte) (Units, error) { return parse[Units](data, "units") }

func parse[T any](data []byte, verb string) (T, error) {
	var answer T
	if err := json.Unmarshal(data, &answer); err != nil {
		return answer, fmt.Errorf("answer of hallmark-probe %s: %w", verb, err)
	}
	return answer, nil
}
