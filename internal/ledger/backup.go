package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/atomicfile"
)

// backupsKept is how many backups stay beside the ledger.
const backupsKept = 3

// backupPattern finds the schema in the name of a backup: ledger.db.schema6-20261128T132305Z.
var backupPattern = regexp.MustCompile(`\.schema(\d+)-\d{8}T\d{6}Z$`)

// backUp writes a whole copy of the ledger beside it, named by its schema and the time, before its schema
// is changed; of older ones a few stay. It gives the file's name. The copy's sealed columns need the same
// secrets.key.
func backUp(ctx context.Context, db *sql.DB, path string, schema int64, now time.Time) (string, error) {
	file := fmt.Sprintf("%s.schema%d-%s", path, schema, now.UTC().Format("20060102T150405Z"))
	unfinished := file + ".new"
	if err := os.Remove(unfinished); err != nil && !errors.Is(err, os.ErrNotExist) { // of a process that died
		return "", err
	}
	f, err := os.OpenFile(unfinished, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600) // SQLite would let others read it
	if err != nil {
		return "", err
	}
	_, err = db.ExecContext(ctx, `VACUUM INTO $1`, unfinished)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = atomicfile.Rename(unfinished, file)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(unfinished))
	}
	old, err := backups(path)
	if err != nil {
		return "", err
	}
	for _, b := range old[min(backupsKept, len(old)):] {
		if err := os.Remove(b); err != nil {
			return "", fmt.Errorf("remove an old backup: %w", err)
		}
	}
	return file, nil
}

// backups lists the backups of the ledger at path, the newest first.
func backups(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range entries {
		rest, ours := strings.CutPrefix(e.Name(), filepath.Base(path))
		if ours && backupPattern.MatchString(rest) {
			all = append(all, filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
	taken := func(file string) string { return file[strings.LastIndexByte(file, '-'):] }
	slices.SortFunc(all, func(a, b string) int { return strings.Compare(taken(b), taken(a)) })
	return all, nil
}

// newer says what to do about a ledger whose schema this binary does not know.
func newer(path string, current, known int64) error {
	err := fmt.Errorf("schema %d was written by a newer Hallmark; this one knows schema %d: install the newer one", current, known)
	all, failed := backups(path)
	if failed != nil {
		return errors.Join(err, failed)
	}
	for _, file := range all {
		schema, wrong := strconv.ParseInt(backupPattern.FindStringSubmatch(file)[1], 10, 64)
		if wrong == nil && schema <= known {
			return fmt.Errorf("%w, or go back to the backup of schema %d, which forgets what happened since: stop all processes, move %s, %[3]s-wal and %[3]s-shm away, and rename %s to %[3]s",
				err, schema, path, file)
		}
	}
	return fmt.Errorf("%w; there is no backup beside %s that this one could read", err, path)
}
