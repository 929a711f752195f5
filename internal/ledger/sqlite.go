package ledger

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver
)

// This file is all that is SQLite's own; every other file writes SQL that PostgreSQL takes too.

//go:embed migrations/sqlite/*.sql
var migrations embed.FS

// rowLock is appended to a SELECT whose row is about to be changed in the same transaction.
// PostgreSQL needs FOR UPDATE there; SQLite's transactions begin IMMEDIATE and lock the whole file.
const rowLock = ""

// openDatabase opens the file and brings it to the newest schema. Several processes may do so at
// once: a lock file makes them take turns, since goose has no lock of its own for SQLite.
func (l *Ledger) openDatabase(ctx context.Context, path string) (_ *sql.DB, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	unlock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	defer unlock()

	// Made here and not by SQLite, so that it, its -wal and its -shm are ours alone to read.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dataSource(path))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(4) // to open one again costs more than most queries: it reads the whole schema
	if err := l.migrate(ctx, db, path); err != nil {
		return nil, err
	}
	return db, nil
}

// dataSource asks for WAL (readers never wait for the writer), a long wait for another process's
// write, and full synchronisation: a promotion that was reported has to survive a power cut.
func dataSource(path string) string {
	q := url.Values{
		"_pragma": {"busy_timeout(20000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"},
		"_txlock": {"immediate"},
	}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
}

// migrate brings the schema up to date. A ledger that holds something is backed up first.
func (l *Ledger) migrate(ctx context.Context, db *sql.DB, path string) error {
	files, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	current, target, err := provider.GetVersions(ctx)
	if err != nil {
		return err
	}
	if current > target {
		return newer(path, current, target)
	}
	if 0 < current && current < target {
		file, err := backUp(ctx, db, path, current, l.clock())
		if err != nil {
			return fmt.Errorf("back the ledger up before its schema %d is changed to %d: %w; make room or rights for the copy, or install the older Hallmark", current, target, err)
		}
		l.say(fmt.Sprintf("the ledger's schema changes from %d to %d; as it was, it is kept in %s", current, target, file))
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate schema: %w", err)
	}
	return nil
}

// lockFile takes an exclusive lock that ends with the process at the latest.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // closing ends the lock
}
