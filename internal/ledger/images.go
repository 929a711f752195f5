package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

const imageColumns = `id, run, role, branch, commit_id, base_digest, provider, provider_id, digest, size_bytes,
	packages_json, puppet_report, timings_json, created, deleted, seal_json`

func readImage(row scanner) (i Image, err error) {
	err = row.Scan(&i.ID, &i.Run, &i.Role, &i.Branch, &i.Commit, &i.BaseDigest, &i.Provider, &i.ProviderID, &i.Digest,
		&i.SizeBytes, document{&i.Packages}, &i.PuppetReport, document{&i.Timings}, (*stamp)(&i.Created), (*stamp)(&i.Deleted), document{&i.Seal})
	return i, err
}

// RecordImage writes an image, replacing what was known of its id. A zero Created becomes now.
func (l *Ledger) RecordImage(ctx context.Context, i Image) error {
	if i.Created.IsZero() {
		i.Created = l.clock()
	}
	return l.write(ctx, "record image "+i.ID, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO images (`+imageColumns+`)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
			ON CONFLICT (id) DO UPDATE SET run = excluded.run, role = excluded.role, branch = excluded.branch,
				commit_id = excluded.commit_id, base_digest = excluded.base_digest, provider = excluded.provider,
				provider_id = excluded.provider_id, digest = excluded.digest, size_bytes = excluded.size_bytes,
				packages_json = excluded.packages_json, puppet_report = excluded.puppet_report,
				timings_json = excluded.timings_json, created = excluded.created, deleted = excluded.deleted,
				seal_json = excluded.seal_json`,
			i.ID, i.Run, i.Role, i.Branch, i.Commit, i.BaseDigest, i.Provider, i.ProviderID, i.Digest, i.SizeBytes,
			document{i.Packages}, i.PuppetReport, document{i.Timings}, stamp(i.Created), stamp(i.Deleted), document{i.Seal})
		return err
	})
}

// Image gives one image, or ErrNotFound.
func (l *Ledger) Image(ctx context.Context, id string) (Image, error) {
	i, err := one(ctx, l.db, readImage, `SELECT `+imageColumns+` FROM images WHERE id = $1`, id)
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", id, err)
	}
	return i, nil
}

// ImageFilter selects images; empty fields select all.
type ImageFilter struct {
	Run     string
	Role    string
	Branch  string
	Deleted bool // list also those that were deleted
	Limit   int  // 0: all
}

// Images lists images, newest first.
func (l *Ledger) Images(ctx context.Context, f ImageFilter) ([]Image, error) {
	var c conditions
	c.text("run", f.Run)
	c.text("role", f.Role)
	c.text("branch", f.Branch)
	if !f.Deleted {
		c.add("deleted =", "")
	}
	limit := c.limit(f.Limit)
	images, err := many(ctx, l.db, readImage,
		`SELECT `+imageColumns+` FROM images`+c.sql+` ORDER BY created DESC, id`+limit, c.args...)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	return images, nil
}

// RetireImage gives an image up: from now on no channel can be moved to a set that needs it, so it may
// be removed at its provider. ErrHeld says that a channel holds it or can go back to it. What is known of it stays; retiring
// it again keeps the first time.
func (l *Ledger) RetireImage(ctx context.Context, id string, at time.Time) error {
	return l.write(ctx, "retire image "+id, func(tx *sql.Tx) error {
		if _, err := one(ctx, tx, readImage, `SELECT `+imageColumns+` FROM images WHERE id = $1`+rowLock, id); err != nil {
			return err
		}
		needed, err := neededIn(ctx, tx)
		if err != nil {
			return err
		}
		for _, set := range needed {
			if slices.Contains(slices.Collect(maps.Values(set.Images)), id) {
				return ErrHeld
			}
		}
		_, err = tx.ExecContext(ctx, `UPDATE images SET deleted = $1 WHERE id = $2 AND deleted = ''`, stamp(at), id)
		return err
	})
}

const setColumns = `id, run, branch, commit_id, images_json, digest, revoked, created`

func readSet(row scanner) (s ImageSet, err error) {
	err = row.Scan(&s.ID, &s.Run, &s.Branch, &s.Commit, document{&s.Images}, &s.Digest, &s.Revoked, (*stamp)(&s.Created))
	return s, err
}

func setIn(ctx context.Context, q querier, id string) (ImageSet, error) {
	return one(ctx, q, readSet, `SELECT `+setColumns+` FROM image_sets WHERE id = $1`+rowLock, id)
}

// RecordSet writes a new image set, all images of which must be recorded. A set never changes:
// recording it again is no error if it is the same, else ErrExists. A zero Created becomes now.
func (l *Ledger) RecordSet(ctx context.Context, s ImageSet) error {
	if s.Created.IsZero() {
		s.Created = l.clock()
	}
	return l.write(ctx, "record image set "+s.ID, func(tx *sql.Tx) error {
		switch old, err := setIn(ctx, tx, s.ID); {
		case err == nil && old.Digest == s.Digest && maps.Equal(old.Images, s.Images):
			return nil
		case err == nil:
			return ErrExists
		case !errors.Is(err, ErrNotFound):
			return err
		}
		for _, role := range slices.Sorted(maps.Keys(s.Images)) {
			id := s.Images[role]
			if _, err := one(ctx, tx, readImage, `SELECT `+imageColumns+` FROM images WHERE id = $1`, id); err != nil {
				return fmt.Errorf("image %s of role %s: %w", id, role, err)
			}
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO image_sets (`+setColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			s.ID, s.Run, s.Branch, s.Commit, document{s.Images}, s.Digest, s.Revoked, stamp(s.Created))
		return err
	})
}

