package environmenttest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/hallmark-ci/hallmark/internal/probe"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
)

// Answers plays what images and tests ask servers: hallmark-probe with the goss files that were put
// there, a second Puppet run, connections to elsewhere, the list of packages, the seal; every other
// command ("run …") says nothing and exits 0. All is well but what Fail says. Its zero value is ready;
// World.Shell is to be its Shell.
type Answers struct {
	// Before is called before each question is answered, and may keep it waiting; nil: never.
	Before func(server Server, question string)

	mu    sync.Mutex
	fails map[string]string // "server question" or "server check" → message
	asked map[string]int
}

// Fail makes a check of a goss file ("service:nginx:running"), or a question ("again", "units",
// "logs", "connect", "run tidy"), fail on servers of that name from now on; an empty message ends it.
func (a *Answers) Fail(server, what, message string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fails == nil {
		a.fails = map[string]string{}
	}
	a.fails[server+" "+what] = message
}

// Asked counts the questions so far by "server question", as "web-1 validate build/all".
func (a *Answers) Asked() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.asked)
}

func (a *Answers) failing(server, what string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fails[server+" "+what]
}

var (
	digest   = regexp.MustCompile(`^echo '([0-9a-f]{64})  (\S+)' \| sha256sum --check .* exit (\d+); exec `)
	validate = regexp.MustCompile(`/probe-\S+ validate --spec (\S+/suite-([a-z]+)-([a-z]+)\.yaml)`)
	connect  = regexp.MustCompile(`</dev/tcp/([^/]+)/(\d+)`)
)

// Shell answers a command; it is a World's Shell.
func (a *Answers) Shell(server Server, cmd remote.Command) (remote.Result, bool) {
	question, answer := a.question(server, cmd)
	if a.Before != nil {
		a.Before(server, question)
	}
	a.mu.Lock()
	if a.asked == nil {
		a.asked = map[string]int{}
	}
	a.asked[server.Name+" "+question]++
	a.mu.Unlock()
	return answer(), true
}

// question names a command and gives what answers it.
func (a *Answers) question(server Server, cmd remote.Command) (string, func() remote.Result) {
	if m := digest.FindStringSubmatch(cmd.Line); m != nil && fmt.Sprintf("%x", sha256.Sum256([]byte(server.Files[m[2]]))) != m[1] {
		return "probe", func() remote.Result {
			code, _ := strconv.Atoi(m[3]) // digits by the expression
			return remote.Result{Exit: code}
		}
	}
	if m := validate.FindStringSubmatch(cmd.Line); m != nil {
		return "validate " + m[2] + "/" + m[3], func() remote.Result { return a.checks(server, server.Files[m[1]]) }
	}
	if m := connect.FindStringSubmatch(cmd.Line); m != nil {
		return "connect", func() remote.Result {
			if m[1] == "127.0.0.1" && m[2] == "22" || a.failing(server.Name, "connect") != "" {
				return remote.Result{}
			}
			return remote.Result{Exit: 124}
		}
	}
	switch {
	case strings.Contains(cmd.Line, "/probe-") && strings.HasSuffix(cmd.Line, " units"):
		return "units", func() remote.Result {
			units := probe.Units{State: "running"}
			if why := a.failing(server.Name, "units"); why != "" {
				units.Failed = []probe.Unit{{Name: why, Lines: []string{"it broke"}}}
			}
			return said(units, len(units.Failed))
		}
	case strings.Contains(cmd.Line, "/probe-") && strings.Contains(cmd.Line, " logs "):
		return "logs", func() remote.Result {
			logs := probe.Logs{Read: 12}
			var rules probe.Rules
			if cmd.Stdin == nil || json.NewDecoder(cmd.Stdin).Decode(&rules) != nil {
				return remote.Result{Exit: probe.ExitBroken, Stderr: []byte("the rules cannot be read\n")}
			}
			for _, rule := range rules.Ignore { // each excuses one line
				logs.Ignored = append(logs.Ignored, probe.Ignored{Ignore: rule, From: probe.FromProduct, Lines: 1})
			}
			if why := a.failing(server.Name, "logs"); why != "" {
				logs.Lines = []probe.Line{{Source: "journal", Program: "app", Message: why, Why: "priority err"}}
			}
			return said(logs, len(logs.Lines))
		}
	case cmd.Line == puppet.ScriptPath+" again":
		return "again", func() remote.Result {
			if why := a.failing(server.Name, "again"); why != "" {
				return remote.Result{Exit: 2, Stdout: []byte(why + "\n")}
			}
			return remote.Result{}
		}
	case strings.HasPrefix(cmd.Line, "dpkg-query "):
		return "packages", func() remote.Result {
			return text("installed bash 5.2.15-2\ninstalled openssh-server 1:9.2p1-2\n")
		}
	case cmd.Line == "exec bash -s":
		return "seal", func() remote.Result { return remote.Result{} }
	}
	question := "run " + cmd.Line
	return question, func() remote.Result {
		if why := a.failing(server.Name, question); why != "" {
			return remote.Result{Exit: 1, Stderr: []byte(why + "\n")}
		}
		return remote.Result{}
	}
}

// checks gives one check for every title in a goss file.
func (a *Answers) checks(server Server, spec string) remote.Result {
	var kinds map[string]map[string]any
	if err := yaml.Unmarshal([]byte(spec), &kinds); err != nil {
		broken := said(probe.Checks{Broken: err.Error()}, 1)
		broken.Exit = probe.ExitBroken
		return broken
	}
	checks, failed := probe.Checks{}, 0
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		for _, title := range slices.Sorted(maps.Keys(kinds[kind])) {
			c := probe.Check{Name: fmt.Sprintf("%s:%s:holds", kind, title), Type: kind, Outcome: probe.Passed, Expected: "true", Found: "true"}
			if why := a.failing(server.Name, c.Name); why != "" {
				c.Outcome, c.Message, c.Found = probe.Failed, why, "false"
				failed++
			}
			checks.Results = append(checks.Results, c)
		}
	}
	return said(checks, failed)
}

func said(answer any, failed int) remote.Result {
	body, err := json.Marshal(answer)
	if err != nil {
		return remote.Result{Exit: probe.ExitBroken, Stderr: []byte(err.Error())}
	}
	r := remote.Result{Stdout: body}
	if failed > 0 {
		r.Exit = probe.ExitFailed
	}
	return r
}
