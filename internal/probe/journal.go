package probe

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// maxLine bounds a line of a log; the rest of a longer one is cut off.
const maxLine = 4 << 10

// Journal reads the output of "journalctl -o json": one object a line. Fields that begin with an
// underscore come from journald itself and not from the program.
func Journal(r io.Reader) ([]Line, error) {
	var lines []Line
	dec := json.NewDecoder(r)
	for {
		var entry struct {
			Time       string          `json:"__REALTIME_TIMESTAMP"` // microseconds
			Priority   string          `json:"PRIORITY"`
			Identifier string          `json:"SYSLOG_IDENTIFIER"`
			Comm       string          `json:"_COMM"`
			PID        string          `json:"_PID"`
			UID        string          `json:"_UID"`
			SyslogPID  string          `json:"SYSLOG_PID"`
			Unit       string          `json:"_SYSTEMD_UNIT"`
			Session    string          `json:"_SYSTEMD_SESSION"`
			Audit      string          `json:"_AUDIT_SESSION"`
			Opened     string          `json:"SESSION_ID"` // of logind
			Leader     string          `json:"LEADER"`
			Message    json.RawMessage `json:"MESSAGE"`
		}
		if err := dec.Decode(&entry); err == io.EOF {
			return lines, nil
		} else if err != nil {
			return lines, fmt.Errorf("journal, entry %d: %w", len(lines)+1, err)
		}
		l := Line{
			Source: "journal", Program: cmp.Or(entry.Identifier, entry.Comm), Unit: entry.Unit, Priority: -1,
			Session: cmp.Or(entry.Session, entry.Audit), Message: message(entry.Message),
		}
		l.PID, _ = strconv.Atoi(cmp.Or(entry.PID, entry.SyslogPID))
		l.uid, _ = strconv.Atoi(entry.UID)
		if entry.Comm == logind {
			l.opened.session = entry.Opened
			l.opened.leader, _ = strconv.Atoi(entry.Leader)
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

// logind is the program that opens sessions, as the kernel calls it.
const logind = "systemd-logind"

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

// clip makes a text valid UTF-8 and bounds it.
func clip(s string) string {
	if len(s) > maxLine {
		s = s[:maxLine] + "…"
	}
	return strings.ToValidUTF8(s, "�")
}
