package imager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hallmark-ci/hallmark/internal/atomicfile"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/puppet"
)

// Description is what can be learnt of an image only from its server.
type Description struct {
	Packages     map[string]string `json:"packages"` // name → version
	PuppetReport puppet.Report     `json:"puppet_report"`
	Timings      []Timing          `json:"timings"` // of the steps before the capture
	Seal         *ledger.Seal      `json:"seal"`    // nil: the disk was not looked at, or not yet
}

// Entry is what a journal knows of one bench, and so of the image that is captured from it.
type Entry struct {
	// Sealed says that the server is sealed and down, ready to be captured. Until then, an entry says
	// that sealing began: nobody gets into that server any more, and it is of no use.
	Sealed      bool        `json:"sealed"`
	Description Description `json:"description"`
}

// Journal keeps entries by bench, beyond a crash. An entry is needed until the result of its build
// is safely elsewhere.
type Journal interface {
	Save(ctx context.Context, bench string, e Entry) error
	// Load gives ErrUnknownBench for a bench of which nothing was saved.
	Load(ctx context.Context, bench string) (Entry, error)
}

// ErrUnknownBench says that a journal knows nothing of a bench.
var ErrUnknownBench = errors.New("no entry in the journal of images")

// journalAge is after how long an entry of a FileJournal is certainly in the ledger or abandoned.
const journalAge = 14 * 24 * time.Hour

// FileJournal keeps entries as files of one folder.
type FileJournal struct{ dir string }

// NewFileJournal makes the folder if it is missing.
func NewFileJournal(dir string) (FileJournal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return FileJournal{}, fmt.Errorf("journal of images: %w", err)
	}
	return FileJournal{dir}, nil
}

// Save writes an entry atomically and drops those that are too old to be asked for.
func (j FileJournal) Save(_ context.Context, bench string, e Entry) error {
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("journal of images: %w", err)
	}
	if err := atomicfile.Write(j.path(bench), body, 0o600); err != nil {
		return fmt.Errorf("journal of images: %w", err)
	}
	return j.drop()
}

// Load reads an entry.
func (j FileJournal) Load(_ context.Context, bench string) (Entry, error) {
	body, err := os.ReadFile(j.path(bench))
	if errors.Is(err, fs.ErrNotExist) {
		return Entry{}, fmt.Errorf("%s: %w", bench, ErrUnknownBench)
	} else if err != nil {
		return Entry{}, fmt.Errorf("journal of images: %w", err)
	}
	var e Entry
	if err := json.Unmarshal(body, &e); err != nil {
		return Entry{}, fmt.Errorf("journal of images: %s: %w", j.path(bench), err)
	}
	return e, nil
}

func (j FileJournal) path(bench string) string {
	return filepath.Join(j.dir, filepath.Base(bench)+".json")
}

// drop measures age by the newest entry, not by a clock: the two are written by the same machine.
func (j FileJournal) drop() error {
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return fmt.Errorf("journal of images: %w", err)
	}
	ages := make(map[string]time.Time, len(entries))
	var newest time.Time
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // removed by another
		}
		ages[e.Name()] = info.ModTime()
		if info.ModTime().After(newest) {
			newest = info.ModTime()
		}
	}
	for name, written := range ages {
		if newest.Sub(written) > journalAge {
			if err := os.Remove(filepath.Join(j.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("journal of images: %w", err)
			}
		}
	}
	return nil
}
