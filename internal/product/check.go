package product

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/sandbox"
)

// Problem is something wrong with the product that was found without a server.
type Problem struct {
	Check   string // puppet parser, puppet epp, hiera, unit tests
	File    string // in the repository; "" : no single file
	Line    int    // 0: not known
	Message string // what was said; of unit tests the first and the last lines
}

// String is "file:line: message (check)".
func (p Problem) String() string {
	where := p.File
	if p.Line > 0 {
		where += ":" + strconv.Itoa(p.Line)
	}
	if where == "" {
		return p.Check + ": " + p.Message
	}
	return where + ": " + p.Message + " (" + p.Check + ")"
}

// parserTimeout is for one command of Puppet that parses all files.
const parserTimeout = 5 * time.Minute

// Check looks at a loaded product with what this machine has: Puppet's own parser over all manifests
// and templates, the syntax of Hiera's data, and the product's unit tests. Nothing is launched. What
// the commands say goes to out as it comes; out may be nil. An error means that a check could not
// be carried out, for example because puppet is not installed.
func Check(ctx context.Context, p *Product, out io.Writer) ([]Problem, error) {
	if out == nil {
		out = io.Discard
	}
	c := checker{product: p, out: out}
	for _, check := range []func(context.Context) error{c.manifests, c.templates, c.hiera, c.unitTests} {
		if err := check(ctx); err != nil {
			return c.problems, err
		}
	}
	return c.problems, nil
}

type checker struct {
	product  *Product
	out      io.Writer
	memory   func() memory // nil: the kernel's counters
	problems []Problem
}

// manifests parses Puppet's language; plans are for Bolt, whose parser knows more words.
func (c *checker) manifests(ctx context.Context) error {
	code, err := c.files(".pp")
	if err != nil {
		return err
	}
	plan := func(name string) bool { return strings.Contains(name, "/plans/") }
	plans := slices.DeleteFunc(slices.Clone(code), func(name string) bool { return !plan(name) })
	if err := c.puppet(ctx, "puppet parser", slices.DeleteFunc(code, plan), "parser", "validate"); err != nil {
		return err
	}
	return c.puppet(ctx, "puppet parser", plans, "parser", "validate", "--tasks")
}

func (c *checker) templates(ctx context.Context) error {
	files, err := c.files(".epp")
	if err != nil {
		return err
	}
	return c.puppet(ctx, "puppet epp", files, "epp", "validate")
}

// puppet lets a subcommand of Puppet read files, in a sandbox and with a state of its own: the host's own
// configuration of Puppet has no say.
func (c *checker) puppet(ctx context.Context, check string, files []string, subcommand ...string) error {
	if len(files) == 0 {
		return nil
	}
	fmt.Fprintf(c.out, "%s: %d files\n", check, len(files))
	args := slices.Concat([]string{"puppet"}, subcommand, []string{"--confdir", sandbox.Temp, "--vardir", sandbox.Temp, "--color", "false", "--logdest", "console"}, files)
	var kept tail
	failed, err := c.command(parserTimeout, &kept).run(ctx, args...)
	if err != nil {
		return fmt.Errorf("%s: %w", check, err)
	}
	said := kept.text
	if failed == "" {
		return nil
	}
	found := parserProblems(check, sandbox.Dir, said)
	if len(found) == 0 {
		found = []Problem{{Check: check, Message: failed + ": " + excerptOf(said)}}
	}
	c.problems = append(c.problems, found...)
	return nil
}

// files lists the files with one ending that servers apply: under puppet/, and where links there lead to, as
// paths inside the repository.
func (c *checker) files(endings ...string) (names []string, err error) {
	all, err := c.product.listing()
	if err != nil {
		return nil, err
	}
	linked := c.product.linkedModules(all)
	for _, e := range all {
		if e.info.Mode().IsRegular() && slices.Contains(endings, e.ext()) && (e.under(puppetDir) || slices.ContainsFunc(linked, e.under)) {
			names = append(names, e.name)
		}
	}
	return names, nil
}

var (
	parserError = regexp.MustCompile(`(?m)^(?:Error|err): (.*)$`)
	parserPlace = regexp.MustCompile(`\((?:file: ([^,()]+))?(?:, )?(?:line: (\d+))?(?:, column: \d+)?\)`)
	parserLead  = regexp.MustCompile(`^Could not parse for environment \S+: `)
)

// What a check tells at most: people mend the first ones first. Bytes, problems.
const (
	mostMessage  = 500
	mostProblems = 50
)

