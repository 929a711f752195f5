package ledger

import (
	"time"

	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Run is one pass for one commit.
type Run struct {
	ID       string          `json:"id"`   // sortable by time: 20261123-2141-nightly-ab12
	Kind     string          `json:"kind"` // nightly, release
	Branch   string          `json:"branch"`
	Commit   string          `json:"commit"`
	Trigger  string          `json:"trigger"` // hand, or the schedule's name
	Actor    string          `json:"actor"`
	State    RunState        `json:"state"`
	Verdict  verdict.Verdict `json:"verdict"` // meaningful once State is Finished
	Reason   string          `json:"reason"`  // one sentence for people
	Base     string          `json:"base"`    // digest of the reference base
	Set      string          `json:"set"`     // its image set, once built
	Options  RunOptions      `json:"options"`
	Created  time.Time       `json:"created"`
	Started  time.Time       `json:"started"`  // zero: not yet
	Finished time.Time       `json:"finished"` // zero: not yet
}

// RunOptions are what a person may ask of one run, beside its kind and branch.
type RunOptions struct {
	NoPromote bool   `json:"no_promote,omitempty"`
	NotHead   bool   `json:"not_head,omitempty"` // its commit was not the branch's head when it was asked for
	RetryOf   string `json:"retry_of,omitempty"`
}

// RunState is where a run is in its life.
type RunState string

// States of a run. Cancelling is a request that the process which works on the run will notice.
const (
	Queued     RunState = "queued"
	Working    RunState = "running"
	Cancelling RunState = "cancelling"
	Finished   RunState = "finished"
	Cancelled  RunState = "cancelled"
)

// Stage is one line of a run's live tree and timeline.
type Stage struct {
	Run      string          `json:"run"`
	Path     string          `json:"path"`  // "build/web", "verify-base/launched/smoke": unique in its run
	State    string          `json:"state"` // running, done
	Verdict  verdict.Verdict `json:"verdict"`
	Detail   string          `json:"detail"`
	Started  time.Time       `json:"started"`
	Finished time.Time       `json:"finished"`
}

// Outcome of one test (DESIGN.md section 1).
type Outcome string

// Outcomes. Inconclusive, NotRun and Failing block at the gate what its policy requires.
const (
	Passed       Outcome = "passed"
	Failed       Outcome = "failed"
	Inconclusive Outcome = "inconclusive"
	Skipped      Outcome = "skipped"
	Waived       Outcome = "waived"
	Flaky        Outcome = "flaky"
	NotRun       Outcome = "not run"
	Failing      Outcome = "failing" // failed, and the audit that decides whose fault it is has not ended
)

// ResultKey identifies a result; of what is recorded under the same key again, one is kept.
type ResultKey struct {
	Run      string `json:"run"`
	Scenario string `json:"scenario"` // "verify", or "upgrade from release/1.0 by rolling"
	Origin   string `json:"origin"`   // base, prebuilt
	Phase    string `json:"phase"`    // launched, rebooted, relaunched, upgraded
	Tier     string `json:"tier"`     // smoke, build, functional, application
	Suite    string `json:"suite"`
	Test     string `json:"test"`
	Server   string `json:"server"`
	Attempt  int    `json:"attempt"` // of the environment, from 1
}

// Result is what one test said.
type Result struct {
	ResultKey
	Outcome  Outcome       `json:"outcome"`
	Cause    verdict.Cause `json:"cause,omitempty"`
	Message  string        `json:"message,omitempty"` // one line
	Lines    string        `json:"lines,omitempty"`   // the lines that matter, bounded
	Ticket   string        `json:"ticket,omitempty"`  // of a waiver
	Excuses  []Excuse      `json:"excuses,omitempty"` // of a scan of logs
	Duration time.Duration `json:"duration"`
	Recorded time.Time     `json:"recorded"`
}

// Excuse is a reason for which lines of a log were not held against a product.
type Excuse struct {
	From   string `json:"from"`            // product, hallmark or container: who gives the reason
	Match  string `json:"match,omitempty"` // the product's rule; "" where no text decided
	Reason string `json:"reason"`
	Lines  int    `json:"lines"` // how many it excused
}

// Image is a prebuilt image and what is known of it.
type Image struct {
	ID           string            `json:"id"` // run + role
	Run          string            `json:"run"`
	Role         string            `json:"role"`
	Branch       string            `json:"branch"`
	Commit       string            `json:"commit"`
	BaseDigest   string            `json:"base_digest"`
	Provider     string            `json:"provider"`    // incus, ec2, sim
	ProviderID   string            `json:"provider_id"` // cloud.ImageID
	Digest       string            `json:"digest"`      // of its content
	SizeBytes    int64             `json:"size_bytes"`
	Packages     map[string]string `json:"packages"`      // name → version
	PuppetReport string            `json:"puppet_report"` // JSON of puppet.Report
	Timings      map[string]string `json:"timings"`       // step → duration; see TimingTotal and TimingPart
	Seal         *Seal             `json:"seal"`          // nil: the disk that it was captured from was not looked at
	Created      time.Time         `json:"created"`
	Deleted      time.Time         `json:"deleted"` // when it was retired; zero: still there
}

// Seal is what was found on the disk that an image was captured from. There is one only of a disk on which
// nothing was left that the product does not allow.
type Seal struct {
	Files int        `json:"files"` // that were looked at
	Bytes int64      `json:"bytes"` // that were read of them
	Kept  []KeptPath `json:"kept"`  // what the product allows, by path
	Idle  []SealRule `json:"idle"`  // what the product allows although nothing was found there
}

// KeptPath is something that an image keeps because its product allows it.
type KeptPath struct {
	Path   string `json:"path"`
	What   string `json:"what"`
	Reason string `json:"reason"` // the product's
}

// SealRule is a rule under seal in the product's hallmark.yaml.
type SealRule struct {
	Path   string `json:"path"` // pattern of path.Match
	Reason string `json:"reason"`
}

// Names in Image.Timings that are not steps of their own: the sum of all steps, and what stands between
// a step and a part of it ("launch: network").
const (
	TimingTotal = "total"
	TimingPart  = ": "
)

// ImageSet is all roles' images of one run: promoted together or not at all.
type ImageSet struct {
	ID      string            `json:"id"`
	Run     string            `json:"run"`
	Branch  string            `json:"branch"`
	Commit  string            `json:"commit"`
	Images  map[string]string `json:"images"`            // role → Image.ID
	Digest  string            `json:"digest"`            // sha256 of its manifest: the subject of its evidence
	Revoked string            `json:"revoked,omitempty"` // why, if it was
	Created time.Time         `json:"created"`
}

// Channel is a named pointer to an image set.
type Channel struct {
	Name    string    `json:"name"`
	Set     string    `json:"set"`     // "" : nothing promoted yet
	Version int64     `json:"version"` // counts moves; compare-and-swap works on it
	Moved   time.Time `json:"moved"`
}

// Move is one change of a channel.
type Move struct {
	Channel string    `json:"channel"`
	From    string    `json:"from"`
	To      string    `json:"to"`
	Version int64     `json:"version"` // the channel's version after it
	Kind    string    `json:"kind"`    // promote, rollback, revoke
	Actor   string    `json:"actor"`
	Reason  string    `json:"reason"`
	Forced  bool      `json:"forced,omitempty"` // to an older commit, as a person asked; Reason says why
	Run     string    `json:"run,omitempty"`
	At      time.Time `json:"at"`
}

// Evidence is the record that allows an image set to move: an in-toto statement.
type Evidence struct {
	Set       string    `json:"set"`
	Run       string    `json:"run"`
	Statement []byte    `json:"statement"` // in-toto Statement v1, JSON
	Created   time.Time `json:"created"`

	UpgradedFrom []string `json:"upgraded_from,omitempty"` // sets whose images were upgraded to this set's code and passed
}

// Environment is what must be known to find an environment again after a crash. Body belongs to
// package environment; Sealed holds its keys and secrets, encrypted at rest.
type Environment struct {
	ID       string    `json:"id"`
	Run      string    `json:"run"`
	Name     string    `json:"name"`  // lane and attempt, for people
	State    string    `json:"state"` // creating, up, destroying, destroyed
	Keep     bool      `json:"keep"`  // a person asked to keep it beyond its run, up to the end of its lease
	Lease    time.Time `json:"lease"` // can be extended
	Deadline time.Time `json:"deadline"`
	Created  time.Time `json:"created"`
	Ended    time.Time `json:"ended"` // when it was destroyed; zero: it was not
	Body     []byte    `json:"body"`
	Sealed   []byte    `json:"-"`
}

// Tick is a schedule's memory.
type Tick struct {
	Schedule string    `json:"schedule"`
	Last     time.Time `json:"last"` // the last tick acted on
	Paused   bool      `json:"paused"`
}
