package puppet

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxReport bounds what is read of a report; one resource takes about 1 KB of it.
const maxReport = 32 << 20

// Bounds of what a Report keeps. What a resource said may have any length.
const (
	maxTitle   = 300     // bytes of a resource's title
	maxMessage = 4 << 10 // bytes of a message
	maxListed  = 2000    // resources in Changed and in Failed; entries of Errors
	// maxExpanded bounds the nodes of a report's YAML with all aliases written out, per node as it is written.
	// Puppet uses few: an object that stands in two places.
	maxExpanded = 20
)

// slowest is how many resources Report.Slowest keeps.
const slowest = 10

// Report is what matters of Puppet's last_run_report.yaml (report format 12; Puppet 7). There is none
// of a run without a catalog: what did not compile is in Status.Message only.
type Report struct {
	Status  string         `json:"status"` // changed, unchanged or failed
	Version string         `json:"puppet_version"`
	Time    time.Time      `json:"time"`
	Totals  map[string]int `json:"totals"` // Puppet's resource metrics: total, changed, failed, skipped, …
	Compile time.Duration  `json:"compile"`
	Apply   time.Duration  `json:"apply"`
	Changed []Resource     `json:"changed"` // in the order of the run
	Failed  []Resource     `json:"failed"`
	Skipped int            `json:"skipped"` // for a failed dependency
	Slowest []Resource     `json:"slowest"` // the longest first
	Errors  []string       `json:"errors"`  // what Puppet complained of, if no resource failed
}

// Resource is one resource with what happened to it.
type Resource struct {
	Title   string        `json:"title"` // File[/etc/motd]
	File    string        `json:"file"`  // in the product if it is the product's, else as on the server
	Line    int           `json:"line"`
	Message string        `json:"message"` // of its events, one line each
	Took    time.Duration `json:"took"`
}

// String is the resource as an error message names it.
func (r Resource) String() string {
	s := r.Title
	if r.File != "" {
		s += fmt.Sprintf(" (%s:%d)", r.File, r.Line)
	}
	if r.Message != "" {
		s += ": " + r.Message
	}
	return s
}

// rawReport is the report as Puppet writes it: Ruby objects, whose tags are of no interest.
type rawReport struct {
	Status        string `yaml:"status"`
	PuppetVersion string `yaml:"puppet_version"`
	Time          string `yaml:"time"`
	Logs          []struct {
		Level   string `yaml:"level"`
		Message string `yaml:"message"`
		Source  string `yaml:"source"`
	} `yaml:"logs"`
	Metrics map[string]struct {
		Values [][]any `yaml:"values"`
	} `yaml:"metrics"`
	Resources yaml.Node `yaml:"resource_statuses"` // a node keeps the order
}

type rawResource struct {
	File    string  `yaml:"file"`
	Line    int     `yaml:"line"`
	Took    float64 `yaml:"evaluation_time"`
	Failed  bool    `yaml:"failed"`
	Restart bool    `yaml:"failed_to_restart"`
	Changed bool    `yaml:"changed"`
	Skipped bool    `yaml:"skipped"`
	Events  []struct {
		Property string `yaml:"property"`
		Message  string `yaml:"message"`
		Status   string `yaml:"status"`
	} `yaml:"events"`
}

// ParseReport reads a last_run_report.yaml. What it does not know it passes over; what is no
// report of Puppet is an error.
func ParseReport(r io.Reader) (Report, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxReport+1))
	if err != nil {
		return Report{}, fmt.Errorf("read Puppet's report: %w", err)
	}
	if len(body) > maxReport {
		return Report{}, fmt.Errorf("read Puppet's report: larger than %d bytes", maxReport)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(body, &document); err != nil {
		return Report{}, fmt.Errorf("parse Puppet's report: %w", err)
	}
	if written, expanded := nodes(&document, map[*yaml.Node]int{}); expanded > maxExpanded*(written+1000) {
		return Report{}, fmt.Errorf("parse Puppet's report: its aliases make %d nodes of %d: no report of Puppet does that", expanded, written)
	}
	var raw rawReport
	if err := document.Decode(&raw); err != nil {
		return Report{}, fmt.Errorf("parse Puppet's report: %w", err)
	}
	if raw.Status == "" || raw.PuppetVersion == "" {
		return Report{}, errors.New("parse Puppet's report: it has no status or puppet_version: this is no report of Puppet")
	}
	report := Report{
		Status:  raw.Status,
		Version: raw.PuppetVersion,
		Totals:  map[string]int{},
		Compile: duration(raw.metric("time", "config_retrieval")),
		Apply:   duration(raw.metric("time", "catalog_application")),
	}
	report.Time, _ = time.Parse(time.RFC3339Nano, raw.Time) // for people only
	for _, value := range raw.Metrics["resources"].Values {
		if len(value) == 3 {
			if name, ok := value[0].(string); ok {
				report.Totals[name] = int(clamp(number(value[2]), 1e9))
			}
		}
	}
	if err := report.addResources(&raw.Resources); err != nil {
		return Report{}, err
	}
	if report.Status == "failed" && len(report.Failed) == 0 {
		for _, line := range raw.Logs {
			if line.Level == "err" {
				report.Errors = append(report.Errors, cut(oneLine(line.Message), maxMessage))
			}
		}
	}
	report.Changed, report.Failed = listed(report.Changed), listed(report.Failed)
	if over := len(report.Errors) - maxListed; over > 0 {
		report.Errors = append(report.Errors[:maxListed], fmt.Sprintf("… and %d more", over))
	}
	return report, nil
}

