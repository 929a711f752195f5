package report

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/puppet"
)

// Image is one image of the run's set.
type Image struct {
	Role     string            `json:"role"`
	ID       string            `json:"id"`
	Digest   string            `json:"digest"`
	Base     string            `json:"base"`
	Bytes    int64             `json:"size_bytes"`
	Packages int               `json:"packages"`
	Total    Duration          `json:"total_ns"`
	Timings  []Timing          `json:"timings"`           // the longest first
	Puppet   map[string]int    `json:"puppet,omitempty"`  // Puppet's resource totals
	Slowest  []puppet.Resource `json:"slowest,omitempty"` // the longest first
	Seal     *ledger.Seal      `json:"seal"`              // nil: its disk was not looked at
}

// Timing is one step of a build.
type Timing struct {
	Step string   `json:"step"`
	Took Duration `json:"took_ns"`
}

func newImages(images []ledger.Image) []Image {
	var all []Image
	for _, i := range images {
		image := Image{Role: i.Role, ID: i.ID, Digest: i.Digest, Base: i.BaseDigest, Bytes: i.SizeBytes, Packages: len(i.Packages), Seal: i.Seal}
		for step, text := range i.Timings {
			took, err := time.ParseDuration(text)
			if err != nil {
				continue // a record of another version: its other fields still tell
			}
			switch {
			case step == ledger.TimingTotal:
				image.Total = Duration(took)
			case !strings.Contains(step, ledger.TimingPart):
				image.Timings = append(image.Timings, Timing{step, Duration(took)})
			}
		}
		slices.SortFunc(image.Timings, func(a, b Timing) int {
			return cmp.Or(cmp.Compare(b.Took, a.Took), cmp.Compare(a.Step, b.Step))
		})
		var ran puppet.Report
		if json.Unmarshal([]byte(i.PuppetReport), &ran) == nil {
			image.Puppet, image.Slowest = ran.Totals, ran.Slowest
		}
		all = append(all, image)
	}
	slices.SortFunc(all, func(a, b Image) int { return compareNames(a.Role, b.Role) })
	return all
}

// SealNotes tells what people should know of an image's seal; nothing, if its disk was looked at and the product allows
// it to keep nothing.
func (i Image) SealNotes() []string {
	if i.Seal == nil {
		return []string{"nobody looked at the disk that it was captured from"}
	}
	var notes []string
	for _, k := range i.Seal.Kept {
		notes = append(notes, "keeps "+k.Path+", "+k.What+": "+k.Reason)
	}
	for _, rule := range i.Seal.Idle {
		notes = append(notes, "may keep "+rule.Path+", and nothing was found there: remove that rule under seal in hallmark.yaml")
	}
	return notes
}

// Packages is what changed against the set that the channel held before.
type Packages struct {
	Since   string          `json:"since,omitempty"` // the id of that set; "": there was none
	Changed []PackageChange `json:"changed"`
}

// PackageChange is one package that differs. From is empty for one that is new, To for one that is gone.
type PackageChange struct {
	Name  string   `json:"name"`
	From  string   `json:"from,omitempty"`
	To    string   `json:"to,omitempty"`
	Roles []string `json:"roles"`
}

func newPackages(d Data) Packages {
	p := Packages{Since: d.PreviousSet}
	if len(d.Previous) == 0 {
		return p
	}
	before := map[string]map[string]string{}
	for _, i := range d.Previous {
		before[i.Role] = i.Packages
	}
	for _, i := range d.Images {
		if old, ok := before[i.Role]; ok {
			p.Changed = compare(p.Changed, i.Role, old, i.Packages)
		}
	}
	sortChanges(p.Changed)
	return p
}

