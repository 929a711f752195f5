package product

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"
)

// Problem is something wrong with the product that was found without a server.
type Problem struct {
	Check   string // puppet parser, puppet epp, hiera, unit tests
	File    string // in the repository; "" : no single file
	Line    int    // 0: not known
	Message string // what was said; of unit tests the last lines
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
	problems []Problem
}

func (c *checker) manifests(ctx context.Context) error {
	return c.puppet(ctx, "puppet parser", ".pp", "parser", "validate")
}

func (c *checker) templates(ctx context.Context) error {
	return c.puppet(ctx, "puppet epp", ".epp", "epp", "validate")
}

// puppet lets a subcommand of Puppet read all files with one ending, in a state of its own: the
// host's own configuration of Puppet has no say.
func (c *checker) puppet(ctx context.Context, check, ending string, command ...string) error {
	files, err := c.files(ending)
	if err != nil || len(files) == 0 {
		return err
	}
	state, err := os.MkdirTemp("", "hallmark-puppet-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(state) }()
	fmt.Fprintf(c.out, "%s: %d files\n", check, len(files))
	args := append(command, "--confdir", state, "--vardir", state, "--color", "false", "--logdest", "console")
	said, failed, err := c.run(ctx, parserTimeout, "puppet", append(args, files...)...)
	if err != nil {
		return fmt.Errorf("%s: %w", check, err)
	}
	if failed == "" {
		return nil
	}
	found := parserProblems(check, c.product.Dir, said)
	if len(found) == 0 {
		found = []Problem{{Check: check, Message: failed + ": " + lastLines(said)}}
	}
	c.problems = append(c.problems, found...)
	return nil
}

// files lists the files under puppet/ with one ending, as paths inside the repository.
func (c *checker) files(endings ...string) ([]string, error) {
	var files []string
	err := fs.WalkDir(os.DirFS(c.product.Dir), "puppet", func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && slices.Contains(endings, filepath.Ext(name)) {
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for %s files: %w", strings.Join(endings, ", "), err)
	}
	return files, nil
}

var (
	parserError = regexp.MustCompile(`(?m)^(?:Error|err): (.*)$`)
	parserPlace = regexp.MustCompile(`\((?:file: ([^,()]+))?(?:, )?(?:line: (\d+))?(?:, column: \d+)?\)`)
	parserLead  = regexp.MustCompile(`^Could not parse for environment \S+: `)
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
		p.Message = strings.TrimSpace(parserLead.ReplaceAllString(p.Message, ""))
		problems = append(problems, p)
	}
	if slices.ContainsFunc(problems, func(p Problem) bool { return p.File != "" }) {
		// The rest only sums up: "Found 2 errors. Giving up", "Try 'puppet help …'".
		problems = slices.DeleteFunc(problems, func(p Problem) bool { return p.File == "" })
	}
	return problems
}

// hiera looks at the syntax of YAML, which Puppet would only report on a server.
func (c *checker) hiera(context.Context) error {
	files, err := c.files(".yaml", ".yml")
	if err != nil {
		return err
	}
	for _, name := range files {
		data, err := os.ReadFile(filepath.Join(c.product.Dir, name))
		if err != nil {
			return fmt.Errorf("hiera: %w", err)
		}
		var document yaml.Node
		if err := yaml.Unmarshal(data, &document); err != nil {
			p := Problem{Check: "hiera", File: name, Message: strings.TrimPrefix(err.Error(), "yaml: ")}
			if _, err := fmt.Sscanf(p.Message, "line %d:", &p.Line); err == nil {
				_, p.Message, _ = strings.Cut(p.Message, ": ")
			}
			c.problems = append(c.problems, p)
		}
	}
	return nil
}

func (c *checker) unitTests(ctx context.Context) error {
	u := c.product.UnitTests
	if u.Command == "" {
		return nil
	}
	fmt.Fprintf(c.out, "unit tests: %s\n", u.Command)
	said, failed, err := c.run(ctx, u.Timeout, "bash", "-c", u.Command)
	if err != nil {
		return fmt.Errorf("unit tests: %w", err)
	}
	if failed != "" {
		c.problems = append(c.problems, Problem{Check: "unit tests", Message: fmt.Sprintf("`%s` %s:\n%s", u.Command, failed, lastLines(said))})
	}
	return nil
}

// run runs a command in the checkout, with a clean environment: neither our secrets nor our git. It
// says how the command failed, "" if it did not; an error means that it could not be run. When its
// time is over, its whole process group ends.
func (c *checker) run(ctx context.Context, timeout time.Duration, name string, args ...string) (said []byte, failed string, err error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var kept tail
	cmd := exec.CommandContext(limited, name, args...)
	cmd.Dir = c.product.Dir
	cmd.Env = []string{"LANG=C.UTF-8", "PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(), "HALLMARK_COMMIT=" + c.product.Commit}
	both := io.MultiWriter(&kept, c.out)
	cmd.Stdout, cmd.Stderr = both, both
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return kept.text, "", nil
	case ctx.Err() != nil:
		return nil, "", ctx.Err()
	case limited.Err() != nil:
		return kept.text, fmt.Sprintf("did not end within %s", timeout), nil
	case errors.As(err, &exit) && !exit.Exited():
		// Not by us: the machine ran out of memory, or is shutting down. It says nothing about the product.
		return nil, "", fmt.Errorf("%s was ended by another: %w", name, err)
	case errors.As(err, &exit), errors.Is(err, exec.ErrWaitDelay):
		return kept.text, fmt.Sprintf("failed with %v", err), nil
	case errors.Is(err, exec.ErrNotFound):
		return nil, "", fmt.Errorf("%s is not installed on this machine: %w", name, err)
	}
	return nil, "", err
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

// lastLines keeps what people read first of a failed command's output.
func lastLines(said []byte) string {
	const most = 30
	lines := strings.Split(strings.TrimRight(string(said), "\n"), "\n")
	if len(lines) > most {
		lines = append([]string{fmt.Sprintf("… %d lines before", len(lines)-most)}, lines[len(lines)-most:]...)
	}
	return strings.Join(lines, "\n")
}
