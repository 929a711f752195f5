package ledger

import (
	"context"
	"database/sql"
	"fmt"
)

// LaunchedFrom is what the servers of one attempt of a lane were launched from. It is recorded once
// they are up, so it says what was really launched and not what was planned.
type LaunchedFrom struct {
	Run      string            `json:"run"`
	Scenario string            `json:"scenario"` // as in ResultKey
	Origin   string            `json:"origin"`   // base, prebuilt
	Attempt  int               `json:"attempt"`
	Branch   string            `json:"branch"` // of the code that the servers were launched with
	Commit   string            `json:"commit"`
	Set      string            `json:"set"`    // ImageSet.ID; "" for origin base
	Images   map[string]string `json:"images"` // role → cloud.ImageID
}

const launchColumns = `run, scenario, origin, attempt, branch, commit_id, set_id, images_json`

func readLaunch(row scanner) (f LaunchedFrom, err error) {
	err = row.Scan(&f.Run, &f.Scenario, &f.Origin, &f.Attempt, &f.Branch, &f.Commit, &f.Set, document{&f.Images})
	return f, err
}

// RecordLaunch writes down what an attempt was launched from. Of the same attempt the first record
// stays, so a repeated step is harmless.
func (l *Ledger) RecordLaunch(ctx context.Context, f LaunchedFrom) error {
	return l.write(ctx, "record a launch of run "+f.Run, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO launches (`+launchColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
			ON CONFLICT (run, scenario, origin, attempt) DO NOTHING`,
			f.Run, f.Scenario, f.Origin, f.Attempt, f.Branch, f.Commit, f.Set, document{f.Images})
		return err
	})
}

// Launches lists what the lanes of a run were launched from, every attempt, by scenario, origin and attempt.
func (l *Ledger) Launches(ctx context.Context, run string) ([]LaunchedFrom, error) {
	all, err := many(ctx, l.db, readLaunch,
		`SELECT `+launchColumns+` FROM launches WHERE run = $1 ORDER BY scenario, origin, attempt`, run)
	if err != nil {
		return nil, fmt.Errorf("launches of run %s: %w", run, err)
	}
	return all, nil
}
