package report

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Duration is a time.Duration that prints as people say it: 0.8s, 42s, 3m 20s, 1h 05m.
type Duration time.Duration

// String rounds to what matters.
func (d Duration) String() string {
	t := time.Duration(d)
	if t < 0 {
		return "-" + Duration(-t).String()
	}
	if t < 10*time.Second {
		return fmt.Sprintf("%.1fs", t.Seconds())
	}
	if t = t.Round(time.Second); t < time.Minute {
		return fmt.Sprintf("%ds", t/time.Second)
	}
	if t < time.Hour {
		return fmt.Sprintf("%dm %02ds", t/time.Minute, t%time.Minute/time.Second)
	}
	t = t.Round(time.Minute)
	return fmt.Sprintf("%dh %02dm", t/time.Hour, t%time.Hour/time.Minute)
}

// size is bytes in the unit that leaves two or three digits.
func size(bytes int64) string {
	value, unit := float64(bytes), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if value < 1000 {
			break
		}
		value, unit = value/1024, next
	}
	if value < 10 && unit != "B" {
		return fmt.Sprintf("%.1f %s", value, unit)
	}
	return fmt.Sprintf("%.0f %s", value, unit)
}

// moment is a time as reports show it.
func moment(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

func day(t time.Time) string { return t.UTC().Format("2 January 2006") }

// short is a commit or digest as people say it.
func short(id string) string {
	if kind, rest, ok := strings.Cut(id, ":"); ok && len(rest) > 12 {
		return kind + ":" + rest[:12]
	}
	if len(id) > 12 && !strings.ContainsAny(id, " -/") {
		return id[:12]
	}
	return id
}

// upperFirst begins a heading.
func upperFirst(text string) string {
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

var code = regexp.MustCompile(`\[(unexplained|(cloud|remote|packages|server|puppet|test|health|procedure|image|check|run)\.[a-z-]+)\] `)

// Plain is a message without the codes of causes in it (see verdict.Error): Failure.Cause tells them.
func Plain(message string) string { return strings.TrimSpace(code.ReplaceAllString(message, "")) }

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// list joins words as a sentence does.
func list(words []string) string {
	switch len(words) {
	case 0:
		return ""
	case 1:
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// Words in the order in which the design page tells them; others follow by name.
var order = map[string]int{
	"image": 1, "verify": 2,
	"base": 1, "prebuilt": 2,
	"launched": 1, "rebooted": 2, "relaunched": 3, "upgraded": 4,
	"smoke": 1, "build": 2, "functional": 3, "application": 4,
}

func compareWords(a, b string) int {
	rank := func(w string) int {
		if n, ok := order[w]; ok {
			return n
		}
		return len(order)
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), compareNames(a, b))
}

// compareNames sorts web-2 before web-10.
func compareNames(a, b string) int {
	pa, na := trailing(a)
	pb, nb := trailing(b)
	return cmp.Or(cmp.Compare(pa, pb), cmp.Compare(na, nb))
}

func trailing(name string) (prefix string, number int) {
	i := len(name)
	for i > 0 && i > len(name)-9 && name[i-1] >= '0' && name[i-1] <= '9' {
		i--
		number += int(name[i]-'0') * pow10(len(name)-1-i)
	}
	if i == len(name) {
		return name, -1
	}
	return name[:i], number
}

func pow10(n int) int {
	p := 1
	for range n {
		p *= 10
	}
	return p
}

// addOnce keeps a sorted list of different words.
func addOnce(words []string, w string) []string {
	i, found := slices.BinarySearchFunc(words, w, compareWords)
	if found {
		return words
	}
	return slices.Insert(words, i, w)
}
