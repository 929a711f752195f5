package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goss-org/goss"
	"github.com/goss-org/goss/util"
	"go.yaml.in/yaml/v3"

	"github.com/hallmark-ci/hallmark/internal/probe"
)

// maxText bounds a message and a compared value: a command may print megabytes.
const maxText = 2 << 10

// concurrency of checks: they wait for commands and files more than they compute.
const concurrency = 10

// validate runs a goss file against this server, on which everything takes stretch times as long as usual.
func validate(spec, vars string, stretch float64) (probe.Checks, int) {
	broken := func(err error) (probe.Checks, int) {
		return probe.Checks{Results: []probe.Check{}, Broken: err.Error()}, probe.ExitBroken
	}
	if spec == "" {
		return broken(errors.New("no specification: give --spec FILE"))
	}
	if err := knownSections(spec, vars); err != nil {
		return broken(err)
	}
	var out bytes.Buffer
	cfg, err := util.NewConfig(
		util.WithSpecFile(spec),
		util.WithVarsFile(vars),
		util.WithOutputFormat("json"),
		util.WithResultWriter(&out),
		util.WithMaxConcurrency(concurrency),
	)
	if err != nil {
		return broken(err)
	}
	if err := runGoss(cfg, stretch); err != nil {
		return broken(fmt.Errorf("%s: %w", spec, err))
	}
	log.SetOutput(os.Stderr) // goss points the standard logger elsewhere
	checks, err := fromGoss(out.Bytes())
	if err != nil {
		return broken(fmt.Errorf("%s: %w", spec, err))
	}
	if checks.Broken != "" {
		return checks, probe.ExitBroken
	}
	if len(checks.Results) == 0 {
		return broken(fmt.Errorf("%s: its resources compare nothing", spec))
	}
	for _, c := range checks.Results {
		if c.Outcome == probe.Failed {
			return checks, probe.ExitFailed
		}
	}
	return checks, probe.ExitOK
}

// sections are the top-level keys of a goss file. goss reads over a key that it does not know, and
// a check with a misspelt type would count as passed.
var sections = []string{"file", "package", "addr", "port", "service", "user", "group", "command",
	"dns", "process", "gossfile", "kernel-param", "mount", "interface", "http", "matching"}

// knownSections refuses a goss file, or one that it includes, with a top-level key unknown to goss.
func knownSections(spec, vars string) error {
	filter, err := goss.NewTemplateFilter(vars, "")
	if err != nil {
		return err
	}
	todo, done := []string{spec}, make(map[string]bool)
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if done[name] {
			continue
		}
		done[name] = true
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if data, err = filter(data); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		var doc yaml.Node // YAML reads JSON too
		if err := yaml.Unmarshal(data, &doc); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
			return fmt.Errorf("%s: no resources", name)
		}
		var included []string
		for pairs := doc.Content[0].Content; len(pairs) > 1; pairs = pairs[2:] {
			key, value := pairs[0], pairs[1]
			if !slices.Contains(sections, key.Value) {
				return fmt.Errorf("%s:%d: unknown resource type %q: use one of %s", name, key.Line, key.Value, strings.Join(sections, ", "))
			}
			if err := survivable(key.Value, value); err != nil {
				return fmt.Errorf("%s:%w", name, err)
			}
			if key.Value == "gossfile" {
				if included, err = includes(value, filepath.Dir(name)); err != nil {
					return fmt.Errorf("%s:%d: %w", name, key.Line, err)
				}
			}
		}
		todo = append(todo, included...)
	}
	return nil
}

// includes lists the files that a gossfile section names; goss itself reports what is missing.
func includes(section *yaml.Node, dir string) ([]string, error) {
	var named map[string]struct {
		File string `yaml:"file"`
		Skip bool   `yaml:"skip"`
	}
	if err := section.Decode(&named); err != nil {
		return nil, err
	}
	var files []string
	for id, g := range named {
		pattern := cmp.Or(g.File, id)
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(dir, pattern)
		}
		matches, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("gossfile %s: %w", pattern, err)
		}
		if !g.Skip {
			files = append(files, matches...)
		}
	}
	return files, nil
}

