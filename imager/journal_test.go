package imager

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestJournal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	j, err := NewFileJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Load(t.Context(), "bench-1"); !errors.Is(err, ErrUnknownBench) {
		t.Errorf("unknown bench: %v", err)
	}
	entry := Entry{Description: Description{Packages: map[string]string{"nginx": "1"}, Timings: []Timing{{"launch", time.Second}}}}
	for _, sealed := range []bool{false, true} {
		entry.Sealed = sealed
		if err := j.Save(t.Context(), "bench-1", entry); err != nil {
			t.Fatal(err)
		}
		got, err := j.Load(t.Context(), "bench-1")
		if err != nil || got.Sealed != sealed || got.Description.Packages["nginx"] != "1" || got.Description.Timings[0].Took != time.Second {
			t.Errorf("loaded %+v, %v", got, err)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("files %v, %v", files, err)
	}
}

func TestJournalRefusesWhatItCannotRead(t *testing.T) {
	dir := t.TempDir()
	j, err := NewFileJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bench-1.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Load(t.Context(), "bench-1"); err == nil || errors.Is(err, ErrUnknownBench) {
		t.Errorf("half a file: %v", err)
	}
}

func TestJournalDropsWhatIsOld(t *testing.T) {
	dir := t.TempDir()
	j, err := NewFileJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Save(t.Context(), "old", Entry{}); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * journalAge)
	if err := os.Chtimes(filepath.Join(dir, "old.json"), long, long); err != nil {
		t.Fatal(err)
	}
	if err := j.Save(t.Context(), "new", Entry{}); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Load(t.Context(), "old"); !errors.Is(err, ErrUnknownBench) {
		t.Errorf("the old entry: %v", err)
	}
	if _, err := j.Load(t.Context(), "new"); err != nil {
		t.Errorf("the new entry: %v", err)
	}
}
