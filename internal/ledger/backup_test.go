package ledger

import (
	"database/sql"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"
)

// older makes the closed ledger at path one whose schema is so many versions older.
func older(t *testing.T, path string, steps int) {
	t.Helper()
	db, err := sql.Open("sqlite", dataSource(path))
	must(t, err)
	defer db.Close()
	files, err := fs.Sub(migrations, "migrations/sqlite")
	must(t, err)
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	must(t, err)
	for range steps {
		_, err := provider.Down(t.Context())
		must(t, err)
	}
}

// A ledger is backed up before its schema is changed; the older binary says how to go back, and can.
func TestBackupBeforeMigration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	var said []string
	reopen := func(at time.Time) *Ledger {
		t.Helper()
		l, err := Open(t.Context(), path, WithClock(func() time.Time { return at }), WithNotices(func(text string) { said = append(said, text) }))
		must(t, err)
		return l
	}
	l := reopen(noon)
	must(t, l.CreateRun(t.Context(), Run{ID: "before", Kind: "nightly", Branch: "main"}))
	must(t, l.Close())
	must(t, reopen(noon).Close())
	if len(said) > 0 {
		t.Fatalf("a new ledger, and one that is up to date, say %q", said)
	}
	for i := range backupsKept + 2 {
		older(t, path, 1+i%2)
		l = reopen(noon.Add(time.Duration(i) * time.Hour))
		must(t, l.CreateRun(t.Context(), Run{ID: "since " + noon.Add(time.Duration(i)*time.Hour).String(), Kind: "nightly", Branch: "main"}))
		must(t, l.Close())
	}
	all := get[[]string](t)(backups(path))
	if len(all) != backupsKept || len(said) != backupsKept+2 {
		t.Fatalf("backups %q, said %q", all, said)
	}
	newest := all[0]
	if last := said[len(said)-1]; !strings.Contains(last, newest) || !strings.HasSuffix(newest, "-20261123T160000Z") {
		t.Errorf("newest is %s, said %q", newest, last)
	}
	if info, err := os.Stat(newest); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode of the backup: %v, %v", info.Mode(), err)
	}

	// An older binary, which is this one on a ledger from the future, names the backup; following its words
	// gives the ledger as it was.
	l = reopen(noon)
	_, err := l.db.ExecContext(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)`)
	must(t, err)
	must(t, l.Close())
	_, err = Open(t.Context(), path)
	for _, want := range []string{"newer Hallmark", "install the newer one", "rename " + newest + " to " + path, path + "-wal"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("error is %v, want %q in it", err, want)
		}
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(path+suffix, path+suffix+".away"); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	must(t, os.Rename(newest, path))
	l = reopen(noon)
	runs := get[[]Run](t)(l.Runs(t.Context(), RunFilter{}))
	must(t, l.Close())
	if len(runs) != backupsKept+2 || !strings.Contains(runs[0].ID, "15:00:00") && !strings.Contains(runs[len(runs)-1].ID, "15:00:00") {
		t.Errorf("the backup holds %d runs, want those until 15:00", len(runs))
	}
}

// Without room for the backup, the schema stays as it is, and the message says what to do.
func TestNoBackupNoMigration(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger.db")
	must(t, get[*Ledger](t)(Open(t.Context(), path)).Close())
	older(t, path, 1)
	// Something that cannot be replaced lies where the backup is to be.
	blocked := path + ".schema"
	version := func() string {
		db, err := sql.Open("sqlite", dataSource(path))
		must(t, err)
		defer db.Close()
		var v string
		must(t, db.QueryRowContext(t.Context(), `SELECT MAX(version_id) FROM goose_db_version`).Scan(&v))
		return v
	}
	before := version()
	must(t, os.MkdirAll(filepath.Join(blocked+before+"-20261123T120000Z.new", "full"), 0o700))
	_, err := Open(t.Context(), path, WithClock(func() time.Time { return noon }))
	if err == nil || !strings.Contains(err.Error(), "back the ledger up") || !strings.Contains(err.Error(), "install the older Hallmark") {
		t.Errorf("error is %v", err)
	}
	if after := version(); after != before {
		t.Errorf("schema %s became %s without a backup", before, after)
	}
}