// gossResult is what we read of one result in goss's JSON output.
type gossResult struct {
	Type     string         `json:"resource-type"`
	ID       string         `json:"resource-id"`
	Property string         `json:"property"`
	Title    string         `json:"title"`
	Meta     map[string]any `json:"meta"`
	Skipped  bool           `json:"skipped"`
	OK       bool           `json:"successful"` // of the outputter: "did not fail"
	Err      *string        `json:"err"`
	Matcher  struct {
		Actual   json.RawMessage `json:"actual"`
		Expected json.RawMessage `json:"expected"`
		Chain    json.RawMessage `json:"transform-chain"`
	} `json:"matcher-result"`
	Summary  string `json:"summary-line-compact"`
	Duration int64  `json:"duration"`
}

// fromGoss turns goss's JSON output into our schema, in a stable order.
func fromGoss(data []byte) (probe.Checks, error) {
	var report struct {
		Results []gossResult `json:"results"`
	}
	if err := json.Unmarshal(data, &report); err != nil {
		return probe.Checks{}, fmt.Errorf("output of goss: %w", err)
	}
	checks := probe.Checks{Results: make([]probe.Check, 0, len(report.Results))}
	failed := make(map[string]bool) // resources with a failed check: goss skips the rest of those
	for _, r := range report.Results {
		failed[r.Type+r.ID] = failed[r.Type+r.ID] || !r.OK
	}
	names := make(map[string]int)
	var faults []string // of the specification itself
	for _, r := range report.Results {
		typ := strings.ToLower(r.Type)
		c := probe.Check{
			Name:     typ + ":" + strings.Join(strings.Fields(r.ID), " ") + ":" + r.Property,
			Type:     typ,
			Title:    r.Title,
			Property: r.Property,
			Outcome:  probe.Passed,
			Expected: text(r.Matcher.Expected),
			Found:    text(r.Matcher.Actual),
			Duration: time.Duration(r.Duration),
		}
		if names[c.Name]++; names[c.Name] > 1 {
			c.Name = fmt.Sprintf("%s#%d", c.Name, names[c.Name])
		}
		switch {
		case r.Skipped:
			c.Outcome = probe.Skipped
			c.Message = skipReason(r, failed[r.Type+r.ID])
		case !r.OK:
			c.Outcome = probe.Failed
			c.Message = strings.TrimPrefix(r.Summary, r.Type+": "+r.ID+": "+r.Property+": ")
			if r.Err != nil {
				c.Message = strings.Join(strings.Fields(*r.Err), " ")
			}
			c.Message = clip(c.Message)
			if why := r.fault(); why != "" {
				faults = append(faults, c.Name+": "+clip(why))
			}
		}
		checks.Results = append(checks.Results, c)
	}
	slices.SortFunc(checks.Results, func(a, b probe.Check) int { return cmp.Compare(a.Name, b.Name) })
	slices.Sort(faults)
	checks.Broken = strings.Join(faults, "; ")
	return checks, nil
}

// skipReason is the specification's own ("meta: {reason: …}"), or what goss skips a check for.
// Empty: the specification skips and does not say why.
func skipReason(r gossResult, resourceFailed bool) string {
	if reason, ok := r.Meta["reason"].(string); ok {
		return clip(reason)
	}
	if resourceFailed {
		return "an earlier check of the same resource failed"
	}
	return ""
}

// text renders a compared value: a JSON string as itself, anything else as JSON.
func text(raw json.RawMessage) string {
	if len(raw) == 0 || string(raw) == "null" || string(raw) == "{}" { // {}: a stream, read already
		return ""
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return clip(s)
	}
	return clip(string(raw))
}

func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	return strings.ToValidUTF8(s, "�")
}