// Set gives one image set, or ErrNotFound.
func (l *Ledger) Set(ctx context.Context, id string) (ImageSet, error) {
	s, err := setIn(ctx, l.db, id)
	if err != nil {
		return ImageSet{}, fmt.Errorf("image set %s: %w", id, err)
	}
	return s, nil
}

// Sets lists the image sets of a branch ("" for all), newest first, at most limit (0: all).
func (l *Ledger) Sets(ctx context.Context, branch string, limit int) ([]ImageSet, error) {
	var c conditions
	c.text("branch", branch)
	most := c.limit(limit)
	sets, err := many(ctx, l.db, readSet,
		`SELECT `+setColumns+` FROM image_sets`+c.sql+` ORDER BY created DESC, id DESC`+most, c.args...)
	if err != nil {
		return nil, fmt.Errorf("list image sets: %w", err)
	}
	return sets, nil
}

// RecordEvidence adds evidence for an image set. Evidence is never replaced: of the same set and
// run the first stays, so a repeated step is harmless. A zero Created becomes now.
func (l *Ledger) RecordEvidence(ctx context.Context, e Evidence) error {
	return l.write(ctx, "record evidence for set "+e.Set, func(tx *sql.Tx) error { return l.addEvidence(ctx, tx, e) })
}

func (l *Ledger) addEvidence(ctx context.Context, tx *sql.Tx, e Evidence) error {
	if e.Created.IsZero() {
		e.Created = l.clock()
	}
	if _, err := setIn(ctx, tx, e.Set); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO evidence (set_id, run, statement, created, upgraded_from)
		VALUES ($1, $2, $3, $4, $5) ON CONFLICT (set_id, run) DO NOTHING`, e.Set, e.Run, e.Statement, stamp(e.Created), document{e.UpgradedFrom})
	return err
}

// Evidence gives all evidence for an image set, oldest first; none is no error.
func (l *Ledger) Evidence(ctx context.Context, set string) ([]Evidence, error) {
	all, err := evidenceIn(ctx, l.db, set)
	if err != nil {
		return nil, fmt.Errorf("evidence for set %s: %w", set, err)
	}
	return all, nil
}

func evidenceIn(ctx context.Context, q querier, set string) ([]Evidence, error) {
	read := func(row scanner) (e Evidence, err error) {
		err = row.Scan(&e.Set, &e.Run, &e.Statement, (*stamp)(&e.Created), document{&e.UpgradedFrom})
		return e, err
	}
	return many(ctx, q, read,
		`SELECT set_id, run, statement, created, upgraded_from FROM evidence WHERE set_id = $1 ORDER BY created, run`, set)
}
