package probe

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The formats of lines in a syslog file, as rsyslog's templates of the names in brackets write them.
var (
	// RFC 5424 [RSYSLOG_SyslogProtocol23Format], the priority left out by some.
	newLine = regexp.MustCompile(`^(?:<(\d{1,3})>)?1 (\d{4}-\d{2}-\d{2}T\S+) \S+ (\S+) (\S+) \S+ (-|(?:\[(?:[^\]"]|"(?:[^"\\]|\\.)*")*\])+)(?: (.*))?$`)
	// Debian 12's default [RSYSLOG_FileFormat], and with a priority [RSYSLOG_ForwardFormat].
	isoLine = regexp.MustCompile(`^(?:<(\d{1,3})>)?(\d{4}-\d{2}-\d{2}T\S+) \S+ ([^\s:\[]+)(?:\[(\d+)\])?: ?(.*)$`)
	// RFC 3164 [RSYSLOG_TraditionalFileFormat], and with a priority [RSYSLOG_TraditionalForwardFormat].
	oldLine = regexp.MustCompile(`^(?:<(\d{1,3})>)?([A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2}) \S+ ([^\s:\[]+)(?:\[(\d+)\])?: ?(.*)$`)
)

// SyslogFile is what a syslog file has to say of a boot.
type SyslogFile struct {
	Lines      []Line // written since the boot
	Written    int    // lines in the file, whenever they were written; empty ones do not count
	Understood int    // of these, how many were in a known format
	Since      int    // lines since the last that was understood
}

// unreadTail is how many lines in a row that nobody understands are no message of many lines any more:
// rsyslog writes a message's own line breaks as #012.
const unreadTail = 20

// Unread says why a file proves nothing; "" if it does, or if there is nothing in it. Its format may
// have changed on the way, as when Puppet sets another template.
func (f SyslogFile) Unread() string {
	const remedy = "use a template of RFC 5424, RFC 3164 or rsyslog's own, such as RSYSLOG_FileFormat"
	switch {
	case f.Written == 0:
		return ""
	case f.Understood == 0:
		return fmt.Sprintf("none of its %d lines could be read: %s", f.Written, remedy)
	case f.Understood < f.Written/2 || f.Since >= unreadTail:
		return fmt.Sprintf("%d of its %d lines could not be read, among them the last %d: %s", f.Written-f.Understood, f.Written, f.Since, remedy)
	}
	return ""
}

// Syslog reads a syslog file, leaving out what was written before since. A line without a time of its
// own belongs to the one above it. A time without a year is the last such time before now.
func Syslog(r io.Reader, since, now time.Time) (SyslogFile, error) {
	var file SyslogFile
	last := Line{Source: "syslog", Priority: -1}
	in := bufio.NewReader(r)
	for {
		text, err := line(in)
		if text = strings.TrimRight(text, "\r\n"); text != "" {
			file.Written++
			if l, ok := syslogLine(text, now); ok {
				file.Understood++
				file.Since = 0
				last = l
			} else {
				file.Since++
				last.Message = clip(text)
			}
			if !last.Time.Before(since) {
				file.Lines = append(file.Lines, last)
			}
		}
		if err == io.EOF {
			return file, nil
		} else if err != nil {
			return file, fmt.Errorf("syslog: %w", err)
		}
	}
}

// longestRead is how much of one line is looked at, in bytes. A message is kept up to maxLine; the rest of the line is
// passed over, however long it is.
const longestRead = 64 << 10

// line reads one line, or what longestRead holds of it.
func line(in *bufio.Reader) (string, error) {
	var text []byte
	for {
		piece, err := in.ReadSlice('\n')
		text = append(text, piece[:min(len(piece), longestRead-len(text))]...)
		if err != bufio.ErrBufferFull {
			return string(text), err
		}
	}
}

// syslogLine understands one line that begins a message.
func syslogLine(text string, now time.Time) (Line, bool) {
	var priority, stamp, program, pid, said string
	var at time.Time
	var err error
	if m := newLine.FindStringSubmatch(text); m != nil {
		priority, stamp, program, pid, said = m[1], m[2], m[3], m[4], strings.TrimPrefix(m[6], "\ufeff")
		at, err = time.Parse(time.RFC3339Nano, stamp)
	} else if m := isoLine.FindStringSubmatch(text); m != nil {
		priority, stamp, program, pid, said = m[1], m[2], m[3], m[4], m[5]
		at, err = time.Parse(time.RFC3339Nano, stamp)
	} else if m := oldLine.FindStringSubmatch(text); m != nil {
		priority, stamp, program, pid, said = m[1], m[2], m[3], m[4], m[5]
		at, err = yearless(stamp, now)
	} else {
		return Line{}, false
	}
	if err != nil {
		return Line{}, false
	}
	l := Line{Source: "syslog", Time: at.UTC(), Program: program, Priority: -1, Message: clip(said)}
	l.PID, _ = strconv.Atoi(pid)
	if n, err := strconv.Atoi(priority); err == nil {
		l.Priority = n % 8 // the rest is the facility
	}
	return l, true
}

// slack is how far a line may be ahead of now: the day of a leap second, or of a clock that was set.
const slack = 24 * time.Hour

// yearless reads a time without a year: a file that was begun in December goes on in January.
func yearless(stamp string, now time.Time) (time.Time, error) {
	for year := now.Year() + 1; ; year-- {
		at, err := time.ParseInLocation(time.Stamp+" 2006", fmt.Sprintf("%s %d", stamp, year), now.Location())
		if err == nil && !at.After(now.Add(slack)) {
			return at, nil
		}
		if year < now.Year()-4 { // "Feb 29" is there every four years
			return time.Time{}, fmt.Errorf("time %q: %w", stamp, err)
		}
	}
}
