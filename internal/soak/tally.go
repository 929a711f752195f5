package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// line is a finished run in the tally.
type line struct {
	work
	Seed     uint64        `json:"seed"`
	Commit   string        `json:"commit"` // of Hallmark
	Code     string        `json:"code"`   // digest of Hallmark's code and the products as they were
	Started  time.Time     `json:"started"`
	Took     time.Duration `json:"took"`
	Load     measured      `json:"load"`
	Run      string        `json:"run"` // its identifier in its installation's ledger
	Verdict  string        `json:"verdict"`
	Good     bool          `json:"good"` // healthy: passed; planted: found
	Reason   string        `json:"reason,omitempty"`
	Passed   int           `json:"passed"` // tests
	Troubled []string      `json:"troubled,omitempty"`
}

// String is what is shown when the run has ended: one line, and one for each test that was not passed.
func (l line) String() string {
	mark := "✓"
	if !l.Good {
		mark = "✗"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %-28s %-12s %6s  load %.1f–%.1f, mean %.1f  %d tests passed", l.Started.Local().Format("15:04:05"),
		mark, l.work, l.Verdict, l.Took.Round(time.Second), l.Load.Least, l.Load.Most, l.Load.Mean, l.Passed)
	if !l.Good {
		fmt.Fprintf(&b, "\n    %s", l.Reason)
	}
	for _, t := range l.Troubled {
		fmt.Fprintf(&b, "\n    %s", t)
	}
	return b.String() + "\n"
}

// code is what the runs try.
type code struct{ Commit, Digest string }

// codeOf reads the work tree: everything that git tracks and that goes into the binaries or the products.
func codeOf(ctx context.Context) (code, error) {
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "git", args...).Output()
		if err != nil {
			return "", fmt.Errorf("git %s: %w", strings.Join(args, " "), err)
		}
		return strings.TrimSpace(string(out)), nil
	}
	commit, err := git("rev-parse", "HEAD")
	if err != nil {
		return code{}, err
	}
	top, err := git("rev-parse", "--show-toplevel")
	if err != nil {
		return code{}, err
	}
	files, err := git("-C", top, "ls-files")
	if err != nil {
		return code{}, err
	}
	sum := sha256.New()
	for _, file := range strings.Split(files, "\n") {
		if !tried(file) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(top, file))
		if os.IsNotExist(err) {
			continue // removed, and not committed yet
		}
		if err != nil {
			return code{}, err
		}
		fmt.Fprintf(sum, "%s %d\n%s", file, len(content), content)
	}
	return code{commit, hex.EncodeToString(sum.Sum(nil))}, nil
}

// tried reports whether a file is part of what a soak tries.
func tried(file string) bool {
	switch {
	case strings.HasSuffix(file, "_test.go"), strings.Contains(file, "/testdata/"), strings.HasSuffix(file, ".md"):
		return false
	case strings.HasPrefix(file, "internal/soak/"):
		return strings.HasPrefix(file, "internal/soak/small/")
	case file == "go.mod", file == "go.sum", strings.HasPrefix(file, "configs/acme/"):
		return true
	}
	return slices.Contains([]string{"cmd", "imager", "internal", "upgrader", "verifier"}, strings.Split(file, "/")[0])
}

// tally is the file of finished runs, and those of them that count.
type tally struct {
	file string
	code code
	seed uint64
	done []line
}

// openTally reads the lines of this code and seed.
func openTally(file string, of code, seed uint64) (*tally, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	t := &tally{file: file, code: of, seed: seed}
	content, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(content))
	lines.Buffer(nil, 16<<20)
	for n := 1; lines.Scan(); n++ {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("%s:%d: %w; remove that line", file, n, err)
		}
		if l.Code == of.Digest && l.Seed == seed {
			t.done = append(t.done, l)
		}
	}
	return t, lines.Err()
}

func (t *tally) has(w work) bool {
	return slices.ContainsFunc(t.done, func(l line) bool { return l.work == w })
}

// add appends a line, whole, before it counts.
func (t *tally) add(l line) error {
	l.Commit, l.Code, l.Seed = t.code.Commit, t.code.Digest, t.seed
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(t.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("%w; %w", err, f.Close())
	}
	t.done = append(t.done, l)
	return f.Close()
}

// mostInconclusive is how many healthy runs may tell nothing, each with its explanation.
const mostInconclusive = 1

// verdict sums up, and reports whether all is as it should be: no healthy run failed, no more than
// mostInconclusive of them were inconclusive, and every planted defect was found.
func (t *tally) verdict(out io.Writer) bool {
	good := true
	healthy := map[string]map[string]int{}
	found, planted := map[string]int{}, map[string]int{}
	inconclusive := 0
	for _, l := range t.done {
		if l.Plant != "" {
			planted[l.Plant]++
			if l.Good {
				found[l.Plant]++
			}
			continue
		}
		if healthy[l.Product] == nil {
			healthy[l.Product] = map[string]int{}
		}
		healthy[l.Product][l.Verdict]++
		if !l.Good {
			if l.Verdict != "inconclusive" {
				good = false
			}
			inconclusive++
		}
	}
	for _, product := range []string{small, acme} {
		if counts := healthy[product]; counts != nil {
			n := 0
			for _, c := range counts {
				n += c
			}
			fmt.Fprintf(out, "%s: %d runs: %d passed, %d failed, %d inconclusive\n", product, n, counts["passed"], counts["failed"], counts["inconclusive"])
		}
	}
	for _, name := range append(names(), lockouts.Plant) {
		if planted[name] > 0 {
			fmt.Fprintf(out, "%s: found in %d of %d\n", name, found[name], planted[name])
			good = good && found[name] == planted[name]
		}
	}
	return good && inconclusive <= mostInconclusive
}
