package main

import (
	"strings"
	"testing"
)

// A journal without end ends the scan with an error that says so, and what prints it ends, too.
func TestJournalWithoutEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 256 MiB")
	}
	lines, err := journal(t.Context(), "sh", "-c", `yes '{"MESSAGE":"'$(head -c 60000 /dev/zero | tr '\0' x)'","PRIORITY":"6","SYSLOG_IDENTIFIER":"app"}'`)
	if err == nil || !strings.Contains(err.Error(), "the journal has more than the 256 MiB") {
		t.Errorf("%d lines, %v", len(lines), err)
	}
}

func TestJournal(t *testing.T) {
	const entry = `{"MESSAGE":"hello","PRIORITY":"6","SYSLOG_IDENTIFIER":"app","__REALTIME_TIMESTAMP":"1795471200000000"}`
	lines, err := journal(t.Context(), "echo", entry)
	if err != nil || len(lines) != 1 || lines[0].Message != "hello" {
		t.Errorf("%+v, %v", lines, err)
	}
	if _, err := journal(t.Context(), "sh", "-c", "echo '"+entry+"'; echo no journal >&2; exit 1"); err == nil || !strings.Contains(err.Error(), "no journal") {
		t.Errorf("it failed, and says %v", err)
	}
	if _, err := journal(t.Context(), "no-such-program"); err == nil {
		t.Error("there is no such program")
	}
}

// A log is read up to its bound, and not one byte of it is passed over in silence.
func TestBounded(t *testing.T) {
	for size, whole := range map[int]bool{10: true, 11: false} {
		var b strings.Builder
		in := &bounded{from: strings.NewReader(strings.Repeat("x", size)), left: 10, what: "it"}
		var err error
		buffer := make([]byte, 4)
		for err == nil {
			var n int
			n, err = in.Read(buffer)
			b.Write(buffer[:n])
		}
		if (err.Error() == "EOF") != whole {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}
