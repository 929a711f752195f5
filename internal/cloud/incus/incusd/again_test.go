package incusd

import (
	"net/http"
	"testing"

	"github.com/lxc/incus/v6/shared/api"
)

// A removal that did not find something else is done again, and one that found nothing is done.
func TestRemove(t *testing.T) {
	for name, c := range map[string]struct {
		there, misses int // it is there; how often something else is not found
		dels          int
	}{
		"at once":              {1, 0, 1},
		"is not there":         {0, 0, 1},
		"something else, once": {1, 1, 2},
		"something else":       {1, 3, 4},
	} {
		t.Run(name, func(t *testing.T) {
			lost := api.StatusErrorf(http.StatusNotFound, "Project not found")
			there, misses, dels := c.there, c.misses, 0
			err := Remove(t.Context(), func() error {
				dels++
				if misses--; misses >= 0 || there == 0 {
					return lost
				}
				there = 0
				return nil
			}, func() error {
				if there == 0 {
					return lost
				}
				return nil
			})
			if err != nil || there != 0 || dels != c.dels {
				t.Errorf("%v, %d left, %d calls", err, there, dels)
			}
		})
	}
}