// listed is a list as far as it is kept; its last entry says how many more there were.
func listed(all []Resource) []Resource {
	if over := len(all) - maxListed; over > 0 {
		all = append(all[:maxListed], Resource{Title: fmt.Sprintf("… and %d more", over)})
	}
	return all
}

func cut(text string, most int) string {
	if over := len(text) - most; over > 0 {
		return strings.ToValidUTF8(text[:most], "") + fmt.Sprintf("… (%d bytes more)", over)
	}
	return text
}

// nodes counts the nodes of a document: as they are written, and with every alias written out (at most a
// billion). The map holds what is known, and breaks circles.
func nodes(n *yaml.Node, known map[*yaml.Node]int) (written, expanded int) {
	const most = 1_000_000_000
	if size, ok := known[n]; ok {
		return 0, size
	}
	known[n] = 1
	written, expanded = 1, 1
	inner := n.Content
	if n.Kind == yaml.AliasNode {
		inner = []*yaml.Node{n.Alias}
	}
	for _, child := range inner {
		w, e := nodes(child, known)
		written, expanded = written+w, min(expanded+e, most)
	}
	known[n] = expanded
	return written, expanded
}

func (report *Report) addResources(statuses *yaml.Node) error {
	if statuses.Kind != yaml.MappingNode {
		return nil
	}
	var all []Resource
	for i := 0; i+1 < len(statuses.Content); i += 2 {
		var raw rawResource
		if err := statuses.Content[i+1].Decode(&raw); err != nil {
			return fmt.Errorf("parse Puppet's report: resource %s: %w", statuses.Content[i].Value, err)
		}
		res := Resource{
			Title: statuses.Content[i].Value, File: productPath(raw.File), Line: raw.Line, Took: duration(raw.Took),
		}
		bad := raw.Failed || raw.Restart
		var messages []string
		for _, e := range raw.Events {
			if !bad || e.Status == "failure" {
				messages = append(messages, oneLine(e.Message))
			}
		}
		res.Title, res.Message = cut(res.Title, maxTitle), cut(strings.Join(messages, "\n"), maxMessage)
		switch {
		case bad:
			report.Failed = append(report.Failed, res)
		case raw.Changed:
			report.Changed = append(report.Changed, res)
		case raw.Skipped:
			report.Skipped++
		}
		res.Message = ""
		all = append(all, res)
	}
	slices.SortStableFunc(all, func(a, b Resource) int { return cmp.Compare(b.Took, a.Took) })
	report.Slowest = slices.Clone(all[:min(slowest, len(all))])
	return nil
}

func (raw rawReport) metric(group, name string) float64 {
	for _, value := range raw.Metrics[group].Values {
		if len(value) == 3 && value[0] == name {
			return number(value[2])
		}
	}
	return 0
}

func number(v any) float64 {
	switch n := v.(type) {
	case int:
		return float64(n)
	case float64:
		return n
	}
	return 0
}

func duration(seconds float64) time.Duration {
	return time.Duration(clamp(seconds, maxTook) * float64(time.Second)).Round(time.Millisecond)
}

// maxTook is a year, in seconds: more than anything takes, and less than a Duration holds.
const maxTook = 365 * 24 * 3600

// clamp takes a number from 0 to most; what is none (NaN) is 0.
func clamp(f, most float64) float64 {
	if !(f > 0) {
		return 0
	}
	return min(f, most)
}

var onServer = regexp.MustCompile(`^/opt/hallmark/product/[^/]+/`)

// productPath names a file as its author knows it.
func productPath(path string) string { return onServer.ReplaceAllString(path, "") }

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
