package probe

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
)

// errPriority is the syslog severity "err"; what is worse has a lower number.
const errPriority = 3

// trouble is what a line may say that nobody wants to see on a healthy server, whatever priority
// its program gave it.
var trouble = []struct {
	name string
	re   *regexp.Regexp
}{
	{"segfault", regexp.MustCompile(`(?i)\bsegfault\b|segmentation fault|general protection fault`)},
	{"core dumped", regexp.MustCompile(`(?i)\bcore dumped\b|\bdumped core\b`)},
	{"killed by a signal", regexp.MustCompile(`main process exited, code=(killed|dumped), status=(?:4/ILL|6/ABRT|7/BUS|8/FPE|9/KILL|11/SEGV)`)},
	{"out of memory", regexp.MustCompile(`(?i)\boom-kill(er)?\b|out of memory: kill|\boom_reaper\b|cannot allocate memory`)},
	{"disk full", regexp.MustCompile(`(?i)no space left on device|disk quota exceeded`)},
	{"read-only file system", regexp.MustCompile(`(?i)read-only file system`)},
	{"file system error", regexp.MustCompile(`(?i)\b(EXT4-fs|XFS|BTRFS)\b.*\b(error|corrupt)|I/O error`)},
	{"unit failed to start", regexp.MustCompile(`Failed to start |Dependency failed for |Failed with result '|Start request repeated too quickly`)},
	{"mount failed", regexp.MustCompile(`Failed to mount `)},
	{"Python traceback", regexp.MustCompile(`Traceback \(most recent call last\)`)},
	{"Ruby exception", regexp.MustCompile(`\.rb:\d+:in .*\((\w+::)*\w*(Error|Exception)\)`)},
	{"Java exception", regexp.MustCompile(`Exception in thread "`)},
	{"Go panic", regexp.MustCompile(`\bpanic: |\bfatal error: .*(runtime|concurrent map)`)},
	{"PHP fatal error", regexp.MustCompile(`PHP (Fatal|Parse|Recoverable fatal) error`)},
	{"database corruption", regexp.MustCompile(`(?i)table .* is marked as crashed|InnoDB: .*corrupt`)},
	{"disk error", regexp.MustCompile(`(?i)\b(blk_update_request|Buffer I/O error)\b`)},
	{"hung task", regexp.MustCompile(`blocked for more than \d+ seconds|soft lockup|hard LOCKUP`)},
	{"kernel bug", regexp.MustCompile(`kernel BUG at|Kernel panic|Call Trace:`)},
}

// Trouble says why a line is one to show, "" if it is not: its priority is err or worse, or it
// matches the table of troubles.
func Trouble(l Line) string {
	for _, t := range trouble {
		if t.re.MatchString(l.Message) {
			return t.name
		}
	}
	if l.Priority >= 0 && l.Priority <= errPriority {
		return "priority err or worse"
	}
	return ""
}

// ContainerNoise excuses what any unprivileged system container says while it boots, whatever the
// product: it comes from where the server runs (seen on Incus with Debian 12).
func ContainerNoise() []Ignore {
	const reason = "an unprivileged container may not; the product is not concerned"
	return []Ignore{
		{`^systemd-tmpfiles: fchmod\(\) of /dev/(net/tun|fuse) failed: Operation not permitted`, reason},
		{`^systemd-udevd: Failed to set owner/mode of /dev/(net/tun|fuse) to `, reason},
		{`^rsyslogd: (imklog: cannot open kernel log|activation of module imklog failed)`, reason},
	}
}

// Scan finds the troubled lines, minus those that a rule excuses. A message that its program wrote
// to journal and syslog, or many times, is given once, as first seen. A rule without a reason or
// with a broken expression is an error.
func Scan(lines []Line, rules []Ignore) ([]Line, []Ignored, error) {
	ignored := make([]Ignored, len(rules))
	compiled := make([]*regexp.Regexp, len(rules))
	for i, r := range rules {
		re, err := regexp.Compile(r.Match)
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("ignore rule %d: %w", i+1, err)
		case r.Match == "" || re.MatchString(""):
			return nil, nil, fmt.Errorf("ignore rule %d: %q excuses every line", i+1, r.Match)
		case r.Reason == "":
			return nil, nil, fmt.Errorf("ignore rule %d (%q): a reason is missing", i+1, r.Match)
		}
		ignored[i].Ignore, compiled[i] = r, re
	}
	sorted := slices.Clone(lines)
	slices.SortStableFunc(sorted, func(a, b Line) int { return a.Time.Compare(b.Time) })

	type identity struct{ program, message string }
	seen := make(map[identity]bool)
	found := []Line{}
	for _, l := range sorted {
		l.Why = Trouble(l)
		id := identity{l.Program, l.Message}
		if l.Why == "" || seen[id] {
			continue
		}
		seen[id] = true
		if i := slices.IndexFunc(compiled, func(re *regexp.Regexp) bool {
			return re.MatchString(cmp.Or(l.Program, "-") + ": " + l.Message)
		}); i >= 0 {
			ignored[i].Lines++
			continue
		}
		found = append(found, l)
	}
	return found, ignored, nil
}
