package ledger

import (
	"context"
	"database/sql"
	"fmt"
)

// Inventory is what packages a server had when it was tested. Versions may have moved between bake
// and launch: beside a failure that only one origin shows, the difference is worth a look.
type Inventory struct {
	Run      string            `json:"run"`
	Scenario string            `json:"scenario"`
	Origin   string            `json:"origin"`
	Server   string            `json:"server"`
	Role     string            `json:"role"`
	Packages map[string]string `json:"packages"` // name → version
}

const inventoryColumns = `run, scenario, origin, server, role, packages_json`

func readInventory(row scanner) (i Inventory, err error) {
	err = row.Scan(&i.Run, &i.Scenario, &i.Origin, &i.Server, &i.Role, document{&i.Packages})
	return i, err
}

// RecordInventory writes what a server has, replacing what was known of it in the same scenario.
func (l *Ledger) RecordInventory(ctx context.Context, i Inventory) error {
	return l.write(ctx, fmt.Sprintf("record packages of %s in run %s", i.Server, i.Run), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO inventories (`+inventoryColumns+`) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (run, scenario, origin, server) DO UPDATE SET role = excluded.role, packages_json = excluded.packages_json`,
			i.Run, i.Scenario, i.Origin, i.Server, i.Role, document{i.Packages})
		return err
	})
}

// Inventories gives what the servers of a run had.
func (l *Ledger) Inventories(ctx context.Context, run string) ([]Inventory, error) {
	list, err := many(ctx, l.db, readInventory, `SELECT `+inventoryColumns+` FROM inventories WHERE run = $1 ORDER BY scenario, origin, server`, run)
	if err != nil {
		return nil, fmt.Errorf("packages of run %s: %w", run, err)
	}
	return list, nil
}
