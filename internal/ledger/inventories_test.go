package ledger

import (
	"path/filepath"
	"testing"
	"time"
)

func TestInventories(t *testing.T) {
	l, err := Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.CreateRun(t.Context(), Run{ID: "r", Kind: "nightly", Created: time.Unix(1, 0)}); err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"1", "2"} {
		if err := l.RecordInventory(t.Context(), Inventory{Run: "r", Scenario: "verify", Origin: "base", Server: "web-1", Role: "web", Packages: map[string]string{"nginx": version}}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := l.Inventories(t.Context(), "r")
	if err != nil || len(list) != 1 || list[0].Packages["nginx"] != "2" || list[0].Role != "web" {
		t.Errorf("inventories %+v, %v; want the last one recorded", list, err)
	}
	if err := l.RecordInventory(t.Context(), Inventory{Run: "unknown", Server: "web-1"}); err == nil {
		t.Error("an inventory of an unknown run was recorded")
	}
}
