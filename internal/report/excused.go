package report

import (
	"cmp"
	"slices"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// FromProduct is whose an excuse is that stands in the product's hallmark.yaml; the others are Hallmark's.
const FromProduct = "product"

// Excused is a reason for which lines of logs were not held against the product, over all servers.
type Excused struct {
	ledger.Excuse
	New     bool     `json:"new"`     // a rule of the product that the run before did not have
	Servers []string `json:"servers"` // on which it excused lines
}

// Excuses are all of a run.
type Excuses struct {
	Since string    `json:"since,omitempty"` // what New is measured against; "": there is nothing to compare with
	Used  []Excused `json:"used,omitempty"`  // new rules first, then what excused lines
	Idle  int       `json:"idle,omitempty"`  // known rules of the product that excused nothing
}

func newExcuses(d Data) Excuses {
	type identity struct{ from, match, reason string }
	known := map[identity]bool{}
	for _, e := range d.KnownExcuses {
		known[identity{e.From, e.Match, ""}] = true
	}
	all := map[identity]*Excused{}
	for _, r := range d.Results {
		for _, e := range r.Excuses {
			id := identity{e.From, e.Match, e.Reason}
			if all[id] == nil {
				all[id] = &Excused{Excuse: ledger.Excuse{From: e.From, Match: e.Match, Reason: e.Reason}}
				all[id].New = d.KnownSince != "" && e.From == FromProduct && !known[identity{e.From, e.Match, ""}]
			}
			if all[id].Lines += e.Lines; e.Lines > 0 {
				all[id].Servers = addOnce(all[id].Servers, r.Server)
			}
		}
	}
	excuses := Excuses{Since: d.KnownSince}
	for _, e := range all {
		if e.New || e.Lines > 0 {
			excuses.Used = append(excuses.Used, *e)
		} else {
			excuses.Idle++
		}
	}
	slices.SortFunc(excuses.Used, func(a, b Excused) int {
		if a.New != b.New {
			if a.New {
				return -1
			}
			return 1
		}
		return cmp.Or(-cmp.Compare(a.From, b.From), -cmp.Compare(a.Lines, b.Lines), cmp.Compare(a.Match, b.Match), cmp.Compare(a.Reason, b.Reason))
	})
	if len(excuses.Used)+excuses.Idle == 0 {
		excuses.Since = ""
	}
	return excuses
}

// String says what an excuse did, and where.
func (e Excused) String() string {
	text := plural(e.Lines, "line")
	if len(e.Servers) > 0 {
		text += " of " + strings.Join(e.Servers, ", ")
	}
	if e.Match != "" {
		text += " that match " + e.Match
	}
	return text + ": " + e.Reason + " (" + e.Whose() + ")"
}

// Whose says who gives the reason.
func (e Excused) Whose() string {
	if e.From == FromProduct {
		return "logs: in hallmark.yaml"
	}
	return "known by Hallmark"
}

func (p *page) excuses(r Report) {
	if len(r.Excuses.Used) == 0 {
		return
	}
	p.title("Excused log lines")
	for _, e := range r.Excuses.Used {
		text := e.String()
		if e.New {
			text = p.paint(Unsure, "new since "+r.Excuses.Since) + ": " + text
		}
		p.wrapped(2, text)
	}
	if r.Excuses.Idle > 0 {
		p.wrapped(2, plural(r.Excuses.Idle, "other rule")+" of hallmark.yaml excused nothing")
	}
}
