package puppet

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Outcomes of a provisioning.
const (
	Converged = "converged"
	Failed    = "failed"
)

// maxStatus bounds what is read of StatusPath: the script keeps it far below.
const maxStatus = 64 << 10

// Status is what hallmark-provision reports in StatusPath when it is done.
type Status struct {
	Commit   string        `json:"commit"`
	Stage    Stage         `json:"stage"`
	Outcome  string        `json:"outcome"` // Converged or Failed
	Exit     int           `json:"exit"`    // of Puppet: 0 nothing to do, 2 changes, else trouble
	Cause    verdict.Cause `json:"cause"`   // why it failed
	Message  string        `json:"message"` // one line for people
	Run      int           `json:"run"`     // Puppet runs begun for this commit and stage, over reboots; 1 unless one was cut short
	Started  time.Time     `json:"started"`
	Finished time.Time     `json:"finished"`
}

// ParseStatus reads the content of StatusPath.
func ParseStatus(r io.Reader) (Status, error) {
	var s Status
	if err := json.NewDecoder(io.LimitReader(r, maxStatus)).Decode(&s); err != nil {
		return Status{}, fmt.Errorf("parse %s: %w", StatusPath, err)
	}
	if s.Commit == "" || (s.Outcome != Converged && s.Outcome != Failed) {
		return Status{}, fmt.Errorf("parse %s: commit %q, outcome %q", StatusPath, s.Commit, s.Outcome)
	}
	return s, nil
}

// For reports whether the status is about this commit and stage: another one is of an earlier life
// of the server, and the unit is still at work.
func (s Status) For(commit string, stage Stage) bool { return s.Commit == commit && s.Stage == stage }

// Err is nil for a server that converged, else a *verdict.Error with the cause.
func (s Status) Err(server string) error {
	if s.Outcome == Converged {
		return nil
	}
	cause := s.Cause
	if cause == verdict.None {
		cause = verdict.Unexplained
	}
	return verdict.Errorf(cause, server, "provisioning at stage %s: %s", s.Stage, s.Message)
}
