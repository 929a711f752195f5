package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Errors that a caller may branch on.
var (
	// ErrNotFound: nothing of that name or id is recorded.
	ErrNotFound = errors.New("not found")
	// ErrMoved: somebody else changed it first; read it again and decide anew.
	ErrMoved = errors.New("changed by somebody else")
	// ErrExists: the id is taken by something different.
	ErrExists = errors.New("exists already, and is different")
	// ErrUnproven: the image set has no evidence, so nothing may be promoted to it.
	ErrUnproven = errors.New("no evidence is recorded")
	// ErrRevoked: the image set was revoked, so no channel may point to it.
	ErrRevoked = errors.New("revoked")
	// ErrRetired: images of the set were removed, so there is nothing to launch from it.
	ErrRetired = errors.New("its images were removed")
	// ErrHeld: a channel holds the image or can go back to it, so it may not be removed.
	ErrHeld = errors.New("a channel holds it, or can go back to it")
	// ErrCancelled: the run was cancelled, so it promotes nothing any more.
	ErrCancelled = errors.New("its run was cancelled")
)

// Ledger is the open database. It is safe for concurrent use, and several processes may have the
// same file open. Every write is one transaction.
type Ledger struct {
	db    *sql.DB
	path  string
	keys  keyFile
	clock func() time.Time
	say   func(text string)
}

// Option changes how a ledger is opened.
type Option func(*Ledger)

// WithClock sets the clock that dates what the caller left undated; default time.Now.
func WithClock(now func() time.Time) Option {
	return func(l *Ledger) { l.clock = now }
}

// WithNotices sets who is told, in a sentence for people, what Open did beside opening: that the schema
// was changed, and where the backup is.
func WithNotices(say func(text string)) Option {
	return func(l *Ledger) { l.say = say }
}

// Open opens the ledger in the file at path, which is created if missing, and brings its schema up
// to date. The key for sealed columns is the file secrets.key beside it, made on first use.
func Open(ctx context.Context, path string, options ...Option) (*Ledger, error) {
	l := &Ledger{
		path:  path,
		keys:  keyFile{path: filepath.Join(filepath.Dir(path), "secrets.key")},
		clock: time.Now,
		say:   func(string) {},
	}
	for _, o := range options {
		o(l)
	}
	db, err := l.openDatabase(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", path, err)
	}
	l.db = db
	return l, nil
}

// Close gives the file back.
func (l *Ledger) Close() error { return l.db.Close() }

// querier is a database or a transaction.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// write runs change in one transaction, named what in errors.
func (l *Ledger) write(ctx context.Context, what string, change func(tx *sql.Tx) error) error {
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := change(tx); err != nil {
		if undo := tx.Rollback(); undo != nil && !errors.Is(undo, sql.ErrTxDone) {
			err = errors.Join(err, undo)
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// scanner is one row to read.
type scanner interface{ Scan(dest ...any) error }

// one reads the single row of a query; no row is ErrNotFound.
func one[T any](ctx context.Context, q querier, read func(scanner) (T, error), query string, args ...any) (T, error) {
	v, err := read(q.QueryRowContext(ctx, query, args...))
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	return v, err
}

// many reads all rows of a query.
func many[T any](ctx context.Context, q querier, read func(scanner) (T, error), query string, args ...any) (_ []T, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var all []T
	for rows.Next() {
		v, err := read(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// conditions builds a WHERE clause with numbered parameters.
type conditions struct {
	sql  string
	args []any
}

// add appends "AND column operator value".
func (c *conditions) add(columnAndOperator string, value any) {
	c.args = append(c.args, value)
	c.sql += c.join() + fmt.Sprintf("%s $%d", columnAndOperator, len(c.args))
}

// in appends "AND column IN (values)"; no values, no condition.
func in[T any](c *conditions, column string, values []T) {
	if len(values) == 0 {
		return
	}
	list := ""
	for i, v := range values {
		if i > 0 {
			list += ", "
		}
		c.args = append(c.args, v)
		list += fmt.Sprintf("$%d", len(c.args))
	}
	c.sql += c.join() + column + " IN (" + list + ")"
}

// text appends an equality if the value is not empty.
func (c *conditions) text(column, value string) {
	if value != "" {
		c.add(column+" =", value)
	}
}

// limit appends a LIMIT if n is positive.
func (c *conditions) limit(n int) string {
	if n <= 0 {
		return ""
	}
	c.args = append(c.args, n)
	return fmt.Sprintf(" LIMIT $%d", len(c.args))
}

func (c *conditions) join() string {
	if c.sql == "" {
		return " WHERE "
	}
	return " AND "
}