// parserProblems reads what Puppet's parsers print.
func parserProblems(check, dir string, said []byte) []Problem {
	var problems []Problem
	for _, m := range parserError.FindAllSubmatch(said, -1) {
		p := Problem{Check: check, Message: string(m[1])}
		if at := parserPlace.FindStringSubmatchIndex(p.Message); at != nil {
			place := parserPlace.FindStringSubmatch(p.Message)
			p.File = place[1]
			if rel, err := filepath.Rel(dir, p.File); err == nil && filepath.IsAbs(p.File) {
				p.File = rel
			}
			p.Line, _ = strconv.Atoi(place[2]) // no number: no line
			p.Message = p.Message[:at[0]] + p.Message[at[1]:]
		}
		p.Message = clip(strings.TrimSpace(parserLead.ReplaceAllString(p.Message, "")), mostMessage)
		problems = append(problems, p)
	}
	if slices.ContainsFunc(problems, func(p Problem) bool { return p.File != "" }) {
		// The rest only sums up: "Found 2 errors. Giving up", "Try 'puppet help …'".
		problems = slices.DeleteFunc(problems, func(p Problem) bool { return p.File == "" })
	}
	if over := len(problems) - mostProblems; over > 0 {
		problems = append(problems[:mostProblems], Problem{Check: check, Message: fmt.Sprintf("… and %d more", over)})
	}
	return problems
}

// hiera looks at the syntax of YAML, which Puppet would only report on a server, and for keys of Hiera's data
// that are there twice, which Puppet never reports.
func (c *checker) hiera(context.Context) error {
	files, err := c.files(".yaml", ".yml", ".eyaml", ".json")
	if err != nil {
		return err
	}
	for _, name := range files {
		data := hieraData(name)
		if ext := filepath.Ext(name); !data && ext != ".yaml" && ext != ".yml" {
			continue
		}
		text, err := c.product.Text(name)
		if wrong, ok := errors.AsType[config.Errors](err); ok {
			for _, e := range wrong {
				c.problems = append(c.problems, Problem{Check: "hiera", File: e.File, Message: e.Problem + "; " + e.Remedy})
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("hiera: %w", err)
		}
		document, err := parse(text)
		if err != nil {
			p := Problem{Check: "hiera", File: name, Message: strings.TrimPrefix(err.Error(), "yaml: ")}
			if _, err := fmt.Sscanf(p.Message, "line %d:", &p.Line); err == nil {
				_, p.Message, _ = strings.Cut(p.Message, ": ")
			}
			c.problems = append(c.problems, p)
			continue
		}
		if !data || name == hieraFile { // that one is looked at when the product is loaded
			continue
		}
		for _, d := range duplicates(document) {
			c.problems = append(c.problems, Problem{Check: "hiera", File: name, Line: d.line, Message: d.problem + "; " + d.remedy})
		}
	}
	return nil
}

// hieraData reports whether a file is Hiera's, and not one that a module carries to servers.
func hieraData(name string) bool {
	parts := strings.Split(name, "/")
	return parts[0] == puppetDir && (parts[1] != "modules" || len(parts) > 3 && (parts[3] == "data" || parts[3] == "hiera.yaml"))
}

func (c *checker) unitTests(ctx context.Context) error {
	u := c.product.UnitTests
	if u.Command == "" {
		return nil
	}
	fmt.Fprintf(c.out, "unit tests: %s\n", u.Command)
	said := &excerpt{}
	failed, err := c.command(u.Timeout, said).run(ctx, "bash", "-c", u.Command)
	if err != nil {
		return fmt.Errorf("unit tests: %w", err)
	}
	if failed != "" {
		c.problems = append(c.problems, Problem{Check: "unit tests", Message: fmt.Sprintf("`%s` %s:\n%s", clip(u.Command, mostMessage), failed, said)})
	}
	return nil
}

// command prepares a command of this check; what it prints goes to kept, too.
func (c *checker) command(timeout time.Duration, kept io.Writer) command {
	state := c.memory
	if state == nil {
		state = readMemory
	}
	return command{product: c.product, env: []string{"HALLMARK_COMMIT=" + c.product.Commit}, timeout: timeout, out: io.MultiWriter(kept, c.out), memory: state}
}

// tail keeps the last megabyte of what is written to it, or a little more.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	const most = 1 << 20
	t.text = append(t.text, p...)
	if len(t.text) > 2*most {
		t.text = append(t.text[:0], t.text[len(t.text)-most:]...)
	}
	return len(p), nil
}
