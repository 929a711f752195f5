package probe

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// containerNoise excuses what any unprivileged system container says while it boots, whatever the
// product: it comes from where the server runs (seen on Incus with Debian 12).
func containerNoise() []Ignore {
	const reason = "an unprivileged container may not; the product is not concerned"
	return []Ignore{
		{`^systemd-tmpfiles: fchmod\(\) of /dev/(net/tun|fuse) failed: Operation not permitted`, reason},
		{`^systemd-udevd: Failed to set owner/mode of /dev/(net/tun|fuse) to `, reason},
		{`^rsyslogd: (imklog: cannot open kernel log|activation of module imklog failed)`, reason},
	}
}

// rule is an excuse by a line's text.
type rule struct {
	Ignored
	re *regexp.Regexp
}

// compile checks a product's rules, and adds those of a container if the server is one. (Package product
// refuses rules that fit lines which have nothing in common; what fits almost all of this very log is
// found by wide.)
func compile(ignore []Ignore, container bool) ([]rule, error) {
	var rules []rule
	for i, r := range ignore {
		re, err := regexp.Compile(r.Match)
		switch {
		case err != nil:
			return nil, fmt.Errorf("ignore rule %d: %w", i+1, err)
		case r.Match == "" || re.MatchString(""):
			return nil, fmt.Errorf("ignore rule %d: %q excuses every line", i+1, r.Match)
		case r.Reason == "":
			return nil, fmt.Errorf("ignore rule %d (%q): a reason is missing", i+1, r.Match)
		}
		rules = append(rules, rule{Ignored{Ignore: r, From: FromProduct}, re})
	}
	if container {
		for _, r := range containerNoise() {
			rules = append(rules, rule{Ignored{Ignore: r, From: FromContainer}, regexp.MustCompile(r.Match)})
		}
	}
	return rules, nil
}

// Of a log of some length, no rule for known harmless lines fits more than this part.
const (
	fewLines  = 20
	widePart  = 0.9
	mostKinds = 50 // of lost messages that are told
)

// Scan finds the troubled lines, minus those that Hallmark itself caused and those that a rule excuses.
// A message that its program wrote to journal and syslog, or many times, is given once, as first seen.
// The answer also says what lets a scan that found nothing prove nothing. A rule without a reason, with
// a broken expression, or one that fits every line, is an error.
func Scan(lines []Line, rules Rules, container string) (Logs, error) {
	answer := Logs{Container: container, Read: len(lines), Lines: []Line{}, Ignored: []Ignored{}}
	excuses, err := compile(rules.Ignore, container != "")
	if err != nil {
		return answer, err
	}
	sorted := slices.Clone(lines)
	slices.SortStableFunc(sorted, func(a, b Line) int { return a.Time.Compare(b.Time) })
	of := connections(sorted)
	knocks := rules.Ours.knocks(sorted, of)

	type identity struct{ program, message string }
	type place struct {
		identity
		pid int
	}
	seen, excused, texts := make(map[identity]bool), make(map[place]bool), make(map[string]int)
	ours := make(map[string]int) // reason → lines
	// mine reports whether all lines that fit come from connections and sessions of Hallmark's.
	mine := func(fits func(Line) bool) bool {
		any := false
		for i, l := range sorted {
			if !fits(l) {
				continue
			}
			if any = true; of[i] == nil || of[i].user != rules.Ours.Bootstrap && !rules.Ours.made(of[i]) {
				return false
			}
		}
		return any
	}
	for i, l := range sorted {
		l.Why = Trouble(l)
		id := identity{l.Program, l.Message}
		text := cmp.Or(l.Program, "-") + ": " + l.Message
		texts[text]++
		if lost := lostMessages(l, mine); lost.Why != "" && !slices.Contains(answer.Unproved, lost) && len(answer.Unproved) < mostKinds {
			answer.Unproved = append(answer.Unproved, lost)
		}
		if l.Why == "" || seen[id] {
			continue
		}
		first := !excused[place{id, l.PID}] // else the copy in another log
		if reason := rules.Ours.excuse(l, of[i], of[i].knocked(knocks)); reason != "" {
			if first {
				ours[reason]++
			}
		} else if r := slices.IndexFunc(excuses, func(r rule) bool { return r.re.MatchString(text) }); r >= 0 {
			if first {
				excuses[r].Lines++
			}
		} else {
			seen[id] = true
			answer.Lines = append(answer.Lines, l)
			continue
		}
		excused[place{id, l.PID}] = true
	}
	answer.Unproved = append(answer.Unproved, wide(excuses, texts)...)
	for _, r := range excuses {
		if r.From == FromProduct || r.Lines > 0 {
			answer.Ignored = append(answer.Ignored, r.Ignored)
		}
	}
	for reason, n := range ours {
		answer.Ignored = append(answer.Ignored, Ignored{Ignore: Ignore{Reason: reason}, From: FromHallmark, Lines: n})
	}
	slices.SortStableFunc(answer.Ignored, func(a, b Ignored) int {
		if a.From != FromHallmark || b.From != FromHallmark {
			return 0
		}
		return cmp.Compare(a.Reason, b.Reason)
	})
	return answer, nil
}

// wide finds rules of the product that fit almost every line of this very log, troubled or not.
func wide(rules []rule, texts map[string]int) []Unproved {
	var found []Unproved
	if len(texts) < fewLines {
		return nil
	}
	for _, r := range rules {
		fits := 0
		for text := range texts {
			if r.re.MatchString(text) {
				fits++
			}
		}
		if part := float64(fits) / float64(len(texts)); part >= widePart {
			found = append(found, Unproved{fmt.Sprintf("the rule %q excuses %.0f %% of all lines of this server", r.Match, 100*part), true})
		}
	}
	return found
}

// Words in which journald and rsyslog say that they threw messages away.
var (
	suppressed = regexp.MustCompile(`^Suppressed (\d+) messages from (\S+)`)
	missed     = regexp.MustCompile(`^Missed (\d+) kernel messages`)
	unwritten  = regexp.MustCompile(`^Failed to write entry .*(ignoring|dropping)`)
	dropped    = regexp.MustCompile(`(imuxsock|imjournal|imklog|imtcp|imudp)\b.*(lost \d+ messages|\d+ messages lost|begin to drop messages)|\bmessage lost|discarded due to rate-limiting`)
	fromPID    = regexp.MustCompile(`\bfrom pid (\d+)`)
)

// lostMessages says that a line tells of messages that no log has. The product mends it, unless the
// messages were those of a session of Hallmark's own, or of the host.
func lostMessages(l Line, mine func(fits func(Line) bool) bool) Unproved {
	switch l.Program {
	case "systemd-journald":
		if m := suppressed.FindStringSubmatch(l.Message); m != nil {
			return Unproved{"journald lost messages: " + l.Message, !mine(func(other Line) bool { return other.Unit == m[2] })}
		}
		if missed.MatchString(l.Message) {
			return Unproved{"journald lost messages: " + l.Message, false}
		}
		if unwritten.MatchString(l.Message) {
			return Unproved{"journald lost messages: " + l.Message, true}
		}
	case "rsyslogd":
		if dropped.MatchString(l.Message) {
			m := fromPID.FindStringSubmatch(l.Message)
			return Unproved{"rsyslog lost messages: " + l.Message, m == nil || !mine(func(other Line) bool { return strconv.Itoa(other.PID) == m[1] })}
		}
	}
	return Unproved{}
}
