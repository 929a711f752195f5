package incus_test

import (
	"os"
	"path/filepath"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/cloudtest"
)

// kept gives a search of all that Incus keeps on this host but the disks of servers: its database, old and new parts
// of it, logs, and what was written since some time elsewhere, images and temporary files too.
func kept(since time.Time) func(text string) ([]string, error) {
	const incus = "/var/lib/incus"
	return func(text string) ([]string, error) {
		return cloudtest.Search([]string{text},
			cloudtest.Place{Path: filepath.Join(incus, "database")},
			cloudtest.Place{Path: "/var/log/incus"},
			cloudtest.Place{Path: incus, Since: since, But: []string{filepath.Join(incus, "storage-pools"), filepath.Join(incus, "disks"), filepath.Join(incus, "database")}},
			cloudtest.Place{Path: "/run/incus", Since: since}, cloudtest.Place{Path: "/var/cache", Since: since},
			cloudtest.Place{Path: os.TempDir(), Since: since}, cloudtest.Place{Path: "/var/tmp", Since: since},
		)
	}
}
