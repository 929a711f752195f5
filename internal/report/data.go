// Package report tells what a run found: as text for a terminal, as JSON, and as one page of HTML that
// anyone can open. It owns the order in which things are told (the verdict, what is wrong and where the
// defect lives, then all that was seen) and how it looks. It reads nothing itself: Data is filled from
// the ledger by its caller, New makes the Report of it, and Text, JSON and HTML write that.
package report

import (
	"time"

	"github.com/hallmark-ci/hallmark/internal/cost"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Data is everything that a report is made of. Only Run and Now must be there; what is missing is not told.
type Data struct {
	Run ledger.Run
	Now time.Time // the end of the timeline of a run that is still at work

	Stages   []ledger.Stage
	Results  []ledger.Result // one for each test, attempts merged and waivers applied
	Attempts []ledger.Result // every attempt as recorded; tells which environments were given up
	Required []Place         // what the policy requires: empty places are shown as missing
	Earlier  []ledger.Result // failures in earlier runs of the same commit: seen again, they are no chance

	Branch  ledger.BranchStatus // including this run; zero: not told
	Commits []Commit            // since Branch.Before if Branch.Since is this run, else since the run before; newest first

	KnownExcuses []ledger.Excuse // of the run that rules for log lines are compared with
	KnownSince   string          // that run, for people: "run 20261123-… at 3f2a9c11d0e4"; "": there is none

	Shown []Shown // by servers that did not come up

	Cost *cost.Estimate // nil: nothing is known of it

	Gate  *Gate    // as it was decided; nil: not reached
	Notes []string // what the policy requires and was not to be had yet, in whole sentences

	Set         ledger.ImageSet
	Images      []ledger.Image // of Set
	Previous    []ledger.Image // of the set that the channel held before
	PreviousSet string         // its id
	Releases    []Release      // live release branches that the run upgraded from
	Inventories []Inventory    // packages as found on running servers, if they were asked

	Channel  string        // where a good set of this run goes
	Moves    []ledger.Move // made by this run or with its set, oldest first
	Evidence *ledger.Evidence
}

// Place is one place of the matrix, as the policy names it.
type Place struct {
	Scenario, Origin, Phase, Tier string
}

// Commit is one change of the product.
type Commit struct {
	ID      string    `json:"id"`
	Author  string    `json:"author"`
	Subject string    `json:"subject"`
	At      time.Time `json:"at"`
}

// Gate is what the gate decided and why.
type Gate struct {
	Verdict verdict.Verdict `json:"verdict"`
	Reasons []string        `json:"reasons"`
	Counts  map[string]int  `json:"counts"`            // outcome → tests
	Allowed map[string]int  `json:"allowed,omitempty"` // outcome → tests, by the policy's budgets
	Waivers []Waiver        `json:"waivers,omitempty"` // that it knew
	At      time.Time       `json:"at"`
}

// Waiver is a known failure, as the gate knew it.
type Waiver struct {
	Test    string    `json:"test"`
	Ticket  string    `json:"ticket"`
	Expires time.Time `json:"expires"`
	Reason  string    `json:"reason"`
}

// Shown is where it is kept what a server showed that did not come up.
type Shown struct {
	Where      string `json:"where"` // its environment, for people: "verify base, attempt 1"
	Server     string `json:"server"`
	Console    string `json:"console"`              // file
	Screenshot string `json:"screenshot,omitempty"` // file
}

// Release is a live release branch as a run upgraded from it.
type Release struct {
	Branch string `json:"branch"`
	Commit string `json:"commit"`
	Source string `json:"source"` // where its images came from, for people
}

// Inventory is what packages one server had when it was tested.
type Inventory struct {
	Scenario string
	Origin   string
	Server   string
	Role     string
	Packages map[string]string // name → version
}
