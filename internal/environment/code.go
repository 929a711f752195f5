package environment

import (
	"encoding/json"
	"fmt"

	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// CommitsOf lists the commits of whose code an environment may need the archive again, when its servers are
// launched anew or upgraded further.
func CommitsOf(e ledger.Environment) ([]string, error) {
	var rec struct {
		Spec    struct{ Commit string } `json:"spec"`
		Servers []struct {
			Commit string `json:"commit"`
		} `json:"servers"`
	}
	if len(e.Body) == 0 { // planned, not more
		return nil, nil
	}
	if err := json.Unmarshal(e.Body, &rec); err != nil {
		return nil, fmt.Errorf("record of environment %s: %w", e.ID, err)
	}
	commits := []string{rec.Spec.Commit}
	for _, s := range rec.Servers {
		commits = append(commits, s.Commit)
	}
	return commits, nil
}
