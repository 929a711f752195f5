package report

import (
	"bytes"
	"cmp"
	"fmt"
	"image/color"
	"io"
	"os"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"
	"golang.org/x/term"

	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// Terminal says how text is to look.
type Terminal struct {
	Width int // columns; 0: 100
	Color bool
}

// TerminalOf looks at where text will go: a terminal gives its width and colour, unless NO_COLOR is
// set (https://no-color.org); everything else is plain.
func TerminalOf(w io.Writer) Terminal {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return Terminal{}
	}
	t := Terminal{Color: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	if width, _, err := term.GetSize(int(f.Fd())); err == nil {
		t.Width = width
	}
	return t
}

// Text writes the report for people at a terminal: the answer, the matrix, the failures with the lines
// that matter, and then the rest.
func Text(w io.Writer, r Report, t Terminal) error {
	if t.Width == 0 {
		t.Width = 100
	}
	r = r.printable()
	p := &page{Terminal: t, width: max(t.Width, 50)}
	p.head(r)
	p.matrices(r)
	p.notes(r)
	p.failures(r)
	p.shown(r)
	p.tolerated(r)
	p.excuses(r)
	p.timeline(r)
	p.upgrades(r)
	p.images(r)
	p.packages(r)
	p.gate(r)
	_, err := w.Write(p.out.Bytes())
	return err
}

// page is text being written.
type page struct {
	Terminal
	width int
	out   bytes.Buffer
}

var signs = map[Status]struct {
	sign  string
	color color.Color
}{
	Good: {"✓", lipgloss.Green}, Bad: {"✗", lipgloss.Red}, Unsure: {"?", lipgloss.Yellow}, Missing: {"!", lipgloss.Yellow},
	Going: {"…", lipgloss.Blue}, Ended: {"■", lipgloss.BrightBlack}, None: {" ", lipgloss.BrightBlack},
}

// line writes one line: a text in it that has line ends, such as a name that forges a line of the report, has none
// any more.
func (p *page) line(format string, args ...any) {
	for i, arg := range args {
		if text, ok := arg.(string); ok {
			args[i] = strings.ReplaceAll(text, "\n", " ")
		}
	}
	fmt.Fprintf(&p.out, format+"\n", args...)
}

// paint colours text by status, on a terminal only.
func (p *page) paint(s Status, text string) string {
	if !p.Color {
		return text
	}
	return lipgloss.NewStyle().Foreground(signs[s].color).Render(text)
}

func (p *page) bold(text string) string {
	if !p.Color {
		return text
	}
	return lipgloss.NewStyle().Bold(true).Render(text)
}

func (p *page) faint(text string) string {
	if !p.Color {
		return text
	}
	return lipgloss.NewStyle().Faint(true).Render(text)
}

func (p *page) title(text string) { p.line("\n%s", p.bold(text)) }

// wrapped writes text within the width, indented.
func (p *page) wrapped(indent int, text string) {
	for line := range slices.Values(wrap(text, p.width-indent)) {
		p.line("%s%s", strings.Repeat(" ", indent), strings.TrimRight(line, " "))
	}
}

// wrap breaks text between words only: package names and ids have hyphens, and people copy them. A word
// that is longer than the width is broken all the same. Spaces at the beginning stay.
func wrap(text string, width int) []string {
	body := strings.TrimLeft(text, " ")
	line := text[:min(len(text)-len(body), width/2)]
	var lines []string
	empty := true
	for word := range strings.SplitSeq(body, " ") {
		if !empty && lipgloss.Width(line)+1+lipgloss.Width(word) > width {
			lines, line, empty = append(lines, line), "", true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
		for lipgloss.Width(line) > width {
			first, rest, _ := strings.Cut(lipgloss.Wrap(line, width, ""), "\n")
			lines, line = append(lines, first), rest
		}
	}
	return append(lines, line)
}

// cut shortens a line to n columns.
func cut(text string, n int) string {
	if lipgloss.Width(text) <= n {
		return text
	}
	runes := []rune(text)
	for len(runes) > 0 && lipgloss.Width(string(runes)) > n-1 {
		runes = runes[:len(runes)-1]
	}
	return string(runes) + "…"
}

// pad fills text with spaces to n columns.
func pad(text string, n int) string {
	return text + strings.Repeat(" ", max(0, n-lipgloss.Width(text)))
}

func (p *page) head(r Report) {
	s := signs[r.Status]
	p.line("%s  %s", p.bold(p.paint(r.Status, s.sign+" "+r.Headline)), p.faint(r.Run.ID))
	facts := []string{r.Run.Kind + " of " + r.Run.Branch + " at " + short(r.Run.Commit)}
	if r.Took > 0 {
		facts = append(facts, r.Took.String())
	}
	facts = append(facts, moment(r.Run.Created), "started by "+cmp.Or(r.Run.Trigger, r.Run.Actor))
	p.wrapped(2, strings.Join(facts, " · "))
	if r.Run.Reason != "" {
		p.wrapped(2, r.Run.Reason)
	}
	if r.Cost != nil {
		p.wrapped(2, "used "+r.Cost.String())
	}
	if r.Branch.Answer != "" {
		p.wrapped(2, strings.TrimSpace(r.Branch.Answer+" "+r.Branch.Changed))
	}
	for _, c := range r.Branch.Commits {
		p.line("    %s", cut(short(c.ID)+"  "+c.Subject+" ("+c.Author+")", p.width-4))
	}
}

func (p *page) matrices(r Report) {
	for _, s := range r.Scenarios {
		p.title(upperFirst(s.Name))
		label := 12
		for _, row := range s.Rows {
			label = max(label, len(row.Phase)+len(row.Tier)+4)
		}
		column := max(12, (p.width-2-label)/max(1, len(s.Origins)))
		column = min(column, 34)
		head := strings.Repeat(" ", label+2)
		for _, origin := range s.Origins {
			head += pad("  "+origin, column)
		}
		p.line("%s", p.faint(strings.TrimRight(head, " ")))
		last := ""
		for _, row := range s.Rows {
			phase := row.Phase
			if phase == last {
				phase = strings.Repeat(" ", len(phase))
			}
			last = row.Phase
			text := "  " + pad(phase+"  "+row.Tier, label)
			for _, c := range row.Cells {
				text += p.paint(c.Status, pad(signs[c.Status].sign+" "+cut(c.String(), column-3), column))
			}
			p.line("%s", strings.TrimRight(text, " "))
		}
	}
}

func (p *page) failures(r Report) {
	if len(r.Failures) == 0 {
		return
	}
	p.title("What is wrong")
	for i, f := range r.Failures {
		if i > 0 {
			p.line("")
		}
		name := f.Test
		if f.Suite != "" {
			name = f.Suite + " / " + f.Test
		}
		p.wrapped(0, p.paint(f.Status, signs[f.Status].sign)+" "+p.bold(name))
		p.wrapped(4, f.Message)
		for _, s := range f.Seen {
			p.wrapped(4, strings.TrimSpace(s.where(f.Scenario)+" "+p.faint(s.Message)))
		}
		if f.Diagnosis.Says != "" {
			p.marked("→", f.Diagnosis.Says)
		}
		for _, c := range f.Packages {
			p.line("    %s", cut("package "+c.Name+": base "+cmp.Or(c.From, "none")+", prebuilt "+cmp.Or(c.To, "none"), p.width-4))
		}
		p.quote(f.Lines)
	}
}

func (p *page) shown(r Report) {
	if len(r.Shown) == 0 {
		return
	}
	p.title("What servers showed that did not come up")
	for _, s := range r.Shown {
		p.wrapped(2, s.Where+": "+s.Server)
		for _, file := range []string{s.Console, s.Screenshot} {
			if file != "" {
				p.wrapped(4, file)
			}
		}
	}
}

// quote shows the lines that matter, whole.
func (p *page) quote(lines string) {
	if lines == "" {
		return
	}
	for line := range strings.SplitSeq(lines, "\n") {
		p.marked(p.faint("│"), strings.TrimRight(strings.ReplaceAll(line, "\t", "    "), " \r"))
	}
}

// marked wraps a line with a mark before each part of it; an arrow is not repeated.
func (p *page) marked(mark, line string) {
	for part := range slices.Values(wrap(line, p.width-6)) {
		p.line("    %s %s", mark, strings.TrimRight(part, " "))
		if mark == "→" {
			mark = " "
		}
	}
}

func (s Seen) where(scenario string) string {
	var parts []string
	for _, word := range []string{scenario, s.Origin, s.Phase} {
		if word != "" {
			parts = append(parts, word)
		}
	}
	text := strings.Join(parts, ", ")
	if len(s.Servers) > 0 {
		text += ": " + strings.Join(s.Servers, ", ")
	}
	return text
}

func (p *page) tolerated(r Report) {
	if len(r.Tolerated)+len(r.Retries) == 0 {
		return
	}
	p.title("Noted")
	for _, t := range r.Tolerated {
		p.wrapped(2, fmt.Sprintf("%s: %s / %s (%d×) %s", t.Outcome, t.Suite, t.Test, len(t.Seen), t.Why))
	}
	for _, t := range r.Retries {
		p.wrapped(2, fmt.Sprintf("begun anew: %s, attempt %d: %s", t.Where, t.Attempt, t.Message))
	}
}

func (p *page) timeline(r Report) {
	if len(r.Timeline.Bars) == 0 {
		return
	}
	p.title("Timeline")
	label := 8
	for _, b := range r.Timeline.Bars {
		label = max(label, lipgloss.Width(b.Name)+2*b.Depth)
	}
	label = min(label, p.width/3)
	room := p.width - label - 16
	for _, b := range r.Timeline.Bars {
		from := min(int(b.Left*float64(room)/100), room-1)
		length := min(max(1, int(b.Width*float64(room)/100+0.5)), room-from)
		bar := strings.Repeat(" ", from) + p.paint(b.Status, strings.Repeat("━", length)) + strings.Repeat(" ", room-from-length)
		name := cut(strings.Repeat("  ", b.Depth)+b.Name, label)
		p.line("  %s %s %s %8s", p.paint(b.Status, signs[b.Status].sign), pad(name, label), bar, b.Took)
		if b.Status == Going && b.Detail != "" {
			p.wrapped(4+2*b.Depth, p.faint(b.Detail)) // what it does, or waits for
		}
	}
}

func (p *page) upgrades(r Report) {
	if len(r.Upgrades) == 0 {
		return
	}
	p.title("Upgrades")
	for _, u := range r.Upgrades {
		text := "from " + u.Release.Branch
		if u.Release.Commit != "" {
			text += " at " + short(u.Release.Commit)
		}
		if u.Release.Source != "" {
			text += " (" + u.Release.Source + ")"
		}
		p.wrapped(2, text)
		for _, o := range u.Origins {
			took := ""
			if o.Took > 0 {
				took = "; upgraded in " + o.Took.String()
			}
			p.wrapped(4, fmt.Sprintf("%s %s: before %s%s; after %s",
				p.paint(o.Status, signs[o.Status].sign), o.Origin, o.Before, took, o.After))
		}
	}
}

func (p *page) images(r Report) {
	if len(r.Images) == 0 {
		return
	}
	p.title("Image set " + r.Set.ID)
	for _, i := range r.Images {
		p.line("  %s %9s %9s  %s", pad(i.Role, 12), size(i.Bytes), i.Total, cut(short(i.Digest), p.width-36))
		var slow []string
		for _, resource := range i.Slowest[:min(3, len(i.Slowest))] {
			slow = append(slow, resource.Title+" "+Duration(resource.Took).String())
		}
		if len(slow) > 0 {
			p.wrapped(4, p.faint("slowest: "+strings.Join(slow, ", ")))
		}
		for _, note := range i.SealNotes() {
			p.wrapped(4, note)
		}
	}
}

func (p *page) packages(r Report) {
	if len(r.Packages.Changed) == 0 {
		return
	}
	p.title("Packages changed since " + cmp.Or(r.Packages.Since, "the set before"))
	const most = 20
	for _, c := range r.Packages.Changed[:min(most, len(r.Packages.Changed))] {
		p.line("  %s", cut(fmt.Sprintf("%-28s %s → %s  (%s)", c.Name, cmp.Or(c.From, "none"), cmp.Or(c.To, "gone"), strings.Join(c.Roles, ", ")), p.width-2))
	}
	if more := len(r.Packages.Changed) - most; more > 0 {
		p.line("  and %d more: see the page (-o html) or -o json", more)
	}
}

// notes tells what was not tested although the policy requires it.
func (p *page) notes(r Report) {
	for _, note := range r.Notes {
		p.line("")
		p.wrapped(2, p.paint(Unsure, signs[Unsure].sign)+" "+note)
	}
}

func (p *page) gate(r Report) {
	if r.Gate == nil && len(r.Moves) == 0 {
		return
	}
	p.title("Gate")
	if r.Gate != nil {
		s := statusOfVerdict(r.Gate.Verdict)
		p.wrapped(2, p.paint(s, signs[s].sign+" "+r.Gate.Verdict.String())+": "+countsOf(r.Counts))
		for _, reason := range r.Gate.Reasons {
			p.wrapped(4, reason)
		}
		if text := r.Gate.Allowance(); text != "" {
			p.wrapped(4, text)
		}
	}
	for _, m := range r.Moves {
		p.wrapped(2, fmt.Sprintf("%s %s: %s → %s by %s, %s", m.Kind, m.Channel, cmp.Or(m.From, "nothing"), cmp.Or(m.To, "nothing"), m.Actor, moment(m.At)))
	}
}

// countsOf is "141 passed, 1 failed", the good ones first.
func countsOf(counts map[ledger.Outcome]int) string {
	var words []string
	for _, o := range []ledger.Outcome{ledger.Passed, ledger.Failed, ledger.Inconclusive, ledger.NotRun, ledger.Flaky, ledger.Waived, ledger.Skipped} {
		if counts[o] > 0 {
			words = append(words, fmt.Sprintf("%d %s", counts[o], o))
		}
	}
	if len(words) == 0 {
		return "no test ran"
	}
	return strings.Join(slices.Clip(words), ", ")
}
