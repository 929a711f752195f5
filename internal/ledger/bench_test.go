package ledger

import (
	"path/filepath"
	"strconv"
	"testing"
)

// BenchmarkOpen is what every command of the command line pays.
func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "ledger.db")
	for b.Loop() {
		l, err := Open(b.Context(), path)
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRecordResults is one durable write of the results of a suite on one server.
func BenchmarkRecordResults(b *testing.B) {
	l, err := Open(b.Context(), filepath.Join(b.TempDir(), "ledger.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			b.Error(err)
		}
	}()
	if err := l.CreateRun(b.Context(), Run{ID: "r"}); err != nil {
		b.Fatal(err)
	}
	results := make([]Result, 20)
	for attempt := 0; b.Loop(); attempt++ {
		for i := range results {
			results[i].ResultKey = ResultKey{Run: "r", Test: strconv.Itoa(i), Attempt: attempt}
		}
		if err := l.RecordResults(b.Context(), results...); err != nil {
			b.Fatal(err)
		}
	}
}