// compare adds what differs from old to now on one role; equal differences of several roles are one.
func compare(changes []PackageChange, role string, old, now map[string]string) []PackageChange {
	names := map[string]bool{}
	for name := range old {
		names[name] = true
	}
	for name := range now {
		names[name] = true
	}
	for name := range names {
		if old[name] == now[name] {
			continue
		}
		i := slices.IndexFunc(changes, func(c PackageChange) bool {
			return c.Name == name && c.From == old[name] && c.To == now[name]
		})
		if i < 0 {
			changes = append(changes, PackageChange{Name: name, From: old[name], To: now[name]})
			i = len(changes) - 1
		}
		changes[i].Roles = addOnce(changes[i].Roles, role)
	}
	return changes
}

func sortChanges(changes []PackageChange) {
	slices.SortFunc(changes, func(a, b PackageChange) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
}

// drift compares the packages of base and prebuilt servers of the roles on which a problem showed.
func drift(inventories []Inventory, f Failure) []PackageChange {
	roles := map[string]bool{}
	for _, s := range f.Seen {
		for _, server := range s.Servers {
			for _, i := range inventories {
				if i.Server == server {
					roles[i.Role] = true
				}
			}
		}
	}
	var changes []PackageChange
	for _, role := range slices.Sorted(maps.Keys(roles)) {
		base, prebuilt := inventory(inventories, f.Scenario, "base", role), inventory(inventories, f.Scenario, "prebuilt", role)
		if base != nil && prebuilt != nil {
			changes = compare(changes, role, base, prebuilt)
		}
	}
	sortChanges(changes)
	return changes
}

// inventory is that of one server of the role: servers of one role and origin are alike.
func inventory(all []Inventory, scenario, origin, role string) map[string]string {
	for _, i := range all {
		if i.Scenario == scenario && i.Origin == origin && i.Role == role {
			return i.Packages
		}
	}
	return nil
}

// Upgrade is what came of upgrading from one live release branch.
type Upgrade struct {
	Scenario string          `json:"scenario"`
	Release  Release         `json:"release"`
	Status   Status          `json:"status"`
	Origins  []UpgradeOrigin `json:"origins"`
}

// UpgradeOrigin is one environment that was upgraded.
type UpgradeOrigin struct {
	Origin string   `json:"origin"`
	Status Status   `json:"status"`
	Took   Duration `json:"took_ns"` // the procedure itself, without launch and tests
	Before Cell     `json:"before"`  // smoke tests of the release's own code
	After  Cell     `json:"after"`   // all suites of the new code
}

func newUpgrades(d Data, scenarios []Scenario) []Upgrade {
	var all []Upgrade
	for _, s := range scenarios {
		rest, ok := strings.CutPrefix(s.Name, "upgrade from ")
		if !ok {
			continue
		}
		branch, _, _ := strings.Cut(rest, " by ")
		u := Upgrade{Scenario: s.Name, Status: s.Status, Release: Release{Branch: branch}}
		for _, r := range d.Releases {
			if r.Branch == branch {
				u.Release = r
			}
		}
		for at, origin := range s.Origins {
			o := UpgradeOrigin{Origin: origin, Status: s.worst(origin)}
			for _, row := range s.Rows {
				into := &o.Before
				if row.Phase == "upgraded" {
					into = &o.After
				}
				into.merge(row.Cells[at])
			}
			o.Before.judge(statusOf(d.Run) == Going)
			o.After.judge(statusOf(d.Run) == Going)
			for _, stage := range d.Stages {
				if stage.Path == "upgrade from "+branch+" "+origin+"/upgrade" {
					o.Took = Duration(endOf(stage, d.Now).Sub(stage.Started))
				}
			}
			u.Origins = append(u.Origins, o)
		}
		all = append(all, u)
	}
	return all
}

// merge adds another cell's results.
func (c *Cell) merge(other Cell) {
	if c.Counts == nil {
		c.Counts = map[ledger.Outcome]int{}
	}
	for o, n := range other.Counts {
		c.Counts[o] += n
	}
	c.Total += other.Total
	c.Took += other.Took
	c.Required = c.Required || other.Required
	c.Broken = c.Broken || other.Broken
}
