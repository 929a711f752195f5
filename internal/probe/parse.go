package probe

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// maxLine bounds a line of a log; the rest of a longer one is cut off.
const maxLine = 4 << 10

// Journal reads the output of "journalctl -o json": one object a line.
func Journal(r io.Reader) ([]Line, error) {
	var lines []Line
	dec := json.NewDecoder(r)
	for {
		var entry struct {
			Time       string          `json:"__REALTIME_TIMESTAMP"` // microseconds
			Priority   string          `json:"PRIORITY"`
			Identifier string          `json:"SYSLOG_IDENTIFIER"`
			Comm       string          `json:"_COMM"`
			Unit       string          `json:"_SYSTEMD_UNIT"`
			Message    json.RawMessage `json:"MESSAGE"`
		}
		if err := dec.Decode(&entry); err == io.EOF {
			return lines, nil
		} else if err != nil {
			return lines, fmt.Errorf("journal, entry %d: %w", len(lines)+1, err)
		}
		l := Line{Source: "journal", Program: entry.Identifier, Unit: entry.Unit, Priority: -1, Message: message(entry.Message)}
		if l.Program == "" {
			l.Program = entry.Comm
		}
		if p, err := strconv.Atoi(entry.Priority); err == nil {
			l.Priority = p
		}
		if us, err := strconv.ParseInt(entry.Time, 10, 64); err == nil {
			l.Time = time.UnixMicro(us).UTC()
		}
		lines = append(lines, l)
	}
}

// message reads a journal message: a string, or an array of bytes where it is not valid UTF-8.
func message(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		var codes []byte
		var numbers []int
		if json.Unmarshal(raw, &numbers) == nil {
			for _, n := range numbers {
				codes = append(codes, byte(n))
			}
		}
		text = string(codes)
	}
	return clip(text)
}

// isoLine is rsyslog's default format on Debian 12; oldLine the traditional one.
var (
	isoLine = regexp.MustCompile(`^(\d{4}-\d{2}-\d{2}T\S+) \S+ ([^\s:\[]+)(?:\[\d+\])?: ?(.*)$`)
	oldLine = regexp.MustCompile(`^([A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2}) \S+ ([^\s:\[]+)(?:\[\d+\])?: ?(.*)$`)
)

// Syslog reads a syslog file, leaving out what was written before since. A line without a time of
// its own belongs to the one above it. Times without a year get the year of since.
func Syslog(r io.Reader, since time.Time) ([]Line, error) {
	var lines []Line
	last := Line{Source: "syslog", Priority: -1}
	in := bufio.NewReader(r)
	for {
		text, err := in.ReadString('\n')
		if text = strings.TrimRight(text, "\r\n"); text != "" {
			last.Message = clip(text)
			if m := isoLine.FindStringSubmatch(text); m != nil {
				if t, err := time.Parse(time.RFC3339Nano, m[1]); err == nil {
					last.Time, last.Program, last.Message = t.UTC(), m[2], clip(m[3])
				}
			} else if m := oldLine.FindStringSubmatch(text); m != nil {
				if t, err := time.ParseInLocation(time.Stamp, m[1], since.Location()); err == nil {
					last.Time, last.Program, last.Message = t.AddDate(since.Year(), 0, 0), m[2], clip(m[3])
				}
			}
			if !last.Time.Before(since) {
				lines = append(lines, last)
			}
		}
		if err == io.EOF {
			return lines, nil
		} else if err != nil {
			return lines, fmt.Errorf("syslog: %w", err)
		}
	}
}

// FailedUnits reads the output of "systemctl list-units --failed -o json".
func FailedUnits(data []byte) ([]Unit, error) {
	var listed []struct{ Unit, Load, Active, Sub, Description string }
	if data = bytes.TrimSpace(data); len(data) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(data, &listed); err != nil {
		return nil, fmt.Errorf("list of failed units: %w", err)
	}
	units := make([]Unit, len(listed))
	for i, u := range listed {
		units[i] = Unit{Name: u.Unit, Description: u.Description, Load: u.Load, Active: u.Active, Sub: u.Sub}
	}
	return units, nil
}

// clip makes a text valid UTF-8 and bounds it.
func clip(s string) string {
	if len(s) > maxLine {
		s = s[:maxLine] + "…"
	}
	return strings.ToValidUTF8(s, "�")
}
